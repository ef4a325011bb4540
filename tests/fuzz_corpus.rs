//! Replays what the fuzzers have found: every kept input of every target, on the ordinary compiler.
//!
//! `integration/fuzz` searches for more. An input that broke something is kept under `corpus/fuzz/TARGET`, with a name
//! that says what it is.

#![allow(clippy::unwrap_used, reason = "test code")]

#[path = "fuzz/bodies/mod.rs"]
mod bodies;
mod packets;
mod world;

use std::fs;
use std::panic::{RefUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use bodies::{TARGETS, fabric, files, frames};

/// More would slow down whoever only wants to know whether all is well.
const MOST_FILES: usize = 300;
const MOST_BYTES: usize = 1 << 20;

/// Every file below a directory, with its content.
fn inputs(directory: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let mut left = vec![
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests")
            .join(directory),
    ];
    let mut found = Vec::new();
    while let Some(path) = left.pop() {
        if path.is_dir() {
            left.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else {
            let content = fs::read(&path).unwrap();
            found.push((path, content));
        }
    }
    assert!(!found.is_empty(), "nothing in {directory}");
    found.sort();
    found
}

/// Says which of them do not hold; the panics themselves stand above.
fn try_each(inputs: &[(PathBuf, Vec<u8>)], body: impl Fn(&[u8]) + RefUnwindSafe) {
    let broken: Vec<_> = inputs
        .iter()
        .filter(|(_, content)| catch_unwind(|| body(content)).is_err())
        .map(|(path, _)| path)
        .collect();
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn every_kept_input_holds() {
    for (target, body) in TARGETS {
        try_each(&inputs(&format!("corpus/fuzz/{target}")), body);
    }
}

/// A target that is built but not listed is never replayed, and one that is listed but not built never searched with.
#[test]
fn what_is_replayed_is_what_is_searched_with() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let mut listed: Vec<_> = TARGETS.map(|(name, _)| name.to_owned()).to_vec();
    listed.sort();
    let manifest = fs::read_to_string(here.join("fuzz/Cargo.toml")).unwrap();
    // The package itself stands above the first of them.
    let mut built: Vec<_> = manifest.split("[[bin]]").skip(1).map(quoted_name).collect();
    built.sort();
    assert_eq!(listed, built, "TARGETS and the [[bin]]s of fuzz/Cargo.toml");
    assert_eq!(
        listed,
        stems(&here.join("fuzz/targets")),
        "TARGETS and fuzz/targets"
    );
    assert_eq!(
        listed,
        stems(&here.join("corpus/fuzz")),
        "TARGETS and corpus/fuzz"
    );
    for name in listed {
        let source = fs::read_to_string(here.join(format!("fuzz/targets/{name}.rs"))).unwrap();
        assert!(
            source.contains(&format!("::{name}(input)")),
            "{name}.rs has another body"
        );
    }
}

/// Of the line `name = "…"`.
fn quoted_name(part: &str) -> String {
    let line = part.lines().find(|line| line.starts_with("name = ")).unwrap();
    line.trim_start_matches("name = ").trim_matches('"').to_owned()
}

/// The names in a directory, without what stands behind the dot, in order.
fn stems(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let mut found: Vec<_> = entries
        .map(|entry| {
            entry
                .unwrap()
                .path()
                .file_stem()
                .unwrap()
                .to_str()
                .unwrap()
                .to_owned()
        })
        .collect();
    found.sort();
    found
}

#[test]
fn every_described_frame_holds_from_every_port_under_every_rule() {
    let described = inputs("corpus/packets");
    try_each(&described, frames::packet);
    for from in [0, 1, 2, 3, 4] {
        for rules in 0..64 {
            try_each(&described, |frame| {
                fabric::forward(&[&[from, rules], frame].concat())
            });
        }
    }
}

#[test]
fn every_golden_file_holds() {
    let golden = inputs("golden");
    try_each(&golden, files::definition);
    // Some of their lines are rules.
    for (path, content) in golden {
        for line in content.split(|byte| matches!(byte, b'\n' | b'"' | b'[' | b']' | b',')) {
            let line = line.trim_ascii().to_vec();
            try_each(&[(path.clone(), line)], files::rule);
        }
    }
}

#[test]
fn the_kept_inputs_are_few_and_small() {
    let kept = inputs("corpus/fuzz");
    let bytes: usize = kept.iter().map(|(_, content)| content.len()).sum();
    assert!(
        kept.len() < MOST_FILES && bytes < MOST_BYTES,
        "{} files, {bytes} bytes",
        kept.len()
    );
}
