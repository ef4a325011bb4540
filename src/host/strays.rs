//! Closes descriptors that a vassal may have a say in, where nobody waits for it.
//!
//! Whoever closes the last descriptor of a file does what is left to do for it. For a TCP socket with `SO_LINGER`
//! that is waiting for its peer, as long as the vassal that set it pleases; and whoever receives a message gets the
//! descriptors in it, wanted or not. So they are closed on a thread that does only that. A vassal is not
//! listened to before what it sent has been closed, so it can hold one such thread, and nothing else.

use std::os::fd::{OwnedFd, RawFd};

use tokio::sync::oneshot;

/// Descriptors to be closed.
pub type Strays = Vec<OwnedFd>;

/// Bytes of stack of such a thread.
const STACK: usize = 64 * 1024;

/// Room for the control messages of one message: its sender, and as many descriptors as one can carry
/// (`SCM_MAX_FD`), so that the kernel never closes one for us, which we would wait for.
pub fn control() -> Vec<u8> {
    nix::cmsg_space!(nix::libc::ucred, [RawFd; 253])
}

/// Closes them; done when all are closed.
pub async fn close(strays: Strays) {
    if strays.is_empty() {
        return;
    }
    let (done, closed) = oneshot::channel::<()>();
    elsewhere(move || {
        drop(strays);
        drop(done);
    });
    let _ = closed.await;
}

/// Closes sockets with all that is still in their queues; nobody waits for it.
pub fn abandon(sockets: impl Send + 'static) {
    elsewhere(move || drop(sockets));
}

fn elsewhere(work: impl FnOnce() + Send + 'static) {
    let thread = std::thread::Builder::new()
        .name("strays".to_owned())
        .stack_size(STACK);
    if let Err(error) = thread.spawn(work) {
        // The closure is gone, and with it the descriptors: they were closed here.
        tracing::debug!("no thread to close descriptors on: {error}");
    }
}
