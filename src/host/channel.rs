//! The control socket of uWSGI's emperor protocol: one byte a message, in both directions.
//!
//! An unmodified uWSGI finds its end by `UWSGI_EMPEROR_FD`. The original makes a pair of stream sockets; here it is
//! a pair of datagram sockets, which a program that reads and writes single bytes cannot tell apart. But a
//! stream ends with its other end, and uWSGI ends with the stream; a datagram socket outlives its peer, and
//! an emperor that comes after a crash fetches the vassal's end by `pidfd_getfd(2)` and connects it
//! anew ([`regain`]).
//!
//! The pair is made inside the vassal's network namespace. A socket belongs to the namespace that it was made in
//! for good, and one of the host's would let the vassal send to every abstract socket of the host.

use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::socket::sockopt::SockType as KindOf;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, UnixAddr, bind, connect, getsockname, getsockopt, recv,
    send, socket, socketpair,
};

use crate::config::Definition;
use crate::emperor::Word;
use crate::sys::process::take_descriptor;
use crate::sys::socket::receive;

use super::error::{Doing, HostError};
use super::init;
use super::strays::{self, Strays};

/// What the vassal finds the number of its end by.
pub const VARIABLE: &str = "UWSGI_EMPEROR_FD";
/// Bytes that are taken at once.
const HANDFUL: usize = 64;

/// What the emperor tells a vassal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// Reload: 1.
    Reload,
    /// End gracefully: 2. (0 would be: end at once; there are signals for that.)
    Stop,
}

/// The number of the vassal's end in the vassal: it comes after the socket that listens, if there is one.
pub fn number(definition: &Definition) -> RawFd {
    init::FIRST + RawFd::from(definition.listens())
}

/// Makes the pair in the network namespace that the calling thread is in: ours and the vassal's.
///
/// # Errors
/// If the kernel refuses.
pub fn open(on: &str) -> Result<(OwnedFd, OwnedFd), HostError> {
    let failed = |errno| HostError::new(Doing::OpenChannel, on, errno);
    let flags = SockFlag::SOCK_CLOEXEC;
    let (ours, theirs) = socketpair(AddressFamily::Unix, SockType::Datagram, None, flags).map_err(failed)?;
    never_block(&ours).map_err(failed)?;
    Ok((ours, theirs))
}

/// Connects the vassal's end, its descriptor `number`, to a new one of ours. The calling thread must be in the
/// vassal's network namespace.
///
/// # Errors
/// If that descriptor is not the control socket any more, or the kernel refuses.
pub fn regain(on: &str, pidfd: impl AsFd, number: i32) -> Result<OwnedFd, HostError> {
    let failed = |errno| HostError::new(Doing::OpenChannel, on, errno);
    let theirs = take_descriptor(pidfd, number).map_err(failed)?;
    if getsockopt(&theirs, KindOf).map_err(failed)? != SockType::Datagram {
        return Err(failed(Errno::ENOTSOCK));
    }
    let flags = SockFlag::SOCK_CLOEXEC;
    let ours = socket(AddressFamily::Unix, SockType::Datagram, flags, None).map_err(failed)?;
    never_block(&ours).map_err(failed)?;
    for end in [&ours, &theirs] {
        match bind(end.as_raw_fd(), &UnixAddr::new_unnamed()) {
            // It has had a name since an earlier emperor's crash.
            Ok(()) | Err(Errno::EINVAL) => {}
            Err(errno) => return Err(failed(errno)),
        }
    }
    let unread = unread(&theirs);
    // A socket that still has a peer accepts no other; so theirs, which has a dead one, goes first.
    for (from, to) in [(&theirs, &ours), (&ours, &theirs)] {
        let name: UnixAddr = getsockname(to.as_raw_fd()).map_err(failed)?;
        connect(from.as_raw_fd(), &name).map_err(failed)?;
    }
    for byte in unread {
        // It fitted before.
        let _ = send(ours.as_raw_fd(), &[byte], MsgFlags::MSG_NOSIGNAL);
    }
    Ok(ours)
}

/// Takes out what the vassal has been told and not read yet: a new peer would have the kernel throw it away
/// (`unix_dgram_disconnected` of net/unix/af_unix.c).
fn unread(theirs: &OwnedFd) -> Vec<u8> {
    let mut byte = [0];
    let next = || match recv(theirs.as_raw_fd(), &mut byte, MsgFlags::MSG_DONTWAIT) {
        Ok(1) => Some(byte[0]),
        Ok(_) | Err(_) => None,
    };
    std::iter::from_fn(next).take(HANDFUL).collect()
}

/// Only our end: uWSGI expects its own to block.
fn never_block(ours: &OwnedFd) -> Result<(), Errno> {
    fcntl(ours, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).map(drop)
}

/// Tells the vassal something.
///
/// # Errors
/// `ECONNREFUSED` if nobody holds the other end any more; `EAGAIN` if what was told before was not read.
pub fn tell(ours: impl AsFd, command: Command) -> Result<(), Errno> {
    let byte = match command {
        Command::Reload => 1,
        Command::Stop => 2,
    };
    send(ours.as_fd().as_raw_fd(), &[byte], MsgFlags::MSG_NOSIGNAL).map(drop)
}

/// Takes a handful of bytes; whether there may be more. Descriptors that came along go to `strays`.
pub fn take(ours: impl AsFd, heard: &mut Vec<Byte>, strays: &mut Strays) -> bool {
    let mut buffer = [0; 16];
    let mut control = strays::control();
    for _ in 0..HANDFUL {
        match receive(&ours, &mut buffer, &mut control) {
            Ok(received) => {
                strays.extend(received.descriptors);
                heard.extend(
                    buffer[..received.length]
                        .iter()
                        .filter_map(|byte| Byte::new(*byte)),
                );
            }
            Err(Errno::EINTR) => {}
            Err(_) => return false,
        }
    }
    true
}

/// What a vassal tells the emperor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Byte {
    /// 1: its program is loaded.
    Ready,
    /// 5: it accepts requests.
    Accepting,
    /// 17: it serves as it was meant to.
    Loyal,
    /// 22: it wants to be stopped.
    Stop,
    /// 26: it is alive.
    Heartbeat,
    /// 30: it wants more of itself; there is no such thing here.
    Zerg,
}

impl Byte {
    fn new(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::Ready),
            5 => Some(Self::Accepting),
            17 => Some(Self::Loyal),
            22 => Some(Self::Stop),
            26 => Some(Self::Heartbeat),
            30 => Some(Self::Zerg),
            _ => None,
        }
    }

    /// What it means for its supervision.
    pub fn word(self) -> Option<Word> {
        match self {
            // After a reload uWSGI says only that it accepts.
            Self::Ready | Self::Accepting => Some(Word::Ready),
            Self::Stop => Some(Word::Rest),
            Self::Heartbeat => Some(Word::Alive),
            Self::Loyal | Self::Zerg => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_cross_in_both_directions_and_strange_ones_mean_nothing() {
        let (ours, theirs) = open("test").unwrap();
        for byte in [1, 5, 17, 22, 26, 30, 0, 255] {
            send(theirs.as_raw_fd(), &[byte], MsgFlags::empty()).unwrap();
        }
        let mut heard = Vec::new();
        assert!(!take(&ours, &mut heard, &mut Strays::new()));
        let all = [
            Byte::Ready,
            Byte::Accepting,
            Byte::Loyal,
            Byte::Stop,
            Byte::Heartbeat,
            Byte::Zerg,
        ];
        assert_eq!(heard, all);
        tell(&ours, Command::Reload).unwrap();
        tell(&ours, Command::Stop).unwrap();
        let mut byte = [0; 8];
        for wanted in [1, 2] {
            assert_eq!(recv(theirs.as_raw_fd(), &mut byte, MsgFlags::empty()), Ok(1));
            assert_eq!(byte[0], wanted);
        }
    }

    #[test]
    fn what_was_told_and_not_read_outlives_the_emperor() {
        let (ours, theirs) = open("test").unwrap();
        let myself = crate::sys::process::open_pid(std::process::id()).unwrap();
        tell(&ours, Command::Reload).unwrap();
        tell(&ours, Command::Stop).unwrap();
        drop(ours);
        let _ours = regain("test", &myself, theirs.as_raw_fd()).unwrap();
        let mut byte = [0];
        for wanted in [1, 2] {
            assert_eq!(recv(theirs.as_raw_fd(), &mut byte, MsgFlags::MSG_DONTWAIT), Ok(1));
            assert_eq!(byte[0], wanted);
        }
        let more = recv(theirs.as_raw_fd(), &mut byte, MsgFlags::MSG_DONTWAIT);
        assert_eq!(more, Err(Errno::EAGAIN), "told twice");
    }

    #[test]
    fn the_other_end_sees_no_end_and_is_connected_anew() {
        let (ours, theirs) = open("test").unwrap();
        let myself = crate::sys::process::open_pid(std::process::id()).unwrap();
        let mut before = ours;
        // Twice, as after two crashes.
        for _ in 0..2 {
            drop(before);
            let mut byte = [0];
            let quiet = recv(theirs.as_raw_fd(), &mut byte, MsgFlags::MSG_DONTWAIT);
            assert_eq!(quiet, Err(Errno::EAGAIN), "an end");
            before = regain("test", &myself, theirs.as_raw_fd()).unwrap();
            send(theirs.as_raw_fd(), &[26], MsgFlags::empty()).unwrap();
            let mut heard = Vec::new();
            take(&before, &mut heard, &mut Strays::new());
            assert_eq!(heard, [Byte::Heartbeat]);
            tell(&before, Command::Reload).unwrap();
            assert_eq!(recv(theirs.as_raw_fd(), &mut byte, MsgFlags::MSG_DONTWAIT), Ok(1));
        }
        drop(theirs);
        assert_eq!(tell(&before, Command::Stop), Err(Errno::ECONNREFUSED));
    }
}
