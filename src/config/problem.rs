//! What is wrong with an operator's file, and what would be right.

use std::fmt;
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

impl Problem {
    /// An error that is about the file as a whole.
    pub fn of_file(path: PathBuf, message: String) -> Self {
        Self {
            severity: Severity::Error,
            path,
            place: None,
            message,
            help: None,
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Error => "error",
            Self::Warning => "warning",
        })
    }
}

/// One line: `path:line:column: error: message; help`.
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.path.display())?;
        if let Some(place) = self.place {
            write!(f, "{}:{}:", place.line, place.column)?;
        }
        write!(f, " {}: {}", self.severity, self.message)?;
        match &self.help {
            Some(help) => write!(f, "; {help}"),
            None => Ok(()),
        }
    }
}
