//! Reads one definition, whole, when nobody has it open for writing.
//!
//! Whether somebody has is asked of the kernel: it refuses a read lease then (`fcntl(2)`). Asked before and
//! after the reading, with the same change time at both, the answer covers every byte that was read.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{Error, ErrorKind, Read, Result};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use nix::errno::Errno;
use nix::libc;

use crate::config::Owner;
use crate::config::load::MAX_BYTES;
use crate::sys::process::probe_no_writer;

use super::owner::Directory;

/// What was found at a path.
pub enum Content {
    /// A file at rest.
    Bytes {
        /// Changes when the bytes do.
        fingerprint: Fingerprint,
        /// The bytes; of a file that is too long, one more than it may have.
        text: Vec<u8>,
        /// Whose it is, where that matters.
        owner: Option<Owner>,
    },
    /// Somebody has it open for writing.
    BeingWritten,
    /// Nothing.
    Vanished,
}

/// A file with the same fingerprint has the same bytes, owner and mode: any change of them moves ctime.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Fingerprint {
    fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// That of the file at `path`; where owners matter, no link is followed.
    pub fn at(path: &Path, directory: Option<&Directory>) -> Option<Self> {
        let metadata = match directory {
            Some(_) => std::fs::symlink_metadata(path),
            None => std::fs::metadata(path),
        };
        metadata.ok().map(|metadata| Self::of(&metadata))
    }
}

/// Reads `path`; where owners matter, by the rules of the `directory` that it lies in.
///
/// # Errors
/// What keeps it from being read.
pub fn read(path: &Path, directory: Option<&Directory>) -> Result<Content> {
    let opened = match (directory, path.file_name()) {
        (Some(directory), Some(name)) => directory.open_file(name),
        (Some(_), None) | (None, _) => open(path),
    };
    let file = match opened {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound && !path.is_symlink() => {
            return Ok(Content::Vanished);
        }
        Err(error) => return Err(error),
    };
    let before = file.metadata()?;
    if !before.is_file() {
        return Err(Error::other("is not a regular file"));
    }
    let owner = directory.map(|directory| directory.owner(&before)).transpose()?;
    if being_written(&file, owner)? {
        return Ok(Content::BeingWritten);
    }
    let mut text = Vec::new();
    (&file).take(MAX_BYTES as u64 + 1).read_to_end(&mut text)?;
    let fingerprint = Fingerprint::of(&before);
    if being_written(&file, owner)? || Fingerprint::of(&file.metadata()?) != fingerprint {
        return Ok(Content::BeingWritten);
    }
    Ok(Content::Bytes {
        fingerprint,
        text,
        owner,
    })
}

fn open(path: &Path) -> Result<File> {
    // Non-blocking, so that a FIFO of that name does not hold us.
    OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(path)
}

/// `EAGAIN` is the kernel's word that somebody has it open for writing; other errors mean that this filesystem
/// cannot tell. Then the event of the close must do; but an owner's file could be in the hands of an earlier owner.
fn being_written(file: &File, owner: Option<Owner>) -> Result<bool> {
    match (probe_no_writer(file), owner) {
        (Ok(()), _) => Ok(false),
        (Err(Errno::EAGAIN), _) => Ok(true),
        (Err(_), None) => Ok(false),
        (Err(errno), Some(_)) => {
            let why = format!(
                "its filesystem cannot tell whether somebody is writing it ({})",
                errno.desc()
            );
            Err(Error::other(why))
        }
    }
}
