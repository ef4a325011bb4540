//! `check`: judges files without running anything.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::json;

use super::complain;
use crate::config::load;
use crate::config::{
    Claimed, Claims, Conflict, Definition, Place, Places, Problem, Settings, Severity, World,
};

/// How the problems are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people: on standard error, with the lines they are about.
    Text,
    /// For programs: on standard output.
    Json,
}

/// What was found.
struct Findings<'a> {
    places: &'a Places,
    world: &'a dyn World,
    /// One entry a file: its problems and its text, if that could be read.
    files: Vec<(Vec<Problem>, Option<String>)>,
    claims: Claims,
}

/// Judges `target`: a vassal's file, a directory of them, the settings (`emperor.yaml`, or the file that
/// `config` names), or `-` for a vassal on standard input. `config` names the settings that hold; without it
/// the usual ones are taken, if there are any.
///
/// Ends with 0, or with 1 if any file is not valid.
pub fn run(
    target: &Path,
    config: Option<&Path>,
    places: &Places,
    world: &dyn World,
    format: Format,
) -> ExitCode {
    let mut findings = Findings {
        places,
        world,
        files: Vec::new(),
        claims: Claims::new(),
    };
    let is_settings = target.file_name() == Some(OsStr::new("emperor.yaml")) || config == Some(target);
    if is_settings {
        findings.settings(target, true);
    } else {
        let named = config.unwrap_or(&places.settings);
        if let Some(settings) = findings.settings(named, config.is_some()) {
            findings.target(target, &settings);
        }
    }
    let failed = findings.count(Severity::Error) > 0;
    match format {
        Format::Text => anstream::eprint!("{}", findings.text()),
        Format::Json => anstream::println!("{:#}", findings.json()),
    }
    ExitCode::from(u8::from(failed))
}

impl Findings<'_> {
    /// Judges the settings. A file that is not there counts as none, unless it `must_exist`.
    fn settings(&mut self, path: &Path, must_exist: bool) -> Option<Settings> {
        let text = match std::fs::read(path) {
            Ok(bytes) => Some(bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound && !must_exist => None,
            Err(error) => {
                self.unreadable(path, &error);
                return None;
            }
        };
        let judged = load::settings_bytes(path, text.as_deref(), self.places, self.world);
        if let Some(text) = text {
            self.files
                .push((judged.problems, Some(String::from_utf8_lossy(&text).into_owned())));
        }
        judged.value
    }

    fn target(&mut self, target: &Path, settings: &Settings) {
        if target == Path::new("-") {
            let mut text = Vec::new();
            match io::stdin().lock().read_to_end(&mut text) {
                Ok(_) => self.definition(target, &text, settings),
                Err(error) => self.unreadable(target, &error),
            }
        } else if target.is_dir() {
            match definitions(target) {
                Ok(paths) => paths.iter().for_each(|path| self.file(path, settings)),
                Err(error) => self.unreadable(target, &error),
            }
        } else {
            self.file(target, settings);
        }
    }

    fn file(&mut self, path: &Path, settings: &Settings) {
        match std::fs::read(path) {
            Ok(text) => self.definition(path, &text, settings),
            Err(error) => self.unreadable(path, &error),
        }
    }

    fn definition(&mut self, path: &Path, text: &[u8], settings: &Settings) {
        let judged = load::definition(path, text, settings, self.world);
        let mut problems = judged.problems;
        if let Some(definition) = judged.value {
            problems.extend(self.claim(&definition, text));
        }
        self.files
            .push((problems, Some(String::from_utf8_lossy(text).into_owned())));
    }

    /// What an earlier file holds already.
    fn claim(&mut self, definition: &Definition, text: &[u8]) -> Vec<Problem> {
        let conflicts = self.claims.claim(definition).err().unwrap_or_default();
        conflicts.iter().map(|conflict| problem(conflict, text)).collect()
    }

    fn unreadable(&mut self, path: &Path, error: &io::Error) {
        let problem = Problem {
            severity: Severity::Error,
            path: path.to_owned(),
            place: None,
            message: format!("cannot be read: {error}"),
            help: None,
        };
        self.files.push((vec![problem], None));
    }

    fn count(&self, severity: Severity) -> usize {
        self.files
            .iter()
            .flat_map(|(problems, _)| problems)
            .filter(|one| one.severity == severity)
            .count()
    }

    fn text(&self) -> String {
        let mut all = String::new();
        for (problems, text) in &self.files {
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
        let _ = writeln!(all, "{}, {errors}, {warnings}", plural(self.files.len(), "file"));
        all
    }

    fn json(&self) -> serde_json::Value {
        let problems: Vec<_> = self
            .files
            .iter()
            .flat_map(|(problems, _)| problems)
            .map(as_json)
            .collect();
        json!({ "problems": problems })
    }
}

/// The definitions of a directory, in the order of their names.
fn definitions(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        if load::is_definition(&entry.file_name()) && !entry.path().is_dir() {
            paths.push(entry.path());
        }
    }
    paths.sort();
    Ok(paths)
}

fn problem(conflict: &Conflict, text: &[u8]) -> Problem {
    let (place, help) = match &conflict.claimed {
        Claimed::Name(_) => (None, "rename one of them"),
        Claimed::Address(address) => (
            load::place_of_address(text, *address),
            "give one of them another address, or `auto`",
        ),
    };
    Problem {
        severity: Severity::Error,
        path: conflict.claimant.clone(),
        place,
        message: conflict.to_string(),
        help: Some(help.to_owned()),
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
