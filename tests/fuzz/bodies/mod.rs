//! What each fuzz target does with its input. `tests/fuzz` drives them with libFuzzer, `tests/fuzz_corpus.rs` with
//! the inputs that are kept.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "test code; each target takes what it needs"
)]

pub mod fabric;
pub mod files;
pub mod frames;
pub mod model;
pub mod pieces;

/// What takes one input and panics if something does not hold.
pub type Body = fn(&[u8]);

/// Every target by its name, which is also that of its corpus.
pub const TARGETS: [(&str, Body); 6] = [
    ("packet", frames::packet),
    ("vnet", frames::vnet),
    ("pieces", pieces::pieces),
    ("forward", fabric::forward),
    ("rule", files::rule),
    ("definition", files::definition),
];
