//! What the router's threads let others see of themselves: that they turn, and that packets moved.
//!
//! Both are flags that a thread sets when it is awake anyway. Nobody is woken to set them, but one who asked.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::sync::Notify;

/// The pulse of all workers.
#[derive(Debug)]
pub struct Pulse {
    turns: Box<[AtomicU64]>,
    still: AtomicBool,
    moved: Notify,
}

impl Pulse {
    /// Of this many threads.
    pub fn new(workers: usize) -> Self {
        Self {
            turns: (0..workers).map(|_| AtomicU64::new(0)).collect(),
            still: AtomicBool::new(true),
            moved: Notify::new(),
        }
    }

    /// Worker number `worker` has answered a poke. Only that thread may say so.
    pub fn turned(&self, worker: usize) {
        if let Some(turns) = self.turns.get(worker) {
            turns.store(turns.load(Ordering::Relaxed).wrapping_add(1), Ordering::Release);
        }
    }

    /// A worker has handled packets; once per wake-up.
    #[inline]
    pub fn moved(&self) {
        if self.still.load(Ordering::Relaxed) && self.still.swap(false, Ordering::AcqRel) {
            self.moved.notify_one();
        }
    }

    /// How often each worker has turned.
    pub fn turns(&self) -> Vec<u64> {
        self.turns
            .iter()
            .map(|turns| turns.load(Ordering::Acquire))
            .collect()
    }

    /// From here on the first packet is told to [`stirred`](Self::stirred); one that is being handled at this very
    /// moment may be told by the next.
    pub fn rest(&self) {
        self.still.store(true, Ordering::Release);
    }

    /// Resolves when packets have moved since the last [`rest`](Self::rest).
    pub async fn stirred(&self) {
        self.moved.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    #[test]
    fn only_the_first_packet_after_a_rest_is_told() {
        let pulse = Pulse::new(1);
        assert_eq!(pulse.stirred().now_or_never(), None);
        pulse.moved();
        pulse.moved();
        assert_eq!(pulse.stirred().now_or_never(), Some(()));
        assert_eq!(pulse.stirred().now_or_never(), None);
        pulse.rest();
        pulse.moved();
        assert_eq!(pulse.stirred().now_or_never(), Some(()));
    }

    #[test]
    fn a_worker_that_does_not_turn_is_seen() {
        let pulse = Pulse::new(2);
        pulse.turned(1);
        pulse.turned(7);
        assert_eq!(pulse.turns(), [0, 1]);
    }
}
