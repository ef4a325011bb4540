//! Hooks over an end of their emperor, and of their vassal.

use std::os::unix::process::CommandExt;

use super::*;
use crate::host::process::{Process, has_ended};

#[test]
fn a_name_that_is_taken_again_waits_for_the_hooks_of_whoever_had_it() {
    let mut hooks = Hooks::new(None, PathBuf::new());
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
    let directory = tempfile::tempdir().unwrap();
    let mut command = std::process::Command::new("/bin/sh");
    command.args(["-c", "sleep 1000 & wait"]).process_group(0);
    let (note, opened) = Note::of(&directory.path().join("web.stat"), &mut command);
    opened.unwrap();
    let mut child = command.spawn().unwrap();
    // Whatever its emperor would do next, it does not.
    std::mem::forget(note);
    let pidfd = Process::of(child.id()).unwrap().open().unwrap();
    Hooks::new(None, directory.path().to_owned()).end_earlier().await;
    let ended = has_ended(&pidfd);
    kill_group(i32::try_from(child.id()).unwrap());
    // If all is well, it was reaped.
    let reaped = child.wait().is_err();
    assert!(ended && reaped);
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
}
