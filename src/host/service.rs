//! The service manager that started the emperor, told how it is: `sd_notify(3)`, `Type=notify-reload`.
//!
//! Without a `NOTIFY_SOCKET` nothing is said and nothing wakes up. The watchdog is fed only if the loop that
//! feeds it turns, which it does by feeding, and every router thread has answered a poke since the last time.

use std::time::{Duration, Instant};

use sd_notify::NotifyState;

use super::pulse::Pulse;

/// A status line is sent at most this often.
const STATUS_PAUSE: Duration = Duration::from_secs(1);

/// What the service manager was told and wants to know.
pub struct Service {
    listens: bool,
    status: Status,
    watchdog: Option<Watchdog>,
}

/// The line that `systemctl status` shows.
#[derive(Default)]
struct Status {
    told: String,
    wanted: String,
    not_before: Option<Instant>,
}

struct Watchdog {
    every: Duration,
    next: Instant,
    turns: Vec<u64>,
    /// It was not fed the last time.
    starved: bool,
}

impl Service {
    /// Reads `NOTIFY_SOCKET` and `WATCHDOG_USEC`.
    pub fn detect(now: Instant) -> Self {
        let listens = std::env::var_os("NOTIFY_SOCKET").is_some();
        // Half the time: a sign of life may come late once.
        let every = sd_notify::watchdog_enabled().filter(|limit| listens && !limit.is_zero());
        Self {
            listens,
            status: Status::default(),
            watchdog: every.map(|limit| Watchdog {
                every: limit / 2,
                next: now,
                turns: Vec::new(),
                starved: false,
            }),
        }
    }

    /// The router forwards and the first look at the directories is done, or a reload is.
    pub fn ready(&self) {
        self.say(&[NotifyState::Ready]);
    }

    /// A reload begins; the time is what `Type=notify-reload` matches it with its request by.
    pub fn reloading(&self) {
        match NotifyState::monotonic_usec_now() {
            Ok(now) => self.say(&[NotifyState::Reloading, now]),
            Err(error) => tracing::error!(%error, "the service manager is not told of the reload"),
        }
    }

    /// The emperor ends.
    pub fn stopping(&self) {
        self.say(&[NotifyState::Stopping]);
    }

    /// Has this line shown, now or when the last one is old enough.
    pub fn status(&mut self, line: impl FnOnce() -> String, now: Instant) {
        if self.listens {
            self.status.wanted = line();
            self.tell_status(now);
        }
    }

    /// When [`turn`](Self::turn) is due.
    pub fn deadline(&self) -> Option<Instant> {
        let status = self
            .status
            .not_before
            .filter(|_| self.status.told != self.status.wanted);
        let watchdog = self.watchdog.as_ref().map(|watchdog| watchdog.next);
        [status, watchdog].into_iter().flatten().min()
    }

    /// Says what is due. `poke` makes every worker turn.
    pub fn turn(&mut self, now: Instant, pulse: &Pulse, poke: impl FnOnce()) {
        self.tell_status(now);
        let Some(watchdog) = self.watchdog.as_mut().filter(|watchdog| watchdog.next <= now) else {
            return;
        };
        let turns = pulse.turns();
        let alive = watchdog.all_turned(&turns);
        watchdog.turns = turns;
        watchdog.next = now + watchdog.every;
        let was_starved = std::mem::replace(&mut watchdog.starved, !alive);
        poke();
        if alive {
            self.say(&[NotifyState::Watchdog]);
        } else if !was_starved {
            tracing::error!("a router thread does not turn; the service manager's watchdog is not fed");
        }
    }

    fn tell_status(&mut self, now: Instant) {
        let Status {
            told,
            wanted,
            not_before,
        } = &mut self.status;
        if told == wanted || not_before.is_some_and(|at| now < at) {
            return;
        }
        told.clone_from(wanted);
        *not_before = Some(now + STATUS_PAUSE);
        let line = told.clone();
        self.say(&[NotifyState::Status(&line)]);
    }

    fn say(&self, words: &[NotifyState<'_>]) {
        if self.listens
            && let Err(error) = sd_notify::notify(words)
        {
            tracing::warn!(%error, "the service manager cannot be told");
        }
    }
}

impl Watchdog {
    /// Whether each thread has turned since the last time; the first time there is nothing to compare with.
    fn all_turned(&self, turns: &[u64]) -> bool {
        self.turns.iter().zip(turns).all(|(before, now)| before != now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_thread_that_does_not_turn_is_enough() {
        let watchdog = Watchdog {
            every: Duration::from_secs(1),
            next: Instant::now(),
            turns: vec![3, 3],
            starved: false,
        };
        assert!(watchdog.all_turned(&[4, 9]));
        assert!(!watchdog.all_turned(&[4, 3]));
    }

    #[test]
    fn an_emperor_that_nobody_listens_to_has_no_deadline() {
        let mut service = Service {
            listens: false,
            status: Status::default(),
            watchdog: None,
        };
        service.status(|| "1 vassal".to_owned(), Instant::now());
        assert_eq!(service.deadline(), None);
    }
}
