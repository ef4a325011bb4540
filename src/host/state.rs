//! What the emperor leaves on disk while it runs, and what it remembers afterwards.
//!
//! The run directory holds a lock (one emperor a directory) and one JSON file for each running vassal;
//! both are gone after a clean end. The state directory holds what must outlive the emperor: which name
//! had which address. Every file is written beside its place and renamed into it.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use serde::Serialize;

use crate::config::Name;
use crate::emperor::addresses::Remembered;

use super::error::{Doing, HostError};

/// The run and state directories of one emperor.
pub struct StateFiles {
    run: PathBuf,
    remembered: PathBuf,
    lock: Option<Flock<File>>,
}

/// One running vassal, for whoever looks from outside.
#[derive(Debug, Clone, Serialize)]
pub struct Record {
    /// Its name.
    pub name: String,
    /// Process id of the command.
    pub pid: u32,
    /// Inode of its network namespace: `stat -L /proc/PID/ns/net`.
    pub netns: u64,
    /// Name of the tun inside.
    pub device: String,
    /// Its addresses with their lengths.
    pub addresses: Vec<String>,
    /// The file it came from.
    pub definition: PathBuf,
}

impl StateFiles {
    /// Makes the directories and takes the lock.
    pub fn open(run: &Path, state: &Path) -> Result<Self, HostError> {
        make_directory(&run.join("state"), 0o755)?;
        make_directory(state, 0o755)?;
        let path = run.join("lock");
        let failed = |e: &std::io::Error| HostError::from_io(Doing::Lock, path.display().to_string(), e);
        let file = File::create(&path).map_err(|e| failed(&e))?;
        let lock = Flock::lock(file, FlockArg::LockExclusiveNonblock)
            .map_err(|(_, errno)| HostError::new(Doing::Lock, path.display().to_string(), errno))?;
        let mut pid = &*lock;
        writeln!(pid, "{}", std::process::id()).map_err(|e| failed(&e))?;
        let remembered = state.join("addresses.json");
        Ok(Self {
            run: run.to_owned(),
            remembered,
            lock: Some(lock),
        })
    }

    /// Which addresses an earlier emperor gave; none if there was no earlier one.
    pub fn remembered(&self) -> Result<Remembered, HostError> {
        let on = || self.remembered.display().to_string();
        match std::fs::read(&self.remembered) {
            Ok(text) => serde_json::from_slice(&text)
                .map_err(|_| HostError::new(Doing::ReadState, on(), Errno::EINVAL)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Remembered::new()),
            Err(error) => Err(HostError::from_io(Doing::ReadState, on(), &error)),
        }
    }

    /// Remembers which addresses were given.
    pub fn remember(&self, book: &Remembered) -> Result<(), HostError> {
        write_json(&self.remembered, book)
    }

    /// A vassal runs.
    pub fn record(&self, record: &Record) -> Result<(), HostError> {
        write_json(&self.path_of(&record.name), record)
    }

    /// It does not run any more.
    pub fn erase(&self, name: &Name) {
        // Missing is what was wanted.
        let _ = std::fs::remove_file(self.path_of(name.as_str()));
    }

    fn path_of(&self, name: &str) -> PathBuf {
        self.run.join("state").join(format!("{name}.json"))
    }
}

impl Drop for StateFiles {
    fn drop(&mut self) {
        // Under the lock, so that no other emperor's files are taken away; what others put here stays.
        let _ = std::fs::remove_dir_all(self.run.join("state"));
        let _ = std::fs::remove_file(self.run.join("lock"));
        drop(self.lock.take());
        let _ = std::fs::remove_dir(&self.run);
    }
}

fn make_directory(path: &Path, mode: u32) -> Result<(), HostError> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(mode)
        .create(path)
        .map_err(|e| HostError::from_io(Doing::MakeDirectory, path.display().to_string(), &e))
}

fn write_json(path: &Path, value: &impl Serialize) -> Result<(), HostError> {
    let failed = |e: &std::io::Error| HostError::from_io(Doing::WriteState, path.display().to_string(), e);
    let beside = path.with_extension("json.new");
    let text = serde_json::to_vec(value).map_err(|e| failed(&e.into()))?;
    std::fs::write(&beside, text).map_err(|e| failed(&e))?;
    std::fs::rename(&beside, path).map_err(|e| failed(&e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_emperor_on_the_same_directory_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let (run, state) = (directory.path().join("run"), directory.path().join("lib"));
        let first = StateFiles::open(&run, &state).unwrap();
        let second = StateFiles::open(&run, &state).err().unwrap();
        assert_eq!((second.doing, second.errno), (Doing::Lock, Errno::EAGAIN));
        drop(first);
        StateFiles::open(&run, &state).unwrap();
    }

    #[test]
    fn addresses_are_remembered_and_the_run_directory_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let (run, state) = (directory.path().join("run"), directory.path().join("lib"));
        let files = StateFiles::open(&run, &state).unwrap();
        let book = Remembered::from([("web".to_owned(), vec!["10.107.0.9".parse().unwrap()])]);
        files.remember(&book).unwrap();
        drop(files);
        assert!(!run.exists());
        assert_eq!(
            StateFiles::open(&run, &state).unwrap().remembered().unwrap(),
            book
        );
    }
}
