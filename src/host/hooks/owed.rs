//! Which calls of `post_stop` are owed, on disk: `RUN/owed/NAME.NUMBER.json`.
//!
//! ```text
//!   a life is over ── entry ── its record changes ── its hook's turn ── the hook ends, or its time is over ── no entry
//! ```
//!
//! So at every moment a life whose `post_stop` has not ended is in its record, in an entry, or in both, which then name
//! the same process. The next emperor of this boot calls what is in either, once, in the order of their numbers: what was
//! not called, and anew what was cut short.

use std::path::{Path, PathBuf};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::config::Definition;
use crate::emperor::state::End;
use crate::host::error::HostError;
use crate::host::process::Process;
use crate::host::state::write_json;

/// A life that is over, and all that its `post_stop` is told.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(in crate::host) struct Owed {
    /// The boot that the rest is about.
    pub(in crate::host) boot: String,
    /// The first process of the life, by which its record knows it, too.
    pub(in crate::host) process: Process,
    /// The newest definition when it ended.
    pub(in crate::host) definition: Box<Definition>,
    /// Bound to it.
    pub(in crate::host) addresses: Vec<IpNet>,
    /// How it ended.
    pub(in crate::host) end: End,
}

/// The file of one call. It stays unless it is struck out: a hook that was cut short is called again.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::host) struct Entry(PathBuf);

impl Entry {
    /// The hook has ended.
    pub(in crate::host) fn strike(self) {
        // Missing is what was wanted.
        let _ = std::fs::remove_file(self.0);
    }
}

/// All entries of an emperor.
pub(super) struct Ledger {
    directory: PathBuf,
    /// Those that an earlier emperor has left, by number.
    earlier: Vec<(u64, PathBuf)>,
    last: u64,
}

impl Ledger {
    /// Finds what an earlier emperor has left in `directory`.
    pub(super) fn open(directory: PathBuf) -> Self {
        let files = std::fs::read_dir(&directory).into_iter().flatten().flatten();
        let mut earlier = Vec::new();
        for path in files.map(|file| file.path()) {
            if path.extension().is_some_and(|extension| extension == "json") {
                earlier.push((number(&path), path));
            } else {
                // It was being written, so the record of its life has not changed.
                Entry(path).strike();
            }
        }
        earlier.sort();
        let last = earlier.last().map_or(0, |(number, _)| *number);
        Self {
            directory,
            earlier,
            last,
        }
    }

    /// Writes down one more.
    pub(super) fn enter(&mut self, owed: &Owed) -> Result<Entry, HostError> {
        self.last += 1;
        let file = format!("{}.{}.json", owed.definition.name, self.last);
        let path = self.directory.join(file);
        write_json(&path, owed)?;
        Ok(Entry(path))
    }

    /// What an earlier emperor of this `boot` has left, in its order. Each file that cannot be read is complained of once.
    pub(super) fn take_earlier(&mut self, boot: &str) -> Vec<(Entry, Owed)> {
        let mut all = Vec::new();
        for (_, path) in std::mem::take(&mut self.earlier) {
            let text = match std::fs::read(&path) {
                Ok(text) => text,
                Err(error) => {
                    let owed = path.display();
                    tracing::error!(%owed, %error, "cannot be read; the post_stop that it stands for is left to the next emperor");
                    continue;
                }
            };
            match serde_json::from_slice::<Owed>(&text) {
                Ok(owed) if owed.boot == boot => all.push((Entry(path), owed)),
                // What a hook of another boot had to take back is no more, like the record of its life.
                Ok(_) => Entry(path).strike(),
                Err(error) => {
                    let (owed, vassal) = (path.display(), name(&path));
                    tracing::error!(%owed, %error, name = vassal, "makes no sense and is removed; the vassal's post_stop that it stands for is not called, so look after what that takes back");
                    Entry(path).strike();
                }
            }
        }
        all
    }
}

/// The number in the name of a file.
fn number(path: &Path) -> u64 {
    let stem = path.file_stem().and_then(|stem| stem.to_str());
    let number = stem.and_then(|stem| stem.rsplit_once('.'));
    number.and_then(|(_, number)| number.parse().ok()).unwrap_or(0)
}

/// The vassal in it.
fn name(path: &Path) -> Option<&str> {
    let stem = path.file_stem()?.to_str()?;
    stem.rsplit_once('.').map(|(name, _)| name)
}
