//! What each port has moved and lost.
//!
//! Each worker has a block of its own in each port, on cache lines of its own, and is its only writer: a load and a
//! store, both relaxed, no locked instruction. Readers add the blocks up.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering, Ordering::Relaxed, fence};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Reason;

const REASONS: usize = Reason::ALL.len();

/// A port's counters, one block for each worker.
#[derive(Debug)]
pub(super) struct Counters(Box<[Block]>);

/// One worker's share. Two cache lines, since processors fetch them in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(super) struct Block {
    receive: Flow,
    transmit: Flow,
    dropped: [AtomicU64; REASONS],
    segmented: AtomicU64,
}

#[derive(Debug, Default)]
struct Flow {
    packets: AtomicU64,
    bytes: AtomicU64,
}

impl Counters {
    pub(super) fn new(workers: usize) -> Self {
        Self((0..workers).map(|_| Block::default()).collect())
    }

    /// The block that only worker number `worker` writes; a worker beyond the agreed number counts nothing.
    #[inline]
    pub(super) fn of(&self, worker: usize) -> Option<&Block> {
        self.0.get(worker)
    }

    /// The sum over all workers.
    pub(super) fn total(&self) -> Traffic {
        self.0.iter().fold(Traffic::default(), |mut total, block| {
            total.receive_packets += block.receive.packets.load(Relaxed);
            total.receive_bytes += block.receive.bytes.load(Relaxed);
            total.transmit_packets += block.transmit.packets.load(Relaxed);
            total.transmit_bytes += block.transmit.bytes.load(Relaxed);
            total.segmented_packets += block.segmented.load(Relaxed);
            for (sum, part) in total.dropped.0.iter_mut().zip(&block.dropped) {
                *sum += part.load(Relaxed);
            }
            total
        })
    }
}

/// What is left of a port that was taken away: a worker that has not read the newer tables yet still counts for it.
#[derive(Debug)]
pub struct Remains(Arc<Counters>);

impl Remains {
    pub(super) fn of(counters: Arc<Counters>) -> Self {
        Self(counters)
    }

    /// What it has moved until now, summed over the workers.
    pub fn traffic(&self) -> Traffic {
        self.0.total()
    }

    /// Whether no tables know the port any more, so that its counters stay as they are.
    pub fn are_final(&self) -> bool {
        let alone = Arc::strong_count(&self.0) == 1;
        // What was counted before the last tables were dropped is seen from here on.
        fence(Ordering::Acquire);
        alone
    }
}

impl Block {
    #[inline]
    pub(super) fn received(&self, bytes: u64) {
        self.receive.add(bytes);
    }

    #[inline]
    pub(super) fn transmitted(&self, bytes: u64) {
        self.transmit.add(bytes);
    }

    pub(super) fn segmented(&self) {
        add(&self.segmented, 1);
    }

    #[inline]
    pub(super) fn dropped(&self, reason: Reason) {
        add(&self.dropped[reason.place()], 1);
    }
}

impl Flow {
    #[inline]
    fn add(&self, bytes: u64) {
        add(&self.packets, 1);
        add(&self.bytes, bytes);
    }
}

/// Not a locked instruction: the worker is the only writer.
#[inline]
fn add(counter: &AtomicU64, more: u64) {
    counter.store(counter.load(Relaxed).wrapping_add(more), Relaxed);
}

/// What one port has moved and lost since it was attached.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traffic {
    /// IP bytes delivered towards the vassal.
    pub receive_bytes: u64,
    /// Packets delivered towards the vassal; a super-frame is one.
    pub receive_packets: u64,
    /// IP bytes accepted from the vassal and sent on.
    pub transmit_bytes: u64,
    /// Packets accepted from the vassal and sent on; a super-frame is one.
    pub transmit_packets: u64,
    /// Of the packets delivered, those that the router had to cut or finish in software.
    pub segmented_packets: u64,
    /// Packets that ended, by reason.
    pub dropped: Dropped,
}

impl Traffic {
    /// Adds what another port moved and lost.
    pub fn add(&mut self, other: &Self) {
        self.receive_bytes += other.receive_bytes;
        self.receive_packets += other.receive_packets;
        self.transmit_bytes += other.transmit_bytes;
        self.transmit_packets += other.transmit_packets;
        self.segmented_packets += other.segmented_packets;
        for reason in Reason::ALL {
            self.dropped
                .set(reason, self.dropped.get(reason) + other.dropped.get(reason));
        }
    }
}

/// Packets that ended, by reason.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Dropped([u64; REASONS]);

impl Dropped {
    /// How many ended for `reason`.
    pub fn get(&self, reason: Reason) -> u64 {
        self.0[reason.place()]
    }

    /// Sets how many ended for `reason`.
    pub fn set(&mut self, reason: Reason, packets: u64) {
        self.0[reason.place()] = packets;
    }

    /// Every reason with its number, in the order of [`Reason::ALL`].
    pub fn iter(&self) -> impl Iterator<Item = (Reason, u64)> {
        Reason::ALL.into_iter().zip(self.0)
    }

    /// How many ended altogether.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }
}

impl Serialize for Dropped {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter().map(|(reason, packets)| (reason.name(), packets)))
    }
}

impl<'de> Deserialize<'de> for Dropped {
    /// A reason that this version does not have is left out.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let named = BTreeMap::<String, u64>::deserialize(deserializer)?;
        let mut dropped = Self::default();
        for reason in Reason::ALL {
            dropped.set(reason, named.get(reason.name()).copied().unwrap_or_default());
        }
        Ok(dropped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_adds_up_the_workers() {
        let counters = Counters::new(2);
        for worker in [0, 1] {
            let block = counters.of(worker).unwrap();
            block.received(100);
            block.transmitted(7);
            block.dropped(Reason::TooBig);
        }
        counters.of(1).unwrap().received(1);
        let total = counters.total();
        assert_eq!((total.receive_packets, total.receive_bytes), (3, 201));
        assert_eq!((total.transmit_packets, total.transmit_bytes), (2, 14));
        assert_eq!((total.dropped.get(Reason::TooBig), total.dropped.total()), (2, 2));
        assert!(counters.of(2).is_none());
    }

    #[test]
    fn a_block_shares_no_pair_of_cache_lines() {
        assert_eq!(align_of::<Block>(), 128);
        assert_eq!(size_of::<Block>(), 128);
    }

    #[test]
    fn traffic_is_written_in_the_words_of_status() {
        let mut traffic = Traffic {
            receive_bytes: 5,
            ..Traffic::default()
        };
        traffic.dropped.set(Reason::NoRoute, 2);
        assert_eq!(
            serde_json::to_string(&traffic).unwrap(),
            "{\"receive_bytes\":5,\"receive_packets\":0,\"transmit_bytes\":0,\"transmit_packets\":0,\"segmented_packets\":0,\"dropped\":\
             {\"spoofed\":0,\"denied\":0,\"malformed\":0,\"no_route\":2,\"multicast\":0,\"over_limit\":0,\"queue_full\":0,\
             \"ttl_expired\":0,\"too_big\":0}}"
        );
    }

    #[test]
    fn traffic_survives_being_written_and_read_by_another_version() {
        let mut traffic = Traffic {
            transmit_packets: 7,
            ..Traffic::default()
        };
        traffic.dropped.set(Reason::Denied, 3);
        let text = serde_json::to_string(&traffic).unwrap();
        assert_eq!(serde_json::from_str::<Traffic>(&text).unwrap(), traffic);
        let other = text.replace("\"too_big\":0", "\"too_odd\":9");
        assert_eq!(serde_json::from_str::<Traffic>(&other).unwrap(), traffic);
    }
}
