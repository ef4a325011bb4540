//! What is wrong with an operator's file, and what would be right.

use std::path::PathBuf;

/// One thing wrong with one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Whether the file can be used all the same.
    pub severity: Severity,
    /// The file.
    pub path: PathBuf,
    /// Where in it; absent when the file as a whole is meant (unreadable, for instance).
    pub place: Option<Place>,
    /// What is wrong: names the key and the value.
    pub message: String,
    /// What would be right.
    pub help: Option<String>,
}

/// Whether a problem refuses the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The file is refused.
    Error,
    /// The file is used.
    Warning,
}

/// A place in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Counted from 1.
    pub line: u32,
    /// Counted from 1, in characters.
    pub column: u32,
    /// Length of what is marked, in characters; at least 1.
    pub length: u32,
}
