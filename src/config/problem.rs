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

/// `text` without its control characters, which could forge a line of a log or drive a terminal: names and
/// texts come from whoever may write definitions.
pub fn printable(text: &str) -> String {
    let escape = |letter: char| match letter {
        _ if letter.is_control() => letter.escape_default().collect(),
        // Right-to-left overrides and their kin reorder what is read.
        '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
            letter.escape_unicode().collect()
        }
        _ => letter.to_string(),
    };
    text.chars().map(escape).collect()
}

/// One line: `path:line:column: error: message; help`.
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", printable(&self.path.to_string_lossy()))?;
        if let Some(place) = self.place {
            write!(f, "{}:{}:", place.line, place.column)?;
        }
        write!(f, " {}: {}", self.severity, printable(&self.message))?;
        match &self.help {
            Some(help) => write!(f, "; {}", printable(help)),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hostile_name_cannot_forge_a_line_or_drive_a_terminal() {
        let problem = Problem {
            severity: Severity::Error,
            path: PathBuf::from("a\nb\u{1b}[2J.yaml"),
            place: Some(Place {
                line: 1,
                column: 2,
                length: 3,
            }),
            message: "unknown key `x\ny\u{202e}`".to_owned(),
            help: Some("\r".to_owned()),
        };
        let line = "a\\nb\\u{1b}[2J.yaml:1:2: error: unknown key `x\\ny\\u{202e}`; \\r";
        assert_eq!(problem.to_string(), line);
    }
}
