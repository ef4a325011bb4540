//! What the emperor and the host tell each other.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use ipnet::IpNet;

use crate::config::definition::{Farewell, Reload};
use crate::config::{Definition, Name};

use super::pacing::Pacing;
use super::run::Word;
use super::state::{End, Life, Rest, State};
use super::table::Notice;
use super::trouble::Trouble;

/// What happened.
#[derive(Debug, Clone)]
pub enum Event {
    /// A good definition was read.
    Defined(Box<Definition>),
    /// This file is gone.
    Removed(PathBuf),
    /// The command of this life runs.
    Born {
        /// Whose.
        name: Name,
        /// Which process.
        life: Life,
        /// Its process id.
        pid: u32,
    },
    /// An earlier emperor left this vassal.
    Adopted(Box<Adoption>),
    /// The command of this life says something about itself, or the host about it.
    Says {
        /// Whose.
        name: Name,
        /// Which process.
        life: Life,
        /// What.
        word: Word,
    },
    /// A client waits for this vassal.
    Demand(Name),
    /// This life is over.
    Ended {
        /// Whose.
        name: Name,
        /// Which process.
        life: Life,
        /// How.
        end: End,
    },
    /// One of the [`Action`]s below could not be done.
    Failed {
        /// For whom.
        name: Name,
        /// The process for which it was to be done; absent if there was none.
        life: Option<Life>,
        /// What, and why not.
        trouble: Trouble,
    },
    /// A deadline may have come.
    Deadline,
    /// All are to read their configuration anew, as each definition says.
    Reload,
    /// Forget the back-off of all.
    TryNow,
    /// Stop all, for good; definitions are ignored from here on.
    StopAll,
    /// Whoever is still stopping is killed at once.
    Hurry,
}

/// A vassal of an earlier emperor.
#[derive(Debug, Clone)]
pub struct Adoption {
    /// What it was started from, with whatever was live since.
    pub definition: Definition,
    /// Bound to it.
    pub addresses: Vec<IpNet>,
    /// Where it is: [`State::Running`] with what [`Run::adopted`](super::Run::adopted) makes,
    /// [`State::Stopping`] with what is left of its time, or a state without a process.
    pub state: State,
    /// Its last process.
    pub life: Life,
    /// How often a process was started after the first.
    pub restarts: u64,
    /// Its back-off; [`Pacing::resumed`] makes it.
    pub pacing: Pacing,
    /// How the life before this one ended.
    pub last_end: Option<End>,
    /// What could not be done for it.
    pub troubles: Vec<Trouble>,
}

/// What the host is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Give birth.
    Spawn {
        /// Which process.
        life: Life,
        /// To whom.
        definition: Arc<Definition>,
        /// Bound to it.
        addresses: Vec<IpNet>,
    },
    /// Try whether this port can be connected to, until it can; then say [`Word::Ready`].
    Probe {
        /// Whose.
        name: Name,
        /// Which process.
        life: Life,
        /// The TCP port, on each of the vassal's addresses.
        port: u16,
    },
    /// Ask the command to read its configuration anew; [`Event::Failed`] if it cannot be asked.
    Reload {
        /// Whom.
        name: Name,
        /// Which process.
        life: Life,
        /// How; never [`Reload::Restart`].
        by: Reload,
    },
    /// Ask the command to end.
    Ask {
        /// Whom.
        name: Name,
        /// Which process.
        life: Life,
        /// How.
        by: Farewell,
    },
    /// Kill the whole tree.
    Kill {
        /// Whose.
        name: Name,
        /// Which process.
        life: Life,
    },
    /// Apply the keys that are live: firewall, log; an [`Event::Failed`] for each that does not take effect.
    Update {
        /// The newest definition.
        definition: Arc<Definition>,
    },
    /// There is no process; a client is waited for, or [`Event::Failed`].
    Await(Name),
    /// Tell the operator.
    Say {
        /// About whom.
        name: Name,
        /// What.
        notice: Notice,
    },
    /// Tell the operator what could not be done; the vassal's [`Troubles`](super::trouble::Troubles) have it for the status.
    Complain {
        /// For whom.
        name: Name,
        /// What, and why not.
        trouble: Trouble,
    },
    /// The vassal is gone and all of it can be forgotten.
    Forget(Name),
    /// A good definition cannot be used; the sentence names both files or the full subnet.
    Refuse {
        /// Whose.
        definition: Arc<Definition>,
        /// Why.
        why: String,
    },
    /// The vassal will not be started again before its file changes.
    Abandon {
        /// Whose.
        name: Name,
        /// Its last end.
        end: End,
        /// Why.
        why: Rest,
    },
    /// The vassal is started again at this moment.
    Retry {
        /// Whose.
        name: Name,
        /// Its last end.
        end: End,
        /// When.
        at: Instant,
    },
}
