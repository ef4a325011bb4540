//! Works inside another network namespace without taking a thread of ours there for good.
//!
//! A thread that has entered a namespace is lost for everything else, so one is borrowed: it enters, does its work
//! and ends. What it leaves behind are the fds that it opened; a tun or a netlink socket belongs to the namespace of
//! the thread that opened it, works from everywhere, and keeps that namespace alive. tokio's blocking pool would keep
//! the thread, so it is a plain one.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::sched::{CloneFlags, setns};
use nix::sys::stat::fstat;
use nix::sys::statfs::{FsType, fstatfs};
use tokio::sync::oneshot;

use super::error::{Doing, HostError};

/// The network namespace of the thread that opens it.
const OWN_NAMESPACE: &str = "/proc/thread-self/ns/net";
/// `NSFS_MAGIC` of `linux/magic.h`: the file system of `/proc/PID/ns/net`.
const NSFS: FsType = FsType(0x6e73_6673);
/// Bytes of stack of a borrowed thread.
const STACK: usize = 256 * 1024;

/// Runs `work` on a borrowed thread inside the network namespace `ns` (a pidfd or an open `/proc/PID/ns/net`); `on`
/// names its owner in errors. The caller's thread never leaves its own namespace. If the future is dropped, `work`
/// still runs to its end.
///
/// # Errors
/// If the namespace cannot be entered (`ESRCH`: its process is gone; `EPERM`: not ours), or what `work` returns.
///
/// # Panics
/// If `work` does, with its panic.
pub async fn inside<T: Send + 'static>(
    ns: BorrowedFd<'_>,
    on: &str,
    work: impl FnOnce() -> Result<T, HostError> + Send + 'static,
) -> Result<T, HostError> {
    let refused = |error: &std::io::Error| HostError::from_io(Doing::EnterNamespace, on, error);
    let ns = ns.try_clone_to_owned().map_err(|error| refused(&error))?;
    let owner = on.to_owned();
    let (answer, answered) = oneshot::channel();
    let thread = std::thread::Builder::new()
        .name("netns".to_owned())
        .stack_size(STACK)
        .spawn(move || {
            let result = setns(ns, CloneFlags::CLONE_NEWNET)
                .map_err(|errno| HostError::new(Doing::EnterNamespace, owner, errno))
                .and_then(|()| work());
            // Fails only if nobody waits any more; the fds in it are then closed here.
            drop(answer.send(result));
        })
        .map_err(|error| refused(&error))?;
    match answered.await {
        Ok(result) => result,
        // No answer was sent, so the thread is unwinding and this join is short.
        Err(_) => match thread.join() {
            Err(panic) => std::panic::resume_unwind(panic),
            Ok(()) => Err(HostError::new(Doing::EnterNamespace, on, Errno::ECANCELED)),
        },
    }
}

/// Opens the network namespace of the calling thread.
///
/// # Errors
/// If `/proc` is not mounted.
pub fn current() -> Result<OwnedFd, HostError> {
    File::open(OWN_NAMESPACE)
        .map(OwnedFd::from)
        .map_err(|error| HostError::from_io(Doing::IdentifyNamespace, OWN_NAMESPACE, &error))
}

/// The identity of a network namespace: the inode of an open `/proc/PID/ns/net`, unique while the namespace lives.
///
/// # Errors
/// `EINVAL` if `ns` is no such file (a pidfd is none: open [`current`] [`inside`] it).
pub fn inode(ns: impl AsFd) -> Result<u64, HostError> {
    let refused = |errno| HostError::new(Doing::IdentifyNamespace, "an open file", errno);
    if fstatfs(&ns).map_err(refused)?.filesystem_type() != NSFS {
        return Err(refused(Errno::EINVAL));
    }
    fstat(ns).map(|status| status.st_ino).map_err(refused)
}
