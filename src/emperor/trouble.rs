//! The third part of the table: what the host was told to do and could not, in each of the states.
//!
//! A birth that fails is the end of a life, a kill that fails is repeated by its deadline, a probe that fails is a command
//! that is not ready. What is left has no other way to be heard of than this: a reload of which the command cannot be told,
//! live keys that do not take effect, and a client who cannot be waited for.

use serde::{Deserialize, Serialize};

use crate::config::definition::Reload;

use super::moves::Circumstances;
use super::run::{Phase, Run};
use super::state::State;
use super::table::Order;

/// What was to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Deed {
    /// To ask the command to read its configuration anew.
    Reload,
    /// To apply live keys; each of them that does not take effect is a trouble of its own.
    Update,
    /// To wait for a client.
    Await,
}

/// Something that could not be done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble {
    /// What.
    pub deed: Deed,
    /// The sentence says why, and what holds instead.
    pub why: String,
}

/// What could not be done for one vassal and has not been done since.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Troubles {
    open: Vec<Trouble>,
    /// What is tried again now, and may work this time.
    retried: Vec<Trouble>,
}

impl Troubles {
    /// Those that an earlier emperor had.
    pub(super) fn resumed(open: Vec<Trouble>) -> Self {
        let retried = Vec::new();
        Self { open, retried }
    }

    /// Those that the operator is to see, in the order in which they came.
    pub fn open(&self) -> &[Trouble] {
        &self.open
    }

    /// It is tried, perhaps again.
    pub(super) fn retry(&mut self, deed: Deed) {
        let (retried, open) = std::mem::take(&mut self.open)
            .into_iter()
            .partition(|trouble| trouble.deed == deed);
        (self.retried, self.open) = (retried, open);
    }

    /// Takes in one more, in place of one that it follows; whether the operator has yet to hear of it. An edit and a reload are his own doing, and he hears
    /// each time how it went; that a client still cannot be waited for is said once.
    pub(super) fn add(&mut self, trouble: &Trouble) -> bool {
        if self.open.contains(trouble) {
            return false;
        }
        let is_news = match trouble.deed {
            Deed::Update => true,
            Deed::Reload => {
                self.open.retain(|other| other.deed != Deed::Reload);
                true
            }
            Deed::Await => {
                self.open.retain(|other| other.deed != Deed::Await);
                !self.retried.contains(trouble)
            }
        };
        self.open.push(trouble.clone());
        is_news
    }

    /// A new process has all that its definition asks for.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

/// What becomes of `state` when something that was to be done could not be.
pub(super) fn meet(
    state: State,
    trouble: Trouble,
    at: &mut Circumstances<'_>,
    orders: &mut Vec<Order>,
) -> State {
    use State::{Down, Gone, Idle, Running, Starting, Stopping, Waiting};
    match (state, trouble.deed) {
        // Nobody would notice a client. It is no death: nothing has run.
        (Idle, Deed::Await) => {
            orders.push(Order::Complain(trouble));
            let delay = at.pacing.after_a_refusal(&at.definition.restart, at.chance);
            State::Waiting {
                until: at.now + delay,
            }
        }
        // An earlier emperor left it like this. It is waited for again when its time comes.
        (state @ (Waiting { .. } | Running(_)), Deed::Await) => {
            orders.push(Order::Complain(trouble));
            state
        }
        (Running(run), Deed::Reload) => {
            orders.push(Order::Complain(trouble));
            Running(unasked(run, at))
        }
        // It goes on with what it had.
        (state @ (Starting { .. } | Running(_)), Deed::Update) => {
            orders.push(Order::Complain(trouble));
            state
        }
        // What it was for is over.
        (state @ (Starting { .. } | Stopping { .. } | Down { .. } | Gone), Deed::Await)
        | (
            state @ (Waiting { .. } | Idle | Starting { .. } | Stopping { .. } | Down { .. } | Gone),
            Deed::Reload,
        )
        | (state @ (Waiting { .. } | Idle | Stopping { .. } | Down { .. } | Gone), Deed::Update) => state,
    }
}

/// A command that could not be asked to reload does what it did before.
fn unasked(mut run: Run, at: &Circumstances<'_>) -> Run {
    run.asked = None;
    match (run.phase, at.definition.reload) {
        (Phase::Reloading { .. }, Reload::Emperor) => run.become_ready(at.now),
        // It began to by itself.
        (Phase::Reloading { .. }, Reload::Signal(_) | Reload::Restart)
        | (
            Phase::Rising { .. } | Phase::Ready | Phase::Leaving { .. },
            Reload::Emperor | Reload::Signal(_) | Reload::Restart,
        ) => {}
    }
    run
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trouble(deed: Deed, why: &str) -> Trouble {
        let why = why.to_owned();
        Trouble { deed, why }
    }

    #[test]
    fn one_that_is_tried_again_is_not_shown_and_said_only_if_it_is_another() {
        let mut troubles = Troubles::default();
        let taken = trouble(Deed::Await, "taken");
        assert!(troubles.add(&taken));
        assert!(!troubles.add(&taken), "twice the same");
        assert_eq!(troubles.open(), std::slice::from_ref(&taken));
        troubles.retry(Deed::Await);
        assert_eq!(troubles.open(), []);
        assert!(!troubles.add(&taken), "he knows");
        assert_eq!(troubles.open(), std::slice::from_ref(&taken));
        troubles.retry(Deed::Await);
        assert!(troubles.add(&trouble(Deed::Await, "no such directory")));
        assert!(troubles.add(&trouble(Deed::Await, "no such host")));
        assert_eq!(troubles.open(), [trouble(Deed::Await, "no such host")]);
        troubles.retry(Deed::Await);
        troubles.retry(Deed::Await); // it worked between the two
        assert!(troubles.add(&taken));
        let mut later = Troubles::resumed(troubles.open().to_vec());
        later.retry(Deed::Await);
        assert!(!later.add(&taken), "he knows from an earlier emperor");
    }

    #[test]
    fn each_edit_is_answered_and_ends_what_the_one_before_left() {
        let mut troubles = Troubles::default();
        let (limits, log) = (trouble(Deed::Update, "limits"), trouble(Deed::Update, "log"));
        let deaf = trouble(Deed::Reload, "deaf");
        assert!(troubles.add(&limits) && troubles.add(&deaf) && troubles.add(&log));
        assert_eq!(troubles.open(), [limits.clone(), deaf.clone(), log]);
        troubles.retry(Deed::Update);
        assert_eq!(troubles.open(), [deaf]);
        assert!(troubles.add(&limits), "it was edited again, in vain");
        troubles.clear();
        assert_eq!(troubles.open(), []);
    }
}
