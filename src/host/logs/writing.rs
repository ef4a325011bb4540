//! Writes output into files whose disks may not answer.
//!
//! A vassal waits for its disk as long as it does for the screen; what it says after that is dropped and counted until
//! the disk answers. What was being written then is there first, and nothing else of it was touched in the meantime.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::oneshot::{Receiver, error::RecvError};
use tokio::sync::{Notify, RwLock, RwLockWriteGuard};
use tokio::time::timeout;

use super::hands::Hands;
use super::logfile::{Lending, LogFile, Piece};
use super::sink::Sink;

/// A thread that has not written a piece by then gets help.
const SOON: Duration = Duration::from_millis(20);
/// A vassal waits this long for its disk.
const PATIENCE: Duration = Duration::from_secs(1);

/// Everybody's way into files.
pub(super) struct Writing {
    hands: Hands,
    /// Held for reading as long as a piece is waited for; nobody waits for one that hangs.
    pieces: RwLock<()>,
    hanging: Cell<usize>,
    /// Some file came back.
    back: Notify,
}

impl Writing {
    pub(super) fn new(hands: Hands) -> Self {
        Self {
            hands,
            pieces: RwLock::default(),
            hanging: Cell::default(),
            back: Notify::new(),
        }
    }

    /// Writes a piece of output, if it goes into a file. Afterwards it is there, or counted, or with a thread that hangs.
    pub(super) async fn write(self: &Rc<Self>, sink: &Rc<RefCell<Sink>>, mut piece: Piece) {
        let _waited_for = self.pieces.read().await;
        let file = loop {
            let back = self.back.notified();
            match sink.borrow_mut().lend(piece) {
                Lending::Write(file, lent) => {
                    piece = lent;
                    break file;
                }
                Lending::Later(kept) => piece = kept,
                Lending::Dropped => return,
            }
            back.await;
        };
        let number = file.number();
        let mut told = self.hands.give(file, piece);
        match self.in_time(&mut told).await {
            Some(Ok(file)) => sink.borrow_mut().give_back(file),
            // The thread has failed, and with it the file: what comes now is dropped and counted.
            Some(Err(_)) => sink.borrow_mut().hangs(number),
            None => {
                sink.borrow_mut().hangs(number);
                self.hanging.set(self.hanging.get() + 1);
                tokio::task::spawn_local(self.clone().wait(told, sink.clone()));
            }
        }
        self.back.notify_waiters();
    }

    async fn in_time(&self, told: &mut Receiver<LogFile>) -> Option<Result<LogFile, RecvError>> {
        if let Ok(file) = timeout(SOON, &mut *told).await {
            return Some(file);
        }
        self.hands.help();
        timeout(PATIENCE, told).await.ok()
    }

    async fn wait(self: Rc<Self>, told: Receiver<LogFile>, sink: Rc<RefCell<Sink>>) {
        if let Ok(file) = told.await {
            sink.borrow_mut().give_back(file);
        }
        self.hanging.set(self.hanging.get() - 1);
        self.back.notify_waiters();
    }

    /// Whether a disk keeps what was given to it from being written.
    pub(super) fn hangs(&self) -> bool {
        self.hanging.get() > 0
    }

    /// Resolves between two pieces; as long as the answer lives, none is written.
    pub(super) async fn still(&self) -> RwLockWriteGuard<'_, ()> {
        self.pieces.write().await
    }

    /// Resolves when no thread hangs.
    pub(super) async fn all_back(&self) {
        loop {
            let back = self.back.notified();
            if !self.hangs() {
                return;
            }
            back.await;
        }
    }
}
