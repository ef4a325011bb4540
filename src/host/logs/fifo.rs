//! The pipe that a vassal writes into, and how bytes are taken out of it without a moment at which they are nowhere.

use std::fs::OpenOptions;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::errno::Errno;
use nix::fcntl::{OFlag, SpliceFFlags, tee};
use nix::libc;
use nix::sys::stat::Mode;
use nix::unistd::{Gid, Uid, fchown, mkfifo, pipe2, read};

use crate::config::Definition;

use crate::host::error::{Doing, HostError};

/// How much is taken from a pipe at once; then the next vassal has its turn.
const CHUNK: usize = 4 * 1024;

/// The pipe of one life, and its name.
pub(super) struct Fifo {
    pub(super) path: PathBuf,
    pub(super) reader: Arc<OwnedFd>,
}

impl Fifo {
    pub(super) fn make(path: &Path) -> Result<Self, HostError> {
        mkfifo(path, Mode::S_IRUSR | Mode::S_IWUSR)
            .map_err(|errno| HostError::new(Doing::OpenLog, path.display().to_string(), errno))?;
        Self::open(path)
    }

    pub(super) fn open(path: &Path) -> Result<Self, HostError> {
        let reader = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(path)
            .map_err(|e| HostError::from_io(Doing::OpenLog, path.display().to_string(), &e))?;
        Ok(Self {
            path: path.to_owned(),
            reader: Arc::new(reader.into()),
        })
    }

    /// Open for reading too. The vassal's user may open it again, as `/dev/stdout` and by no other name: the
    /// directory is closed to it.
    pub(super) fn end_of_vassal(&self, definition: &Definition) -> Result<OwnedFd, HostError> {
        let failed =
            |e: &std::io::Error| HostError::from_io(Doing::OpenLog, self.path.display().to_string(), e);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(&self.path)
            .map_err(|e| failed(&e))?;
        if let Some(who) = &definition.identity {
            // One after the other, so that it is known which of them is refused.
            let refused =
                |kind, id| move |errno| HostError::new(Doing::GiveLog, format!("{kind} {id}"), errno);
            fchown(&file, None, Some(Gid::from_raw(who.gid))).map_err(refused("group", who.gid))?;
            fchown(&file, Some(Uid::from_raw(who.uid)), None).map_err(refused("user", who.uid))?;
        }
        Ok(file.into())
    }

    pub(super) fn remove(&self) {
        // Gone is what was wanted.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// A pipe through which bytes are looked at that stay where they are.
pub(super) struct Desk {
    reader: OwnedFd,
    writer: OwnedFd,
}

impl Desk {
    /// One for all pipes: it is empty between two chunks.
    pub(super) fn new() -> Result<Self, Errno> {
        let (reader, writer) = pipe2(OFlag::O_CLOEXEC)?;
        Ok(Self { reader, writer })
    }

    /// Copies one chunk; nothing at the end. It stays in `pipe`.
    pub(super) fn copy(&self, pipe: &OwnedFd) -> Result<Vec<u8>, Errno> {
        let length = tee(pipe, &self.writer, CHUNK, SpliceFFlags::SPLICE_F_NONBLOCK)?;
        let mut chunk = vec![0; length];
        let mut copied = 0;
        while copied < length {
            copied += read(&self.reader, &mut chunk[copied..length])?;
        }
        Ok(chunk)
    }

    /// Takes out of `pipe` what was copied.
    pub(super) fn take(pipe: &OwnedFd, length: usize) -> Result<(), Errno> {
        let mut chunk = [0; CHUNK];
        let mut taken = 0;
        while taken < length {
            match read(pipe, &mut chunk[taken..length]) {
                // The vassal can read its own output away; then it is not there any more.
                Ok(0) | Err(Errno::EAGAIN) => break,
                Ok(more) => taken += more,
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno),
            }
        }
        Ok(())
    }
}
