//! Where this process is in the kernel's trees of cgroups, and who controls what in which of them.
//!
//! A controller is in the one tree of version 2, or in a tree of version 1 that it may share with others, never in
//! both. cgroups(7), Documentation/admin-guide/cgroup-v2.rst, Documentation/admin-guide/cgroup-v1/

use std::fs;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use serde::{Deserialize, Serialize};

use crate::host::error::{Doing, HostError};

/// The cgroup that the emperor moves into where its own is to have controllers for the cgroups below it: in version
/// 2 such a cgroup has no processes. `DelegateSubgroup=` of systemd 254 can make it, too.
pub const LEAF: &str = "mini-emperor-supervisor";
/// Processes may be born while others are moved.
const SWEEPS: usize = 100;

/// What a cgroup can limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "the words say it")]
pub enum Controller {
    Memory,
    Cpu,
    Pids,
}

impl Controller {
    /// As the kernel calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Cpu => "cpu",
            Self::Pids => "pids",
        }
    }

    /// What is done with it.
    pub fn doing(self) -> Doing {
        match self {
            Self::Memory => Doing::LimitMemory,
            Self::Cpu => Doing::LimitCpu,
            Self::Pids => Doing::LimitPids,
        }
    }
}

/// Which interface a tree has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the words say it")]
pub enum Version {
    #[serde(rename = "1")]
    One,
    #[serde(rename = "2")]
    Two,
}

/// The trees that this process sees.
#[derive(Debug, Default)]
pub struct Trees {
    mounts: String,
    memberships: String,
}

impl Trees {
    /// As they are now.
    pub fn read() -> Self {
        let read = |file: &str| fs::read_to_string(file).unwrap_or_default();
        Self::of(read("/proc/self/mountinfo"), read("/proc/self/cgroup"))
    }

    /// Trees that are told of in the words of proc_pid_mountinfo(5) and cgroups(7).
    pub fn of(mounts: String, memberships: String) -> Self {
        Self { mounts, memberships }
    }

    /// The cgroup in which those of vassals are made, in the tree of version 2.
    pub fn unified(&self) -> Option<PathBuf> {
        let own = self.own("cgroup2", |_| true, str::is_empty)?;
        Some(if own.ends_with(LEAF) {
            own.parent()?.to_owned()
        } else {
            own
        })
    }

    /// The same in whichever tree has this controller; none if no tree has it here.
    pub fn seat(&self, controller: Controller) -> Option<(PathBuf, Version)> {
        let name = controller.name();
        let names = |list: &str| list.split(',').any(|word| word == name);
        if let Some(own) = self.own("cgroup", names, names) {
            return Some((own, Version::One));
        }
        let own = self.unified()?;
        let controllers = fs::read_to_string(own.join("cgroup.controllers")).unwrap_or_default();
        let has = controllers.split_whitespace().any(|word| word == name);
        has.then_some((own, Version::Two))
    }

    /// Where this process is in the first tree of that type whose options and whose list of controllers are such.
    fn own(
        &self,
        kind: &str,
        options: impl Fn(&str) -> bool,
        list: impl Fn(&str) -> bool,
    ) -> Option<PathBuf> {
        let membership = self.memberships.lines().find_map(|line| {
            let mut fields = line.splitn(3, ':').skip(1);
            list(fields.next()?).then(|| fields.next())?
        })?;
        self.mounts.lines().find_map(|line| {
            let (before, after) = line.split_once(" - ")?;
            let mut before = before.split(' ').skip(3);
            let (root, point) = (before.next()?, before.next()?);
            let mut after = after.split(' ');
            let is = after.next() == Some(kind) && options(after.nth(1)?);
            // In a container the mount may show a part of the tree only.
            let below = Path::new(membership).strip_prefix(root).ok().filter(|_| is)?;
            Some(Path::new(point).join(below))
        })
    }
}

/// Has the version 2 cgroup `parent` give these controllers to the cgroups below it.
pub fn delegate(parent: &Path, controllers: &[Controller], name: &str) -> Result<(), HostError> {
    let control = parent.join("cgroup.subtree_control");
    let given = fs::read_to_string(&control).unwrap_or_default();
    for controller in controllers {
        if given.split_whitespace().any(|word| word == controller.name()) {
            continue;
        }
        let give = || fs::write(&control, format!("+{}", controller.name()));
        let outcome = match give() {
            Err(error) if error.raw_os_error() == Some(Errno::EBUSY as i32) => {
                move_out(parent).and_then(|()| give())
            }
            outcome => outcome,
        };
        outcome.map_err(|e| HostError::from_io(controller.doing(), name, &e))?;
    }
    Ok(())
}

/// Moves all processes of a cgroup, this one too, into its [`LEAF`].
fn move_out(parent: &Path) -> std::io::Result<()> {
    let leaf = parent.join(LEAF);
    make(&leaf)?;
    for _ in 0..SWEEPS {
        let processes = processes(parent);
        if processes.is_empty() {
            break;
        }
        for pid in processes {
            join(&leaf, pid)?;
        }
    }
    tracing::info!(cgroup = %leaf.display(), "the emperor has moved there, so that its vassals can have limits");
    Ok(())
}

/// Undoes [`delegate`], at the end of the last vassal.
pub fn withdraw() {
    if let Some(parent) = Trees::read().unified() {
        withdraw_from(&parent);
    }
}

fn withdraw_from(parent: &Path) {
    let leaf = parent.join(LEAF);
    if !leaf.exists() {
        return;
    }
    // Whatever cannot be undone belongs to others by now.
    for controller in [Controller::Memory, Controller::Cpu, Controller::Pids] {
        let _ = fs::write(
            parent.join("cgroup.subtree_control"),
            format!("-{}", controller.name()),
        );
    }
    for pid in processes(&leaf) {
        let _ = join(parent, pid);
    }
    let _ = fs::remove_dir(&leaf);
}

/// Makes a cgroup, unless it is there.
pub fn make(path: &Path) -> std::io::Result<()> {
    match fs::create_dir(path) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Moves a process into a cgroup; one that has ended meanwhile needs none.
pub fn join(path: &Path, pid: u32) -> std::io::Result<()> {
    match fs::write(path.join("cgroup.procs"), pid.to_string()) {
        Err(error) if error.raw_os_error() == Some(Errno::ESRCH as i32) => Ok(()),
        outcome => outcome,
    }
}

/// The processes of a cgroup, without those of the cgroups below it.
pub fn processes(path: &Path) -> Vec<u32> {
    let text = fs::read_to_string(path.join("cgroup.procs")).unwrap_or_default();
    text.lines().filter_map(|line| line.trim().parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
        32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
        33 31 0:30 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset\n\
        35 31 0:32 /docker/c1 /sys/fs/cgroup/memory rw shared:7 - cgroup cgroup rw,memory\n\
        41 31 0:37 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n";
    const MEMBERSHIPS: &str =
        "4:memory:/docker/c1/web\n3:cpuset:/\n2:cpu,cpuacct:/a:b\n1:name=systemd:/x\n0::/emperor.service\n";

    fn trees(mounts: &str, memberships: &str) -> Trees {
        Trees::of(mounts.to_owned(), memberships.to_owned())
    }

    #[test]
    fn a_hybrid_system_has_each_controller_in_one_tree() {
        let trees = trees(MOUNTS, MEMBERSHIPS);
        let seat = |path: &str| Some((PathBuf::from(path), Version::One));
        assert_eq!(
            trees.seat(Controller::Cpu),
            seat("/sys/fs/cgroup/cpu,cpuacct/a:b")
        );
        assert_eq!(trees.seat(Controller::Memory), seat("/sys/fs/cgroup/memory/web"));
        assert_eq!(trees.seat(Controller::Pids), None, "nobody has it");
        let unified = Path::new("/sys/fs/cgroup/unified/emperor.service");
        assert_eq!(trees.unified().as_deref(), Some(unified));
    }

    #[test]
    fn without_cgroups_nobody_sits_anywhere() {
        assert_eq!(trees("", "").unified(), None);
        assert_eq!(trees(MOUNTS, "").seat(Controller::Cpu), None);
        assert_eq!(trees("", MEMBERSHIPS).seat(Controller::Cpu), None);
    }

    /// A directory that looks like a version 2 tree with the emperor in `/unit` below it.
    fn imitation(membership: &str, controllers: &str) -> (tempfile::TempDir, Trees) {
        let root = tempfile::tempdir().unwrap();
        let unit = root.path().join("unit");
        fs::create_dir(&unit).unwrap();
        fs::write(unit.join("cgroup.controllers"), controllers).unwrap();
        fs::write(unit.join("cgroup.subtree_control"), "").unwrap();
        let mounts = format!("30 1 0:26 / {} rw - cgroup2 cgroup2 rw\n", root.path().display());
        let trees = trees(&mounts, &format!("0::{membership}\n"));
        (root, trees)
    }

    #[test]
    fn version_2_says_itself_what_it_controls_here() {
        let (root, trees) = imitation("/unit", "cpu pids\n");
        let unit = root.path().join("unit");
        assert_eq!(trees.seat(Controller::Cpu), Some((unit.clone(), Version::Two)));
        assert_eq!(trees.seat(Controller::Memory), None);
        delegate(&unit, &[Controller::Cpu], "web").unwrap();
        assert_eq!(
            fs::read_to_string(unit.join("cgroup.subtree_control")).unwrap(),
            "+cpu"
        );
    }

    #[test]
    fn what_is_delegated_already_is_left_alone() {
        let (root, _) = imitation("/unit", "cpu pids\n");
        let control = root.path().join("unit/cgroup.subtree_control");
        fs::write(&control, "cpu memory pids\n").unwrap();
        delegate(
            &root.path().join("unit"),
            &[Controller::Cpu, Controller::Memory],
            "web",
        )
        .unwrap();
        assert_eq!(fs::read_to_string(control).unwrap(), "cpu memory pids\n");
    }

    #[test]
    fn an_emperor_in_its_leaf_makes_cgroups_beside_it() {
        let (root, trees) = imitation(&format!("/unit/{LEAF}"), "memory\n");
        assert_eq!(trees.unified(), Some(root.path().join("unit")));
        assert!(trees.seat(Controller::Memory).is_some());
    }

    #[test]
    fn all_move_out_and_back() {
        let (root, _) = imitation("/unit", "memory\n");
        let (unit, leaf) = (root.path().join("unit"), root.path().join("unit").join(LEAF));
        fs::write(unit.join("cgroup.procs"), "4711\n").unwrap();
        move_out(&unit).unwrap();
        assert_eq!(processes(&leaf), [4711]);
        fs::write(unit.join("cgroup.procs"), "").unwrap();
        withdraw_from(&unit);
        assert_eq!(processes(&unit), [4711]);
        assert_eq!(
            fs::read_to_string(unit.join("cgroup.subtree_control")).unwrap(),
            "-pids"
        );
    }
}
