//! Opens a connection, and tells a firewall's refusal from an absent host.
//!
//! For IPv4, connect(2) reports both with `EHOSTUNREACH`. The ICMP message itself waits in the socket's error
//! queue (`IP_RECVERR`, ip(7)), and its code tells them apart.

use std::io::IoSliceMut;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Duration;

use nix::cmsg_space;
use nix::errno::Errno;
use nix::libc::{sock_extended_err, sockaddr_in, sockaddr_in6};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, MsgFlags, SockFlag, SockType, SockaddrStorage,
    connect as sys_connect, recvmsg, setsockopt, socket, sockopt,
};

/// Why no connection came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Somebody on the way said that it is forbidden.
    Filtered,
    /// Anything else.
    Errno(Errno),
}

impl From<Errno> for Refusal {
    fn from(errno: Errno) -> Self {
        Self::Errno(errno)
    }
}

/// Connects to `to`, waiting no longer than `patience`.
pub(super) fn connect(to: SocketAddr, patience: Duration) -> Result<TcpStream, Refusal> {
    let family = if to.is_ipv4() {
        AddressFamily::Inet
    } else {
        AddressFamily::Inet6
    };
    let socket = socket(
        family,
        SockType::Stream,
        SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK,
        None,
    )?;
    match to {
        SocketAddr::V4(_) => setsockopt(&socket, sockopt::Ipv4RecvErr, &true)?,
        SocketAddr::V6(_) => setsockopt(&socket, sockopt::Ipv6RecvErr, &true)?,
    }
    match sys_connect(socket.as_raw_fd(), &SockaddrStorage::from(to)) {
        Ok(()) => {}
        Err(Errno::EINPROGRESS) => wait(&socket, patience)?,
        Err(errno) => return Err(errno.into()),
    }
    let stream = TcpStream::from(socket);
    stream
        .set_nonblocking(false)
        .map_err(|error| Errno::try_from(error).unwrap_or(Errno::EIO))?;
    Ok(stream)
}

fn wait(socket: &OwnedFd, patience: Duration) -> Result<(), Refusal> {
    let timeout = PollTimeout::try_from(patience).unwrap_or(PollTimeout::MAX);
    let mut waiting = [PollFd::new(socket.as_fd(), PollFlags::POLLOUT)];
    if poll(&mut waiting, timeout)? == 0 {
        return Err(Errno::ETIMEDOUT.into());
    }
    match nix::sys::socket::getsockopt(socket, sockopt::SocketError)? {
        0 => Ok(()),
        _ if is_filtered(socket) => Err(Refusal::Filtered),
        errno => Err(Errno::from_raw(errno).into()),
    }
}

/// Whether the error queue holds "administratively prohibited".
fn is_filtered(socket: &OwnedFd) -> bool {
    let mut payload = [0; 256];
    let mut payload = [IoSliceMut::new(&mut payload)];
    let mut control = cmsg_space!(sock_extended_err, sockaddr_in, sock_extended_err, sockaddr_in6);
    let flags = MsgFlags::MSG_ERRQUEUE | MsgFlags::MSG_DONTWAIT;
    let Ok(message) = recvmsg::<SockaddrStorage>(socket.as_raw_fd(), &mut payload, Some(&mut control), flags)
    else {
        return false;
    };
    let Ok(mut messages) = message.cmsgs() else {
        return false;
    };
    messages.any(|message| {
        #[allow(
            clippy::wildcard_enum_match_arm,
            reason = "the library's enum of every control message"
        )]
        match message {
            // RFC 792 and RFC 1812 5.2.7.1: destination unreachable; net, host or communication prohibited.
            ControlMessageOwned::Ipv4RecvErr(error, _) => {
                error.ee_type == 3 && matches!(error.ee_code, 9 | 10 | 13)
            }
            // RFC 4443 3.1: destination unreachable; prohibited, or failed by policy.
            ControlMessageOwned::Ipv6RecvErr(error, _) => {
                error.ee_type == 1 && matches!(error.ee_code, 1 | 5)
            }
            _ => false,
        }
    })
}
