//! The birth of a vassal, up to the gate.
//!
//! The child is cloned into its namespaces, execs the [init stage](super::init) and waits at a gate: a socket
//! through which its plan, and the descriptors that its command gets, come once network and router port are
//! ready. A pipe brings back the one failure that can happen between the gate and the command; exec closes it.

use std::ffi::CString;
use std::fs::File;
use std::io::{IoSlice, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::libc;
use nix::sys::socket::{AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, sendmsg, socketpair};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::{Pid, pipe2};

use crate::config::Definition;
use crate::config::namespaces::Namespaces;
use crate::emperor::state::End;
use crate::sys::clone::{Stage, clone_into};
use crate::sys::process::status_of_reaped;

use super::error::{Doing, HostError};
use super::init;

/// What every birth needs and nothing changes: this program and `/dev/null`, open, and the soft limit of open
/// descriptors that the emperor was given.
pub struct Cradle {
    /// The limit.
    pub nofile: Option<u64>,
    program: OwnedFd,
    null: OwnedFd,
}

impl Cradle {
    /// Opens both. `/proc/self/exe` is opened now, so that births go on after the file was replaced.
    pub fn new(nofile: Option<u64>) -> Result<Self, HostError> {
        Self::of(Path::new("/proc/self/exe"), nofile)
    }

    /// The same with this program at another place.
    pub fn of(program: &Path, nofile: Option<u64>) -> Result<Self, HostError> {
        let open = |path: &Path| {
            File::open(path)
                .map(OwnedFd::from)
                .map_err(|e| HostError::from_io(Doing::Open, path.display().to_string(), &e))
        };
        Ok(Self {
            nofile,
            program: open(program)?,
            null: open(Path::new("/dev/null"))?,
        })
    }

    /// Clones the process of `definition`, with `output` as its standard output and error.
    pub fn clone_vassal(
        &self,
        definition: &Definition,
        output: BorrowedFd<'_>,
    ) -> Result<Newborn, HostError> {
        let doing = match definition.namespaces.user {
            Some(_) => Doing::CloneWithUser,
            None => Doing::Clone,
        };
        let failed = |errno| HostError::new(doing, definition.name.as_str(), errno);
        let (family, kind) = (AddressFamily::Unix, SockType::Stream);
        let (theirs_gate, gate) = socketpair(family, kind, None, SockFlag::SOCK_CLOEXEC).map_err(failed)?;
        let (report, theirs_report) = pipe2(OFlag::O_CLOEXEC).map_err(failed)?;
        let arguments = ["mini-emperor", init::VERB]
            .into_iter()
            .map(str::to_owned)
            .chain([
                theirs_gate.as_raw_fd().to_string(),
                theirs_report.as_raw_fd().to_string(),
            ])
            .filter_map(|text| CString::new(text).ok())
            .collect();
        let kept = [theirs_gate.as_fd(), theirs_report.as_fd()];
        let stdio = (self.null.as_fd(), output);
        let stage = Stage::new(self.program.as_fd(), arguments, Vec::new(), stdio, &kept);
        let child = clone_into(flags(definition.namespaces), &stage).map_err(failed)?;
        Ok(Newborn {
            pid: child.pid,
            pidfd: Arc::new(child.pidfd),
            gate,
            report,
        })
    }

    /// Why a process of its ended so before its gate was opened, if it could not even become the init stage.
    pub fn failed(&self, end: &End) -> Option<HostError> {
        let End::Exited(errno @ 1..) = end else {
            return None;
        };
        let program = std::fs::read_link(format!("/proc/self/fd/{}", self.program.as_raw_fd()));
        let program = program.map_or_else(|_| init::OURSELVES.to_owned(), |path| path.display().to_string());
        Some(HostError::new(
            Doing::ExecItself,
            program,
            Errno::from_raw(*errno),
        ))
    }
}

fn flags(namespaces: Namespaces) -> u64 {
    let Namespaces {
        pid,
        mount,
        uts,
        ipc,
        cgroup,
        user,
    } = namespaces;
    [
        (true, libc::CLONE_NEWNET),
        (pid, libc::CLONE_NEWPID),
        (mount, libc::CLONE_NEWNS),
        (uts, libc::CLONE_NEWUTS),
        (ipc, libc::CLONE_NEWIPC),
        (cgroup, libc::CLONE_NEWCGROUP),
        // The kernel makes it first, so that it owns the others. user_namespaces(7)
        (user.is_some(), libc::CLONE_NEWUSER),
    ]
    .into_iter()
    .filter(|(wanted, _)| *wanted)
    .fold(0, |flags, (_, flag)| flags | u64::from(flag.cast_unsigned()))
}

/// A process that waits at its gate. Dropped before the gate opens, it ends by itself.
pub struct Newborn {
    /// Its process id.
    pub pid: u32,
    /// Readable once it has ended.
    pub pidfd: Arc<OwnedFd>,
    gate: OwnedFd,
    report: OwnedFd,
}

impl Newborn {
    /// Opens the gate. The command gets `descriptors` as 3, 4, … What comes back becomes readable when the
    /// outcome is known: see [`outcome`].
    pub fn open_gate(self, plan: &init::Plan, descriptors: &[BorrowedFd<'_>]) -> Result<OwnedFd, HostError> {
        let on = || plan.command.first().cloned().unwrap_or_default();
        let failed = |e: &std::io::Error| HostError::from_io(Doing::OpenGate, on(), e);
        let text = serde_json::to_vec(plan).map_err(|e| failed(&e.into()))?;
        let numbers: Vec<_> = descriptors.iter().map(AsRawFd::as_raw_fd).collect();
        let rights = [ControlMessage::ScmRights(&numbers)];
        let rights = if numbers.is_empty() { &[] } else { &rights[..] };
        // A child that was killed meanwhile must not end us by SIGPIPE.
        let (gate, flags) = (self.gate.as_raw_fd(), MsgFlags::MSG_NOSIGNAL);
        let sent = sendmsg::<()>(gate, &[IoSlice::new(&text)], rights, flags, None);
        let sent = sent.map_err(|errno| failed(&errno.into()))?;
        File::from(self.gate)
            .write_all(&text[sent..])
            .map_err(|e| failed(&e))?;
        Ok(self.report)
    }
}

/// Reads the outcome from the report pipe, once it is readable: `None` = the command was reached.
pub fn outcome(report: &OwnedFd) -> Option<init::Report> {
    let mut text = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        match nix::unistd::read(report, &mut chunk) {
            Ok(0) => break,
            Ok(length) => text.extend_from_slice(&chunk[..length]),
            Err(Errno::EINTR) => {}
            Err(_) => break,
        }
    }
    serde_json::from_slice(&text).ok()
}

/// Reaps the process of `pidfd`, which has ended; `None` if it is no child of ours.
pub fn reap(pidfd: &OwnedFd) -> Option<End> {
    Some(match waitid(Id::PIDFd(pidfd.as_fd()), WaitPidFlag::WEXITED) {
        Ok(WaitStatus::Exited(_, code)) => End::Exited(code),
        Ok(WaitStatus::Signaled(_, signal, _)) => End::Killed(signal as i32),
        Ok(
            WaitStatus::Stopped(..)
            | WaitStatus::PtraceEvent(..)
            | WaitStatus::PtraceSyscall(_)
            | WaitStatus::Continued(_)
            | WaitStatus::StillAlive,
        ) => End::Stillborn("the kernel reported no end of the process".to_owned()),
        Err(Errno::ECHILD) => return None,
        Err(errno) => End::Stillborn(format!("its exit status is lost: {}", errno.desc())),
    })
}

/// How a process ended that somebody else has reaped; `None` while nobody has.
pub fn outcome_of_reaped(pidfd: &OwnedFd) -> Option<End> {
    // Before Linux 6.15 the status of a process that is no child is nobody's to know.
    let Ok(status) = status_of_reaped(pidfd) else {
        return Some(End::Unknown);
    };
    Some(match WaitStatus::from_raw(Pid::from_raw(0), status?) {
        Ok(WaitStatus::Exited(_, code)) => End::Exited(code),
        Ok(WaitStatus::Signaled(_, signal, _)) => End::Killed(signal as i32),
        Ok(
            WaitStatus::Stopped(..)
            | WaitStatus::PtraceEvent(..)
            | WaitStatus::PtraceSyscall(_)
            | WaitStatus::Continued(_)
            | WaitStatus::StillAlive,
        )
        | Err(_) => End::Unknown,
    })
}
