//! How long a vassal that died waits before it is started again.

use std::time::Duration;

use crate::config::definition::Restart;

/// A run of at least this long (and of at least the last delay) was healthy: the next death starts afresh.
pub const HEALTHY: Duration = Duration::from_secs(10);

/// The back-off of one vassal: `delay`, doubled with each death in a row up to `max_delay`, plus up to a
/// tenth of jitter, so that vassals that died together do not start together for ever.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pacing {
    deaths_in_a_row: u32,
    last_delay: Duration,
}

impl Pacing {
    /// The delay after a death. `ran` is how long the command ran, absent if it never did; `chance` is any
    /// random number.
    pub fn after_a_death(&mut self, restart: &Restart, ran: Option<Duration>, chance: u64) -> Duration {
        if ran.is_some_and(|ran| ran >= HEALTHY.max(self.last_delay)) {
            self.deaths_in_a_row = 0;
        }
        let doublings = self.deaths_in_a_row.min(31);
        let plain = restart
            .delay
            .saturating_mul(1 << doublings)
            .min(restart.max_delay);
        self.deaths_in_a_row = self.deaths_in_a_row.saturating_add(1);
        self.last_delay = plain;
        let tenth = u64::try_from(plain.as_micros() / 10).unwrap_or(u64::MAX - 1);
        plain + Duration::from_micros(chance % (tenth + 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::definition::RestartPolicy;

    fn restart() -> Restart {
        Restart {
            policy: RestartPolicy::Always,
            delay: Duration::from_secs(1),
            max_delay: Duration::from_secs(5),
        }
    }

    #[test]
    fn the_delay_doubles_up_to_its_limit() {
        let mut pacing = Pacing::default();
        let delays: Vec<_> = (0..5)
            .map(|_| pacing.after_a_death(&restart(), None, 0).as_secs())
            .collect();
        assert_eq!(delays, [1, 2, 4, 5, 5]);
    }

    #[test]
    fn a_healthy_run_resets_it_and_a_short_one_does_not() {
        let mut pacing = Pacing::default();
        pacing.after_a_death(&restart(), None, 0);
        assert_eq!(
            pacing
                .after_a_death(&restart(), Some(Duration::from_secs(9)), 0)
                .as_secs(),
            2
        );
        assert_eq!(pacing.after_a_death(&restart(), Some(HEALTHY), 0).as_secs(), 1);
    }

    #[test]
    fn jitter_is_at_most_a_tenth() {
        for chance in [0, 1, 99_999, u64::MAX] {
            let delay = Pacing::default().after_a_death(&restart(), None, chance);
            assert!(
                delay >= Duration::from_secs(1) && delay <= Duration::from_millis(1100),
                "{delay:?}"
            );
        }
    }
}
