//! Every unsafe line: one system call a block, one fact a SAFETY.
#![allow(unsafe_code)]

pub mod arrivals;
pub mod clone;
pub mod netlink;
pub mod process;
pub mod readiness;
pub mod socket;
pub mod tun;
pub mod uring;

use std::os::fd::{FromRawFd, OwnedFd, RawFd};

use nix::fcntl::{FcntlArg, fcntl};

/// Owns a descriptor that this process was given by number across exec; `None` if it is not open.
pub fn adopt(fd: RawFd) -> Option<OwnedFd> {
    if fd <= 2 {
        return None;
    }
    // SAFETY: this is the only place that makes an owner for a number given on the command line, and the
    // standard descriptors, which others own, are excluded.
    let owned = unsafe { OwnedFd::from_raw_fd(fd) };
    match fcntl(&owned, FcntlArg::F_GETFD) {
        Ok(_) => Some(owned),
        Err(_) => {
            std::mem::forget(owned); // nothing is open there, so there is nothing to close
            None
        }
    }
}
