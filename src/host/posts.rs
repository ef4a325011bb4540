//! The directories in which the kernel tells of events: inotify(7).
//!
//! What happened is not looked at, only that something did. A watch belongs to an inode, and asking for one that
//! exists changes nothing; so whoever looks asks for all of them each time, and a directory that took another's
//! path is watched from that look on.

use std::collections::BTreeSet;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, WatchDescriptor};
use tokio::io::unix::AsyncFd;

use crate::sys::readiness::readable;

/// All that can mean that a file is new, complete, gone or readable at last, or that a directory is another one.
const EVENTS: AddWatchFlags = AddWatchFlags::IN_CREATE
    .union(AddWatchFlags::IN_CLOSE_WRITE)
    .union(AddWatchFlags::IN_MOVED_FROM)
    .union(AddWatchFlags::IN_MOVED_TO)
    .union(AddWatchFlags::IN_DELETE)
    .union(AddWatchFlags::IN_ATTRIB)
    .union(AddWatchFlags::IN_DELETE_SELF)
    .union(AddWatchFlags::IN_MOVE_SELF)
    .union(AddWatchFlags::IN_ONLYDIR);

/// Watched directories.
pub(super) struct Posts {
    /// `None` where inotify refuses.
    inotify: Option<Arc<Queue>>,
    held: BTreeSet<WatchDescriptor>,
    wanted: BTreeSet<WatchDescriptor>,
}

struct Queue {
    inotify: Inotify,
    readable: AsyncFd<Arc<OwnedFd>>,
}

impl Queue {
    fn new() -> std::io::Result<Self> {
        let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?;
        let readable = readable(Arc::new(inotify.as_fd().try_clone_to_owned()?))?;
        Ok(Self { inotify, readable })
    }
}

impl Posts {
    /// Nothing is watched yet. Says so if the kernel gives no inotify, as when the user has too many.
    pub(super) fn new() -> Self {
        let inotify = Queue::new().inspect_err(
            |error| tracing::warn!(%error, "inotify refused; the directories are read every second"),
        );
        Self {
            inotify: inotify.ok().map(Arc::new),
            held: BTreeSet::new(),
            wanted: BTreeSet::new(),
        }
    }

    /// From here on events in `directory` are told; false if that cannot be.
    pub(super) fn watch(&mut self, directory: &Path) -> bool {
        let Some(queue) = &self.inotify else {
            return false;
        };
        let watch = queue.inotify.add_watch(directory, EVENTS);
        self.wanted.extend(watch);
        watch.is_ok()
    }

    /// Gives up what was not asked for since the last call.
    pub(super) fn tidy(&mut self) {
        let wanted = std::mem::take(&mut self.wanted);
        if let Some(queue) = &self.inotify {
            for watch in self.held.difference(&wanted) {
                // It has ended already if its directory is gone: EINVAL.
                let _ = queue.inotify.rm_watch(*watch);
            }
        }
        self.held = wanted;
    }

    /// Resolves when there were events, and takes them out of the queue. Too many of them are one, too.
    pub(super) fn told(&self) -> impl Future<Output = ()> + use<> {
        let queue = self.inotify.clone();
        async move {
            let Some(queue) = queue else {
                return std::future::pending().await;
            };
            let Ok(mut ready) = queue.readable.readable().await else {
                return std::future::pending().await;
            };
            // Cleared first: what arrives while the queue is emptied makes it ready again.
            ready.clear_ready();
            while let Ok(_) | Err(Errno::EINTR) = queue.inotify.read_events() {}
        }
    }
}
