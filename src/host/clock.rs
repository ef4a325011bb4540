//! Moments that mean the same to another process of this boot.

use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

/// Nanoseconds of `CLOCK_MONOTONIC`, which [`Instant`] counts too but does not show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moment(u64);

impl Moment {
    /// The same moment as `instant`.
    pub fn of(instant: Instant) -> Self {
        let (now, clock) = (Instant::now(), monotonic());
        let before = now.saturating_duration_since(instant);
        let after = instant.saturating_duration_since(now);
        let moment = clock.saturating_sub(before) + after;
        Self(u64::try_from(moment.as_nanos()).unwrap_or(u64::MAX))
    }

    /// The same moment for the rest of the program; one from before the clock began is now.
    pub fn instant(self) -> Instant {
        let (now, clock, moment) = (Instant::now(), monotonic(), Duration::from_nanos(self.0));
        now.checked_sub(clock.saturating_sub(moment))
            .and_then(|instant| instant.checked_add(moment.saturating_sub(clock)))
            .unwrap_or(now)
    }
}

fn monotonic() -> Duration {
    clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(Duration::ZERO, Duration::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_survives_the_way_there_and_back() {
        let now = Instant::now();
        for offset in [Duration::ZERO, Duration::from_millis(5)] {
            for instant in [now + offset, now - offset] {
                let back = Moment::of(instant).instant();
                let error = back.max(instant) - back.min(instant);
                // The two clocks are read one after the other, so a way is wrong by no more than the time that it takes.
                let taken = now.elapsed();
                assert!(error <= taken, "{error:?} in {taken:?}");
            }
        }
    }
}
