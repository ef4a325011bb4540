//! Messages with descriptors or credentials, which arrive as plain numbers.

use std::io::IoSliceMut;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, UnixAddr, recvmsg};

/// What one `recvmsg(2)` gave.
#[derive(Debug)]
pub struct Received {
    /// Bytes in the buffer.
    pub length: usize,
    /// The sender, as this process's pid namespace numbers it; needs `SO_PASSCRED`.
    pub pid: Option<i32>,
    /// Descriptors that came along.
    pub descriptors: Vec<OwnedFd>,
    /// The message was longer than the buffer.
    pub cut: bool,
}

/// Receives into `buffer`, with the control messages that `control` has room for.
///
/// # Errors
/// `EAGAIN` if nothing is there and `socket` does not block.
pub fn receive(socket: impl AsFd, buffer: &mut [u8], control: &mut [u8]) -> Result<Received, Errno> {
    let mut parts = [IoSliceMut::new(buffer)];
    let fd = socket.as_fd().as_raw_fd();
    let message = recvmsg::<UnixAddr>(fd, &mut parts, Some(control), MsgFlags::MSG_CMSG_CLOEXEC)?;
    let mut received = Received {
        length: message.bytes,
        pid: None,
        descriptors: Vec::new(),
        cut: message.flags.contains(MsgFlags::MSG_TRUNC),
    };
    let Ok(controls) = message.cmsgs() else {
        return Ok(received); // cut off; what did not fit was closed by the kernel
    };
    for control in controls {
        if let ControlMessageOwned::ScmRights(numbers) = control {
            // SAFETY: the kernel has just made these descriptors for this process, and nobody else knows them.
            let owned = numbers
                .into_iter()
                .map(|number| unsafe { OwnedFd::from_raw_fd(number) });
            received.descriptors.extend(owned);
        } else if let ControlMessageOwned::ScmCredentials(who) = control {
            received.pid = Some(who.pid());
        }
    }
    Ok(received)
}
