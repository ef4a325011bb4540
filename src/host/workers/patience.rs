//! How long a worker that has nothing to do looks on before it sleeps.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// See [`Patience`].
const LOOK_ON: Duration = Duration::from_micros(50);
/// So many long frames within this time are a rush, which ends so long after the last of them. An answer of a few frames
/// is none.
const RUSH: Duration = Duration::from_millis(1);
const RUSHING: usize = 8;
/// A frame of more bytes than this is a super-frame of a stream.
pub(super) const LONG: usize = 4096;

/// Whether any of the workers moves a stream.
#[derive(Debug)]
pub(super) struct Rush {
    origin: Instant,
    /// Nanoseconds after `origin`.
    until: AtomicU64,
}

impl Rush {
    pub(super) fn new(origin: Instant) -> Self {
        Self {
            origin,
            until: AtomicU64::new(0),
        }
    }

    fn goes_on(&self, now: Instant) -> bool {
        self.nanoseconds(now) < self.until.load(Ordering::Relaxed)
    }

    fn prolong(&self, now: Instant) {
        self.until.store(self.nanoseconds(now + RUSH), Ordering::Relaxed);
    }

    fn nanoseconds(&self, at: Instant) -> u64 {
        let passed = at.saturating_duration_since(self.origin);
        u64::try_from(passed.as_nanos()).unwrap_or(u64::MAX)
    }
}

/// After traffic the next frame is probably near, and a sleep and a wake-up cost more than a look. A worker that
/// looks gives way to whoever else wants its core.
///
/// In a rush nobody looks: the cores are wanted by those who send and receive, and frames that gather while a worker
/// wakes up are carried together.
#[derive(Debug)]
pub(super) struct Patience {
    rush: Arc<Rush>,
    until: Option<Instant>,
    /// Long frames since then.
    long: usize,
    since: Option<Instant>,
}

impl Patience {
    pub(super) fn new(rush: Arc<Rush>) -> Self {
        Self {
            rush,
            until: None,
            long: 0,
            since: None,
        }
    }

    /// `frames` came at `now`, of which so many were `long`; whether to look again before sleeping.
    pub(super) fn after(&mut self, frames: usize, long: usize, now: Instant) -> bool {
        if long > 0 {
            self.count(long, now);
        }
        if frames > 0 {
            self.until = Some(now + LOOK_ON);
        }
        let on = self.until.is_some_and(|until| now < until) && !self.rush.goes_on(now);
        if !on {
            self.until = None;
        }
        on
    }

    fn count(&mut self, long: usize, now: Instant) {
        if self
            .since
            .is_none_or(|since| now.saturating_duration_since(since) > RUSH)
        {
            self.since = Some(now);
            self.long = 0;
        }
        self.long += long;
        if self.long >= RUSHING {
            self.rush.prolong(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_on_for_a_while_after_a_frame() {
        let now = Instant::now();
        let mut patience = Patience::new(Arc::new(Rush::new(now)));
        assert!(!patience.after(0, 0, now));
        assert!(patience.after(1, 0, now));
        assert!(patience.after(0, 0, now + LOOK_ON / 2));
        assert!(!patience.after(0, 0, now + LOOK_ON));
        assert!(!patience.after(0, 0, now + LOOK_ON / 2), "that look is over");
    }

    #[test]
    fn in_a_rush_nobody_looks_whoever_carries_it() {
        let now = Instant::now();
        let rush = Arc::new(Rush::new(now));
        let [mut carrier, mut other] = [(); 2].map(|()| Patience::new(rush.clone()));
        assert!(!carrier.after(RUSHING, RUSHING, now));
        assert!(!other.after(1, 0, now + RUSH / 2));
        assert!(other.after(1, 0, now + RUSH));
    }

    #[test]
    fn a_few_long_frames_are_no_rush() {
        let now = Instant::now();
        let mut patience = Patience::new(Arc::new(Rush::new(now)));
        for turn in 0..20 {
            assert!(patience.after(5, 4, now + turn * 2 * RUSH));
        }
        let last = now + 40 * RUSH;
        assert!(patience.after(4, 4, last));
        assert!(!patience.after(4, 4, last + RUSH / 2), "these follow at once");
    }
}
