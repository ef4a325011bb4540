//! The states of one vassal. What leads from one to the next is in [`table`](super::table).
//!
//! ```text
//!              start                   exec'd                 edited, removed, at fault
//!   waiting ----------> starting -----------------> running -----------------> stopping
//!    ^   |  ^              |  edited, removed: kill    |                        |  |  |
//!    |   |  | back-off     v                           v          then: start   |  |  | then: leave
//!    |   |  +---------- (the end of a life) <----------+     starting <---------+  |  v
//!    |   | on demand       |                                                       | gone
//!    |   v                 +--> down: until the file changes or "try now"          |
//!    |  idle <------------------------------------------- then: rest --------------+
//!    |   | first client
//!    +---+--> starting
//! ```
//!
//! An idle vassal whose client could not be noticed waits, too, and is idle again after its back-off.
//!
//! A state owns exactly what exists in it: a process exists in `Starting`, `Running` and `Stopping`, which
//! therefore carry its [`Life`], and in no other. An event about an earlier life never reaches the table.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::run::Run;

/// One process of one vassal; never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Life(pub u64);

/// Where a vassal is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// No process; the next is started at `until` (or waited for, if it is started on demand).
    Waiting {
        /// The end of the back-off.
        until: Instant,
    },
    /// No process; the first client has one started.
    Idle,
    /// A process exists and has not reached the command's first instruction.
    Starting {
        /// The process.
        life: Life,
        /// When it has taken too long.
        until: Instant,
    },
    /// The command runs.
    Running(Run),
    /// The process was told to end.
    Stopping {
        /// The process.
        life: Life,
        /// When the command's first instruction ran; absent = it never did.
        born: Option<Instant>,
        /// When its whole tree is killed, again if need be.
        kill_at: Instant,
        /// However often it asks for more time: not later than this.
        latest: Instant,
        /// What follows.
        then: Then,
    },
    /// No process, and none will be started before the file changes or the operator says "try now".
    Down {
        /// Its last end.
        end: End,
        /// Why it is not started again.
        why: Rest,
    },
    /// No process, no definition: the vassal can be forgotten.
    Gone,
}

impl State {
    /// The process that exists in this state.
    pub fn life(&self) -> Option<Life> {
        match self {
            Self::Starting { life, .. } | Self::Stopping { life, .. } => Some(*life),
            Self::Running(run) => Some(run.life),
            Self::Waiting { .. } | Self::Idle | Self::Down { .. } | Self::Gone => None,
        }
    }

    /// The command that runs; absent in every other state.
    pub fn run(&self) -> Option<&Run> {
        match self {
            Self::Running(run) => Some(run),
            Self::Waiting { .. }
            | Self::Idle
            | Self::Starting { .. }
            | Self::Stopping { .. }
            | Self::Down { .. }
            | Self::Gone => None,
        }
    }

    /// Why no process will be started by itself.
    pub fn rest(&self) -> Option<&Rest> {
        match self {
            Self::Down { why, .. } => Some(why),
            Self::Waiting { .. }
            | Self::Idle
            | Self::Starting { .. }
            | Self::Running(_)
            | Self::Stopping { .. }
            | Self::Gone => None,
        }
    }

    /// When the table wants to see `Input::Deadline`.
    pub fn deadline(&self) -> Option<Instant> {
        match self {
            Self::Waiting { until } | Self::Starting { until, .. } => Some(*until),
            Self::Stopping { kill_at, .. } => Some(*kill_at),
            Self::Running(run) => run.deadline(),
            Self::Idle | Self::Down { .. } | Self::Gone => None,
        }
    }

    /// The state's name in `status`.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Waiting { .. } => "waiting",
            Self::Idle => "idle",
            Self::Starting { .. } => "starting",
            Self::Running(_) => "running",
            Self::Stopping { .. } => "stopping",
            Self::Down { end, why } if why.is_failure(end) => "failed",
            Self::Down { .. } => "ended",
            Self::Gone => "gone",
        }
    }
}

/// What follows a stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Then {
    /// A new process (or waiting for a client) under the newest definition.
    Start,
    /// What its restart policy says: the emperor ended it for this.
    Again(Fault),
    /// Nothing until a client comes; without `on_demand`, until the file changes.
    Rest,
    /// Nothing, for good.
    Leave,
}

/// Why a vassal is not started again by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rest {
    /// Its restart policy.
    Policy,
    /// It exited with [`EXILE`].
    Exile,
    /// It died too often in too short a time.
    GaveUp {
        /// How often.
        deaths: u32,
        /// In which time.
        within: Duration,
    },
    /// It asked to be stopped.
    Asked,
}

/// The exit code by which a vassal says that it is not to be started again as it is: uWSGI's
/// `UWSGI_EXILE_CODE`.
pub const EXILE: i32 = 26;

impl Rest {
    /// Whether a vassal that rests for this after `end` has failed.
    pub fn is_failure(&self, end: &End) -> bool {
        match self {
            // However it ended then, it was asked to.
            Self::Asked => false,
            Self::Policy | Self::Exile | Self::GaveUp { .. } => end.is_failure(),
        }
    }
}

impl std::fmt::Display for Rest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Policy => f.write_str("its restart policy"),
            Self::Exile => write!(f, "it exited with {EXILE}, which asks for that"),
            Self::GaveUp { deaths, within } => write!(f, "{deaths} deaths within {within:?}"),
            Self::Asked => f.write_str("it asked to be stopped"),
        }
    }
}

/// What the emperor ends a vassal for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// The command's first instruction was not reached in this time.
    NotBorn(Duration),
    /// It was not ready in this time.
    NotReady(Duration),
    /// It gave no sign of life for this time.
    Watchdog(Duration),
    /// It said `WATCHDOG=trigger`.
    Trigger,
    /// It said that it ends, and did not in this time.
    Lingering(Duration),
    /// Its tun was taken away from inside.
    DeviceLost,
    /// Its addresses lie in no subnet of the router any more.
    Displaced,
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotBorn(limit) => write!(f, "its command was not executed within {limit:?}"),
            Self::NotReady(limit) => write!(f, "it was not ready within {limit:?}"),
            Self::Watchdog(limit) => write!(f, "it missed its watchdog of {limit:?}"),
            Self::Trigger => f.write_str("it said WATCHDOG=trigger"),
            Self::Lingering(limit) => write!(f, "it said that it stops and did not within {limit:?}"),
            Self::DeviceLost => f.write_str("its tun was taken away from inside"),
            Self::Displaced => f.write_str("its addresses are in no subnet of the router any more"),
        }
    }
}

/// How a life ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// It never reached the command's first instruction; the sentence says why.
    Stillborn(String),
    /// `exit(code)`.
    Exited(i32),
    /// Ended by this signal.
    Killed(i32),
    /// The kernel ended it: it needed more memory than its limits give it.
    OutOfMemory,
    /// The emperor ended it.
    Felled(Fault),
    /// It ended where nobody could see how.
    Unknown,
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
            Self::OutOfMemory => {
                f.write_str("killed by the kernel: it needed more memory than `limits.memory`")
            }
            Self::Felled(fault) => write!(f, "ended by the emperor: {fault}"),
            Self::Unknown => f.write_str("ended, its exit status is unknown"),
        }
    }
}
