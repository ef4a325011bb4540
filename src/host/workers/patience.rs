//! How long a worker that has nothing to do looks on before it sleeps.

use std::time::{Duration, Instant};

/// See [`Patience`].
const LOOK_ON: Duration = Duration::from_micros(50);

/// After traffic the next frame is probably near, and a sleep and a wake-up cost more than a look. A worker that
/// looks gives way to whoever else wants its core.
#[derive(Debug, Default)]
pub(super) struct Patience {
    until: Option<Instant>,
}

impl Patience {
    /// `frames` came at `now`; whether to look again before sleeping.
    pub(super) fn after(&mut self, frames: usize, now: Instant) -> bool {
        if frames > 0 {
            self.until = Some(now + LOOK_ON);
        }
        let on = self.until.is_some_and(|until| now < until);
        if !on {
            self.until = None;
        }
        on
    }
}
