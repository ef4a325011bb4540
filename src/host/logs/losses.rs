//! What of a vassal's output did not get where it should have: counted, told once, and marked where it would stand.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::host::pulse::Pulse;

/// A loss is over when there was none for so long; on a disk that is full, a short line still has room now and then.
const CALM: Duration = Duration::from_secs(3);

/// Bytes of one vassal's output that were dropped.
#[derive(Clone)]
pub(super) struct Dropped {
    bytes: Arc<AtomicU64>,
    pulse: Arc<Pulse>,
}

impl Dropped {
    /// Begins at `bytes`; changes are told to `pulse`.
    pub(super) fn new(bytes: u64, pulse: Arc<Pulse>) -> Self {
        let bytes = Arc::new(AtomicU64::new(bytes));
        Self { bytes, pulse }
    }

    /// So many more were under an earlier emperor.
    pub(super) fn resume(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    fn add(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.pulse.moved();
    }
}

/// What one place lost.
pub(super) struct Losses {
    /// Absent if another place has the same output.
    counted: Option<Dropped>,
    /// Bytes since the last that came through.
    now: u64,
    /// When something was lost last; absent once the operator was told that it is over.
    last: Option<Instant>,
}

impl Losses {
    /// Counts in `counted`, or not at all.
    pub(super) fn new(counted: Option<Dropped>) -> Self {
        Self {
            counted,
            now: 0,
            last: None,
        }
    }

    /// What was lost before, by the same vassal.
    pub(super) fn go_on(&mut self, before: &Self) {
        (self.now, self.last) = (before.now, before.last);
    }

    /// Of the same vassal, for the time in which this is elsewhere.
    pub(super) fn beside(&self) -> Self {
        Self::new(self.counted.clone())
    }

    /// What was lost beside it.
    pub(super) fn absorb(&mut self, beside: &Self) {
        self.now += beside.now;
        self.last = self.last.max(beside.last);
    }

    pub(super) fn add(&mut self, name: &str, bytes: usize, why: &str) {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        self.now += bytes;
        let Some(counted) = &self.counted else { return };
        counted.add(bytes);
        if self.last.replace(Instant::now()).is_none() {
            tracing::error!(%name, "{why}; until there is room, output of the vassal is dropped and counted");
        }
    }

    /// What is to stand before the next that comes through: a line, or nothing.
    pub(super) fn mark(&self) -> Option<String> {
        let bytes = self.now;
        (bytes > 0).then(|| format!("mini-emperor: {bytes} bytes of output were dropped here\n"))
    }

    /// The mark stands where it should.
    pub(super) fn marked(&mut self) {
        self.now = 0;
    }

    /// Output came through.
    pub(super) fn came_through(&mut self, name: &str) {
        if self.last.is_some_and(|last| last.elapsed() >= CALM) {
            self.last = None;
            let dropped = self.counted.as_ref().map_or(0, Dropped::get);
            tracing::info!(%name, dropped, "output of the vassal is taken again");
        }
    }
}
