//! Hooks over an end of their emperor, and of their vassal.

use std::os::unix::process::CommandExt;

use super::*;
use nix::fcntl::OFlag;
use nix::unistd::pipe2;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;

use crate::config::world::{Host, Identities};
use crate::config::{Places, load};
use crate::emperor::state::End;
use crate::host::process::{Process, has_ended};

/// A run directory.
fn ground() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for inner in ["hooks", "owed"] {
        std::fs::create_dir(directory.path().join(inner)).unwrap();
    }
    directory
}

/// A life of the vassal `name` that is over, and its `post_stop`.
fn owed(name: &str, post_stop: &str) -> Owed {
    let host = Host(Identities::Any);
    let settings = load::settings(Path::new("/e.yaml"), None, &Places::of_root(), &host);
    let text = format!("command: [/bin/x]\nhooks: {{post_stop: {post_stop}}}\n");
    let path = PathBuf::from(format!("/v/{name}.yaml"));
    let judged = load::definition(&path, text.as_bytes(), &settings.value.unwrap(), &host);
    Owed {
        boot: "this".to_owned(),
        process: Process { pid: 17, began: 4711 },
        definition: Box::new(judged.value.unwrap()),
        addresses: vec!["10.107.0.2/24".parse().unwrap()],
        end: End::Exited(3),
    }
}

fn entries(run: &tempfile::TempDir) -> Vec<String> {
    let files = std::fs::read_dir(run.path().join("owed")).unwrap();
    let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.collect();
    names.sort();
    names
}

/// Has `hooks` write down and call what is owed; what comes back is the other end of its output.
fn call(hooks: &mut Hooks, owed: &Owed) -> pipe::Receiver {
    let entry = hooks.owe(owed).unwrap();
    let (ours, theirs) = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK).unwrap();
    let facts = Facts {
        definition: &owed.definition,
        addresses: &owed.addresses,
        pid: None,
        end: Some(&owed.end),
    };
    let line = hooks.line(&owed.definition.name);
    let hook = Moment::PostStop.of(&owed.definition).unwrap();
    let call = Call::new(Moment::PostStop, hook, &facts, theirs, line);
    hooks.start(call.owed(Some(entry)), || {});
    pipe::Receiver::from_owned_fd(ours).unwrap()
}

#[tokio::test]
async fn a_hook_that_has_ended_or_had_its_time_is_owed_no_more() {
    let run = ground();
    let mut hooks = Hooks::new(None, run.path());
    for post_stop in [
        "[/bin/true]",
        "[/bin/false]",
        "[/bin/missing]",
        "{command: [/bin/sleep, '1000'], timeout: 10ms}",
    ] {
        let _output = call(&mut hooks, &owed("web", post_stop));
        assert_eq!(entries(&run).len(), 1, "{post_stop}");
        hooks.one_ended().await;
        assert_eq!(entries(&run), [""; 0], "{post_stop}");
    }
}

#[tokio::test]
async fn a_hook_that_is_cut_short_is_owed_and_so_is_one_that_waits_for_it() {
    let run = ground();
    let mut hooks = Hooks::new(None, run.path());
    let (first, second) = (
        owed("web", "[/bin/sh, -c, 'echo x; exec sleep 1000']"),
        owed("web", "[/bin/true]"),
    );
    let mut output = call(&mut hooks, &first);
    let _ = call(&mut hooks, &second);
    assert_eq!(output.read_u8().await.unwrap(), b'x');
    hooks.abort();
    // Both have their outputs closed.
    assert_eq!(output.read_to_end(&mut Vec::new()).await.unwrap(), 1);
    drop(hooks);
    let mut next = Hooks::new(None, run.path());
    let left = next.owed_by_earlier("this");
    let left: Vec<_> = left.into_iter().map(|(_, owed)| owed).collect();
    assert_eq!(left, [first, second]);
    assert_eq!(entries(&run), ["web.1.json", "web.2.json"]);
}

#[test]
fn what_is_owed_is_found_in_its_order_and_what_is_not_is_taken_away() {
    let run = ground();
    let mut hooks = Hooks::new(None, run.path());
    let names = [
        "z", "web", "a", "a.9", "web", "web", "web", "web", "web", "web", "b",
    ];
    for name in names {
        hooks.owe(&owed(name, "[/bin/true]")).unwrap();
    }
    let earlier_boot = Owed {
        boot: "another".to_owned(),
        ..owed("y", "[/bin/true]")
    };
    hooks.owe(&earlier_boot).unwrap();
    for (file, text) in [
        ("half.13.json.new", "{"),
        ("senseless.2.json", "{"),
        ("x.json", "{}"),
    ] {
        std::fs::write(run.path().join("owed").join(file), text).unwrap();
    }
    // It cannot be read, and is not ours to take away.
    std::fs::create_dir(run.path().join("owed/odd.7.json")).unwrap();
    let mut next = Hooks::new(None, run.path());
    let left = next.owed_by_earlier("this");
    let found: Vec<_> = left
        .iter()
        .map(|(_, owed)| owed.definition.name.as_str())
        .collect();
    assert_eq!(found, names);
    let entry = next.owe(&owed("a", "[/bin/true]")).unwrap();
    assert!(run.path().join("owed/a.13.json").exists());
    entry.strike();
    left.into_iter().for_each(|(entry, _)| entry.strike());
    assert_eq!(entries(&run), ["odd.7.json"]);
}

#[test]
fn a_name_that_is_taken_again_waits_for_the_hooks_of_whoever_had_it() {
    let mut hooks = Hooks::new(None, Path::new(""));
    let name = Name::new("web").unwrap();
    let line = hooks.line(&name);
    let turn = line.turn.try_lock().unwrap();
    hooks.forget(&name);
    assert!(hooks.line(&name).turn.try_lock().is_err());
    drop(turn);
    hooks.forget(&name);
    assert!(hooks.line(&name).turn.try_lock().is_ok());
    drop(line);
    hooks.forget(&name);
    assert!(hooks.lines.is_empty() && hooks.gone.is_empty());
}

#[tokio::test]
async fn a_hook_whose_emperor_died_at_its_spawn_is_ended_by_the_next() {
    let directory = ground();
    let mut command = std::process::Command::new("/bin/sh");
    command.args(["-c", "sleep 1000 & wait"]).process_group(0);
    let (note, opened) = Note::of(&directory.path().join("hooks/web.stat"), &mut command);
    opened.unwrap();
    let mut child = command.spawn().unwrap();
    // Whatever its emperor would do next, it does not.
    std::mem::forget(note);
    let pidfd = Process::of(child.id()).unwrap().open().unwrap();
    Hooks::new(None, directory.path()).end_earlier().await;
    let ended = has_ended(&pidfd);
    kill_group(i32::try_from(child.id()).unwrap());
    // If all is well, it was reaped.
    let reaped = child.wait().is_err();
    assert!(ended && reaped);
    assert_eq!(
        std::fs::read_dir(directory.path().join("hooks")).unwrap().count(),
        0
    );
}
