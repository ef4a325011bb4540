//! `clone3(2)`, and the minute between it and the exec of the init stage.
//!
//! The child is a copy of one thread of a process that has several: whatever lock another thread held is
//! held for ever in it. So everything it needs is prepared by [`Stage::new`], and between `clone3` and
//! `execveat` there are only system calls: no allocation, lock, log or panic.

use std::ffi::{CStr, CString, c_char};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::sys::signal::{SigSet, SigmaskHow, pthread_sigmask};

/// `CLONE_NEWUSER`.
const NEW_USER: u64 = 0x1000_0000;

/// What the child becomes: a program with its arguments and file descriptors, ready to exec.
pub struct Stage<'a> {
    program: BorrowedFd<'a>,
    input: BorrowedFd<'a>,
    output: BorrowedFd<'a>,
    kept: &'a [BorrowedFd<'a>],
    arguments: Pointers,
    environment: Pointers,
}

/// A NULL-terminated array of strings in the form that exec wants, with what it points to.
struct Pointers {
    _strings: Vec<CString>,
    array: Vec<*const c_char>,
}

impl Pointers {
    fn new(strings: Vec<CString>) -> Self {
        let array = strings
            .iter()
            .map(|s| s.as_ptr())
            .chain([std::ptr::null()])
            .collect();
        Self {
            _strings: strings,
            array,
        }
    }
}

impl<'a> Stage<'a> {
    /// Prepares the exec of the file open as `program`, with `input` as its standard input, `output` as its
    /// standard output and error, and `kept` open under their own numbers.
    ///
    /// `input` and `output` must not be descriptors 0 to 2.
    pub fn new(
        program: BorrowedFd<'a>,
        arguments: Vec<CString>,
        environment: Vec<CString>,
        (input, output): (BorrowedFd<'a>, BorrowedFd<'a>),
        kept: &'a [BorrowedFd<'a>],
    ) -> Self {
        Self {
            program,
            input,
            output,
            kept,
            arguments: Pointers::new(arguments),
            environment: Pointers::new(environment),
        }
    }

    /// Becomes the stage; returns only if a system call fails, and then in a process that must end at once.
    fn enter(&self) {
        const EMPTY: &CStr = c"";
        for (from, to) in [(self.input, 0), (self.output, 1), (self.output, 2)] {
            // SAFETY: dup3 takes two numbers; `to` is a standard descriptor that nothing in this process owns.
            if unsafe { libc::dup3(from.as_raw_fd(), to, 0) } < 0 {
                return;
            }
        }
        for fd in self.kept {
            // SAFETY: F_SETFD takes a number and changes one flag of a descriptor that `kept` borrows.
            if unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFD, 0) } < 0 {
                return;
            }
        }
        // SAFETY: both arrays end in NULL and point into strings that `self` owns.
        unsafe {
            libc::syscall(
                libc::SYS_execveat,
                self.program.as_raw_fd(),
                EMPTY.as_ptr(),
                self.arguments.array.as_ptr(),
                self.environment.array.as_ptr(),
                libc::AT_EMPTY_PATH,
            )
        };
    }
}

/// What `capset(2)` takes; `linux/capability.h`.
#[repr(C)]
struct CapabilityHeader {
    version: u32,
    pid: i32,
}

/// One half of the sets of `capset(2)`.
#[repr(C)]
#[derive(Clone, Copy)]
struct CapabilitySets {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// Has the capabilities of a process that was just cloned into a user namespace outlast its exec: as ambient ones
/// (Linux 4.3), because before the namespace has a map nobody is root in it. capabilities(7)
///
/// False if a system call fails.
fn keep_capabilities() -> bool {
    /// `_LINUX_CAPABILITY_VERSION_3`.
    const VERSION: u32 = 0x2008_0522;
    /// What the kernel does not know of these it leaves out.
    const ALL: CapabilitySets = CapabilitySets {
        effective: u32::MAX,
        permitted: u32::MAX,
        inheritable: u32::MAX,
    };
    let mut header = CapabilityHeader {
        version: VERSION,
        pid: 0,
    };
    let sets = [ALL; 2];
    // SAFETY: version 3 reads two halves, and both arguments outlive the call.
    if unsafe { libc::syscall(libc::SYS_capset, &raw mut header, sets.as_ptr()) } < 0 {
        return false;
    }
    for capability in 0..64 {
        // SAFETY: the arguments are numbers.
        let answer =
            unsafe { libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_RAISE, capability, 0, 0) };
        if answer < 0 {
            // EINVAL: there are no more.
            return capability > 0 && Errno::last() == Errno::EINVAL;
        }
    }
    true
}

/// A child that was just made.
pub struct Child {
    /// Its process id in the caller's pid namespace.
    pub pid: u32,
    /// Readable once it has ended.
    pub pidfd: OwnedFd,
}

/// Clones the calling thread into a process with `namespaces` (`CLONE_NEW…` flags) that becomes `stage`.
///
/// All signals are blocked in the child, so that no handler of this process runs in it; the stage unblocks
/// them. A child that cannot become the stage exits with the errno as its status. In a user namespace of its own the stage has every capability, and no id before somebody writes the maps. Linux 5.3 (`clone3`), with `CLONE_PIDFD`.
pub fn clone_into(namespaces: u64, stage: &Stage<'_>) -> Result<Child, Errno> {
    let mut before = SigSet::empty();
    pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), Some(&mut before))?;
    let result = clone3(namespaces, stage);
    pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&before), None)?;
    let (pid, pidfd) = result?;
    // SAFETY: the kernel stored a new descriptor in `pidfd`, which has no other owner.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    Ok(Child { pid, pidfd })
}

fn clone3(namespaces: u64, stage: &Stage<'_>) -> Result<(u32, RawFd), Errno> {
    let mut pidfd: RawFd = -1;
    // SAFETY: clone_args is a plain structure of integers, for which zero is a value.
    let mut arguments: libc::clone_args = unsafe { std::mem::zeroed() };
    arguments.flags = namespaces | u64::try_from(libc::CLONE_PIDFD).unwrap_or_default();
    arguments.pidfd = std::ptr::from_mut(&mut pidfd) as u64;
    arguments.exit_signal = u64::try_from(libc::SIGCHLD).unwrap_or_default();
    // SAFETY: without CLONE_VM the child has its own copy of this stack, and `arguments` outlives the call.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_clone3,
            &raw mut arguments,
            size_of::<libc::clone_args>(),
        )
    };
    match answer {
        0 => {
            if namespaces & NEW_USER == 0 || keep_capabilities() {
                stage.enter();
            }
            // What failed last says why; an errno is below 256, as an exit status must be.
            let errno = Errno::last_raw();
            // SAFETY: _exit takes a number, runs no destructors and does not return.
            unsafe { libc::_exit(errno) }
        }
        pid if pid > 0 => Ok((u32::try_from(pid).unwrap_or(u32::MAX), pidfd)),
        _ => Err(Errno::last()),
    }
}
