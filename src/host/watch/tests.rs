use std::fs::File;
use std::io::Write;

use super::*;
use crate::host::known::GRACE;

fn words(changes: &[Change]) -> Vec<String> {
    let name = |path: &Path| path.file_name().unwrap().to_string_lossy().into_owned();
    changes
        .iter()
        .map(|change| match change {
            Change::Read { path, text, .. } => {
                format!("{}={}", name(path), String::from_utf8_lossy(text))
            }
            Change::Unreadable { path, .. } => format!("!{}", name(path)),
            Change::Gone(path) => format!("-{}", name(path)),
        })
        .collect()
}

/// A runtime, and a directory of definitions that is watched in it.
fn watching() -> (tokio::runtime::Runtime, tempfile::TempDir, Watch) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let directory = tempfile::tempdir().unwrap();
    let watch = {
        let _inside = runtime.enter();
        Watch::new(vec![directory.path().to_owned()])
    };
    (runtime, directory, watch)
}

/// Whether an event, and not a deadline, makes a look worth it within that time.
fn told_within(patience: Duration, runtime: &tokio::runtime::Runtime, watch: &Watch) -> bool {
    runtime.block_on(async { tokio::time::timeout(patience, watch.changed()).await.is_ok() })
}

fn told(runtime: &tokio::runtime::Runtime, watch: &Watch) -> bool {
    told_within(Duration::from_secs(15), runtime, watch)
}
fn silent(runtime: &tokio::runtime::Runtime, watch: &Watch) -> bool {
    !told_within(Duration::from_millis(500), runtime, watch)
}

#[test]
fn a_file_is_read_once_and_again_when_its_bytes_change() {
    let (_runtime, directory, mut watch) = watching();
    let now = Instant::now();
    std::fs::write(directory.path().join("a.yaml"), "1").unwrap();
    std::fs::write(directory.path().join("a.yaml~"), "1").unwrap();
    assert_eq!(words(&watch.look(now)), ["a.yaml=1"]);
    assert!(watch.look(now).is_empty());
    std::fs::write(directory.path().join("a.yaml"), "1").unwrap();
    assert!(watch.look(now).is_empty(), "the same bytes are no change");
    std::fs::write(directory.path().join("a.yaml"), "2").unwrap();
    assert_eq!(words(&watch.look(now)), ["a.yaml=2"]);
}

#[test]
fn a_file_that_is_being_written_is_left_alone_until_it_is_closed() {
    let (_runtime, directory, mut watch) = watching();
    let now = Instant::now();
    let mut writer = File::create(directory.path().join("a.yaml")).unwrap();
    writer.write_all(b"hal").unwrap();
    assert!(watch.look(now).is_empty());
    writer.write_all(b"f").unwrap();
    drop(writer);
    assert_eq!(words(&watch.look(now)), ["a.yaml=half"]);
}

#[test]
fn a_file_that_comes_back_within_the_grace_was_never_gone() {
    let (_runtime, directory, mut watch) = watching();
    let now = Instant::now();
    let (path, aside) = (directory.path().join("a.yaml"), directory.path().join("a.yaml~"));
    std::fs::write(&path, "1").unwrap();
    watch.look(now);
    std::fs::rename(&path, &aside).unwrap();
    assert!(watch.look(now).is_empty());
    assert_eq!(watch.deadline(), Some(now + GRACE));
    std::fs::write(&path, "1").unwrap();
    assert!(watch.look(now + GRACE).is_empty());
    std::fs::remove_file(&path).unwrap();
    assert!(watch.look(now + GRACE).is_empty());
    assert_eq!(words(&watch.look(now + GRACE * 2)), ["-a.yaml"]);
}

#[test]
fn the_files_of_a_directory_that_cannot_be_read_stay() {
    let (_runtime, directory, mut watch) = watching();
    let vassals = directory.path().join("vassals");
    std::fs::create_dir(&vassals).unwrap();
    std::fs::write(vassals.join("a.yaml"), "1").unwrap();
    watch.directories = vec![vassals.clone()];
    let now = Instant::now();
    watch.look(now);
    std::fs::rename(&vassals, directory.path().join("elsewhere")).unwrap();
    assert_eq!(words(&watch.look(now)), ["!vassals"]);
    assert!(watch.look(now + GRACE * 2).is_empty());
    std::fs::rename(directory.path().join("elsewhere"), &vassals).unwrap();
    assert!(watch.look(now + GRACE * 4).is_empty());
}

#[test]
fn another_directory_under_the_same_path_is_watched() {
    let (runtime, directory, mut watch) = watching();
    let (vassals, new) = (directory.path().join("vassals"), directory.path().join("new"));
    std::fs::create_dir(&vassals).unwrap();
    std::fs::create_dir(&new).unwrap();
    watch.directories = vec![vassals.clone()];
    let now = Instant::now();
    watch.look(now);
    std::fs::rename(&vassals, directory.path().join("old")).unwrap();
    std::fs::rename(&new, &vassals).unwrap();
    assert!(told(&runtime, &watch));
    assert!(watch.look(now).is_empty());
    std::fs::write(vassals.join("a.yaml"), "1").unwrap();
    assert!(told(&runtime, &watch));
    assert_eq!(words(&watch.look(now)), ["a.yaml=1"]);
    // One write is several events, and another thread tells them one by one.
    while !silent(&runtime, &watch) {}
    std::fs::write(directory.path().join("old/b.yaml"), "1").unwrap();
    assert!(silent(&runtime, &watch), "the old one is left alone");
}

#[test]
fn a_link_that_is_swapped_is_an_event_wherever_it_is() {
    use std::os::unix::fs::symlink;

    let (runtime, directory, mut watch) = watching();
    let at = |name: &str| directory.path().join(name);
    let swap = |target: &str, link: &str| {
        symlink(target, at("link.new")).unwrap();
        std::fs::rename(at("link.new"), at(link)).unwrap();
    };
    for (name, text) in [
        ("d1/a.yaml", "1"),
        ("d2/a.yaml", "2"),
        ("r1/f", "3"),
        ("r2/f", "4"),
    ] {
        std::fs::create_dir(at(name).parent().unwrap()).unwrap();
        std::fs::write(at(name), text).unwrap();
    }
    std::fs::create_dir(at("rel")).unwrap();
    symlink("../r1", at("rel/now")).unwrap();
    symlink("../rel/now/f", at("d1/b.yaml")).unwrap();
    symlink("../rel/now/f", at("d2/b.yaml")).unwrap();
    symlink("d1", at("vassals")).unwrap();
    watch.directories = vec![at("vassals")];
    let now = Instant::now();
    assert_eq!(words(&watch.look(now)), ["a.yaml=1", "b.yaml=3"]);
    swap("d2", "vassals");
    assert!(told(&runtime, &watch), "the directory's link");
    assert_eq!(words(&watch.look(now)), ["a.yaml=2"]);
    swap("../r2", "rel/now");
    assert!(told(&runtime, &watch), "a link that a file's link leads through");
    assert_eq!(words(&watch.look(now)), ["b.yaml=4"]);
    std::fs::write(at("r2/f"), "5").unwrap();
    assert!(told(&runtime, &watch), "the file at the end");
    assert_eq!(words(&watch.look(now)), ["b.yaml=5"]);
}

#[test]
fn a_link_to_nothing_waits_for_something() {
    let (runtime, directory, mut watch) = watching();
    std::os::unix::fs::symlink("later/f", directory.path().join("a.yaml")).unwrap();
    let now = Instant::now();
    assert_eq!(words(&watch.look(now)), ["!a.yaml"]);
    std::fs::create_dir(directory.path().join("later")).unwrap();
    assert!(told(&runtime, &watch));
    assert!(watch.look(now).is_empty());
    std::fs::write(directory.path().join("later/f"), "1").unwrap();
    assert!(told(&runtime, &watch));
    assert_eq!(words(&watch.look(now)), ["a.yaml=1"]);
}
