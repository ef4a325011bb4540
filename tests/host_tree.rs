//! Cgroups of version 2 as the kernel has them, not as a directory imitates them: made, entered, killed, removed, and
//! what is refused where no controller is given.
#![allow(clippy::unwrap_used, reason = "a test that cannot look has failed")]

mod namespace;

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use mini_emperor::config::Name;
use mini_emperor::config::definition::Limits;
use mini_emperor::emperor::state::Life;
use mini_emperor::host::limits::trees::{Controller, Trees, delegate, join, make, processes};
use mini_emperor::host::limits::{Cages, leaf, token};
use mini_emperor::host::process::Process;
use mini_emperor::host::tree::Tree;
use mini_emperor::sys::process::send_signal;
use namespace::{block_on, wait_until};
use nix::errno::Errno;
use nix::libc;

fn name() -> Name {
    Name::new("host-tree").unwrap()
}

/// Where the cgroup of some life would be in the real tree.
fn place() -> PathBuf {
    let leaf = leaf(&name(), Life(1), token());
    Tree::place(&Trees::read(), &name(), &leaf).expect("a cgroup tree of version 2 is mounted")
}

/// A shell, and the process in a session of its own that it starts when it is told to. What a failed test leaves of them is
/// killed.
struct Family {
    shell: Child,
    child: Option<Process>,
}

impl Family {
    fn new() -> Self {
        let shell = Command::new("/bin/sh")
            .args([
                "-c",
                "read go; setsid sh -c 'echo $$; exec sleep 1000 >/dev/null 2>&1' & read end",
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        Self { shell, child: None }
    }

    /// Has it start the other.
    fn grow(&mut self) -> u32 {
        self.shell.stdin.as_mut().unwrap().write_all(b"go\n").unwrap();
        let mut line = String::new();
        let mut said = BufReader::new(self.shell.stdout.take().unwrap());
        said.read_line(&mut line).unwrap();
        let child = line.trim().parse().unwrap();
        self.child = Process::of(child);
        child
    }
}

impl Drop for Family {
    fn drop(&mut self) {
        if let Some(child) = self.child.and_then(Process::open) {
            let _ = send_signal(child, libc::SIGKILL);
        }
        // Does nothing to one that was waited for.
        let _ = self.shell.kill();
        let _ = self.shell.wait();
    }
}

/// The cgroup that the kernel says this process is in, in the tree of version 2.
fn is_in(pid: u32, cgroup: &Path) -> bool {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let own = text.lines().find_map(|line| line.strip_prefix("0::")).unwrap();
    Path::new(own).file_name() == cgroup.file_name()
}

#[test]
#[ignore = "needs root and a cgroup tree of version 2: run integration/run"]
fn what_leaves_its_session_stays_in_the_tree_and_dies_with_it() {
    let path = place();
    let mut family = Family::new();
    let first = family.shell.id();
    // Planted before it has children, as a newborn is.
    let tree = Tree::plant(&path, &name(), first).unwrap();
    assert!(is_in(first, &path));
    assert_eq!(processes(&path), [first]);
    let child = family.grow();
    assert!(is_in(child, &path), "a session of its own is no way out");
    let again = Tree::plant(&path, &name(), first).unwrap_err();
    assert_eq!(again.errno, Errno::EEXIST, "each life has its own");
    block_on(tree.fell());
    assert!(!path.exists());
    assert_eq!(family.shell.wait().unwrap().signal(), Some(libc::SIGKILL));
    wait_until("the end of its child", || {
        match fs::read_to_string(format!("/proc/{child}/stat")) {
            // A zombie waits for whoever has inherited it.
            Ok(stat) if !stat.contains(") Z ") => Err(stat),
            Ok(_) | Err(_) => Ok(()),
        }
    });
}

#[test]
#[ignore = "needs root and a cgroup tree of version 2: run integration/run"]
fn cages_of_version_2_are_made_entered_and_removed_when_all_have_ended() {
    let path = place();
    let record = format!(r#"[{{"path": {path:?}, "version": "2", "controllers": []}}]"#);
    let cages: Cages = serde_json::from_str(&record).unwrap();
    cages.raise(&Limits::default(), &name()).unwrap();
    assert_eq!(processes(&path), Vec::<u32>::new());
    cages
        .raise(&Limits::default(), &name())
        .expect("what is there is taken");
    let mut family = Family::new();
    let (first, child) = (family.shell.id(), family.grow());
    cages.gather(first, None, &name()).unwrap();
    let both: BTreeSet<_> = processes(&path).into_iter().collect();
    assert_eq!(both, BTreeSet::from([first, child]));
    assert!(is_in(child, &path));
    // As its vassal would have made one.
    make(&path.join("inner")).unwrap();
    join(&path.join("inner"), child).unwrap();
    assert_eq!(processes(&path), [first]);
    // All of it, with what lies below.
    fs::write(path.join("cgroup.kill"), "1").unwrap();
    assert_eq!(family.shell.wait().unwrap().signal(), Some(libc::SIGKILL));
    block_on(cages.remove());
    assert!(!path.exists());
    assert_eq!(
        join(&path, first).unwrap_err().kind(),
        std::io::ErrorKind::NotFound
    );
}

#[test]
#[ignore = "needs root and a cgroup tree of version 2: run integration/run"]
fn a_process_that_has_ended_needs_no_cgroup() {
    let path = place();
    make(&path).unwrap();
    let mut ended = Command::new("/bin/true").spawn().unwrap();
    ended.wait().unwrap();
    let joined = join(&path, ended.id());
    fs::remove_dir(&path).unwrap();
    joined.unwrap();
}

#[test]
#[ignore = "needs root and a cgroup tree of version 2: run integration/run"]
fn without_a_controller_a_limit_is_refused_by_its_name() {
    let outer = place();
    // Whatever the outer one is given, it gives nothing on.
    let inner = outer.join("inner");
    make(&outer).unwrap();
    make(&inner).unwrap();
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let unified: String = mounts
        .lines()
        .filter(|line| line.contains(" - cgroup2 "))
        .map(|line| format!("{line}\n"))
        .collect();
    let own = fs::read_to_string("/proc/self/cgroup").unwrap();
    let own = own.lines().find_map(|line| line.strip_prefix("0::")).unwrap();
    let below = Path::new(own).join(outer.file_name().unwrap()).join("inner");
    let trees = Trees::of(unified, format!("0::{}\n", below.display()));
    let found = trees.unified();
    let every = [
        (Controller::Memory, "memory"),
        (Controller::Cpu, "cpu"),
        (Controller::Pids, "pids"),
    ];
    let outcomes = every.map(|(controller, word)| {
        let limits = Limits {
            memory: (controller == Controller::Memory).then_some(64 << 20),
            cpu: (controller == Controller::Cpu).then_some(500),
            pids: (controller == Controller::Pids).then_some(10),
            ..Limits::default()
        };
        let planned = Cages::default().plan(&limits, &trees, &name(), "leaf", None);
        // The kernel's own word on it, for a controller that was taken away after the plan.
        (word, planned, delegate(&inner, &[controller], "host-tree"))
    });
    fs::remove_dir(&inner).unwrap();
    fs::remove_dir(&outer).unwrap();
    assert_eq!(found, Some(inner));
    for (word, planned, delegated) in outcomes {
        for error in [planned.map(drop), delegated].map(Result::unwrap_err) {
            assert_eq!(error.errno, Errno::ENOENT, "{error}");
            let text = error.to_string();
            assert!(text.contains(&format!("no `{word}` controller")), "{text}");
        }
    }
}
