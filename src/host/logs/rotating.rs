//! A file that is rotated when it is full, between two lines. A line that has begun in a file ends in it.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::config::definition::Log;

use super::sink::LONGEST_LINE;
use crate::host::error::{Doing, HostError};

/// `NAME.log`, `NAME.log.1`, …
pub(super) struct Rotating {
    path: PathBuf,
    file: File,
    size: u64,
    /// The last byte was a line's end.
    between_lines: bool,
    max_size: u64,
    keep: u32,
}

impl Rotating {
    pub(super) fn open(directory: &Path, name: &str, log: &Log) -> Result<Self, HostError> {
        let path = directory.join(format!("{name}.log"));
        let failed = |e: &std::io::Error| HostError::from_io(Doing::OpenLog, path.display().to_string(), e);
        std::fs::create_dir_all(directory).map_err(|e| failed(&e))?;
        let file = append(&path).map_err(|e| failed(&e))?;
        let size = file.metadata().map_err(|e| failed(&e))?.len();
        let between_lines = ends_with_line(&file, size);
        Ok(Self {
            path,
            file,
            size,
            between_lines,
            max_size: log.max_size,
            keep: log.keep,
        })
    }

    /// Writes bytes as they came; a file that is full is rotated, between two lines.
    pub(super) fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        if self.size + (bytes.len() as u64) < self.max_size {
            return self.append(bytes);
        }
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let full = self.size + piece.len() as u64 > self.max_size;
            // A line without an end is cut.
            let endless = self.size >= self.max_size + LONGEST_LINE as u64;
            if self.size > 0 && (full && self.between_lines || endless) {
                self.end_line()?;
                self.rotate()?;
            }
            self.append(piece)?;
        }
        Ok(())
    }

    fn append(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.file.write_all(bytes)?;
        self.size += bytes.len() as u64;
        self.between_lines = bytes.last().map_or(self.between_lines, |last| *last == b'\n');
        Ok(())
    }

    /// Ends a line that was started.
    pub(super) fn end_line(&mut self) -> std::io::Result<()> {
        if self.between_lines {
            Ok(())
        } else {
            self.append(b"\n")
        }
    }

    fn rotate(&mut self) -> std::io::Result<()> {
        let numbered = |number: u32| self.path.with_extension(format!("log.{number}"));
        for number in (1..self.keep).rev() {
            match std::fs::rename(numbered(number), numbered(number + 1)) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
                Ok(()) | Err(_) => {}
            }
        }
        if self.keep == 0 {
            std::fs::remove_file(&self.path)?;
        } else {
            std::fs::rename(&self.path, numbered(1))?;
        }
        self.file = append(&self.path)?;
        self.size = 0;
        Ok(())
    }
}

/// Readable, so that it can be told where an earlier emperor stopped.
fn append(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().append(true).read(true).create(true).open(path)
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

    #[test]
    fn a_full_file_is_rotated_and_only_so_many_are_kept() {
        let directory = tempfile::tempdir().unwrap();
        let log = Log {
            to: LogTarget::File,
            max_size: 10,
            keep: 2,
        };
        let mut file = Rotating::open(directory.path(), "web", &log).unwrap();
        for chunk in ["one", " one\ntwo two\nthree\n", "four ", "four and more\n"] {
            file.write(chunk.as_bytes()).unwrap();
        }
        let read = |name: &str| std::fs::read_to_string(directory.path().join(name)).ok();
        assert_eq!(read("web.log").as_deref(), Some("four four and more\n"));
        assert_eq!(read("web.log.1").as_deref(), Some("three\n"));
        assert_eq!(read("web.log.2").as_deref(), Some("two two\n"));
        assert_eq!(read("web.log.3"), None);
    }
}
