//! The directories in which the kernel tells of events: inotify(7), by `notify`.
//!
//! What happened is not looked at, only that something did. A watch belongs to an inode, and asking anew for the
//! watch of a path costs little; so whoever looks asks for all of them each time, and a directory that took another's
//! path is watched from that look on.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use notify::event::{AccessKind, AccessMode, ModifyKind};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::Notify;

/// Watched directories.
pub(super) struct Posts {
    /// `None` where inotify refuses.
    watcher: Option<RecommendedWatcher>,
    events: Arc<Notify>,
    /// What the operator was told cannot be watched.
    refused: BTreeSet<PathBuf>,
    held: BTreeMap<PathBuf, Identity>,
    wanted: BTreeMap<PathBuf, Identity>,
}

/// Device and inode of a directory.
type Identity = (u64, u64);

impl Posts {
    /// Nothing is watched yet.
    pub(super) fn new() -> Self {
        Self {
            watcher: None,
            events: Arc::new(Notify::new()),
            refused: BTreeSet::new(),
            held: BTreeMap::new(),
            wanted: BTreeMap::new(),
        }
    }

    /// Asks the kernel for its events, again if it has refused before.
    fn watcher(&mut self) -> Option<&mut RecommendedWatcher> {
        if self.watcher.is_none() {
            let poke = self.events.clone();
            let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
                if event.as_ref().map_or(true, matters) {
                    poke.notify_one();
                }
            });
            let watcher = watcher.map_err(|error| error.to_string());
            self.tell(Path::new("inotify"), watcher.as_ref().err());
            self.watcher = watcher.ok();
        }
        self.watcher.as_mut()
    }

    /// Tells what the kernel refuses to watch when it begins to, and when it does no longer.
    fn tell(&mut self, what: &Path, refusal: Option<&String>) {
        let (shown, known) = (what.display(), self.refused.contains(what));
        match refusal {
            Some(why) if !known => {
                tracing::warn!("{shown} refused: {why}; the directories are read every second");
                self.refused.insert(what.to_owned());
            }
            None if known => {
                tracing::info!("{shown} works again; the directories are read when they change");
                self.refused.remove(what);
            }
            Some(_) | None => {}
        }
    }

    /// From here on events in `directory` are told; false if that cannot be.
    pub(super) fn watch(&mut self, directory: &Path) -> bool {
        if self.watcher().is_none() {
            return false;
        }
        let Ok(found) = directory.metadata() else {
            return false;
        };
        let identity = (found.dev(), found.ino());
        let replaced = self.held.get(directory).is_some_and(|held| *held != identity);
        let Some(watcher) = self.watcher() else {
            return false;
        };
        if replaced {
            // Another one has taken its path; it has ended already if the old one is gone.
            let _ = watcher.unwatch(directory);
        }
        let watched = watcher.watch(directory, RecursiveMode::NonRecursive);
        let watched = watched.map_err(|error| error.to_string());
        self.tell(directory, watched.as_ref().err());
        let watched = watched.is_ok();
        if watched {
            self.wanted.insert(directory.to_owned(), identity);
        }
        watched
    }

    /// Gives up what was not asked for since the last call.
    pub(super) fn tidy(&mut self) {
        let wanted = std::mem::take(&mut self.wanted);
        if let Some(watcher) = &mut self.watcher {
            let given_up = self.held.iter().filter(|(path, _)| !wanted.contains_key(*path));
            for (directory, identity) in given_up {
                // It has ended already if its directory is gone.
                let _ = watcher.unwatch(directory);
                if wanted.values().any(|other| other == identity) {
                    // Another path leads to the same directory, and has lost its watch with this one: look again.
                    self.events.notify_one();
                }
            }
        }
        self.held = wanted;
    }

    /// Resolves when there were events. Too many of them are one, too.
    pub(super) fn told(&self) -> impl Future<Output = ()> + use<> {
        let events = self.events.clone();
        async move { events.notified().await }
    }
}

/// Whether an event can mean that a file is new, complete, gone or readable at last, or that a directory is another
/// one. Opening and reading are what we do ourselves; a write is followed by its close.
fn matters(event: &notify::Event) -> bool {
    match event.kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => true,
        EventKind::Access(_) => false,
        EventKind::Modify(ModifyKind::Data(_)) => event.need_rescan(),
        EventKind::Any
        | EventKind::Create(_)
        | EventKind::Modify(_)
        | EventKind::Remove(_)
        | EventKind::Other => true,
    }
}
