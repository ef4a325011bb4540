//! Says which hooks run, to an emperor that comes after a crash.
//!
//! ```text
//!   emperor: opens the note ── fork ── waits for the exec ──────────────── takes the note away at the hook's end
//!   child:                     └── writes /proc/self/stat into it ── exec
//! ```
//!
//! The child writes its own note, before its first instruction: an emperor that is killed the moment after the fork
//! cannot. There is no gap before it either. Until its exec the child holds the lock of the run directory with its
//! emperor (`flock(2)`: a lock is the open file's, which fork shares and exec closes), so the next one reads notes only
//! when each child that the last one forked has written its own, or has ended.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};

use crate::sys::process::write_stat_of;

use super::error::{Doing, HostError};
use super::process::Process;

/// The file that names the process of a hook: a line of proc_pid_stat(5). Dropped, it is taken away.
pub(super) struct Note(PathBuf);

impl Note {
    /// Has what `command` becomes write itself down at `path`.
    ///
    /// # Errors
    /// If the file cannot be made; then nothing is written, and [`complete`](Self::complete) tries again.
    pub(super) fn of(path: &Path, command: &mut impl CommandExt) -> (Self, Result<(), HostError>) {
        let opened = open(path).map(|file| write_stat_of(command, file.into()));
        (Self(path.to_owned()), opened)
    }

    /// Writes down the child `pid` if it could not do so itself.
    ///
    /// # Errors
    /// Why we cannot either.
    pub(super) fn complete(&self, pid: u32) -> Result<(), HostError> {
        if read(&self.0).is_some_and(|process| process.pid == pid) {
            return Ok(());
        }
        let failed = |doing, on: &Path| {
            let on = on.display().to_string();
            move |error| HostError::from_io(doing, on, &error)
        };
        let stat = PathBuf::from(format!("/proc/{pid}/stat"));
        let text = std::fs::read(&stat).map_err(failed(Doing::ReadState, &stat))?;
        open(&self.0)?;
        std::fs::write(&self.0, text).map_err(failed(Doing::WriteState, &self.0))
    }
}

impl Drop for Note {
    fn drop(&mut self) {
        // Missing is what was wanted.
        let _ = std::fs::remove_file(&self.0);
    }
}

fn open(path: &Path) -> Result<File, HostError> {
    let mut empty = OpenOptions::new();
    empty.write(true).create(true).truncate(true).mode(0o600);
    empty
        .open(path)
        .map_err(|error| HostError::from_io(Doing::WriteState, path.display().to_string(), &error))
}

/// Whom the note at `path` names; nobody if its child has ended before it had written it.
pub(super) fn read(path: &Path) -> Option<Process> {
    let text = std::fs::read_to_string(path).ok()?;
    // An earlier version wrote JSON.
    Process::of_stat(&text).or_else(|| serde_json::from_str(&text).ok())
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_child_writes_its_own_note_before_its_first_instruction() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("web.stat");
        let mut command = Command::new("/bin/cat");
        // It prints what was there when it ran.
        command.arg(&path).stdout(std::process::Stdio::piped());
        let (note, opened) = Note::of(&path, &mut command);
        opened.unwrap();
        let child = command.spawn().unwrap();
        let (pid, written) = (child.id(), Process::of(child.id()));
        let said = String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap();
        assert_eq!((Process::of_stat(&said), pid), (written, written.unwrap().pid));
        assert_eq!(read(&path), written);
        drop(note);
        assert!(!path.exists());
    }

    #[test]
    fn a_note_that_the_child_could_not_write_is_written_by_its_parent() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("none/web.stat");
        let mut command = Command::new("/bin/cat");
        command.stdin(std::process::Stdio::piped());
        let (note, opened) = Note::of(&path, &mut command);
        assert!(opened.unwrap_err().to_string().contains("none/web.stat"));
        let mut child = command.spawn().unwrap();
        assert!(note.complete(child.id()).is_err());
        std::fs::create_dir(directory.path().join("none")).unwrap();
        note.complete(child.id()).unwrap();
        assert_eq!(read(&path), Process::of(child.id()));
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn what_is_no_whole_note_names_nobody() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("web.stat");
        let whole = "17 (a) b (c) S 1 17 17 0 -1 4194560 100 0 0 0 1 2 0 0 20 0 1 0 4711 0 0\n";
        let process = Process { pid: 17, began: 4711 };
        for length in 0..whole.len() {
            std::fs::write(&path, &whole[..length]).unwrap();
            assert_eq!(read(&path), None, "{length}");
        }
        for text in [whole, r#"{"pid":17,"began":4711}"#] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(read(&path), Some(process));
        }
    }
}
