//! The directories in which the kernel tells of events: inotify(7), by `notify`.
//!
//! What happened is not looked at, only that something did. A watch belongs to an inode, and asking anew for the
//! watch of a path costs little; so whoever looks asks for all of them each time, and a directory that took another's
//! path is watched from that look on.

use std::collections::BTreeMap;
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
    held: BTreeMap<PathBuf, Identity>,
    wanted: BTreeMap<PathBuf, Identity>,
}

/// Device and inode of a directory.
type Identity = (u64, u64);

impl Posts {
    /// Nothing is watched yet. Says so if the kernel gives no inotify, as when the user has too many.
    pub(super) fn new() -> Self {
        let events = Arc::new(Notify::new());
        let poke = events.clone();
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            if event.as_ref().map_or(true, matters) {
                poke.notify_one();
            }
        });
        let watcher = watcher.inspect_err(
            |error| tracing::warn!(%error, "inotify refused; the directories are read every second"),
        );
        Self {
            watcher: watcher.ok(),
            events,
            held: BTreeMap::new(),
            wanted: BTreeMap::new(),
        }
    }

    /// From here on events in `directory` are told; false if that cannot be.
    pub(super) fn watch(&mut self, directory: &Path) -> bool {
        let Some(watcher) = &mut self.watcher else {
            return false;
        };
        let Ok(found) = directory.metadata() else {
            return false;
        };
        let identity = (found.dev(), found.ino());
        if self.held.get(directory).is_some_and(|held| *held != identity) {
            // Another one has taken its path; it has ended already if the old one is gone.
            let _ = watcher.unwatch(directory);
        }
        let watched = watcher.watch(directory, RecursiveMode::NonRecursive).is_ok();
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
