//! Descriptors in tokio's event queue.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Watches for `fd` to become readable. Must be called inside a tokio runtime.
pub fn readable(fd: Arc<OwnedFd>) -> std::io::Result<AsyncFd<Arc<OwnedFd>>> {
    // SAFETY: an OwnedFd behind an Arc names the same open file until the last Arc, of which the result holds
    // one, is gone.
    let watched = unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) };
    watched.map_err(|error| error.into_parts().1)
}
