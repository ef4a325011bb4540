//! The first process of a pid namespace, as the program of a container is: it waits for whoever nobody waits for
//! (`pid_namespaces(7)`).
//!
//! ```text
//!   1  mini-emperor run      passes signals on, waits for every child, ends as the emperor does
//!   └─ 2  mini-emperor run   the emperor, which waits for children of its own alone
//! ```
//!
//! An orphan becomes a child of the first process: what a vassal without a pid namespace, or a hook, leaves, and what
//! others start in the container. The emperor itself cannot wait for all children, since that would take the exit status
//! of a vassal from whoever waits for it. So it is another process, whenever this one is the first.

use std::io::Error;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use nix::errno::Errno;
use nix::libc;
use nix::sys::signal::{Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd, siginfo};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::error::{Doing, HostError};
use super::upgrade::obeyed;

/// If this is the first process of its pid namespace: starts this program again, with the same arguments, and
/// resolves to its exit code (128 and the number of the signal, if one killed it). Absent if this is another process.
///
/// # Errors
/// If it cannot be started.
pub fn stand_in() -> Result<Option<ExitCode>, HostError> {
    if std::process::id() != 1 {
        return Ok(None);
    }
    let failed = |error: Error| HostError::from_io(Doing::StandIn, "the first process", &error);
    // The emperor inherits this and undoes it when it listens; so none is lost in between.
    let mut mask = obeyed();
    mask.thread_block().map_err(|errno| failed(errno.into()))?;
    let emperor = start().map_err(failed)?;
    // This one not: the emperor never blocks it.
    mask.add(Signal::SIGCHLD);
    mask.thread_block().map_err(|errno| failed(errno.into()))?;
    let signals = SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC);
    let signals = signals.map_err(|errno| failed(errno.into()))?;
    if let Some(code) = wait_for_all(emperor) {
        return Ok(Some(ExitCode::from(code)));
    }
    loop {
        match signals.read_signal() {
            Ok(Some(info)) => {
                if let Some(code) = obey(&info, emperor) {
                    return Ok(Some(ExitCode::from(code)));
                }
            }
            Ok(None) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(failed(errno.into())),
        }
    }
}

fn start() -> Result<Pid, Error> {
    let mut arguments = std::env::args_os();
    let mut command = Command::new("/proc/self/exe");
    arguments.next().into_iter().for_each(|name| {
        command.arg0(name);
    });
    command.args(arguments);
    // Meant for this process: the emperor has another number.
    if std::env::var_os("WATCHDOG_PID").is_some_and(|pid| pid == "1") {
        command.env_remove("WATCHDOG_PID");
    }
    let id = command.spawn()?.id();
    i32::try_from(id).map(Pid::from_raw).map_err(Error::other)
}

/// The exit code, once the emperor has ended.
fn obey(info: &siginfo, emperor: Pid) -> Option<u8> {
    let signal = i32::try_from(info.ssi_signo).ok();
    let signal = signal.and_then(|number| Signal::try_from(number).ok())?;
    if signal == Signal::SIGCHLD {
        return wait_for_all(emperor);
    }
    // What a terminal sends, it sends to the emperor as well.
    if info.ssi_code != libc::SI_KERNEL {
        // It may have ended just now, which the next signal says.
        let _ = kill(emperor, signal);
    }
    None
}

fn wait_for_all(emperor: Pid) -> Option<u8> {
    let killed = |signal: Signal| 128 | u8::try_from(signal as i32).unwrap_or_default();
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, code)) if pid == emperor => return Some(code.to_le_bytes()[0]),
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid == emperor => return Some(killed(signal)),
            Ok(WaitStatus::StillAlive) | Err(_) => return None,
            Ok(
                WaitStatus::Exited(..)
                | WaitStatus::Signaled(..)
                | WaitStatus::Stopped(..)
                | WaitStatus::PtraceEvent(..)
                | WaitStatus::PtraceSyscall(_)
                | WaitStatus::Continued(_),
            ) => {}
        }
    }
}
