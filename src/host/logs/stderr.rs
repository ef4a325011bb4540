//! Standard error, which may stand still: a terminal that was stopped, a pipe that nobody reads.
//!
//! A thread of its own writes; whoever has a line leaves it in a queue and goes on. The emperor never waits: what has no
//! room is dropped and counted, and the count is told as soon as lines flow again. Vassals have a smaller queue of
//! their own, and wait for room in it for a moment.

use std::io::Write;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, TrySendError, channel, sync_channel};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::Notify;

/// Lines in the queue.
const LINES: usize = 1024;
/// How many of them are vassals'.
const VASSALS_LINES: usize = 256;
/// At the end, standard error has this long to take what is left.
const FAREWELL: Duration = Duration::from_secs(1);

enum Message {
    Line(Vec<u8>),
    VassalsLine(Vec<u8>),
    /// All that came before is to be written.
    Flush(Sender<()>),
}

/// A way to standard error.
#[derive(Clone)]
pub struct Stderr {
    messages: SyncSender<Message>,
    queue: Arc<Queue>,
}

#[derive(Default)]
struct Queue {
    vassals: AtomicUsize,
    dropped: AtomicU64,
    room: Notify,
}

/// The queue is full.
pub(super) struct Full;

static STDERR: OnceLock<Option<Stderr>> = OnceLock::new();

impl Stderr {
    /// The one way to standard error; its thread starts with the first call. Absent if it could not: then lines are
    /// written by whoever has them.
    pub fn get() -> Option<&'static Self> {
        STDERR.get_or_init(Self::start).as_ref()
    }

    fn start() -> Option<Self> {
        let (messages, received) = sync_channel(LINES);
        let queue = Arc::<Queue>::default();
        let theirs = queue.clone();
        std::thread::Builder::new()
            .name("stderr".to_owned())
            .spawn(move || write_all(&received, &theirs))
            .ok()?;
        Some(Self { messages, queue })
    }

    /// Leaves a line of a vassal.
    pub(super) fn vassals_line(&self, line: Vec<u8>) -> Result<(), Full> {
        if self.queue.vassals.fetch_add(1, Ordering::AcqRel) >= VASSALS_LINES {
            self.queue.vassals.fetch_sub(1, Ordering::AcqRel);
            return Err(Full);
        }
        self.messages.try_send(Message::VassalsLine(line)).map_err(|_| {
            self.queue.vassals.fetch_sub(1, Ordering::AcqRel);
            Full
        })
    }

    /// Resolves when there is room for a line of a vassal.
    pub(super) async fn room(&self) {
        loop {
            let notified = self.queue.room.notified();
            tokio::pin!(notified);
            // From here on no notification is missed.
            notified.as_mut().enable();
            if self.queue.vassals.load(Ordering::Acquire) < VASSALS_LINES {
                return;
            }
            notified.await;
        }
    }
}

/// A line of the emperor itself.
impl Write for Stderr {
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        if let Err(TrySendError::Full(_)) = self.messages.try_send(Message::Line(line.to_vec())) {
            self.queue.dropped.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Waits until standard error has taken what was left for it, but not for long.
pub fn flush() {
    if let Some(Some(stderr)) = STDERR.get() {
        let (done, is_done) = channel();
        // A full queue is one that stands still.
        if stderr.messages.try_send(Message::Flush(done)).is_ok() {
            let _ = is_done.recv_timeout(FAREWELL);
        }
    }
}

/// The thread.
fn write_all(received: &Receiver<Message>, queue: &Queue) {
    while let Ok(message) = received.recv() {
        // A closed standard error must not end the emperor.
        match message {
            Message::Line(line) => {
                let _ = std::io::stderr().lock().write_all(&line);
            }
            Message::VassalsLine(line) => {
                let _ = std::io::stderr().lock().write_all(&line);
                queue.vassals.fetch_sub(1, Ordering::AcqRel);
                queue.room.notify_waiters();
            }
            Message::Flush(done) => {
                let _ = done.send(());
            }
        }
        let dropped = queue.dropped.swap(0, Ordering::Relaxed);
        if dropped > 0 {
            tracing::warn!(
                dropped,
                "standard error stood still; messages of the emperor were lost"
            );
        }
    }
}
