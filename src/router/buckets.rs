//! How often a port is answered: a token bucket for each, so that nobody makes the router shout.

use std::time::{Duration, Instant};

use super::PortId;

/// One answer is earned in this time: 100 a second.
const COST: Duration = Duration::from_millis(10);
/// No more than this is saved up: 50 answers.
const BURST: Duration = Duration::from_millis(500);

/// One bucket for each slot of ports.
#[derive(Debug, Default)]
pub(super) struct Buckets(Vec<Bucket>);

#[derive(Debug, Clone, Copy)]
struct Bucket {
    generation: u32,
    /// Time earned and not spent; absent before the first answer: the bucket is full.
    saved: Option<(Instant, Duration)>,
}

impl Buckets {
    /// Makes room for `ports` slots. Allocates only when their number has grown.
    #[inline]
    pub(super) fn fit(&mut self, ports: usize) {
        if self.0.len() < ports {
            self.0.resize(
                ports,
                Bucket {
                    generation: 0,
                    saved: None,
                },
            );
        }
    }

    /// Whether `port` may be answered once more at `now`.
    pub(super) fn may(&self, port: PortId, now: Instant) -> bool {
        self.0
            .get(port.slot())
            .is_some_and(|bucket| bucket.credit(port, now) >= COST)
    }

    /// Takes one answer to `port` out of its bucket at `now`, if there is one.
    pub(super) fn take(&mut self, port: PortId, now: Instant) -> bool {
        let Some(bucket) = self.0.get_mut(port.slot()) else {
            return false;
        };
        let credit = bucket.credit(port, now);
        let left = credit.checked_sub(COST);
        *bucket = Bucket {
            generation: port.generation,
            saved: Some((now, left.unwrap_or(credit))),
        };
        left.is_some()
    }
}

impl Bucket {
    fn credit(&self, port: PortId, now: Instant) -> Duration {
        match self.saved {
            Some((then, saved)) if self.generation == port.generation => {
                BURST.min(saved.saturating_add(now.saturating_duration_since(then)))
            }
            Some(_) | None => BURST,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PORT: PortId = PortId {
        index: 2,
        generation: 7,
    };

    #[test]
    fn a_burst_of_fifty_then_a_hundred_a_second() {
        let start = Instant::now();
        let mut buckets = Buckets::default();
        buckets.fit(3);
        assert_eq!((0..80).filter(|_| buckets.take(PORT, start)).count(), 50);
        assert!(!buckets.may(PORT, start));
        // Asked a thousand times a second, it says yes a hundred times.
        let asked = (1..=1000).map(|ms| start + Duration::from_millis(ms));
        assert_eq!(asked.filter(|now| buckets.take(PORT, *now)).count(), 100);
        let later = start + Duration::from_secs(3600);
        assert_eq!(
            (0..80).filter(|_| buckets.take(PORT, later)).count(),
            50,
            "no more than a burst is saved"
        );
    }

    #[test]
    fn who_takes_over_a_slot_finds_a_full_bucket() {
        let now = Instant::now();
        let mut buckets = Buckets::default();
        buckets.fit(3);
        while buckets.take(PORT, now) {}
        assert!(buckets.take(
            PortId {
                generation: 8,
                ..PORT
            },
            now
        ));
    }

    #[test]
    fn an_unknown_slot_is_never_answered() {
        let mut buckets = Buckets::default();
        assert!(!buckets.may(PORT, Instant::now()) && !buckets.take(PORT, Instant::now()));
    }
}
