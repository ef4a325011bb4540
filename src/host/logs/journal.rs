//! The system's journal, by its native protocol: one datagram an entry, a field a line.
//!
//! <https://systemd.io/JOURNAL_NATIVE_PROTOCOL/>. Crates that speak it (`tracing-journald`, `libsystemd`) wait where the
//! journal has no room; here whoever has an entry must learn that, because others have entries, too.

use std::fs::File;
use std::io::{Error, ErrorKind, Write};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::rc::Rc;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use tokio::io::Interest;
use tokio::net::UnixDatagram;

use crate::host::error::{Doing, HostError};

/// Where journald listens.
const SOCKET: &str = "/run/systemd/journal/socket";
/// `LOG_INFO` of syslog(3).
const PRIORITY: char = '6';
/// `LOG_DAEMON` of syslog(3).
const FACILITY: u8 = 3;

/// The journal, as long as somebody reads it.
#[derive(Default)]
pub(super) struct Journal {
    socket: Option<Rc<UnixDatagram>>,
}

/// Whether there is a journal to write to.
///
/// # Errors
/// If nobody listens at its socket.
pub(super) fn check() -> Result<(), HostError> {
    let connect = || std::os::unix::net::UnixDatagram::unbound()?.connect(Path::new(SOCKET));
    connect().map_err(|error| HostError::from_io(Doing::FindJournal, SOCKET, &error))
}

impl Journal {
    /// Writes one line of the vassal `name`.
    ///
    /// # Errors
    /// `WouldBlock` if the journal has no room now; anything else if there is none. It is looked for again at
    /// the next line.
    pub(super) fn write(&mut self, name: &str, line: &str) -> std::io::Result<()> {
        let entry = entry(name, line);
        match send(self.socket()?, entry.as_bytes()) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Err(error),
            // A journal that was started anew listens at another socket of that name.
            Err(_) => {
                self.socket = None;
                send(self.socket()?, entry.as_bytes())
            }
        }
    }

    /// What is writable when there may be room.
    pub(super) fn way(&self) -> Option<Rc<UnixDatagram>> {
        self.socket.clone()
    }

    fn socket(&mut self) -> std::io::Result<&UnixDatagram> {
        if self.socket.is_none() {
            let socket = UnixDatagram::unbound()?;
            socket.connect(SOCKET)?;
            self.socket = Some(Rc::new(socket));
        }
        self.socket
            .as_deref()
            .ok_or_else(|| Error::from(ErrorKind::NotConnected))
    }
}

/// Sends an entry; one that is too long for a datagram as a file.
fn send(socket: &UnixDatagram, entry: &[u8]) -> std::io::Result<()> {
    let sent = socket.try_send(entry).map(drop);
    let errno = sent.as_ref().err().and_then(Error::raw_os_error);
    if matches!(errno.map(Errno::from_raw), Some(Errno::EMSGSIZE | Errno::ENOBUFS)) {
        let file = sealed(entry)?;
        return socket.try_io(Interest::WRITABLE, || pass(socket, &file));
    }
    sent
}

/// A file in memory that nobody can change any more; the journal takes no other.
fn sealed(entry: &[u8]) -> std::io::Result<File> {
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    let mut file = File::from(memfd_create(c"journal-entry", flags)?);
    file.write_all(entry)?;
    fcntl(&file, FcntlArg::F_ADD_SEALS(SealFlag::all()))?;
    Ok(file)
}

fn pass(socket: &UnixDatagram, file: &File) -> std::io::Result<()> {
    let file = [file.as_raw_fd()];
    let message = [ControlMessage::ScmRights(&file)];
    sendmsg::<()>(socket.as_raw_fd(), &[], &message, MsgFlags::MSG_DONTWAIT, None)?;
    Ok(())
}

/// `line` and `name` have no control characters, so none of them can begin another field.
fn entry(name: &str, line: &str) -> String {
    let (priority, line) = priority(line);
    format!(
        "PRIORITY={priority}\nSYSLOG_FACILITY={FACILITY}\nSYSLOG_IDENTIFIER={name}\nMINI_EMPEROR_VASSAL={name}\nMESSAGE={line}\n"
    )
}

/// The priority that a program can put before a line, as under systemd (`sd-daemon(3)`), and the rest.
fn priority(line: &str) -> (char, &str) {
    let prefix = line.strip_prefix('<').and_then(|rest| rest.split_once('>'));
    match prefix {
        Some((level @ ("0" | "1" | "2" | "3" | "4" | "5" | "6" | "7"), rest)) => {
            (level.chars().next().unwrap_or(PRIORITY), rest)
        }
        Some(_) | None => (PRIORITY, line),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_a_field_a_line() {
        let wanted =
            "PRIORITY=6\nSYSLOG_FACILITY=3\nSYSLOG_IDENTIFIER=web\nMINI_EMPEROR_VASSAL=web\nMESSAGE=a = b\n";
        assert_eq!(entry("web", "a = b"), wanted);
    }

    #[test]
    fn a_program_says_how_urgent_a_line_is_as_it_does_under_systemd() {
        assert_eq!(priority("<3>it burns"), ('3', "it burns"));
        for line in ["<8>no level", "<33>", "<3 >", "<>", "3>", "plain <3>"] {
            assert_eq!(priority(line), (PRIORITY, line));
        }
    }
}
