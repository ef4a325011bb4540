//! What the emperor leaves on disk while it runs, and what it remembers afterwards.
//!
//! ```text
//!   RUN/lock             one emperor a directory; its pid
//!   RUN/emperor.json     which emperor is ready
//!   RUN/uplink.json      the interface on the host
//!   RUN/offload.json     what was found out about this kernel
//!   RUN/state/NAME.json  all that another emperor needs to go on with this vassal
//!   RUN/hooks/NAME.stat  the process of a hook that runs
//!   RUN/owed/NAME.N.json a post_stop that has not run to its end
//!   RUN/sockets/NAME.N.json  a tenant's socket that may be there
//!   RUN/logs/NAME.LIFE   the FIFO that a life writes its output to
//!   STATE/addresses.json which name had which address
//! ```
//!
//! A vassal's record is taken away when the vassal is, and by nothing else: what an emperor leaves that is
//! killed, or told to leave its vassals alone, is what the next one finds. So the run directory is gone after an
//! end that stopped everything. Every file but a hook's, which its process writes, is written beside its
//! place and renamed into it.

use std::collections::BTreeMap;
use std::fs::{DirBuilder, File, OpenOptions};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::config::Name;
use crate::config::settings::Offload;
use crate::emperor::addresses::Remembered;
use crate::emperor::state::Life;

use super::error::{Doing, HostError};
use super::lock;
use super::process;
use super::record::{Record, Remains};
use super::uplink::UplinkRecord;

/// The run and state directories of one emperor.
pub struct StateFiles {
    run: PathBuf,
    remembered: PathBuf,
    /// The hash of each record as it was written last: what has not changed is not written again.
    written: BTreeMap<Name, u64>,
    leaving: bool,
    lock: Option<Flock<File>>,
}

/// What was found out about offloads, which is as true for the next emperor of this boot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Tested {
    boot: String,
    wish: Offload,
    decided: Offload,
}

impl StateFiles {
    /// Makes the directories and takes the lock; `inherited` is the lock of the emperor that this process was
    /// before its exec.
    pub fn open(run: &Path, state: &Path, inherited: Option<OwnedFd>) -> Result<Self, HostError> {
        let path = run.join("lock");
        let lock = match inherited {
            Some(fd) => Flock::lock(File::from(fd), FlockArg::LockExclusiveNonblock)
                .map_err(|(_, errno)| HostError::new(Doing::Lock, path.display().to_string(), errno))?,
            None => lock::take(run, &path)?,
        };
        // Only now: an emperor that ends takes its directories away, as long as it holds the lock.
        make_directory(&run.join("state"), 0o755)?;
        make_directory(&run.join("logs"), 0o700)?;
        make_directory(&run.join("hooks"), 0o700)?;
        make_directory(&run.join("owed"), 0o700)?;
        make_directory(&run.join("sockets"), 0o700)?;
        make_directory(state, 0o755)?;
        Ok(Self {
            run: run.to_owned(),
            remembered: state.join("addresses.json"),
            written: BTreeMap::new(),
            leaving: false,
            lock: Some(lock),
        })
    }

    /// The open lock.
    pub fn lock(&self) -> Option<BorrowedFd<'_>> {
        self.lock.as_ref().map(|lock| lock.as_fd())
    }

    /// The run directory.
    pub fn run(&self) -> &Path {
        &self.run
    }

    /// Which addresses an earlier emperor gave; none if there was no earlier one. A file that is damaged, as one may be
    /// after a power failure, is moved aside: running vassals have their addresses in their records, and a name that
    /// asks for none is given the same one again if nobody else has it.
    pub fn remembered(&self) -> Result<Remembered, HostError> {
        let path = &self.remembered;
        let text = match std::fs::read(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Remembered::new()),
            Err(error) => {
                let on = path.display().to_string();
                return Err(HostError::from_io(Doing::ReadState, on, &error));
            }
        };
        Ok(serde_json::from_slice(&text).unwrap_or_else(|error| {
            let aside = path.with_extension("json.damaged");
            let moved = std::fs::rename(path, &aside).is_ok();
            let (path, aside) = (path.display(), moved.then(|| aside.display().to_string()));
            tracing::warn!(%path, %error, aside, "damaged: which vassal had which address is forgotten");
            Remembered::new()
        }))
    }

    /// Remembers which addresses were given.
    pub fn remember(&self, book: &Remembered) -> Result<(), HostError> {
        write_json(&self.remembered, book)
    }

    /// Writes down a vassal.
    pub fn record(&mut self, record: &Record) -> Result<(), HostError> {
        let path = self.path_of(&record.name);
        let text = to_json(&path, record)?;
        let mut hasher = DefaultHasher::new();
        text.hash(&mut hasher);
        let hash = hasher.finish();
        if self.written.get(&record.name) != Some(&hash) {
            write(&path, &text)?;
            self.written.insert(record.name.clone(), hash);
        }
        Ok(())
    }

    /// Whether this emperor has written it down.
    pub fn has_record(&self, name: &Name) -> bool {
        self.written.contains_key(name)
    }

    /// It is gone.
    pub fn erase(&mut self, name: &Name) {
        self.written.remove(name);
        self.discard(&self.path_of(name));
    }

    /// All of it stays, for another emperor.
    pub fn leave(&mut self) {
        self.leaving = true;
    }

    /// Takes away a file of the run directory.
    pub fn discard(&self, path: &Path) {
        // Missing is what was wanted.
        let _ = std::fs::remove_file(path);
    }

    /// Every vassal that an earlier emperor has left, by name.
    pub fn records(&self) -> Result<Vec<Result<Record, Remains>>, HostError> {
        let mut records = Vec::new();
        for path in files(&self.run.join("state"))? {
            if path.extension().is_some_and(|extension| extension == "json") {
                records.push(read_record(&path)?);
            } else {
                self.discard(&path); // one that was being written
            }
        }
        Ok(records)
    }

    /// The readable ones of them, for whoever does not hold the lock.
    pub fn peek(run: &Path) -> Vec<Record> {
        let paths = files(&run.join("state")).unwrap_or_default();
        paths.iter().filter_map(|path| read_json(path)).collect()
    }

    /// The FIFO of a life.
    pub fn fifo(&self, name: &Name, life: Life) -> PathBuf {
        self.run.join("logs").join(format!("{name}.{}", life.0))
    }

    /// Takes away every FIFO whose life is none of these.
    pub fn sweep(&self, alive: &[PathBuf]) -> Result<(), HostError> {
        for path in files(&self.run.join("logs"))? {
            if !alive.contains(&path) {
                self.discard(&path);
            }
        }
        Ok(())
    }

    /// The uplink that an earlier emperor has left.
    pub fn uplink(&self) -> Option<UplinkRecord> {
        read_json(&self.run.join("uplink.json"))
    }

    /// Writes down the uplink.
    pub fn record_uplink(&self, record: &UplinkRecord) -> Result<(), HostError> {
        write_json(&self.run.join("uplink.json"), record)
    }

    /// Which offloads an earlier emperor of this boot decided on, if it had the same wish; packets need not wait for
    /// another test.
    pub fn tested(&self, wish: Offload) -> Option<Offload> {
        let tested: Tested = read_json(&self.run.join("offload.json"))?;
        (tested.boot == process::boot() && tested.wish == wish).then_some(tested.decided)
    }

    /// Writes down which offloads were decided on.
    pub fn record_tested(&self, wish: Offload, decided: Offload) -> Result<(), HostError> {
        let boot = process::boot();
        let tested = Tested { boot, wish, decided };
        write_json(&self.run.join("offload.json"), &tested)
    }

    fn path_of(&self, name: &Name) -> PathBuf {
        self.run.join("state").join(format!("{name}.json"))
    }
}

impl Drop for StateFiles {
    fn drop(&mut self) {
        // Vassals that are still written down are there for the next emperor, and so is all that belongs to them.
        if !self.leaving && std::fs::remove_dir(self.run.join("state")).is_ok() {
            let _ = std::fs::remove_dir_all(self.run.join("logs"));
            let _ = std::fs::remove_dir_all(self.run.join("hooks"));
            let _ = std::fs::remove_dir(self.run.join("sockets"));
            // Not if there is one that was cut short.
            let _ = std::fs::remove_dir(self.run.join("owed"));
            for file in [
                "uplink.json",
                "offload.json",
                "emperor.json",
                "handover.json",
                "lock",
            ] {
                self.discard(&self.run.join(file));
            }
        }
        // Under the lock, so that no other emperor's files are taken away; what others put here stays.
        let _ = std::fs::remove_dir(&self.run);
        drop(self.lock.take());
    }
}

pub(super) fn make_directory(path: &Path, mode: u32) -> Result<(), HostError> {
    DirBuilder::new()
        .recursive(true)
        .mode(mode)
        .create(path)
        .map_err(|e| HostError::from_io(Doing::MakeDirectory, path.display().to_string(), &e))
}

/// Every file in a directory, by name.
fn files(directory: &Path) -> Result<Vec<PathBuf>, HostError> {
    let failed =
        |e: std::io::Error| HostError::from_io(Doing::ReadState, directory.display().to_string(), &e);
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(failed)? {
        paths.push(entry.map_err(failed)?.path());
    }
    paths.sort();
    Ok(paths)
}

fn read_record(path: &Path) -> Result<Result<Record, Remains>, HostError> {
    let text = std::fs::read(path)
        .map_err(|e| HostError::from_io(Doing::ReadState, path.display().to_string(), &e))?;
    Ok(serde_json::from_slice(&text).map_err(|_| Remains::of(path, &text)))
}

/// Reads a file that need not be there; one that makes no sense is as good as none.
pub(super) fn read_json<T: DeserializeOwned>(path: &Path) -> Option<T> {
    serde_json::from_slice(&std::fs::read(path).ok()?).ok()
}

/// Writes a file as a whole, for its owner's eyes: definitions may hold secrets.
pub(super) fn write_json(path: &Path, value: &impl Serialize) -> Result<(), HostError> {
    write(path, &to_json(path, value)?)
}

fn to_json(path: &Path, value: &impl Serialize) -> Result<Vec<u8>, HostError> {
    serde_json::to_vec(value)
        .map_err(|e| HostError::from_io(Doing::WriteState, path.display().to_string(), &e.into()))
}

fn write(path: &Path, text: &[u8]) -> Result<(), HostError> {
    let failed = |e: &std::io::Error| HostError::from_io(Doing::WriteState, path.display().to_string(), e);
    let beside = path.with_extension("json.new");
    let written = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&beside)
        .and_then(|mut file| file.write_all(text));
    written.map_err(|e| failed(&e))?;
    std::fs::rename(&beside, path).map_err(|e| failed(&e))
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::errno::Errno;

    use crate::host::process::Process;

    #[test]
    fn a_second_emperor_on_the_same_directory_is_refused_and_the_pid_of_the_first_stays() {
        let directory = tempfile::tempdir().unwrap();
        let (run, state) = (directory.path().join("run"), directory.path().join("lib"));
        let first = StateFiles::open(&run, &state, None).unwrap();
        let second = StateFiles::open(&run, &state, None).err().unwrap();
        assert_eq!((second.doing, second.errno), (Doing::Lock, Errno::EAGAIN));
        let pid = std::fs::read_to_string(run.join("lock")).unwrap();
        assert_eq!(pid.trim(), std::process::id().to_string());
        drop(first);
        StateFiles::open(&run, &state, None).unwrap();
    }

    #[test]
    fn addresses_are_remembered_and_the_run_directory_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let (run, state) = (directory.path().join("run"), directory.path().join("lib"));
        let files = StateFiles::open(&run, &state, None).unwrap();
        let book = Remembered::from([("web".to_owned(), vec!["10.107.0.9".parse().unwrap()])]);
        files.remember(&book).unwrap();
        drop(files);
        assert!(!run.exists());
        assert_eq!(
            StateFiles::open(&run, &state, None)
                .unwrap()
                .remembered()
                .unwrap(),
            book
        );
    }

    #[test]
    fn damaged_addresses_are_moved_aside() {
        let directory = tempfile::tempdir().unwrap();
        let (run, state) = (directory.path().join("run"), directory.path().join("lib"));
        let files = StateFiles::open(&run, &state, None).unwrap();
        for damaged in ["", "{\"web\": [\"10.107"] {
            std::fs::write(state.join("addresses.json"), damaged).unwrap();
            assert_eq!(files.remembered().unwrap(), Remembered::new(), "{damaged:?}");
            let aside = std::fs::read_to_string(state.join("addresses.json.damaged")).unwrap();
            assert_eq!(aside, damaged);
        }
        let book = Remembered::from([("web".to_owned(), vec!["10.107.0.9".parse().unwrap()])]);
        files.remember(&book).unwrap();
        assert_eq!(files.remembered().unwrap(), book);
    }

    #[test]
    fn a_record_of_another_version_still_says_what_must_end() {
        let directory = tempfile::tempdir().unwrap();
        let (run, state) = (directory.path().join("run"), directory.path().join("lib"));
        let files = StateFiles::open(&run, &state, None).unwrap();
        let boot = process::boot();
        let text = format!(
            r#"{{"boot":"{boot}","kept":{{"alive":{{"process":{{"pid":7,"began":9}},"tree":"/c","odd":1}}}}}}"#
        );
        let path = run.join("state/web.json");
        std::fs::write(&path, &text).unwrap();
        std::fs::write(run.join("state/web.json.new"), "{").unwrap();
        let wanted = Remains {
            path: path.clone(),
            process: Some(Process { pid: 7, began: 9 }),
            tree: Some("/c".into()),
            cages: crate::host::limits::Cages::default(),
        };
        assert_eq!(files.records().unwrap(), [Err(wanted)]);
        assert!(
            !run.join("state/web.json.new").exists(),
            "a half-written one stays"
        );
        // What was true of another boot is true of no process.
        std::fs::write(&path, text.replace(&boot, "another")).unwrap();
        let wanted = Remains {
            path,
            ..Remains::default()
        };
        assert_eq!(files.records().unwrap(), [Err(wanted)]);
    }
}
