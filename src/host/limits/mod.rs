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

pub mod trees;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;
use serde::{Deserialize, Serialize};

use crate::config::definition::Limits;
use crate::config::{Definition, Name, Problem};
use crate::emperor::state::{End, Life};

use super::daemon::{Daemon, chance};
use super::error::{Doing, HostError};
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
        for cage in &self.0 {
            let doing = cage.doing();
            if let (Version::Two, Some(parent)) = (cage.version, cage.path.parent()) {
                delegate(parent, &cage.controllers, name.as_str())?;
            }
            make(&cage.path).map_err(|e| HostError::from_io(doing, name.as_str(), &e))?;
        }
        self.write(limits, name)
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

impl Daemon {
    /// Holds a running vassal to the limits of its new definition. What it is under from then on comes back: with the
    /// old limits, if the kernel refuses the new ones.
    pub(super) fn hold_to(&mut self, life: Life, wanted: &Arc<Definition>) -> Arc<Definition> {
        let Some(alive) = self.lives.get(&life) else {
            return wanted.clone();
        };
        let old = alive.under.limits;
        if old == wanted.limits {
            return wanted.clone();
        }
        // Before its network is ready it is not known, or being moved; this is looked at again then.
        let outcome = match alive.traces.map(|traces| traces.process.pid) {
            Some(first) => self.change_limits(life, first, wanted),
            None => Err(None),
        };
        let Err(error) = outcome else {
            return wanted.clone();
        };
        if let Some(error) = error {
            let message = format!("its limits stay as they were: {error}");
            tracing::error!(name = %wanted.name, "{message}");
            let problem = Problem::of_file(wanted.path.clone(), message);
            self.problems
                .entry(wanted.path.clone())
                .or_default()
                .push(problem);
        }
        Arc::new(Definition {
            limits: old,
            ..(**wanted).clone()
        })
    }

    fn change_limits(
        &mut self,
        life: Life,
        first: u32,
        wanted: &Definition,
    ) -> Result<(), Option<HostError>> {
        let (name, limits) = (&wanted.name, &wanted.limits);
        let Some(alive) = self.lives.get(&life) else {
            return Ok(());
        };
        let (old, tree, handle) = (alive.under.limits, alive.tree.clone(), alive.handle.clone());
        if handle.has_ended() && !handle.has_other() {
            return Err(None); // it is being buried, and its cgroups with it
        }
        let cages = handle
            .cages()
            .plan(
                limits,
                &Trees::read(),
                name,
                &leaf(name, life, token()),
                tree.as_deref(),
            )
            .map_err(Some)?;
        if handle.cages() != cages {
            handle.enclose(cages.clone());
            self.write(name).map_err(Some)?;
        }
        let outcome = cages
            .raise(limits, name)
            .and_then(|()| cages.gather(first, tree.as_deref(), name));
        outcome.map_err(|error| {
            // What is not there to be undone was not done.
            let _ = cages.write(&old, name);
            Some(error)
        })
    }

    /// A newborn is about to get its port: whatever of its limits was changed meanwhile holds from its first instruction.
    pub(super) fn hold_newborn(&mut self, name: &Name, life: Life) {
        let newest = self
            .emperor
            .vassals()
            .get(name)
            .map(|vassal| vassal.definition.clone());
        let Some(newest) = newest else { return };
        let limits = self.hold_to(life, &newest).limits;
        if let Some(alive) = self.lives.get_mut(&life)
            && alive.under.limits != limits
        {
            alive.under = Arc::new(Definition {
                limits,
                ..(*alive.under).clone()
            });
        }
    }
}

/// A random number.
pub fn token() -> u32 {
    u32::try_from(chance() >> 32).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Limits = Limits {
        memory: Some(64 << 20),
        cpu: Some(1_500),
        pids: Some(10),
        nofile: None,
        core: None,
    };

    fn name() -> Name {
        Name::new("web").unwrap()
    }

    /// A directory that looks like the trees of a system, and what says where they are.
    fn system(version: Version) -> (tempfile::TempDir, Trees) {
        let root = tempfile::tempdir().unwrap();
        let at = root.path().display();
        let (mounts, memberships) = match version {
            Version::One => {
                for tree in ["memory", "both"] {
                    fs::create_dir(root.path().join(tree)).unwrap();
                }
                (
                    format!(
                        "1 0 0:1 / {at}/memory rw - cgroup cgroup rw,memory\n2 0 0:2 / {at}/both rw - cgroup cgroup rw,cpu,pids\n"
                    ),
                    "2:cpu,pids:/\n1:memory:/\n",
                )
            }
            Version::Two => {
                fs::write(root.path().join("cgroup.controllers"), "cpu memory pids\n").unwrap();
                fs::write(root.path().join("cgroup.subtree_control"), "cpu memory pids\n").unwrap();
                (format!("1 0 0:1 / {at} rw - cgroup2 cgroup2 rw\n"), "0::/\n")
            }
        };
        let trees = Trees::of(mounts, memberships.to_owned());
        (root, trees)
    }

    fn planned(trees: &Trees, limits: &Limits, tree: Option<&Path>) -> Cages {
        Cages::default()
            .plan(limits, trees, &name(), "leaf", tree)
            .unwrap()
    }

    fn said(root: &tempfile::TempDir, file: &str) -> String {
        fs::read_to_string(root.path().join(file)).unwrap_or_else(|_| "nothing".to_owned())
    }

    #[tokio::test]
    async fn version_2_has_one_cgroup_for_all() {
        let (root, trees) = system(Version::Two);
        let cages = planned(&trees, &ALL, None);
        assert_eq!(cages.0.len(), 1);
        assert!(!root.path().join("leaf").exists(), "a plan makes nothing");
        cages.raise(&ALL, &name()).unwrap();
        cages.take(4711, &name()).unwrap();
        for (file, value) in [
            ("leaf/memory.max", "67108864"),
            ("leaf/memory.swap.max", "nothing"),
            ("leaf/cpu.max", "150000 100000"),
            ("leaf/pids.max", "10"),
            ("leaf/cgroup.procs", "4711"),
        ] {
            assert_eq!(said(&root, file), value, "{file}");
        }
        fs::write(root.path().join("leaf/memory.swap.max"), "max").unwrap();
        let less = Limits { cpu: None, ..ALL };
        cages.write(&less, &name()).unwrap();
        assert_eq!(said(&root, "leaf/memory.swap.max"), "0");
        assert_eq!(said(&root, "leaf/cpu.max"), "max 100000");
        fs::write(
            root.path().join("leaf/memory.events"),
            "oom 9\noom_kill 3\noom_group_kill 0\n",
        )
        .unwrap();
        assert_eq!(cages.killed(), 3);
        assert_eq!(cages.explain(End::Killed(9), &name()), End::OutOfMemory);
        assert_eq!(cages.explain(End::Exited(1), &name()), End::Exited(1));
    }

    #[tokio::test]
    async fn version_1_has_one_in_each_tree_that_is_needed() {
        let (root, trees) = system(Version::One);
        let pids = Limits {
            pids: Some(7),
            ..Limits::default()
        };
        let cages = planned(&trees, &pids, None);
        cages.raise(&pids, &name()).unwrap();
        assert_eq!(said(&root, "both/leaf/pids.max"), "7");
        assert!(!root.path().join("memory/leaf").exists(), "no limit needs it");
        // More limits: in a tree where it has a cgroup already, that one serves.
        let more = cages.plan(&ALL, &trees, &name(), "other", None).unwrap();
        more.raise(&ALL, &name()).unwrap();
        assert_eq!(said(&root, "memory/other/memory.limit_in_bytes"), "67108864");
        assert_eq!(said(&root, "both/leaf/cpu.cfs_quota_us"), "150000");
        assert_eq!(said(&root, "both/leaf/pids.max"), "10");
        assert!(!root.path().join("both/other").exists());
        assert_eq!(cages.killed(), 0);
        fs::write(
            root.path().join("memory/other/memory.oom_control"),
            "under_oom 0\noom_kill 1\n",
        )
        .unwrap();
        assert_eq!(more.explain(End::Killed(9), &name()), End::OutOfMemory);
    }

    #[test]
    fn with_swap_the_larger_limit_of_version_1_is_moved_first() {
        // A file that cannot be written shows what was written before it.
        for (wanted, memory) in [(128 << 20, "67108864"), (32 << 20, "33554432")] {
            let (root, trees) = system(Version::One);
            let cages = planned(&trees, &ALL, None);
            cages.raise(&ALL, &name()).unwrap();
            fs::create_dir(root.path().join("memory/leaf/memory.memsw.limit_in_bytes")).unwrap();
            let limits = Limits {
                memory: Some(wanted),
                ..ALL
            };
            let refused = cages.write(&limits, &name()).unwrap_err();
            assert_eq!(refused.doing, Doing::LimitMemory);
            assert_eq!(said(&root, "memory/leaf/memory.limit_in_bytes"), memory);
        }
    }

    #[test]
    fn what_holds_the_tree_together_serves_in_version_2() {
        let (root, trees) = system(Version::Two);
        let tree = root.path().join("tree");
        fs::create_dir(&tree).unwrap();
        let cages = planned(&trees, &ALL, Some(&tree));
        cages.raise(&ALL, &name()).unwrap();
        assert_eq!(said(&root, "tree/pids.max"), "10");
        // In version 1 it is in another tree.
        let (_root, trees) = system(Version::One);
        assert!(
            planned(&trees, &ALL, Some(&tree))
                .0
                .iter()
                .all(|cage| cage.path != tree)
        );
    }

    #[test]
    fn a_controller_that_is_missing_is_named() {
        let (root, trees) = system(Version::Two);
        fs::write(root.path().join("cgroup.controllers"), "cpu pids\n").unwrap();
        let refused = Cages::default()
            .plan(&ALL, &trees, &name(), "leaf", None)
            .unwrap_err();
        assert!(
            refused.to_string().contains("no `memory` controller"),
            "{refused}"
        );
        let none = planned(&trees, &Limits::default(), None);
        assert!(none.is_empty());
    }

    #[tokio::test]
    async fn cgroups_are_removed_with_those_inside_and_once() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("leaf");
        fs::create_dir_all(path.join("a/b")).unwrap();
        let cages = Cages(vec![Cage {
            path: path.clone(),
            version: Version::One,
            controllers: vec![Controller::Pids],
        }]);
        cages.clone().remove().await;
        assert!(!path.exists());
        cages.remove().await;
    }

    #[test]
    fn all_that_descends_is_found() {
        use nix::sys::signal::{Signal, kill};
        use nix::unistd::Pid;

        let mut child = std::process::Command::new("/bin/sh")
            .args(["-c", "sh -c 'sleep 1000 & wait' & sleep 1000 & wait"])
            .spawn()
            .unwrap();
        let begun = std::time::Instant::now();
        let mut all = BTreeSet::new();
        while all.len() < 3 && begun.elapsed() < Duration::from_secs(10) {
            all.clear();
            descend(child.id(), &mut all);
        }
        child.kill().unwrap();
        child.wait().unwrap();
        for pid in &all {
            let _ = kill(Pid::from_raw(i32::try_from(*pid).unwrap()), Signal::SIGKILL);
        }
        assert_eq!(all.len(), 3);
    }
}
