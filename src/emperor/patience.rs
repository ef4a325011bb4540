//! Whether a deadline that has passed may be judged, or the emperor itself was late.
//!
//! An emperor that was stopped, or that a busy machine kept from running, wakes up with every deadline passed and every
//! word of its vassals unread. It listens for a moment before it holds their silence against them.

use std::time::{Duration, Instant};

/// A timer is never more than this behind on a machine that keeps up.
const LATE: Duration = Duration::from_millis(250);
/// How long it listens then.
const MOMENT: Duration = Duration::from_millis(250);

/// Remembers that the emperor is listening.
#[derive(Debug, Clone, Copy, Default)]
pub struct Patience(Option<Instant>);

impl Patience {
    /// When to look again for a deadline at `due`.
    pub fn until(self, due: Instant) -> Instant {
        self.0.map_or(due, |listening| listening.max(due))
    }

    /// Whether the deadline at `due` may be judged at `now`.
    pub fn is_over(&mut self, due: Instant, now: Instant) -> bool {
        match self.0 {
            Some(listening) if now < listening => return false,
            Some(_) => self.0 = None,
            None if now.saturating_duration_since(due) > LATE => {
                self.0 = Some(now + MOMENT);
                return false;
            }
            None => {}
        }
        due <= now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_emperor_that_is_in_time_judges_at_once() {
        let due = Instant::now();
        let mut patience = Patience::default();
        assert!(!patience.is_over(due, due - MOMENT));
        assert!(patience.is_over(due, due + Duration::from_millis(2)));
        assert_eq!(patience.until(due), due);
    }

    #[test]
    fn one_that_was_late_listens_first_and_then_judges() {
        let due = Instant::now();
        let mut patience = Patience::default();
        let woken = due + Duration::from_secs(30);
        assert!(!patience.is_over(due, woken));
        assert_eq!(patience.until(due), woken + MOMENT);
        assert!(!patience.is_over(due, woken + MOMENT / 2));
        assert!(patience.is_over(due, woken + MOMENT), "not for ever");
        assert_eq!(patience.until(due), due);
    }
}
