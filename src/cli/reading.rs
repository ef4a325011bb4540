//! Reads the files that an operator names, never more of them than a file may have.

use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use crate::config::{Owner, file_name, load};
use crate::host::owner::Directory;
use crate::host::reading::{self, Content};

/// A little more than a file may have, so that one that has more is refused.
pub(super) const MOST: u64 = load::MAX_BYTES as u64 + 1;

/// Reads as much of a file as matters. A pipe or a device is refused: nobody might ever write to it.
pub(super) fn read(path: &Path) -> io::Result<Vec<u8>> {
    let kind = fs::metadata(path)?.file_type();
    if !kind.is_file() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "it is no regular file",
        ));
    }
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(MOST).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Reads a file by its owner's rules, as the emperor does under `run_as_owner`.
pub(super) fn owned(path: &Path) -> io::Result<(Vec<u8>, Owner)> {
    let path = std::path::absolute(path)?;
    let parent = path.parent().unwrap_or(Path::new("/"));
    let directory = Directory::open(parent).map_err(io::Error::other)?;
    match reading::read(&path, Some(&directory))? {
        Content::Bytes {
            text,
            owner: Some(owner),
            ..
        } => Ok((text, owner)),
        Content::Bytes { owner: None, .. } | Content::BeingWritten => {
            Err(io::Error::other("somebody is writing it"))
        }
        Content::Vanished => Err(io::ErrorKind::NotFound.into()),
    }
}

/// The definitions of a directory, in the order of their names.
pub(super) fn definitions(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if file_name::is_definition(&entry.file_name()) && !entry.path().is_dir() {
            paths.push(entry.path());
        }
    }
    paths.sort();
    Ok(paths)
}
