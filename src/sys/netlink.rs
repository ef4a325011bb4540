//! Gives a netlink socket that was opened elsewhere to the running tokio reactor.

use std::os::fd::{FromRawFd, IntoRawFd, OwnedFd};

use netlink_sys::TokioSocket;

/// Registers `socket` with the reactor of the current tokio runtime and makes it non-blocking.
///
/// # Panics
/// Outside a tokio runtime with I/O enabled, or if epoll refuses the fd.
pub fn tokio_socket(socket: OwnedFd) -> TokioSocket {
    let fd = socket.into_raw_fd();
    // SAFETY: `into_raw_fd` gave up the only ownership of this open fd.
    unsafe { TokioSocket::from_raw_fd(fd) }
}
