//! Processes by their pidfd, and what a process does to itself before exec.

use std::ffi::{CStr, CString, c_char};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;

use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Request numbers of `linux/pidfd.h`; nix makes each an unsafe function.
mod request {
    #![allow(missing_docs, unreachable_pub, reason = "made by nix's macros")]
    nix::ioctl_readwrite!(get_info, 0xff, 11, super::PidfdInfo);
}

/// `struct pidfd_info` of `linux/pidfd.h` in its first size, 64 bytes, which every later kernel takes.
#[repr(C)]
#[derive(Debug, Default)]
#[allow(missing_docs, reason = "the kernel's own names")]
pub struct PidfdInfo {
    mask: u64,
    cgroupid: u64,
    ids: [u32; 11],
    exit_code: i32,
}

/// `PIDFD_INFO_EXIT`: the exit status is wanted, or given.
const EXIT: u64 = 1 << 3;

/// The wait status (`wait(2)`) of a process that somebody else has reaped; `None` while it is not. Linux 6.15;
/// before, `ENOTTY`, `EINVAL` or `ESRCH`.
pub fn status_of_reaped(pidfd: impl AsFd) -> Result<Option<i32>, Errno> {
    let mut info = PidfdInfo {
        mask: EXIT,
        ..PidfdInfo::default()
    };
    let fd = pidfd.as_fd().as_raw_fd();
    // SAFETY: `info` outlives the call, and its size is in the request's number.
    unsafe { request::get_info(fd, &raw mut info) }?;
    Ok((info.mask & EXIT != 0).then_some(info.exit_code))
}

/// Sends `signal` to the process of `pidfd`; `ESRCH` once it has ended. Linux 5.1.
pub fn send_signal(pidfd: impl AsFd, signal: i32) -> Result<(), Errno> {
    let fd = pidfd.as_fd().as_raw_fd();
    let none: *const libc::siginfo_t = std::ptr::null();
    // SAFETY: a null siginfo is allowed and the other arguments are numbers.
    let answer = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, fd, signal, none, 0) };
    Errno::result(answer).map(drop)
}

/// A pidfd of the process `pid`; `ESRCH` if there is none. Linux 5.3.
pub fn open_pid(pid: u32) -> Result<OwnedFd, Errno> {
    // SAFETY: the arguments are numbers.
    let answer = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    own(Errno::result(answer)?)
}

/// A duplicate of the descriptor `number` of the process of `pidfd`. Linux 5.6; needs the right to trace it.
pub fn take_descriptor(pidfd: impl AsFd, number: RawFd) -> Result<OwnedFd, Errno> {
    let fd = pidfd.as_fd().as_raw_fd();
    // SAFETY: the arguments are numbers.
    let answer = unsafe { libc::syscall(libc::SYS_pidfd_getfd, fd, number, 0) };
    own(Errno::result(answer)?)
}

fn own(number: libc::c_long) -> Result<OwnedFd, Errno> {
    let number = RawFd::try_from(number).map_err(|_| Errno::EOVERFLOW)?;
    // SAFETY: only numbers of descriptors that a system call has just made for this process come here.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// What this process's pid namespace calls the process that `namespace` (an open `/proc/PID/ns/pid`) calls
/// `pid`; `ESRCH` if there is none, `ENOTTY` before Linux 6.11.
pub fn translate_pid(namespace: impl AsFd, pid: i32) -> Result<u32, Errno> {
    /// `NS_GET_PID_FROM_PIDNS` of `linux/nsfs.h`.
    const REQUEST: libc::c_ulong = nix::request_code_read!(0xb7, 0x6, size_of::<libc::c_int>()) as _;
    let fd = namespace.as_fd().as_raw_fd();
    // SAFETY: this request takes its argument by value and touches no memory of ours.
    let answer = unsafe { libc::ioctl(fd, REQUEST as _, pid) };
    u32::try_from(Errno::result(answer)?).map_err(|_| Errno::ESRCH)
}

/// The user namespace that encloses `namespace` (an open `/proc/PID/ns/user`); `EPERM` if ours is not above it. Linux 4.9.
pub fn parent_namespace(namespace: impl AsFd) -> Result<OwnedFd, Errno> {
    /// `NS_GET_PARENT` of `linux/nsfs.h`.
    const REQUEST: libc::c_ulong = nix::request_code_none!(0xb7, 0x2) as _;
    let fd = namespace.as_fd().as_raw_fd();
    // SAFETY: this request takes no argument.
    let answer = unsafe { libc::ioctl(fd, REQUEST as _) };
    own(Errno::result(answer)?.into())
}

/// Raises the hard limit of the process `pid` to `least`, if it is lower; `EPERM` without CAP_SYS_RESOURCE on the host.
pub fn raise_hard_limit(pid: u32, resource: Resource, least: u64) -> Result<(), Errno> {
    let pid = libc::pid_t::try_from(pid).map_err(|_| Errno::ESRCH)?;
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: a null new limit is allowed, and `limit` outlives the call.
    Errno::result(unsafe { libc::prlimit(pid, resource as _, std::ptr::null(), &raw mut limit) })?;
    if limit.rlim_max >= least {
        return Ok(());
    }
    limit.rlim_max = least;
    // SAFETY: a null old limit is allowed, and `limit` outlives the call.
    Errno::result(unsafe { libc::prlimit(pid, resource as _, &raw const limit, std::ptr::null_mut()) })
        .map(drop)
}

/// Duplicates a descriptor to a number from `least` on, closed by exec.
pub fn lift(fd: impl AsFd, least: RawFd) -> Result<OwnedFd, Errno> {
    let number = nix::fcntl::fcntl(fd.as_fd(), nix::fcntl::FcntlArg::F_DUPFD_CLOEXEC(least))?;
    own(number.into())
}

/// Makes `number`, which nothing in this process owns, a duplicate of `fd` that exec leaves open.
pub fn place(fd: impl AsFd, number: RawFd) -> Result<(), Errno> {
    // SAFETY: dup3 takes numbers; the caller answers for `number`.
    Errno::result(unsafe { libc::dup3(fd.as_fd().as_raw_fd(), number, 0) }).map(drop)
}

/// Sets close-on-exec on every descriptor from `first` on. Linux 5.11.
pub fn close_on_exec_from(first: u32) -> Result<(), Errno> {
    let flag = libc::CLOSE_RANGE_CLOEXEC;
    // SAFETY: the arguments are numbers, and setting a flag invalidates no descriptor.
    let answer = unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, flag) };
    Errno::result(answer).map(drop)
}

/// Sets every signal's action to the default and unblocks all: exec keeps both ignored and blocked signals.
pub fn reset_signals() -> Result<(), Errno> {
    for signal in 1..=64 {
        if [libc::SIGKILL, libc::SIGSTOP, 32, 33].contains(&signal) {
            continue; // the kernel's and the C library's own
        }
        // SAFETY: SIG_DFL installs no code of ours.
        if unsafe { libc::signal(signal, libc::SIG_DFL) } == libc::SIG_ERR {
            return Err(Errno::last());
        }
    }
    nix::sys::signal::SigSet::empty().thread_set_mask()
}

/// Lowers this process's soft limit of open descriptors to `soft`.
pub fn lower_open_files(soft: u64) -> Result<(), Errno> {
    let (now, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if now <= soft {
        return Ok(());
    }
    setrlimit(Resource::RLIMIT_NOFILE, soft, hard)
}

/// The same in the process that `command` becomes.
pub fn lower_open_files_of(command: &mut impl CommandExt, soft: u64) {
    let lower = move || lower_open_files(soft).map_err(Into::into);
    // SAFETY: between fork and exec two system calls are made, and nothing is allocated or locked.
    unsafe { command.pre_exec(lower) };
}

/// Has the process that `command` becomes write its line of proc_pid_stat(5) to `note` before its first instruction.
/// One that cannot runs all the same.
pub fn write_stat_of(command: &mut impl CommandExt, note: OwnedFd) {
    let write = move || {
        // Errors are for the parent to find: the line is not there.
        let _ = copy_own_stat(&note);
        Ok(())
    };
    // SAFETY: between fork and exec four system calls are made, and nothing is allocated or locked.
    unsafe { command.pre_exec(write) };
}

fn copy_own_stat(note: &OwnedFd) -> Result<(), Errno> {
    // 52 numbers of up to 20 digits, and a name of up to 64 bytes.
    let mut line = [0; 2048];
    let flags = nix::fcntl::OFlag::O_RDONLY | nix::fcntl::OFlag::O_CLOEXEC;
    let stat = nix::fcntl::open(c"/proc/self/stat", flags, nix::sys::stat::Mode::empty())?;
    let length = nix::unistd::read(&stat, &mut line)?;
    nix::unistd::write(note, &line[..length]).map(drop)
}

/// Ignores `signal` in this process.
pub fn ignore_signal(signal: i32) -> Result<(), Errno> {
    // SAFETY: SIG_IGN installs no code of ours.
    if unsafe { libc::signal(signal, libc::SIG_IGN) } == libc::SIG_ERR {
        Err(Errno::last())
    } else {
        Ok(())
    }
}

/// `execveat(program, "", …, AT_EMPTY_PATH)`: execs an open file wherever it lies; returns only on failure.
pub fn exec_open_file(program: impl AsFd, arguments: &[CString], environment: &[CString]) -> Errno {
    const EMPTY: &CStr = c"";
    let pointers = |strings: &[CString]| -> Vec<*const c_char> {
        strings
            .iter()
            .map(|s| s.as_ptr())
            .chain([std::ptr::null()])
            .collect()
    };
    let (arguments, environment) = (pointers(arguments), pointers(environment));
    let fd = program.as_fd().as_raw_fd();
    // SAFETY: both arrays end in NULL and point into strings that outlive the call.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            fd,
            EMPTY.as_ptr(),
            arguments.as_ptr(),
            environment.as_ptr(),
            libc::AT_EMPTY_PATH,
        )
    };
    Errno::last()
}

/// Takes and gives back a read lease of `file`: `EAGAIN` while anybody has it open for writing.
///
/// `fcntl(2)`, "Leases". `Err(EAGAIN)` is the answer "being written"; any other error means that this
/// filesystem or owner cannot tell.
pub fn probe_no_writer(file: impl AsFd) -> Result<(), Errno> {
    let fd = file.as_fd().as_raw_fd();
    // SAFETY: F_SETLEASE takes a number.
    Errno::result(unsafe { libc::fcntl(fd, libc::F_SETLEASE, libc::F_RDLCK) })?;
    // SAFETY: F_SETLEASE takes a number.
    Errno::result(unsafe { libc::fcntl(fd, libc::F_SETLEASE, libc::F_UNLCK) }).map(drop)
}

/// `sethostname` and friends are in nix; what remains is the group list of the whole process, which must be
/// exactly `groups`.
pub fn user_and_group(uid: u32, gid: u32, groups: &[u32]) -> Result<(), Errno> {
    let groups: Vec<_> = groups
        .iter()
        .map(|group| nix::unistd::Gid::from_raw(*group))
        .collect();
    nix::unistd::setgroups(&groups)?;
    nix::unistd::setresgid(gid.into(), gid.into(), gid.into())?;
    nix::unistd::setresuid(uid.into(), uid.into(), uid.into())
}

/// Makes the calling thread, and no other of this process, the user `uid` with the group `gid` and no other group; its
/// capabilities go with that. For a thread that ends soon.
///
/// The C library's functions of that name change all threads (`nptl(7)`), so these are plain system calls.
pub fn become_on_this_thread(uid: u32, gid: u32) -> Result<(), Errno> {
    let none: *const libc::gid_t = std::ptr::null();
    // SAFETY: a list of no groups is not read.
    Errno::result(unsafe { libc::syscall(libc::SYS_setgroups, 0, none) })?;
    // SAFETY: the arguments are numbers.
    Errno::result(unsafe { libc::syscall(libc::SYS_setresgid, gid, gid, gid) })?;
    // SAFETY: the arguments are numbers.
    Errno::result(unsafe { libc::syscall(libc::SYS_setresuid, uid, uid, uid) }).map(drop)
}
