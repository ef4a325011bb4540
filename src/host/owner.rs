//! Opens a tenant's file so that it is certainly his (`run_as_owner`).
//!
//! What counts is the opened file, not its name: its owner and mode are those of the very descriptor that is read.
//! The way to it is walked one directory at a time, each opened below the one before and judged open, with no
//! symbolic link on it. A directory that somebody else may write to, sticky or not, or that belongs to neither root
//! nor the file's owner would let that somebody put another's file there (a hard link is enough) and choose
//! under which definition it runs.

use std::ffi::OsStr;
use std::fs::{File, Metadata};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;

use crate::config::Owner;

/// Write permission of group and others. An access list that gives it to anybody shows in the group's bit.
const OTHERS_WRITE: u32 = 0o022;

/// A directory whose whole way from the root was found safe.
pub struct Directory {
    fd: OwnedFd,
    /// Directories of the way that are not root's, with their owners.
    owned: Vec<(PathBuf, u32)>,
}

impl Directory {
    /// Walks to `path`, which must be absolute.
    ///
    /// # Errors
    /// The sentence says which directory of the way is not safe, and why.
    pub fn open(path: &Path) -> Result<Self, String> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let mut walked = PathBuf::from("/");
        let root = nix::fcntl::open("/", flags, Mode::empty());
        let mut here = Self {
            fd: root.map_err(|errno| format!("/: {}", errno.desc()))?,
            owned: Vec::new(),
        };
        here.judge(&walked)?;
        for component in path.components() {
            let name = match component {
                Component::RootDir | Component::CurDir => continue,
                Component::Prefix(_) | Component::ParentDir => OsStr::new(".."),
                Component::Normal(name) => name,
            };
            walked.push(name);
            here.fd = openat(&here.fd, name, flags, Mode::empty()).map_err(|errno| {
                // What O_NOFOLLOW and O_DIRECTORY together say of a link.
                if matches!(errno, Errno::ENOTDIR | Errno::ELOOP) {
                    let link = "is a symbolic link or no directory; write the path that it leads to";
                    format!("{} {link}", walked.display())
                } else {
                    format!("{}: {}", walked.display(), errno.desc())
                }
            })?;
            here.judge(&walked)?;
        }
        Ok(here)
    }

    /// Opens the file `name` of this directory for reading.
    ///
    /// # Errors
    /// If there is none, or it is a symbolic link.
    pub fn open_file(&self, name: &OsStr) -> std::io::Result<File> {
        // Non-blocking, so that a FIFO of that name does not hold us.
        let flags =
            OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
        match openat(&self.fd, name, flags, Mode::empty()) {
            Ok(file) => Ok(File::from(file)),
            Err(Errno::ELOOP) => Err(std::io::Error::other(
                "it is a symbolic link; under run_as_owner only files count",
            )),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Whose the open file with this status is.
    ///
    /// # Errors
    /// If it is not safely its owner's.
    pub fn owner(&self, status: &Metadata) -> std::io::Result<Owner> {
        self.is_safe(status.mode(), status.uid())
            .map_err(std::io::Error::other)?;
        Ok(Owner {
            uid: status.uid(),
            gid: status.gid(),
        })
    }

    /// Adds the directory just reached to the way.
    fn judge(&mut self, path: &Path) -> Result<(), String> {
        let status = nix::sys::stat::fstat(self.fd.as_fd())
            .map_err(|errno| format!("{}: {}", path.display(), errno.desc()))?;
        let mode = status.st_mode;
        if mode & OTHERS_WRITE != 0 {
            let mode = mode & 0o7777;
            return Err(format!(
                "others than its owner can write to {} (mode {mode:04o}); chmod go-w it",
                path.display()
            ));
        }
        if status.st_uid != 0 {
            self.owned.push((path.to_owned(), status.st_uid));
        }
        Ok(())
    }

    /// Whether a file with this mode and owner is certainly its owner's here.
    fn is_safe(&self, mode: u32, owner: u32) -> Result<(), String> {
        if mode & OTHERS_WRITE != 0 {
            let mode = mode & 0o7777;
            return Err(format!(
                "others than its owner can write to it (mode {mode:04o}); chmod go-w it"
            ));
        }
        match self.owned.iter().find(|(_, uid)| *uid != owner) {
            None => Ok(()),
            Some((path, uid)) => Err(format!(
                "it belongs to uid {owner}, but {} to uid {uid}, who could have put it there",
                path.display()
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn below(owned: &[(&str, u32)]) -> Directory {
        Directory {
            fd: File::open("/").unwrap().into(),
            owned: owned.iter().map(|(path, uid)| (path.into(), *uid)).collect(),
        }
    }

    #[test]
    fn a_file_is_its_owners_below_directories_of_root_and_himself() {
        assert_eq!(below(&[]).is_safe(0o644, 1000), Ok(()));
        assert_eq!(below(&[("/home/a", 1000)]).is_safe(0o600, 1000), Ok(()));
        for mode in [0o664, 0o646, 0o622] {
            assert!(
                below(&[]).is_safe(mode, 1000).unwrap_err().contains("chmod go-w"),
                "{mode:o}"
            );
        }
        let others = below(&[("/home/a", 1000), ("/home/a/b", 1001)]);
        assert!(
            others
                .is_safe(0o644, 1000)
                .unwrap_err()
                .contains("/home/a/b to uid 1001")
        );
        assert!(
            others
                .is_safe(0o644, 1001)
                .unwrap_err()
                .contains("/home/a to uid 1000")
        );
    }

    #[test]
    fn a_world_writable_directory_on_the_way_is_refused_though_it_is_sticky() {
        let inside = tempfile::tempdir_in("/tmp").unwrap();
        let refused = Directory::open(inside.path()).err().unwrap();
        assert!(refused.contains("can write to /tmp (mode 1777)"), "{refused}");
    }

    #[test]
    fn no_symbolic_link_is_followed() {
        let link = Path::new("/proc/self/cwd");
        let refused = Directory::open(link).err().unwrap();
        assert!(refused.contains("symbolic link"), "{refused}");
    }
}
