//! The one table of transitions: what becomes of a vassal when something happens.
//!
//! Every state meets every input, without a wildcard: a new state or input does not compile before each
//! meeting has been thought about. What a running command says about itself meets each of its phases in
//! `heed`, the second part of the table; what the host could not do meets each state in `trouble`, the third.

use std::time::Duration;

use crate::config::Change;
use crate::config::definition::Ready;

use super::heed::{adopt, follow, heed, overdue, reload};
use super::moves::{Circumstances, wait_for_client};
use super::run::{Run, Word};
use super::state::{End, Fault, Life, State, Then};
use super::trouble::{Trouble, meet};

/// What happens to one vassal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// Its definition was read anew; it differs from the one before like this.
    Defined(Change),
    /// Its definition is gone, or the emperor ends.
    Removed,
    /// The command's first instruction runs.
    Born {
        /// Its process id.
        pid: u32,
    },
    /// An earlier emperor's process was found alive.
    Adopted(Run),
    /// The process is no more.
    Ended(End),
    /// The command says something about itself.
    Says(Word),
    /// A client waits for it.
    Demand,
    /// The host could not do what the table asked for.
    Failed(Trouble),
    /// The moment that [`State::deadline`] named has come.
    Deadline,
    /// The operator wants it to read its configuration anew.
    Reload,
    /// The operator wants it started at once.
    TryNow,
    /// The operator wants it killed at once, if it is stopping.
    Hurry,
}

/// What the table asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// Start a process: this life.
    Spawn(Life),
    /// Find out when it can be connected to, and say [`Word::Ready`] then.
    Probe(Life),
    /// Ask it to reload, as the definition says.
    Reload(Life),
    /// Ask it to end, as the definition says.
    Ask(Life),
    /// Kill its whole tree.
    Kill(Life),
    /// Apply the live keys of the newest definition.
    Update,
    /// Wait for a client; there is no process.
    Await,
    /// Tell the operator.
    Say(Notice),
    /// Tell the operator what could not be done, and keep it for the status.
    Complain(Trouble),
}

/// What the operator should know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notice {
    /// It is ready.
    Ready,
    /// It did not say within this time that it is ready, but may have while there was no emperor; it counts as ready.
    Unheard(Duration),
    /// It did not say within this time that its reload is done.
    ReloadLate(Duration),
    /// It is ended for this.
    Fault(Fault),
    /// It ends by itself.
    Leaving,
}

/// The table: what becomes of `state` when `input` happens.
#[allow(clippy::too_many_lines, reason = "one table on one screen is the point")]
pub fn step(state: State, input: Input, mut at: Circumstances<'_>, orders: &mut Vec<Order>) -> State {
    use Input::{
        Adopted, Born, Deadline, Defined, Demand, Ended, Failed, Hurry, Reload, Removed, Says, TryNow,
    };
    use State::{Down, Gone, Idle, Running, Starting, Stopping, Waiting};
    match (state, input) {
        (state, Failed(trouble)) => meet(state, trouble, &mut at, orders),

        // Waiting: an edit that matters is a reason to try at once.
        (Waiting { .. }, Defined(Change::Restart)) => at.begin(orders),
        (Waiting { .. }, TryNow) => at.begin(orders),
        (Waiting { until }, Deadline) if at.now >= until => {
            if at.definition.on_demand.is_some() {
                wait_for_client(orders)
            } else {
                at.start(orders)
            }
        }
        (Waiting { .. }, Removed) => Gone,
        (Waiting { .. }, Adopted(run)) => adopt(run, orders, &at),
        (
            state @ Waiting { .. },
            Defined(Change::Nothing | Change::Live)
            | Born { .. }
            | Ended(_)
            | Says(_)
            | Demand
            | Deadline
            | Reload
            | Hurry,
        ) => state,

        // Idle: a client is what it waits for, and nothing else starts it.
        (Idle, Demand) => at.start(orders),
        (Idle, Defined(Change::Restart)) => at.begin(orders),
        (Idle, Removed) => Gone,
        (Idle, Adopted(run)) => adopt(run, orders, &at),
        (
            Idle,
            Defined(Change::Nothing | Change::Live)
            | Born { .. }
            | Ended(_)
            | Says(_)
            | Deadline
            | Reload
            | TryNow
            | Hurry,
        ) => Idle,

        // Starting: the command has not run yet, so there is nobody to ask politely.
        (Starting { life, .. }, Defined(Change::Restart)) => at.kill(life, None, Then::Start, orders),
        (Starting { life, .. }, Removed) => at.kill(life, None, Then::Leave, orders),
        (Starting { life, .. }, Says(Word::Fault(fault))) => {
            orders.push(Order::Say(Notice::Fault(fault)));
            at.kill(life, None, Then::Again(fault), orders)
        }
        (Starting { life, until }, Deadline) if at.now >= until => {
            let fault = Fault::NotBorn(at.birth_limit());
            orders.push(Order::Say(Notice::Fault(fault)));
            at.kill(life, None, Then::Again(fault), orders)
        }
        (Starting { life, .. }, Born { pid }) => {
            let run = Run::new(life, pid, at.now, at.definition);
            if run.is_ready() {
                orders.push(Order::Say(Notice::Ready));
            } else if let Ready::Tcp(_) = at.definition.ready {
                orders.push(Order::Probe(life));
            }
            Running(run)
        }
        (Starting { .. }, Ended(end)) => at.after(end, None, orders),
        (state @ Starting { .. }, Defined(Change::Live)) => {
            orders.push(Order::Update);
            state
        }
        (state @ Starting { .. }, Adopted(run)) => {
            orders.push(Order::Kill(run.life)); // never two
            state
        }
        (
            state @ Starting { .. },
            Defined(Change::Nothing)
            | Says(
                Word::Ready
                | Word::Reloading(_)
                | Word::Leaving
                | Word::Alive
                | Word::Every(_)
                | Word::Extend(_)
                | Word::MainPid(_)
                | Word::Rest
                | Word::Unused,
            )
            | Demand
            | Deadline
            | Reload
            | TryNow
            | Hurry,
        ) => state,

        // Running.
        (Running(run), Defined(Change::Restart)) => at.stop(&run, Then::Start, orders),
        (Running(run), Removed) => at.stop(&run, Then::Leave, orders),
        (Running(run), Ended(end)) => at.after(end, Some(run.since), orders),
        (Running(run), Says(word)) => heed(run, word, &at, orders),
        (Running(run), Deadline) => overdue(run, &at, orders),
        (Running(run), Reload) => reload(run, &at, orders),
        (Running(run), Defined(Change::Live)) => {
            orders.push(Order::Update);
            follow(run, &at, orders)
        }
        (Running(run), Adopted(other)) => {
            orders.push(Order::Kill(other.life)); // never two
            Running(run)
        }
        (Running(run), Defined(Change::Nothing) | Born { .. } | Demand | TryNow | Hurry) => Running(run),

        // Stopping: what comes back is started once the old process is gone, never beside it.
        (
            Stopping {
                then: Then::Leave,
                life,
                born,
                kill_at,
                latest,
            },
            Defined(_),
        )
        | (
            Stopping {
                then: Then::Start | Then::Again(_) | Then::Rest,
                life,
                born,
                kill_at,
                latest,
            },
            Defined(Change::Restart),
        )
        | (
            Stopping {
                then: Then::Again(_),
                life,
                born,
                kill_at,
                latest,
            },
            TryNow,
        )
        | (
            Stopping {
                then: Then::Rest,
                life,
                born,
                kill_at,
                latest,
            },
            Demand,
        ) => Stopping {
            life,
            born,
            kill_at,
            latest,
            then: Then::Start,
        },
        (
            Stopping {
                life,
                born,
                kill_at,
                latest,
                ..
            },
            Removed,
        ) => Stopping {
            life,
            born,
            kill_at,
            latest,
            then: Then::Leave,
        },
        (
            Stopping {
                then: Then::Start, ..
            },
            Ended(_),
        ) => at.begin(orders),
        (
            Stopping {
                then: Then::Again(fault),
                born,
                ..
            },
            Ended(_),
        ) => at.after(End::Felled(fault), born, orders),
        (Stopping { then: Then::Rest, .. }, Ended(end)) => at.rest(end, orders),
        (
            Stopping {
                then: Then::Leave, ..
            },
            Ended(_),
        ) => Gone,
        (
            Stopping {
                life,
                born,
                kill_at,
                then,
                ..
            },
            Deadline,
        ) if at.now >= kill_at => at.kill(life, born, then, orders),
        (Stopping { life, born, then, .. }, Hurry) => at.kill(life, born, then, orders),
        (
            Stopping {
                life,
                born,
                kill_at,
                latest,
                then,
            },
            Says(Word::Extend(more)),
        ) => Stopping {
            life,
            born,
            kill_at: kill_at.max(at.now + more).min(latest),
            latest,
            then,
        },
        (state @ Stopping { .. }, Adopted(run)) => {
            orders.push(Order::Kill(run.life)); // never two
            state
        }
        (
            state @ Stopping { .. },
            Defined(Change::Nothing | Change::Live)
            | Born { .. }
            | Says(
                Word::Ready
                | Word::Reloading(_)
                | Word::Leaving
                | Word::Alive
                | Word::Every(_)
                | Word::MainPid(_)
                | Word::Rest
                | Word::Unused
                | Word::Fault(_),
            )
            | Demand
            | Deadline
            | Reload
            | TryNow,
        ) => state,

        // Down.
        (Down { .. }, Defined(Change::Live | Change::Restart)) => at.begin(orders),
        (Down { end, why }, TryNow) if why.is_failure(&end) => at.begin(orders),
        (Down { .. }, Removed) => Gone,
        (Down { .. }, Adopted(run)) => adopt(run, orders, &at),
        (
            state @ Down { .. },
            Defined(Change::Nothing)
            | Born { .. }
            | Ended(_)
            | Says(_)
            | Demand
            | Deadline
            | Reload
            | TryNow
            | Hurry,
        ) => state,

        // Gone is the end.
        (Gone, Adopted(run)) => {
            orders.push(Order::Kill(run.life));
            Gone
        }
        (
            Gone,
            Defined(_)
            | Removed
            | Born { .. }
            | Ended(_)
            | Says(_)
            | Demand
            | Deadline
            | Reload
            | TryNow
            | Hurry,
        ) => Gone,
    }
}
