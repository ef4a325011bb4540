//! Against directories that look like the trees of a system.

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

#[test]
fn of_changes_that_wait_the_last_one_is_made() {
    let changes = Changes::default();
    let (first, second, third) = (changes.next(), changes.next(), changes.next());
    let mut made = Vec::new();
    for number in [second, third, first] {
        changes.make(number, || made.push(number));
    }
    assert_eq!(made, [third]);
}
