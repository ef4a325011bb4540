//! A vassal's user namespace, from its clone to its command: who it is inside and outside, and with what rights.
#![allow(clippy::unwrap_used, reason = "a test that cannot look has failed")]

mod namespace;

use std::fs::{self, File, Permissions};
use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;

use mini_emperor::config::namespaces::{IdRange, UserNamespace};
use mini_emperor::config::world::Anywhere;
use mini_emperor::config::{Definition, Places, load};
use mini_emperor::emperor::state::End;
use mini_emperor::host::init::Plan;
use mini_emperor::host::spawn::{self, Cradle, Newborn};
use mini_emperor::host::{process, userns};
use namespace::wait_until;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::fstat;
use nix::unistd::pipe2;

/// All capabilities of this kernel, as `/proc/PID/status` writes them.
fn every_capability() -> String {
    let last = fs::read_to_string("/proc/sys/kernel/cap_last_cap").unwrap();
    let last: u32 = last.trim().parse().unwrap();
    format!("{:016x}", (1_u64 << (last + 1)) - 1)
}

/// A vassal that runs as user 4242, group 4343 and in group 4444, in `namespaces`.
fn definition(namespaces: &str) -> Definition {
    let places = Places {
        settings: "/none".into(),
        vassals: "/none".into(),
        run_directory: "/none".into(),
        state_directory: "/none".into(),
        log_directory: "/none".into(),
    };
    let settings = load::settings(Path::new("/none"), None, &places, &Anywhere).value;
    let text = format!("command: [/bin/sh]\nuser: someone\nnamespaces: {namespaces}\n");
    let judged = load::definition(
        Path::new("one.yaml"),
        text.as_bytes(),
        &settings.unwrap(),
        &Anywhere,
    );
    let mut definition = judged.value.unwrap();
    let who = definition.identity.as_mut().unwrap();
    (who.uid, who.gid, who.groups) = (4242, 4343, vec![4444]);
    definition
}

/// The same with a hundred subordinate users from `first` on.
fn with_subordinates(first: u32) -> Definition {
    let mut definition = definition("[pid, mount, uts, ipc, cgroup, user]");
    let uids = Some(IdRange { first, count: 100 });
    definition.namespaces.user = Some(UserNamespace { uids, gids: None });
    definition
}

/// Clones it, with its output in the file that comes back.
fn clone(definition: &Definition) -> (Newborn, File) {
    let program = Path::new(env!("CARGO_BIN_EXE_mini-emperor"));
    let (output, theirs) = pipe2(OFlag::O_CLOEXEC).unwrap();
    let cradle = Cradle::of(program, None).unwrap();
    let newborn = cradle.clone_vassal(definition, theirs.as_fd()).unwrap();
    wait_until("the init stage", || {
        let arguments = fs::read_to_string(format!("/proc/{}/cmdline", newborn.pid)).unwrap();
        if arguments.contains("__init") {
            Ok(())
        } else {
            Err(arguments)
        }
    });
    (newborn, File::from(output))
}

/// What the init stage does for `definition` if its command is this script.
fn plan(definition: &Definition, script: &str, capabilities: &[u8]) -> Plan {
    let namespaces = definition.namespaces;
    Plan {
        command: ["/bin/sh", "-c", script].map(str::to_owned).to_vec(),
        environment: vec![("PATH".to_owned(), "/usr/bin:/bin".to_owned())],
        directory: "/".into(),
        hostname: namespaces.uts.then(|| "inside".to_owned()),
        mounts: namespaces.mount,
        proc: namespaces.pid && namespaces.mount,
        identity: userns::identity(definition),
        listens: false,
        nofile: None,
        nofile_given: None,
        core: None,
        capabilities: capabilities.to_vec(),
        no_new_privileges: true,
    }
}

/// The fields of a line of `/proc/PID/status`.
fn status(pid: u32, field: &str) -> String {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(field)).unwrap();
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn map(pid: u32, file: &str) -> Vec<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap();
    let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    text.lines().map(words).collect()
}

fn ended(newborn_pidfd: impl AsFd) -> End {
    wait_until("its end", || {
        if process::has_ended(&newborn_pidfd) {
            Ok(())
        } else {
            Err("it lives")
        }
    });
    spawn::reap(&newborn_pidfd.as_fd().try_clone_to_owned().unwrap()).unwrap()
}

#[test]
#[ignore = "needs root: run integration/run"]
fn the_init_stage_has_every_capability_before_there_is_a_map() {
    let definition = definition("[pid, mount, user]");
    let (newborn, _output) = clone(&definition);
    assert_eq!(map(newborn.pid, "uid_map"), Vec::<String>::new());
    assert_eq!(status(newborn.pid, "CapEff:"), every_capability());
    let pidfd = newborn.pidfd.clone();
    // Its gate is shut: nobody wants it.
    drop(newborn);
    assert_eq!(ended(pidfd), End::Exited(0));
}

#[test]
#[ignore = "needs root: run integration/run"]
fn root_inside_is_nobody_but_its_user_outside() {
    let definition = with_subordinates(300_000);
    let (newborn, mut output) = clone(&definition);
    let (pid, pidfd) = (newborn.pid, newborn.pidfd.clone());
    userns::settle(pid, &definition).unwrap();
    assert_eq!(map(pid, "uid_map"), ["0 4242 1", "1 300000 100"]);
    assert_eq!(map(pid, "gid_map"), ["0 4343 1", "4444 4444 1"]);
    let script = "echo $(id -u) $(id -g) $(id -G) $$ $(hostname); grep CapEff /proc/self/status; read end";
    let (stdin, go) = pipe2(OFlag::O_CLOEXEC).unwrap();
    let mut plan = plan(&definition, script, &[12]);
    // Its standard input is what the emperor gives it first.
    plan.listens = true;
    let report = newborn.open_gate(&plan, &[stdin.as_fd()]).unwrap();
    assert_eq!(spawn::outcome(&report), None);
    // The report ends within the exec, which takes on the command's rights a moment later, and its arguments after those.
    wait_until("the command", || {
        let arguments = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap();
        if arguments.starts_with("/bin/sh\0") {
            Ok(())
        } else {
            Err(arguments)
        }
    });
    assert_eq!(status(pid, "Uid:"), "4242 4242 4242 4242");
    assert_eq!(status(pid, "Gid:"), "4343 4343 4343 4343");
    assert_eq!(status(pid, "Groups:"), "4444");
    assert_eq!(status(pid, "CapEff:"), "0000000000001000");
    assert_eq!(status(pid, "CapBnd:"), "0000000000001000");
    drop((stdin, go));
    let mut said = String::new();
    output.read_to_string(&mut said).unwrap();
    assert_eq!(said, "0 0 0 4444 1 inside\nCapEff:\t0000000000001000\n");
    assert_eq!(ended(pidfd), End::Exited(1));
}

#[test]
#[ignore = "needs root: run integration/run"]
fn an_id_that_stands_twice_is_refused_with_advice_and_the_command_never_runs() {
    let definition = with_subordinates(4200);
    let (newborn, mut output) = clone(&definition);
    let pidfd = newborn.pidfd.clone();
    let error = userns::settle(newborn.pid, &definition).unwrap_err();
    assert_eq!(error.errno, Errno::EINVAL);
    assert!(error.to_string().contains("/etc/subuid"), "{error}");
    drop(newborn);
    assert_eq!(ended(pidfd), End::Exited(0));
    let mut said = String::new();
    output.read_to_string(&mut said).unwrap();
    assert_eq!(said, "");
}

#[test]
#[ignore = "needs root: run integration/run"]
fn without_one_nothing_is_mapped() {
    let definition = definition("[pid, mount]");
    let (newborn, _output) = clone(&definition);
    userns::settle(newborn.pid, &definition).unwrap();
    assert_eq!(map(newborn.pid, "uid_map"), map(std::process::id(), "uid_map"));
    assert_eq!(userns::identity(&definition), Some((4242, 4343, vec![4444])));
    let pidfd = newborn.pidfd.clone();
    drop(newborn);
    assert_eq!(ended(pidfd), End::Exited(0));
}

#[test]
#[ignore = "needs root: run integration/run"]
fn above_it_is_the_emperors() {
    let definition = definition("[user]");
    let (newborn, _output) = clone(&definition);
    let inode = |file: &dyn AsFd| fstat(file).unwrap().st_ino;
    let above = userns::above(newborn.pid).unwrap();
    assert_eq!(inode(&above), inode(&File::open("/proc/self/ns/user").unwrap()));
    let pidfd = newborn.pidfd.clone();
    drop(newborn);
    assert_eq!(ended(pidfd), End::Exited(0));
}

#[test]
#[ignore = "needs root: run integration/run"]
fn a_program_that_only_its_owner_may_execute_is_said_to_be_that() {
    let directory = tempfile::tempdir().unwrap();
    let program = directory.path().join("private");
    fs::copy(env!("CARGO_BIN_EXE_mini-emperor"), &program).unwrap();
    fs::set_permissions(&program, Permissions::from_mode(0o700)).unwrap();
    chown(&program, Some(4242), Some(4343)).unwrap();
    let definition = definition("[user]");
    let (_output, theirs) = pipe2(OFlag::O_CLOEXEC).unwrap();
    let cradle = Cradle::of(&program, None).unwrap();
    let newborn = cradle.clone_vassal(&definition, theirs.as_fd()).unwrap();
    let error = cradle.failed(&ended(newborn.pidfd.clone())).unwrap();
    assert_eq!(error.errno, Errno::EACCES);
    let said = error.to_string();
    assert!(said.contains("private") && said.contains("chmod o+x"), "{said}");
    assert_eq!(cradle.failed(&End::Exited(0)), None);
    assert_eq!(cradle.failed(&End::Killed(9)), None);
}
