//! The threads that write log files: one, and others in its place while it hangs.
//!
//! A thread that hangs in the kernel cannot be called back. Whoever has waited for a while calls for another; one that
//! finds another idle when it is done ends. So at rest there is one, which sleeps until it has something to write.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use super::logfile::{LogFile, Piece};

/// Files that are written at one time. While so many hang, nobody's is written.
const AT_ONCE: usize = 64;

/// One piece of output on its way, and whom to give the file back to.
struct Work {
    file: LogFile,
    piece: Piece,
    tell: oneshot::Sender<LogFile>,
}

#[derive(Default)]
struct Desk {
    waiting: VecDeque<Work>,
    threads: usize,
    idle: usize,
    /// Nobody gives them work any more.
    closed: bool,
}

#[derive(Default)]
struct Shared {
    desk: Mutex<Desk>,
    work: Condvar,
}

/// The threads. They end with this, but for those that hang.
pub(super) struct Hands(Arc<Shared>);

impl Hands {
    /// Starts the first.
    ///
    /// # Errors
    /// If there can be no thread.
    pub(super) fn new() -> std::io::Result<Self> {
        let hands = Self(Arc::default());
        hands.hire().map(|()| hands)
    }

    /// Gives `piece` to whoever is idle first. What comes back is the file, whether it took it or not.
    pub(super) fn give(&self, file: LogFile, piece: Piece) -> oneshot::Receiver<LogFile> {
        let (tell, told) = oneshot::channel();
        let work = Work { file, piece, tell };
        self.0.desk().waiting.push_back(work);
        self.0.work.notify_one();
        told
    }

    /// Somebody has waited for long: another thread, if all that there are have something else to do. Where there can be
    /// none, the work waits for those.
    pub(super) fn help(&self) {
        let desk = self.0.desk();
        let wanted = desk.waiting.len() > desk.idle && desk.threads < AT_ONCE;
        drop(desk);
        if wanted && let Err(error) = self.hire() {
            tracing::warn!(%error, "there is no other thread to write log files while one hangs");
        }
    }

    fn hire(&self) -> std::io::Result<()> {
        let shared = self.0.clone();
        self.0.desk().threads += 1;
        let hired = std::thread::Builder::new()
            .name("log writer".to_owned())
            .spawn(move || shared.write_all());
        hired.map(drop).inspect_err(|_| self.0.desk().threads -= 1)
    }
}

impl Drop for Hands {
    fn drop(&mut self) {
        let mut desk = self.0.desk();
        desk.closed = true;
        desk.waiting.clear();
        self.0.work.notify_all();
    }
}

impl Shared {
    /// One thread.
    fn write_all(&self) {
        while let Some(Work {
            mut file,
            piece,
            tell,
        }) = self.next()
        {
            file.write(&piece);
            // Nobody waits for it any more at the end.
            let _ = tell.send(file);
        }
        self.desk().threads -= 1;
    }

    /// Waits for work; absent if this thread is one too many.
    fn next(&self) -> Option<Work> {
        let mut desk = self.desk();
        loop {
            if let Some(work) = desk.waiting.pop_front() {
                return Some(work);
            }
            if desk.closed || desk.idle > 0 {
                return None;
            }
            desk.idle += 1;
            desk = self.work.wait(desk).unwrap_or_else(PoisonError::into_inner);
            desk.idle -= 1;
        }
    }

    /// What is in it is whole between any two statements.
    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
