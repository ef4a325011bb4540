//! How much may pass a port in one direction: a token bucket that all workers share.
//!
//! It is kept as one number, the moment up to which what has passed is paid for (the virtual scheduling of ITU-T
//! I.371, known from ATM). The bucket is full when that moment is not in the future, and empty when it is a
//! whole burst ahead.
//!
//! The bucket may go into debt: a frame passes whole as long as anything is left, and what comes after it waits until all
//! is paid. So a super-frame that is larger than the whole bucket passes when the bucket is not empty; otherwise a small
//! burst would never let one pass. In any time `t` no more passes than `rate * t + burst` and one frame.
//!
//! What is over the limit ends here and does not wait. A sender cannot be held back instead, by not reading its
//! tun: the kernel takes a packet off the sender's account when it enters the tun's queue (`tun_net_xmit` orphans
//! it), so TCP would fill the whole queue, which is seconds of delay at such a rate, and lose packets all the same.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use crate::config::definition::{Bandwidth, Rate};

/// Time is counted in parts of a nanosecond, so that a small packet at a high rate costs more than nothing. 64 bits
/// last for 36 years.
const TICKS_PER_NANOSECOND: u64 = 16;
const TICKS_PER_SECOND: u64 = TICKS_PER_NANOSECOND * 1_000_000_000;

/// Those of one port; a direction without a limit has none.
#[derive(Debug, Clone, Default)]
pub(super) struct Limiters {
    pub(super) out: Option<Arc<Limiter>>,
    pub(super) in_: Option<Arc<Limiter>>,
}

impl Limiters {
    /// Full buckets; none without a `bandwidth`.
    pub(super) fn of(bandwidth: Option<Bandwidth>) -> Self {
        let mut limiters = Self::default();
        limiters.set(bandwidth.unwrap_or_default());
        limiters
    }

    /// Keeps the bucket of a direction whose limit stays the same.
    pub(super) fn set(&mut self, bandwidth: Bandwidth) {
        for (limiter, rate) in [(&mut self.out, bandwidth.out), (&mut self.in_, bandwidth.in_)] {
            if limiter.as_ref().map(|limiter| limiter.rate) != rate {
                *limiter = rate.map(|rate| Arc::new(Limiter::new(rate)));
            }
        }
    }
}

/// See the head of this file.
#[derive(Debug)]
pub(super) struct Limiter {
    rate: Rate,
    /// How long it takes to fill the bucket, in ticks.
    depth: u64,
    /// What ticks are counted from: the first packet.
    beginning: OnceLock<Instant>,
    /// Up to here what has passed is paid for, in ticks.
    paid: AtomicU64,
}

impl Limiter {
    /// A full bucket.
    pub(super) fn new(rate: Rate) -> Self {
        Self {
            rate,
            depth: ticks_for(rate.burst, rate.bytes),
            beginning: OnceLock::new(),
            paid: AtomicU64::new(0),
        }
    }

    /// Takes `bytes` out of the bucket at `now`, if there is anything in it. Workers need not agree about the time to
    /// the last microsecond.
    pub(super) fn admits(&self, bytes: usize, now: Instant) -> bool {
        let beginning = *self.beginning.get_or_init(|| now);
        let now = ticks(now.saturating_duration_since(beginning));
        let cost = ticks_for(u64::try_from(bytes).unwrap_or(u64::MAX), self.rate.bytes);
        let full = now.saturating_add(self.depth);
        let take = |paid: u64| (paid < full).then(|| paid.max(now).saturating_add(cost));
        self.paid.fetch_update(Relaxed, Relaxed, take).is_ok()
    }
}

fn ticks(time: Duration) -> u64 {
    u64::try_from(time.as_nanos() * u128::from(TICKS_PER_NANOSECOND)).unwrap_or(u64::MAX)
}

/// How long `bytes` take, rounded up: the rate is never exceeded.
fn ticks_for(bytes: u64, rate: u64) -> u64 {
    let ticks = u128::from(bytes) * u128::from(TICKS_PER_SECOND);
    u64::try_from(ticks.div_ceil(u128::from(rate.max(1)))).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MBIT: Rate = Rate {
        bytes: 125_000,
        burst: 10_000,
    };

    fn passed(limiter: &Limiter, bytes: usize, times: impl IntoIterator<Item = Instant>) -> usize {
        times
            .into_iter()
            .filter(|now| limiter.admits(bytes, *now))
            .count()
    }

    #[test]
    fn a_burst_and_then_the_rate() {
        let (limiter, start) = (Limiter::new(MBIT), Instant::now());
        assert_eq!(passed(&limiter, 1_000, [start; 30]), 10);
        // 125 packets a second, asked for a thousand times.
        let second = (1..=1_000).map(|ms| start + Duration::from_millis(ms));
        assert_eq!(passed(&limiter, 1_000, second), 125);
        let later = start + Duration::from_secs(3_600);
        assert_eq!(
            passed(&limiter, 1_000, [later; 30]),
            10,
            "no more than a burst is saved"
        );
    }

    #[test]
    fn a_frame_that_is_larger_than_the_bucket_passes_and_is_paid_for() {
        let rate = Rate { burst: 1_500, ..MBIT };
        let (limiter, start) = (Limiter::new(rate), Instant::now());
        assert!(limiter.admits(62_500, start));
        // Half a second's worth was taken; 1,500 bytes of it were there.
        assert!(!limiter.admits(1, start + Duration::from_millis(488)));
        assert!(limiter.admits(62_500, start + Duration::from_millis(489)));
    }

    #[test]
    fn a_worker_whose_time_is_a_little_behind_gains_and_loses_nothing() {
        let (limiter, start) = (Limiter::new(MBIT), Instant::now());
        let ahead = start + Duration::from_millis(1);
        assert!(limiter.admits(5_000, ahead));
        assert_eq!(
            passed(&limiter, 1_000, [start, ahead, start, ahead, start, ahead, ahead]),
            5
        );
    }

    #[test]
    fn a_small_packet_at_the_highest_rate_is_not_free() {
        assert!(ticks_for(20, 12_500_000_000) >= 16);
        assert_eq!(ticks_for(u64::MAX, 1), u64::MAX);
    }

    /// The bucket as everybody draws it: it fills by the rate, and a frame takes its bytes out of it.
    struct Drawn {
        level: i128,
        depth: i128,
        at: u128,
    }

    impl Drawn {
        fn admits(&mut self, cost: u64, at: u128) -> bool {
            let earned = i128::try_from((at - self.at) * u128::from(TICKS_PER_NANOSECOND)).unwrap();
            self.at = at;
            self.level = self.depth.min(self.level + earned);
            let admits = self.level > 0;
            self.level -= if admits { i128::from(cost) } else { 0 };
            admits
        }
    }

    proptest! {
        #[test]
        fn it_is_the_bucket_that_everybody_draws_and_no_stretch_of_time_gets_more(
            rate in 1_000_u64..12_500_000_000,
            burst in 1_500_u64..(1 << 30),
            frames in prop::collection::vec((0_u64..20_000_000, 20_usize..400_000), 1..60),
        ) {
            let (limiter, start) = (Limiter::new(Rate { bytes: rate, burst }), Instant::now());
            let depth = i128::from(ticks_for(burst, rate));
            let mut drawn = Drawn { level: depth, depth, at: 0 };
            let (mut at, mut passed) = (0_u64, Vec::new());
            for (pause, bytes) in frames {
                at += pause;
                let admits = limiter.admits(bytes, start + Duration::from_nanos(at));
                prop_assert_eq!(admits, drawn.admits(ticks_for(bytes as u64, rate), u128::from(at)));
                if admits {
                    passed.push((at, bytes as u128));
                }
            }
            for (first, (from, _)) in passed.iter().enumerate() {
                let mut sum = 0;
                for (to, bytes) in &passed[first..] {
                    let earned = u128::from(to - from) * u128::from(rate) / 1_000_000_000;
                    // One byte for what is rounded down.
                    prop_assert!(sum < earned + u128::from(burst) + 1, "{sum} bytes before the last");
                    sum += bytes;
                }
            }
        }
    }
}
