//! What a vassal may use of the machine, with everything that it starts: cgroups, one in each tree whose controllers
//! its limits need, and none for a vassal without limits.
//!
//! ```text
//!   written down ─▶ made ─▶ limits written ─▶ processes moved in ─▶ … ─▶ what the kernel did, read ─▶ removed
//! ```
//!
//! A newborn is moved while it waits at its gate, so its command has never been without limits. A vassal that gets its
//! first limit while it runs is moved process by process, until none is found that was not there before; the
//! kernel charges what they had to where they come from, and only what they take from then on to them.

mod live;
pub mod trees;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use serde::{Deserialize, Serialize};

use crate::config::Name;
use crate::config::definition::Limits;
use crate::emperor::state::{End, Life};

use super::daemon::chance;
use super::error::{Doing, HostError};
pub use live::Changes;
use trees::{Controller, Trees, Version, delegate, join, make, processes};

/// The time in which a vassal gets its share of processor time, in microseconds: the kernel's usual one.
const PERIOD: u64 = 100_000;
/// Processes may be born while others are moved.
const SWEEPS: usize = 100;
/// How often a cgroup whose processes are dying is tried to be removed.
const AGAIN: Duration = Duration::from_millis(5);
const TRIES: u32 = 1000;

/// The cgroups of one life. Each is written down before it exists.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Cages(Vec<Cage>);

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Cage {
    path: PathBuf,
    version: Version,
    controllers: Vec<Controller>,
}

/// Which controllers are needed.
fn needed(limits: &Limits) -> impl Iterator<Item = Controller> {
    let all = [
        (Controller::Memory, limits.memory.is_some()),
        (Controller::Cpu, limits.cpu.is_some()),
        (Controller::Pids, limits.pids.is_some()),
    ];
    all.into_iter()
        .filter_map(|(controller, is)| is.then_some(controller))
}

impl Cages {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Plans what the limits need and is not there yet, under the name `leaf`; `tree` is the cgroup that
    /// holds the life together, if there is one. Nothing is made.
    ///
    /// # Errors
    /// If no tree of this process has a controller that is needed.
    pub fn plan(
        &self,
        limits: &Limits,
        trees: &Trees,
        name: &Name,
        leaf: &str,
        tree: Option<&Path>,
    ) -> Result<Self, HostError> {
        let mut all = self.clone();
        for controller in needed(limits) {
            if self.0.iter().any(|cage| cage.controllers.contains(&controller)) {
                continue;
            }
            let missing = || HostError::new(controller.doing(), name.as_str(), Errno::ENOENT);
            let (parent, version) = trees.seat(controller).ok_or_else(missing)?;
            let path = match (version, tree) {
                (Version::Two, Some(tree)) => tree.to_owned(),
                (Version::Two, None) | (Version::One, _) => parent.join(leaf),
            };
            // A process is in one cgroup of each tree.
            let shared = |cage: &&mut Cage| {
                cage.version == version
                    && (version == Version::Two || cage.path.parent() == Some(parent.as_path()))
            };
            match all.0.iter_mut().find(shared) {
                Some(cage) => cage.controllers.push(controller),
                None => all.0.push(Cage {
                    path,
                    version,
                    controllers: vec![controller],
                }),
            }
        }
        Ok(all)
    }

    /// Makes those that are not there, and writes the limits.
    ///
    /// # Errors
    /// The first thing that the kernel refuses.
    pub fn raise(&self, limits: &Limits, name: &Name) -> Result<(), HostError> {
        self.make(name)?;
        self.write(limits, name)
    }

    /// Makes those that are not there.
    ///
    /// # Errors
    /// The first thing that the kernel refuses.
    fn make(&self, name: &Name) -> Result<(), HostError> {
        for cage in &self.0 {
            let doing = cage.doing();
            if let (Version::Two, Some(parent)) = (cage.version, cage.path.parent()) {
                delegate(parent, &cage.controllers, name.as_str())?;
            }
            make(&cage.path).map_err(|e| HostError::from_io(doing, name.as_str(), &e))?;
        }
        Ok(())
    }

    /// Writes the limits.
    ///
    /// # Errors
    /// The first that the kernel refuses.
    pub fn write(&self, limits: &Limits, name: &Name) -> Result<(), HostError> {
        for cage in &self.0 {
            for controller in &cage.controllers {
                cage.write(*controller, limits)
                    .map_err(|e| HostError::from_io(controller.doing(), name.as_str(), &e))?;
            }
        }
        Ok(())
    }

    /// Moves a process into each of them.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn take(&self, pid: u32, name: &Name) -> Result<(), HostError> {
        for cage in &self.0 {
            let doing = cage.doing();
            join(&cage.path, pid).map_err(|e| HostError::from_io(doing, name.as_str(), &e))?;
        }
        Ok(())
    }

    /// Moves the process `first` and all that it has started, which the cgroup `tree` holds together or a pid
    /// namespace does.
    ///
    /// # Errors
    /// If the kernel refuses, or processes are born faster than they are moved.
    pub fn gather(&self, first: u32, tree: Option<&Path>, name: &Name) -> Result<(), HostError> {
        let Some(cage) = self.0.first() else { return Ok(()) };
        let mut seen = BTreeSet::new();
        for _ in 0..SWEEPS {
            let mut found = BTreeSet::from([first]);
            match tree {
                Some(tree) => found.extend(processes(tree)),
                None => descend(first, &mut found),
            }
            let fresh: Vec<_> = found.difference(&seen).copied().collect();
            if fresh.is_empty() {
                return Ok(());
            }
            for pid in fresh {
                self.take(pid, name)?;
                seen.insert(pid);
            }
        }
        let doing = cage.doing();
        Err(HostError::new(doing, name.as_str(), Errno::EAGAIN))
    }

    /// How many of its processes the kernel has killed because they needed more memory than they may have.
    pub fn killed(&self) -> u64 {
        let of_memory = |cage: &&Cage| cage.controllers.contains(&Controller::Memory);
        let Some(cage) = self.0.iter().find(of_memory) else {
            return 0;
        };
        let file = match cage.version {
            Version::One => "memory.oom_control",
            Version::Two => "memory.events",
        };
        let text = fs::read_to_string(cage.path.join(file)).unwrap_or_default();
        let count = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
        count
            .and_then(|count| count.trim().parse().ok())
            .unwrap_or_default()
    }

    /// How a life ended, as far as its limits have to do with it. What is lost with the cgroups is read here.
    pub fn explain(&self, end: End, name: &Name) -> End {
        /// `SIGKILL`
        const KILL: i32 = 9;
        match (end, self.killed()) {
            (End::Killed(KILL), 1..) => End::OutOfMemory,
            (end, 0) => end,
            (end, processes) => {
                tracing::warn!(%name, processes, "the kernel has killed processes of the vassal: they needed more than `limits.memory`");
                end
            }
        }
    }

    /// Removes them; nothing is in them any more, or will be in a moment.
    pub async fn remove(self) {
        for Cage { path, .. } in self.0 {
            let mut tries = 0;
            while let Err(error) = raze(&path) {
                tries += 1;
                if tries == TRIES {
                    tracing::error!(cgroup = %path.display(), %error, "a cgroup cannot be removed; it is left");
                    break;
                }
                tokio::time::sleep(AGAIN).await;
            }
        }
    }
}

impl Cage {
    /// What is being done when it cannot be used.
    fn doing(&self) -> Doing {
        self.controllers
            .first()
            .copied()
            .unwrap_or(Controller::Memory)
            .doing()
    }

    fn write(&self, controller: Controller, limits: &Limits) -> std::io::Result<()> {
        let to = |file: &str, value: String| fs::write(self.path.join(file), value);
        let or =
            |limit: Option<u64>, none: &str| limit.map_or_else(|| none.to_owned(), |limit| limit.to_string());
        let quota = limits.cpu.map(|cores| u64::from(cores) * PERIOD / 1_000);
        match (controller, self.version) {
            (Controller::Memory, Version::One) => self.write_memory(limits.memory),
            (Controller::Memory, Version::Two) => {
                self.to_if_there("memory.swap.max", &or(limits.memory.map(|_| 0), "max"))?;
                to("memory.max", or(limits.memory, "max"))
            }
            (Controller::Cpu, Version::One) => {
                to("cpu.cfs_period_us", PERIOD.to_string())?;
                to("cpu.cfs_quota_us", or(quota, "-1"))
            }
            (Controller::Cpu, Version::Two) => to("cpu.max", format!("{} {PERIOD}", or(quota, "max"))),
            (Controller::Pids, _) => to("pids.max", or(limits.pids.map(u64::from), "max")),
        }
    }

    /// Version 1 has a limit of memory, and one of memory and swap that is never below the first. Both are the same
    /// here, so that no limit is evaded by swapping.
    fn write_memory(&self, memory: Option<u64>) -> std::io::Result<()> {
        const MEMORY: &str = "memory.limit_in_bytes";
        const BOTH: &str = "memory.memsw.limit_in_bytes";
        let value = memory.map_or_else(|| "-1".to_owned(), |memory| memory.to_string());
        let now = fs::read_to_string(self.path.join(MEMORY)).ok();
        let now: Option<u64> = now.and_then(|text| text.trim().parse().ok());
        if memory.is_none_or(|memory| now.is_some_and(|now| now < memory)) {
            self.to_if_there(BOTH, &value)?;
            return fs::write(self.path.join(MEMORY), value);
        }
        fs::write(self.path.join(MEMORY), &value)?;
        self.to_if_there(BOTH, &value)
    }

    /// A file that not every kernel has.
    fn to_if_there(&self, file: &str, value: &str) -> std::io::Result<()> {
        let path = self.path.join(file);
        if path.exists() {
            fs::write(path, value)
        } else {
            Ok(())
        }
    }
}

/// Adds all that descend from `pid`. Nothing of a pid namespace descends from anybody else.
fn descend(pid: u32, all: &mut BTreeSet<u32>) {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return;
    };
    for thread in threads.flatten() {
        let children = fs::read_to_string(thread.path().join("children")).unwrap_or_default();
        for child in children.split_whitespace().filter_map(|word| word.parse().ok()) {
            if all.insert(child) {
                descend(child, all);
            }
        }
    }
}

/// Removes a cgroup with those that were made inside; what is gone already is well.
fn raze(path: &Path) -> std::io::Result<()> {
    for inner in fs::read_dir(path).into_iter().flatten().flatten() {
        if inner.file_type().is_ok_and(|kind| kind.is_dir()) {
            raze(&inner.path())?;
        }
    }
    match fs::remove_dir(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// The name of a life's cgroups: one that no other emperor uses, in whatever pid namespace it is; `token` is a
/// random number.
pub fn leaf(name: &Name, life: Life, token: u32) -> String {
    format!("mini-emperor.{name}.{}.{token:08x}", life.0)
}

/// A random number.
pub fn token() -> u32 {
    u32::try_from(chance() >> 32).unwrap_or_default()
}

#[cfg(test)]
mod tests;
