//! What is written down of one vassal, so that another emperor can go on with it.
//!
//! A later version reads what an earlier one wrote. What it cannot read at all still names what must end before there
//! is another process of that name: [`Remains`].

use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::config::{Definition, Name};
use crate::emperor::state::{End, Life, Rest, Then};
use crate::emperor::{Past, Trouble};
use crate::router::Traffic;

use super::clock::Moment;
use super::limits::Cages;
use super::process::{self, Process};

/// One vassal, for whoever looks from outside and for the next emperor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Its name.
    pub name: Name,
    /// Its state in a word.
    pub state: String,
    /// Whether its command runs and is ready.
    pub ready: bool,
    /// Process id of the command; absent unless it runs.
    pub pid: Option<u32>,
    /// Inode of its network namespace: `stat -L /proc/PID/ns/net`; absent without a process.
    pub netns: Option<u64>,
    /// Name of the tun inside.
    pub device: String,
    /// Its addresses with their lengths.
    pub addresses: Vec<IpNet>,
    /// The file it came from.
    pub definition: PathBuf,
    /// The boot that the rest is about.
    pub boot: String,
    /// How often a process was started after the first.
    pub restarts: u64,
    /// How many deaths in a row its back-off counts.
    pub deaths_in_a_row: u32,
    /// The delay after the last of them.
    #[serde(default)]
    pub last_delay: Duration,
    /// How often in a row it could not be waited for a client.
    #[serde(default)]
    pub refusals_in_a_row: u32,
    /// The deaths that `give_up` counts, the oldest first.
    #[serde(default)]
    pub deaths: Vec<Moment>,
    /// What it says that it does.
    pub status: Option<String>,
    /// Why it is not started again.
    pub why: Option<String>,
    /// How its last life ended.
    pub last_end: Option<End>,
    /// What could not be done for it.
    #[serde(default)]
    pub troubles: Vec<Trouble>,
    /// What it moved and lost in all its lives.
    pub traffic: Traffic,
    /// What became of its output.
    #[serde(default)]
    pub log: LogRecord,
    /// Where it is, as far as another emperor can go on from there.
    pub kept: Kept,
    /// The definition that its process was started with, or will be.
    pub under: Box<Definition>,
}

impl Record {
    /// Whether it is not known if its command was reached.
    pub fn is_being_born(&self) -> bool {
        match &self.kept {
            Kept::Alive(body) => body.born.is_none(),
            Kept::Unborn { .. } | Kept::Waiting { .. } | Kept::Idle | Kept::Down { .. } => false,
        }
    }
}

/// What became of a vassal's output.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogRecord {
    /// Bytes of it that were dropped, in all its lives.
    pub dropped: u64,
}

/// Where a vassal is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kept {
    /// A process is made, or its network is. It waits at its gate and ends by itself if its emperor does.
    Unborn {
        /// Which.
        life: Life,
        /// The cgroup of its tree, if it has one.
        tree: Option<PathBuf>,
        /// The cgroups of its limits.
        #[serde(default)]
        cages: Cages,
    },
    /// Everything is made. Until it is `born` its gate may or may not have opened.
    Alive(Box<LifeRecord>),
    /// No process; the next is started then.
    Waiting {
        /// The end of the back-off.
        until: Moment,
    },
    /// No process; the first client has one started.
    Idle,
    /// No process, and none will be started.
    Down {
        /// Its last end.
        end: End,
        /// Why it is not started again.
        why: Rest,
    },
}

/// A process with all that belongs to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LifeRecord {
    /// Which life.
    pub life: Life,
    /// The first process of its tree.
    pub process: Process,
    /// Inode of its network namespace.
    pub netns: u64,
    /// Index of the tun inside.
    pub index: u32,
    /// The cgroup of its tree, if it has one.
    pub tree: Option<PathBuf>,
    /// The cgroups of its limits.
    #[serde(default)]
    pub cages: Cages,
    /// Its main process, if it has named another one.
    pub main: Option<Process>,
    /// The number of its control socket, if it was given one.
    pub channel: Option<i32>,
    /// When the command's first instruction ran; absent until then.
    pub born: Option<Moment>,
    /// How far the command is, while it runs and nobody has told it to end.
    #[serde(default)]
    pub run: Option<Past>,
    /// What it said for people.
    #[serde(default)]
    pub said: SaidRecord,
    /// Why and until when it is being stopped, if it is.
    #[serde(default)]
    pub stop: Option<StopRecord>,
}

/// A stop that is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StopRecord {
    /// When its whole tree is killed.
    pub kill_at: Moment,
    /// However often it asks for more time: not later than this.
    pub latest: Moment,
    /// What follows.
    pub then: Then,
    /// Whether its `pre_stop` was called.
    #[serde(default)]
    pub pre_stop: bool,
}

/// What a life said for people, beside its status.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SaidRecord {
    /// `ERRNO=` of `sd_notify(3)`.
    pub errno: Option<i32>,
    /// It accepts requests, by uWSGI's emperor protocol.
    pub accepting: bool,
    /// It serves as it was meant to, by uWSGI's emperor protocol.
    pub loyal: bool,
}

/// A record that cannot be read, and what of it can: what must end before there is another process of that name.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Remains {
    /// The file.
    pub path: PathBuf,
    /// The first process of the tree.
    pub process: Option<Process>,
    /// The cgroup of the tree.
    pub tree: Option<PathBuf>,
    /// The cgroups of its limits.
    pub cages: Cages,
}

impl Remains {
    /// What an unreadable record at `path` still says; another version may have written it.
    pub fn of(path: &Path, text: &[u8]) -> Self {
        let value: serde_json::Value = serde_json::from_slice(text).unwrap_or_default();
        let same_boot = value.get("boot").and_then(serde_json::Value::as_str) == Some(&process::boot());
        let of = |pointer: &str| value.pointer(pointer).cloned().filter(|_| same_boot);
        let read = |pointer| of(pointer).and_then(|value| serde_json::from_value(value).ok());
        let either = |field: &str| {
            let places = ["alive", "unborn"].map(|kept| format!("/kept/{kept}/{field}"));
            places.iter().find_map(|place| of(place))
        };
        let (tree, cages) = (either("tree"), either("cages"));
        Self {
            path: path.to_owned(),
            process: read("/kept/alive/process"),
            tree: tree.and_then(|value| serde_json::from_value(value).ok()),
            cages: cages
                .and_then(|value| serde_json::from_value(value).ok())
                .unwrap_or_default(),
        }
    }
}
