//! Which definitions lie in the directories, and what changed since the last look.
//!
//! Events only say *that* something changed; what changed is found by listing the directories again and
//! comparing. So a lost event (inotify's queue overflows, a symlink's target moves) costs a later look and
//! never a wrong one.
//!
//! A file is read when nobody has it open for writing ([`reading`]). Its writer's close is an
//! event, and then it is read at once. A file that is gone counts as removed only if it is still gone after
//! a moment: editors rename a file away before they write it anew.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::known::Known;
use super::owner::Directory;
use super::posts::Posts;
use super::reading::{self, Content, Fingerprint};
use super::way::Way;
use crate::config::Owner;
use crate::config::file_name::is_definition;

/// How often a directory that cannot be watched or read is looked at.
const POLL: Duration = Duration::from_secs(1);

/// What changed.
#[derive(Debug)]
pub enum Change {
    /// A file is new or has other bytes than before.
    Read {
        /// The file.
        path: PathBuf,
        /// Its bytes.
        text: Vec<u8>,
        /// Whose it is; absent where that does not matter.
        owner: Option<Owner>,
    },
    /// A file cannot be read.
    Unreadable {
        /// The file or directory.
        path: PathBuf,
        /// Why not.
        why: String,
    },
    /// A file is gone.
    Gone(PathBuf),
}

/// Watches directories.
pub struct Watch {
    directories: Vec<PathBuf>,
    /// Files are read by their owners' rules.
    by_owner: bool,
    posts: Posts,
    known: Known,
    /// Directories, and why.
    unreadable: BTreeMap<PathBuf, String>,
    look_again: Option<Instant>,
}

impl Watch {
    /// Watches `directories`; where inotify refuses, looks every second and says so.
    pub fn new(directories: Vec<PathBuf>) -> Self {
        Self {
            directories,
            by_owner: false,
            posts: Posts::new(),
            known: Known::default(),
            unreadable: BTreeMap::new(),
            look_again: None,
        }
    }

    /// The same, but a file counts only if it is certainly its owner's: see [`owner`](super::owner).
    #[must_use]
    pub fn by_owner(self, by_owner: bool) -> Self {
        Self { by_owner, ..self }
    }

    /// A file that an earlier emperor knew: if it is not there, it is gone.
    pub fn expect(&mut self, path: PathBuf) {
        self.known.expect(path);
    }

    /// Resolves when a look is worth it because of an event.
    pub fn changed(&self) -> impl Future<Output = ()> + use<> {
        self.posts.told()
    }

    /// When a look is worth it without an event.
    pub fn deadline(&self) -> Option<Instant> {
        self.look_again
    }

    /// Lists the directories and says what changed since the last look.
    pub fn look(&mut self, now: Instant) -> Vec<Change> {
        self.look_again = None;
        let mut changes = Vec::new();
        let mut present = BTreeSet::new();
        let mut kept = Vec::new();
        let mut safe = BTreeMap::new();
        for directory in self.directories.clone() {
            self.watch_way(&directory, Path::to_path_buf, now);
            match self.list(&directory, &mut safe) {
                Ok(paths) => {
                    self.unreadable.remove(&directory);
                    present.extend(paths);
                }
                Err(why) => {
                    // Nobody asked for the vassals of a directory that is unmounted to be stopped.
                    self.soon(now + POLL);
                    if self.unreadable.insert(directory.clone(), why.clone()).as_ref() != Some(&why) {
                        changes.push(Change::Unreadable {
                            path: directory.clone(),
                            why,
                        });
                    }
                    kept.push(directory);
                }
            }
        }
        for path in &present {
            let directory = path.parent().and_then(|parent| safe.get(parent));
            changes.extend(self.look_at(path, directory, now));
        }
        self.posts.tidy();
        let (removed, next) = self.known.missing(&present, &kept, now);
        if let Some(next) = next {
            self.soon(next);
        }
        changes.splice(0..0, removed.into_iter().map(Change::Gone));
        changes
    }

    fn soon(&mut self, at: Instant) {
        self.look_again = Some(self.look_again.map_or(at, |earlier| earlier.min(at)));
    }

    /// Watches every directory that decides where `path` leads, and at the end of the way the directory that
    /// `of_end` names.
    fn watch_way(&mut self, path: &Path, of_end: impl Fn(&Path) -> PathBuf, now: Instant) {
        let way = Way::of(path);
        let mut all = true;
        for directory in way.turns.iter().chain(way.end.as_deref().map(&of_end).iter()) {
            all &= self.posts.watch(directory);
        }
        // A turn that was taken before it was watched is seen by looking again.
        if !all || Way::of(path) != way {
            self.soon(now + POLL);
        }
    }

    /// The definitions of a directory; where owners matter, the way to it must be `safe`.
    fn list(
        &self,
        directory: &Path,
        safe: &mut BTreeMap<PathBuf, Directory>,
    ) -> Result<Vec<PathBuf>, String> {
        if self.by_owner {
            safe.insert(directory.to_owned(), Directory::open(directory)?);
        }
        list(directory, !self.by_owner).map_err(|error| error.to_string())
    }

    fn look_at(&mut self, path: &Path, directory: Option<&Directory>, now: Instant) -> Option<Change> {
        // The target of a symlink changes without an event in this directory.
        if directory.is_none() && path.is_symlink() {
            self.watch_way(path, |end| end.parent().unwrap_or(end).to_path_buf(), now);
        }
        let before = self.known.fingerprint(path);
        if before.is_some() && Fingerprint::at(path, directory) == before {
            self.known.is_there(path);
            return None;
        }
        match reading::read(path, directory) {
            Ok(Content::Bytes {
                fingerprint,
                text,
                owner,
            }) => self
                .known
                .is_news(path, Some(fingerprint), (&text, owner))
                .then(|| Change::Read {
                    path: path.to_owned(),
                    text,
                    owner,
                }),
            Ok(Content::BeingWritten) => {
                // Its writer's close is an event. One that never comes (a writer in another kernel, say) is
                // caught by looking.
                self.soon(now + POLL);
                self.known.is_there(path);
                None
            }
            Ok(Content::Vanished) => None,
            Err(error) => {
                let why = error.to_string();
                self.known
                    .is_news(path, None, (why.as_bytes(), None))
                    .then(|| Change::Unreadable {
                        path: path.to_owned(),
                        why,
                    })
            }
        }
    }
}

/// What has a definition's name and is no directory. Links that must not be are not `followed`, for they may lead to a
/// file system that does not answer.
fn list(directory: &Path, followed: bool) -> std::io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        let is_dir = kind.is_dir() || kind.is_symlink() && followed && entry.path().is_dir();
        if is_definition(&entry.file_name()) && !is_dir {
            paths.push(entry.path());
        }
    }
    Ok(paths)
}

#[cfg(test)]
mod tests;
