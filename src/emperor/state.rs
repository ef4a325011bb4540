//! The states of one vassal and the one table of its transitions.
//!
//! ```text
//!              start                   exec'd                 edited, removed
//!   waiting ----------> starting -----------------> running -----------------> stopping
//!      ^                   |  edited, removed: kill    |                        |     |
//!      |   back-off        v                           v          then: start   |     | then: leave
//!      +------------- (the end of a life) <------------+     starting <---------+     v
//!                          |                                                         gone
//!                          +--> down: its policy says so; until the file changes or "try now"
//! ```
//!
//! A state owns exactly what exists in it: a process exists in `Starting`, `Running` and `Stopping`, which
//! therefore carry its [`Life`], and in no other. An event about an earlier life never reaches the table.

use std::time::Instant;

use crate::config::Change;
use crate::config::definition::{Definition, RestartPolicy};

use super::pacing::Pacing;

/// One process of one vassal; never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Life(pub u64);

/// Where a vassal is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// No process; one is started at `until`.
    Waiting {
        /// The end of the back-off.
        until: Instant,
    },
    /// A process exists and has not reached the command's first instruction.
    Starting {
        /// The process.
        life: Life,
    },
    /// The command runs.
    Running {
        /// The process.
        life: Life,
        /// Its process id, as the emperor's pid namespace numbers it.
        pid: u32,
        /// When its first instruction ran.
        since: Instant,
    },
    /// The process was told to end.
    Stopping {
        /// The process.
        life: Life,
        /// When its whole tree is killed; absent = it has been.
        kill_at: Option<Instant>,
        /// What follows.
        then: Then,
    },
    /// No process, and none will be started before the file changes or the operator says "try now".
    Down {
        /// Why.
        end: End,
    },
    /// No process, no definition: the vassal can be forgotten.
    Gone,
}

impl State {
    /// The process that exists in this state.
    pub fn life(&self) -> Option<Life> {
        match self {
            Self::Starting { life } | Self::Running { life, .. } | Self::Stopping { life, .. } => Some(*life),
            Self::Waiting { .. } | Self::Down { .. } | Self::Gone => None,
        }
    }

    /// When the table wants to see [`Input::Deadline`].
    pub fn deadline(&self) -> Option<Instant> {
        match self {
            Self::Waiting { until } => Some(*until),
            Self::Stopping { kill_at, .. } => *kill_at,
            Self::Starting { .. } | Self::Running { .. } | Self::Down { .. } | Self::Gone => None,
        }
    }

    /// The state's name in `status`.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Waiting { .. } => "waiting",
            Self::Starting { .. } => "starting",
            Self::Running { .. } => "running",
            Self::Stopping { .. } => "stopping",
            Self::Down { end } if end.is_failure() => "failed",
            Self::Down { .. } => "ended",
            Self::Gone => "gone",
        }
    }
}

/// What follows a stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// A new process, under the newest definition.
    Start,
    /// Nothing.
    Leave,
}

/// How a life ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// It never reached the command's first instruction; the sentence says why.
    Stillborn(String),
    /// `exit(code)`.
    Exited(i32),
    /// Ended by this signal.
    Killed(i32),
}

impl End {
    /// Whether the policy `on-failure` starts it again.
    pub fn is_failure(&self) -> bool {
        *self != Self::Exited(0)
    }
}

impl std::fmt::Display for End {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Stillborn(why) => f.write_str(why),
            Self::Exited(code) => write!(f, "exited with code {code}"),
            Self::Killed(signal) => write!(f, "killed by signal {signal}"),
        }
    }
}

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
    /// The process is no more.
    Ended(End),
    /// The moment that [`State::deadline`] named has come.
    Deadline,
    /// The operator wants it started at once.
    TryNow,
}

/// What the table asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Start a process: this life.
    Spawn(Life),
    /// Ask it to end, with the definition's signal.
    Ask(Life),
    /// Kill its whole tree.
    Kill(Life),
    /// Apply the live keys of the newest definition.
    Update,
}

/// All that a transition may look at or count, beside the state itself.
pub struct Circumstances<'a> {
    /// The newest definition.
    pub definition: &'a Definition,
    /// The vassal's back-off.
    pub pacing: &'a mut Pacing,
    /// The number of the next life; taken by a start.
    pub next_life: &'a mut u64,
    /// Now.
    pub now: Instant,
    /// A random number, for jitter.
    pub chance: u64,
}

impl Circumstances<'_> {
    fn start(&mut self, orders: &mut Vec<Order>) -> State {
        let life = Life(*self.next_life);
        *self.next_life += 1;
        orders.push(Order::Spawn(life));
        State::Starting { life }
    }

    fn start_afresh(&mut self, orders: &mut Vec<Order>) -> State {
        *self.pacing = Pacing::default();
        self.start(orders)
    }

    fn stop(&self, life: Life, then: Then, orders: &mut Vec<Order>) -> State {
        orders.push(Order::Ask(life));
        State::Stopping {
            life,
            kill_at: Some(self.now + self.definition.stop.timeout),
            then,
        }
    }

    /// A life ended that nobody asked to end.
    fn after(&mut self, end: End, born: Option<Instant>) -> State {
        let restart = &self.definition.restart;
        let again = match restart.policy {
            RestartPolicy::Always => true,
            RestartPolicy::OnFailure => end.is_failure(),
            RestartPolicy::Never => false,
        };
        if !again {
            return State::Down { end };
        }
        let ran = born.map(|born| self.now.saturating_duration_since(born));
        let delay = self.pacing.after_a_death(restart, ran, self.chance);
        State::Waiting {
            until: self.now + delay,
        }
    }
}

fn kill(life: Life, then: Then, orders: &mut Vec<Order>) -> State {
    orders.push(Order::Kill(life));
    State::Stopping {
        life,
        kill_at: None,
        then,
    }
}

/// The table: what becomes of `state` when `input` happens.
#[allow(clippy::too_many_lines, reason = "one table on one screen is the point")]
pub fn step(state: State, input: Input, mut at: Circumstances<'_>, orders: &mut Vec<Order>) -> State {
    use Input::{Born, Deadline, Defined, Ended, Removed, TryNow};
    use State::{Down, Gone, Running, Starting, Stopping, Waiting};
    match (state, input) {
        // Waiting: an edit that matters is a reason to try at once.
        (Waiting { .. }, Defined(Change::Restart) | TryNow) => at.start_afresh(orders),
        (Waiting { until }, Deadline) if at.now >= until => at.start(orders),
        (Waiting { .. }, Removed) => Gone,
        (
            state @ Waiting { .. },
            Defined(Change::Nothing | Change::Live) | Born { .. } | Ended(_) | Deadline,
        ) => state,

        // Starting: the command has not run yet, so there is nobody to ask politely.
        (Starting { life }, Defined(Change::Restart)) => kill(life, Then::Start, orders),
        (Starting { life }, Removed) => kill(life, Then::Leave, orders),
        (Starting { life }, Born { pid }) => Running {
            life,
            pid,
            since: at.now,
        },
        (Starting { .. }, Ended(end)) => at.after(end, None),
        (state @ Starting { .. }, Defined(Change::Live)) => {
            orders.push(Order::Update);
            state
        }
        (state @ Starting { .. }, Defined(Change::Nothing) | Deadline | TryNow) => state,

        // Running.
        (Running { life, .. }, Defined(Change::Restart)) => at.stop(life, Then::Start, orders),
        (Running { life, .. }, Removed) => at.stop(life, Then::Leave, orders),
        (Running { since, .. }, Ended(end)) => at.after(end, Some(since)),
        (state @ Running { .. }, Defined(Change::Live)) => {
            orders.push(Order::Update);
            state
        }
        (state @ Running { .. }, Defined(Change::Nothing) | Born { .. } | Deadline | TryNow) => state,

        // Stopping: a file that comes back is started once the old process is gone, never beside it.
        (Stopping { life, kill_at, .. }, Defined(_)) => Stopping {
            life,
            kill_at,
            then: Then::Start,
        },
        (Stopping { life, kill_at, .. }, Removed) => Stopping {
            life,
            kill_at,
            then: Then::Leave,
        },
        (
            Stopping {
                then: Then::Start, ..
            },
            Ended(_),
        ) => at.start_afresh(orders),
        (
            Stopping {
                then: Then::Leave, ..
            },
            Ended(_),
        ) => Gone,
        (
            Stopping {
                life,
                kill_at: Some(kill_at),
                then,
            },
            Deadline,
        ) if at.now >= kill_at => kill(life, then, orders),
        (state @ Stopping { .. }, Born { .. } | Deadline | TryNow) => state,

        // Down.
        (Down { .. }, Defined(Change::Live | Change::Restart) | TryNow) => at.start_afresh(orders),
        (Down { .. }, Removed) => Gone,
        (state @ Down { .. }, Defined(Change::Nothing) | Born { .. } | Ended(_) | Deadline) => state,

        // Gone is the end.
        (Gone, Defined(_) | Removed | Born { .. } | Ended(_) | Deadline | TryNow) => Gone,
    }
}
