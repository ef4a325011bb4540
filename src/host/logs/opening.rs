//! Opens log files, which may take as long as their disk likes: each on a thread of its own, and nobody waits longer
//! than [`PATIENCE`].
//!
//! A thread that hangs in the kernel cannot be called back. So there is a limit to how many hang; while all of them
//! do, whoever logs to files cannot start, and whoever logs elsewhere does not notice.

use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;
use tokio::sync::mpsc::WeakUnboundedSender;
use tokio::sync::{Semaphore, oneshot};

use crate::config::Name;

use super::Order;
use super::fifo::Fifo;
use super::sink::Sink;
use crate::host::error::{Doing, HostError};

/// Files that are opened at one time.
const AT_ONCE: usize = 64;
/// A disk answers within this time, or the file counts as one that cannot be opened.
const PATIENCE: Duration = Duration::from_secs(5);

/// The threads that open files.
#[derive(Clone)]
pub(super) struct Openers(Arc<Semaphore>);

impl Openers {
    pub(super) fn new() -> Self {
        Self(Arc::new(Semaphore::new(AT_ONCE)))
    }

    /// Whether a file is being opened.
    pub(super) fn are_busy(&self) -> bool {
        self.0.available_permits() < AT_ONCE
    }

    /// Opens what `sink` needs; a line that has begun in the file ends there.
    async fn open(&self, mut sink: Sink) -> Result<Sink, HostError> {
        let Some(file) = sink.file().map(|path| path.display().to_string()) else {
            return sink.open().map(|()| sink);
        };
        let opened = tokio::time::timeout(PATIENCE, self.on_a_thread(sink, &file)).await;
        opened.unwrap_or_else(|_| Err(HostError::new(Doing::OpenLog, file, Errno::ETIMEDOUT)))
    }

    async fn on_a_thread(&self, mut sink: Sink, file: &str) -> Result<Sink, HostError> {
        let failed = |error: &std::io::Error| HostError::from_io(Doing::OpenLog, file, error);
        let permit = self.0.clone().acquire_owned().await;
        let (tell, told) = oneshot::channel();
        let open = move || {
            let opened = sink.open().map(|()| {
                sink.begin_line();
                sink
            });
            // Nobody waits any more if it took too long.
            let _ = tell.send(opened);
            drop(permit);
        };
        std::thread::Builder::new()
            .name("log file".to_owned())
            .spawn(open)
            .map_err(|error| failed(&error))?;
        told.await
            .unwrap_or_else(|_| Err(HostError::new(Doing::OpenLog, file, Errno::EIO)))
    }
}

/// Output that goes nowhere yet.
pub struct Opening {
    pub(super) name: Name,
    pub(super) sink: Sink,
    /// Of a life that begins; absent if a vassal's output goes elsewhere from here on.
    pub(super) fifo: Option<Fifo>,
    pub(super) openers: Openers,
    /// Weak, because the logs end when the emperor does, whoever still waits for a disk.
    pub(super) orders: Option<WeakUnboundedSender<Order>>,
}

impl Opening {
    /// Opens the file, or looks whether there is a journal; then the output goes there.
    ///
    /// # Errors
    /// If the file cannot be opened (`ETIMEDOUT`: its disk does not answer), or there is no journal.
    pub async fn complete(self) -> Result<(), HostError> {
        let Self {
            name,
            sink,
            fifo,
            openers,
            orders,
        } = self;
        let sink = match openers.open(sink).await {
            Ok(sink) => sink,
            Err(error) => {
                fifo.iter().for_each(Fifo::remove);
                return Err(error);
            }
        };
        let order = match fifo {
            Some(fifo) => Order::Read(name, sink, fifo),
            None => Order::Update(name, sink),
        };
        if let Some(orders) = orders.and_then(|orders| orders.upgrade()) {
            // The thread ends only after the last sender.
            let _ = orders.send(order);
        }
        Ok(())
    }
}
