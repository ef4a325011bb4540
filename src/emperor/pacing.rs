//! How long a vassal that died waits before it is started again.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::config::definition::Restart;

/// A run of at least this long (and of at least the last delay) was healthy: the next death starts afresh.
pub const HEALTHY: Duration = Duration::from_secs(10);

/// The back-off of one vassal: `delay`, doubled with each death in a row up to `max_delay`, plus up to a
/// tenth of jitter, so that vassals that died together do not start together for ever.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pacing {
    deaths_in_a_row: u32,
    last_delay: Duration,
    /// How often in a row it could not be waited for a client.
    refusals_in_a_row: u32,
    /// The last deaths, as many as `give_up` looks at.
    deaths: VecDeque<Instant>,
}

impl Pacing {
    /// The back-off of a vassal that an earlier emperor counted for, with what the four functions below said.
    pub fn resumed(
        deaths_in_a_row: u32,
        last_delay: Duration,
        refusals_in_a_row: u32,
        deaths: impl IntoIterator<Item = Instant>,
    ) -> Self {
        Self {
            deaths_in_a_row,
            last_delay,
            refusals_in_a_row,
            deaths: deaths.into_iter().collect(),
        }
    }

    /// How many deaths in a row there were.
    pub fn deaths_in_a_row(&self) -> u32 {
        self.deaths_in_a_row
    }

    /// The delay after the last of them.
    pub fn last_delay(&self) -> Duration {
        self.last_delay
    }

    /// How often in a row it could not be waited for a client.
    pub fn refusals_in_a_row(&self) -> u32 {
        self.refusals_in_a_row
    }

    /// The deaths that `give_up` counts, the oldest first.
    pub fn deaths(&self) -> impl Iterator<Item = Instant> {
        self.deaths.iter().copied()
    }

    /// Whether the last run was healthy.
    pub(super) fn is_calm(&self) -> bool {
        self.deaths_in_a_row <= 1
    }

    /// The delay after a death at `now`; `None` = it died too often, give up. `ran` is how long the command
    /// ran, absent if it never did; `chance` is any random number.
    pub fn after_a_death(
        &mut self,
        restart: &Restart,
        ran: Option<Duration>,
        now: Instant,
        chance: u64,
    ) -> Option<Duration> {
        if self.is_too_often(restart, now) {
            return None;
        }
        if ran.is_some_and(|ran| ran >= HEALTHY.max(self.last_delay)) {
            self.deaths_in_a_row = 0;
        }
        let plain = grown(restart, self.deaths_in_a_row);
        self.deaths_in_a_row = self.deaths_in_a_row.saturating_add(1);
        self.last_delay = plain;
        Some(shaken(plain, chance))
    }

    /// The delay after a client could not be waited for. Nothing has died: neither `give_up` nor the delay after the next
    /// death counts it. `chance` is any random number.
    pub fn after_a_refusal(&mut self, restart: &Restart, chance: u64) -> Duration {
        let plain = grown(restart, self.refusals_in_a_row);
        self.refusals_in_a_row = self.refusals_in_a_row.saturating_add(1);
        shaken(plain, chance)
    }

    /// A process is started, so whoever it was waited for came.
    pub(super) fn is_no_more_refused(&mut self) {
        self.refusals_in_a_row = 0;
    }

    /// Counts a death, if the definition wants them counted.
    fn is_too_often(&mut self, restart: &Restart, now: Instant) -> bool {
        let Some(give_up) = restart.give_up else {
            self.deaths.clear();
            return false;
        };
        self.deaths.push_back(now);
        while self
            .deaths
            .front()
            .is_some_and(|death| now.saturating_duration_since(*death) > give_up.within)
        {
            self.deaths.pop_front();
        }
        self.deaths.len() >= usize::try_from(give_up.deaths).unwrap_or(usize::MAX)
    }
}

/// The delay of the definition, doubled so often, as far as it may grow.
fn grown(restart: &Restart, doublings: u32) -> Duration {
    let factor = 1 << doublings.min(31);
    restart.delay.saturating_mul(factor).min(restart.max_delay)
}

/// Up to a tenth more.
fn shaken(plain: Duration, chance: u64) -> Duration {
    let tenth = u64::try_from(plain.as_micros() / 10).unwrap_or(u64::MAX - 1);
    plain + Duration::from_micros(chance % (tenth + 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::definition::{GiveUp, RestartPolicy};

    fn restart() -> Restart {
        Restart {
            policy: RestartPolicy::Always,
            delay: Duration::from_secs(1),
            max_delay: Duration::from_secs(5),
            give_up: None,
        }
    }

    #[test]
    fn the_delay_doubles_up_to_its_limit() {
        let (mut pacing, now) = (Pacing::default(), Instant::now());
        let delays: Vec<_> = (0..5)
            .filter_map(|_| pacing.after_a_death(&restart(), None, now, 0))
            .map(|delay| delay.as_secs())
            .collect();
        assert_eq!(delays, [1, 2, 4, 5, 5]);
    }

    #[test]
    fn a_healthy_run_resets_it_and_a_short_one_does_not() {
        let (mut pacing, now) = (Pacing::default(), Instant::now());
        let mut after = |ran| {
            pacing
                .after_a_death(&restart(), Some(ran), now, 0)
                .unwrap()
                .as_secs()
        };
        assert_eq!(after(Duration::ZERO), 1);
        assert_eq!(after(Duration::from_secs(9)), 2);
        assert_eq!(after(HEALTHY), 1);
    }

    #[test]
    fn a_run_shorter_than_the_last_pause_is_not_healthy() {
        let (mut pacing, now) = (Pacing::default(), Instant::now());
        let restart = Restart {
            delay: Duration::from_secs(60),
            max_delay: Duration::from_secs(600),
            ..restart()
        };
        let mut after = |ran| {
            pacing
                .after_a_death(&restart, Some(ran), now, 0)
                .unwrap()
                .as_secs()
        };
        assert_eq!(after(Duration::ZERO), 60);
        assert_eq!(after(Duration::from_secs(59)), 120);
        assert_eq!(after(Duration::from_secs(120)), 60);
    }

    #[test]
    fn jitter_is_at_most_a_tenth() {
        for chance in [0, 1, 99_999, u64::MAX] {
            let delay = Pacing::default()
                .after_a_death(&restart(), None, Instant::now(), chance)
                .unwrap();
            assert!(
                delay >= Duration::from_secs(1) && delay <= Duration::from_millis(1100),
                "{delay:?}"
            );
        }
    }

    #[test]
    fn it_gives_up_at_that_many_deaths_in_that_time() {
        let (mut pacing, begun) = (Pacing::default(), Instant::now());
        let within = Duration::from_secs(10);
        let restart = Restart {
            give_up: Some(GiveUp { deaths: 3, within }),
            ..restart()
        };
        let mut dies_at = |second| {
            let now = begun + Duration::from_secs(second);
            pacing.after_a_death(&restart, None, now, 0).is_some()
        };
        assert!(dies_at(0) && dies_at(6), "two are allowed");
        assert!(dies_at(11), "the first is long ago");
        assert!(!dies_at(15), "the third within ten seconds");
    }
}
