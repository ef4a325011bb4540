//! A file that is rotated when it is full, between two lines. A line that has begun in a file ends in it.
//!
//! What is written is there whole or not at all, so that what is not there can be counted and marked. A file that cannot be
//! opened, as when no descriptor is left, is tried again with the next output.

use std::fs::{File, OpenOptions};
use std::io::{Error, ErrorKind, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::config::definition::Log;

use super::outlets::LONGEST_LINE;
use crate::host::error::{Doing, HostError};

/// `NAME.log`, `NAME.log.1`, …
pub(super) struct Rotating {
    path: PathBuf,
    open: Option<Open>,
    max_size: u64,
    keep: u32,
}

/// The file that is written to.
struct Open {
    file: File,
    size: u64,
    /// The last byte was a line's end.
    between_lines: bool,
}

/// Output that is not in the file.
pub(super) struct Unwritten {
    /// So many bytes of it are there.
    pub(super) written: usize,
    pub(super) error: HostError,
}

impl Rotating {
    /// The file of the vassal `name` in `directory`, which is opened when it is written to.
    pub(super) fn new(directory: &Path, name: &str, log: &Log) -> Self {
        Self {
            path: directory.join(format!("{name}.log")),
            open: None,
            max_size: log.max_size,
            keep: log.keep,
        }
    }

    /// Where it lies.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Opens the file, and its directory if need be.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub(super) fn open(&mut self) -> Result<(), HostError> {
        let opened = self.opened().map(drop);
        opened.map_err(|error| self.failed(Doing::OpenLog, &error))
    }

    /// Writes bytes as they came; a file that is full is rotated, between two lines.
    ///
    /// # Errors
    /// If not all of it is there afterwards.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), Unwritten> {
        let mut written = 0;
        self.write_counting(bytes, &mut written)
            .map_err(|error| Unwritten {
                written,
                error: self.failed(Doing::WriteLog, &error),
            })
    }

    fn write_counting(&mut self, bytes: &[u8], written: &mut usize) -> Result<(), Error> {
        let max_size = self.max_size;
        let open = self.opened()?;
        if open.size + (bytes.len() as u64) < max_size {
            return open.append(bytes);
        }
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let open = self.opened()?;
            let full = open.size + piece.len() as u64 > max_size;
            // A line without an end is cut.
            let endless = open.size >= max_size + LONGEST_LINE as u64;
            if open.size > 0 && (full && open.between_lines || endless) {
                open.end_line()?;
                self.rotate()?;
            }
            self.opened()?.append(piece)?;
            *written += piece.len();
        }
        Ok(())
    }

    /// It is opened anew when it is written to.
    pub(super) fn close(&mut self) {
        self.open = None;
    }

    /// Whether the next byte begins a line, as far as is known.
    pub(super) fn is_between_lines(&self) -> bool {
        self.open.as_ref().is_none_or(|open| open.between_lines)
    }

    /// Ends a line that was started, if there is room.
    pub(super) fn end_line(&mut self) {
        if let Some(open) = &mut self.open {
            // Where there is none, what comes next is lost, and that is marked on a line of its own.
            let _ = open.end_line();
        }
    }

    /// What is written next begins a new file.
    fn rotate(&mut self) -> Result<(), Error> {
        self.open = None;
        // One that an operator has taken away leaves the older ones where they are.
        if !self.path.exists() {
            return Ok(());
        }
        let numbered = |number: u32| self.path.with_extension(format!("log.{number}"));
        for number in (1..self.keep).rev() {
            match std::fs::rename(numbered(number), numbered(number + 1)) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                Ok(()) | Err(_) => {}
            }
        }
        if self.keep == 0 {
            std::fs::remove_file(&self.path)
        } else {
            std::fs::rename(&self.path, numbered(1))
        }
    }

    fn opened(&mut self) -> Result<&mut Open, Error> {
        let open = match self.open.take() {
            Some(open) => open,
            None => Open::at(&self.path)?,
        };
        Ok(self.open.insert(open))
    }

    fn failed(&self, doing: Doing, error: &Error) -> HostError {
        HostError::from_io(doing, self.path.display().to_string(), error)
    }
}

impl Open {
    /// Readable, so that it can be told where an earlier emperor stopped.
    fn at(path: &Path) -> Result<Self, Error> {
        if let Some(directory) = path.parent() {
            std::fs::create_dir_all(directory)?;
        }
        let file = OpenOptions::new()
            .append(true)
            .read(true)
            .create(true)
            .open(path)?;
        let size = file.metadata()?.len();
        let between_lines = ends_with_line(&file, size);
        Ok(Self {
            file,
            size,
            between_lines,
        })
    }

    /// Writes all of it, or nothing.
    fn append(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let mut written = 0;
        while written < bytes.len() {
            match self.file.write(&bytes[written..]) {
                Ok(more) if more > 0 => written += more,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                failed => {
                    self.take_back(written);
                    return Err(failed.err().unwrap_or_else(|| ErrorKind::WriteZero.into()));
                }
            }
        }
        self.size += bytes.len() as u64;
        self.between_lines = bytes.last().map_or(self.between_lines, |last| *last == b'\n');
        Ok(())
    }

    /// The operator may have cut the file in the meantime, so its end is looked up.
    fn take_back(&mut self, written: usize) {
        let written = written as u64;
        let kept = self
            .file
            .metadata()
            .map(|found| found.len() - written.min(found.len()));
        if written > 0 && kept.and_then(|kept| self.file.set_len(kept)).is_err() {
            self.size += written;
            self.between_lines = false;
        }
    }

    fn end_line(&mut self) -> Result<(), Error> {
        if self.between_lines {
            Ok(())
        } else {
            self.append(b"\n")
        }
    }
}

/// Whether a file of this size ends with a whole line; what cannot be read is taken to.
fn ends_with_line(file: &File, size: u64) -> bool {
    let mut last = *b"\n";
    let read = size.checked_sub(1).map(|at| file.read_exact_at(&mut last, at));
    read.is_none_or(|read| read.is_err()) || last == *b"\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::definition::LogTarget;

    fn log(max_size: u64) -> Log {
        Log {
            to: LogTarget::File,
            max_size,
            keep: 2,
        }
    }

    fn write(file: &mut Rotating, text: &str) {
        assert!(file.write(text.as_bytes()).is_ok(), "{text:?}");
    }

    #[test]
    fn a_full_file_is_rotated_and_only_so_many_are_kept() {
        let directory = tempfile::tempdir().unwrap();
        let mut file = Rotating::new(directory.path(), "web", &log(10));
        for chunk in ["one", " one\ntwo two\nthree\n", "four ", "four and more\n"] {
            write(&mut file, chunk);
        }
        let read = |name: &str| std::fs::read_to_string(directory.path().join(name)).ok();
        assert_eq!(read("web.log").as_deref(), Some("four four and more\n"));
        assert_eq!(read("web.log.1").as_deref(), Some("three\n"));
        assert_eq!(read("web.log.2").as_deref(), Some("two two\n"));
        assert_eq!(read("web.log.3"), None);
    }

    #[test]
    fn a_rotation_that_fails_is_tried_again_and_leaves_the_older_file_whole() {
        let directory = tempfile::tempdir().unwrap();
        let keep_one = Log { keep: 1, ..log(5) };
        let mut file = Rotating::new(directory.path(), "web", &keep_one);
        write(&mut file, "older\n");
        let (path, rotated) = (
            directory.path().join("web.log"),
            directory.path().join("web.log.1"),
        );
        std::fs::create_dir(&rotated).unwrap();
        for _ in 0..2 {
            let refused = file.write(b"lost\n").err().unwrap();
            assert_eq!(
                (refused.written, refused.error.errno),
                (0, nix::errno::Errno::EISDIR)
            );
        }
        std::fs::remove_dir(&rotated).unwrap();
        write(&mut file, "newer\n");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "newer\n");
        assert_eq!(std::fs::read_to_string(&rotated).unwrap(), "older\n");
    }

    #[test]
    fn what_an_operator_has_cut_does_not_grow_when_a_write_is_taken_back() {
        let directory = tempfile::tempdir().unwrap();
        let mut file = Rotating::new(directory.path(), "web", &log(100));
        write(&mut file, "one line\n");
        let path = directory.path().join("web.log");
        std::fs::write(&path, "cut\n").unwrap();
        file.opened().unwrap().take_back(2);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "cu");
    }
}
