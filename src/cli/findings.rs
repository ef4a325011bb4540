//! What a check has found, and how that is shown: for people, and for programs.

use std::fmt::Write as _;
use std::io;
use std::path::Path;

use serde_json::json;

use super::complain;
use crate::config::{Place, Problem, Severity};

/// One entry a file: its problems and its text, if that could be read.
#[derive(Default)]
pub(super) struct Findings(Vec<(Vec<Problem>, Option<String>)>);

impl Findings {
    /// Adds a file that was read, and gives its place.
    pub(super) fn add(&mut self, problems: Vec<Problem>, text: &[u8]) -> usize {
        self.0
            .push((problems, Some(String::from_utf8_lossy(text).into_owned())));
        self.0.len() - 1
    }

    /// Adds to the problems of the file at that place.
    pub(super) fn add_to(&mut self, at: usize, problems: Vec<Problem>) {
        if let Some((known, _)) = self.0.get_mut(at) {
            known.extend(problems);
        }
    }

    /// Adds a file or directory that cannot be read.
    pub(super) fn unreadable(&mut self, path: &Path, error: &io::Error) {
        let problem = Problem {
            severity: Severity::Error,
            path: path.to_owned(),
            place: None,
            message: format!("cannot be read: {error}"),
            help: None,
        };
        self.0.push((vec![problem], None));
    }

    /// The text of the file at that place, if it could be read.
    pub(super) fn text_of(&self, at: usize) -> Option<&str> {
        self.0.get(at)?.1.as_deref()
    }

    /// How many files there are.
    pub(super) fn files(&self) -> usize {
        self.0.len()
    }

    /// All problems, file by file.
    pub(super) fn problems(&self) -> impl Iterator<Item = &Problem> {
        self.0.iter().flat_map(|(problems, _)| problems)
    }

    /// How many problems are as bad as that.
    pub(super) fn count(&self, severity: Severity) -> usize {
        self.problems().filter(|one| one.severity == severity).count()
    }

    /// For people: with the lines they are about, and a summary.
    pub(super) fn text(&self) -> String {
        let mut all = String::new();
        for (problems, text) in &self.0 {
            // The stream drops the colours where nobody can see them.
            all.push_str(&complain::report(problems, text.as_deref(), true));
        }
        let plural = |count: usize, what: &str| {
            if count == 1 {
                format!("1 {what}")
            } else {
                format!("{count} {what}s")
            }
        };
        let errors = plural(self.count(Severity::Error), "error");
        let warnings = plural(self.count(Severity::Warning), "warning");
        let _ = writeln!(all, "{}, {errors}, {warnings}", plural(self.files(), "file"));
        all
    }

    /// For programs.
    pub(super) fn json(&self) -> serde_json::Value {
        let problems: Vec<_> = self.problems().map(as_json).collect();
        json!({ "problems": problems })
    }
}

fn as_json(problem: &Problem) -> serde_json::Value {
    json!({
        "path": problem.path.to_string_lossy(),
        "line": problem.place.map(|Place { line, .. }| line),
        "column": problem.place.map(|Place { column, .. }| column),
        "severity": problem.severity.to_string(),
        "message": problem.message,
        "help": problem.help,
    })
}
