//! `check`: judges files without running anything.

use std::ffi::OsStr;
use std::io::{self, Read as _};
use std::path::Path;
use std::process::ExitCode;

use super::findings::Findings;
use super::reading::{MOST, definitions, owned, read};
use crate::config::load;
use crate::config::{
    Claimed, Claims, Conflict, Definition, Owner, Places, Problem, Settings, Severity, World,
};

/// How the problems are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people: on standard error, with the lines they are about.
    Text,
    /// For programs: on standard output.
    Json,
}

/// The files are being judged.
struct Check<'a> {
    places: &'a Places,
    world: &'a dyn World,
    findings: Findings,
    claims: Claims,
    /// By place in `findings`: bad definitions, which claim what no good one has.
    drafts: Vec<(usize, Definition)>,
}

/// Judges `target`: a vassal's file, a directory of them, the settings (`emperor.yaml`, or the file that
/// `config` names), or `-` for a vassal on standard input; without it all that `run` would take. `config` names
/// the settings that hold; without it the usual ones are taken, if there are any.
///
/// Ends with 0, or with 1 if any file is not valid.
pub fn run(
    target: Option<&Path>,
    config: Option<&Path>,
    places: &Places,
    world: &dyn World,
    format: Format,
) -> ExitCode {
    let findings = judge(target, config, places, world);
    let failed = findings.count(Severity::Error) > 0;
    match format {
        Format::Text => anstream::eprint!("{}", findings.text()),
        Format::Json => anstream::println!("{:#}", findings.json()),
    }
    ExitCode::from(u8::from(failed))
}

fn judge(target: Option<&Path>, config: Option<&Path>, places: &Places, world: &dyn World) -> Findings {
    let mut check = Check {
        places,
        world,
        findings: Findings::default(),
        claims: Claims::new(),
        drafts: Vec::new(),
    };
    let is_settings =
        |target: &Path| target.file_name() == Some(OsStr::new("emperor.yaml")) || config == Some(target);
    if let Some(settings) = target.filter(|target| is_settings(target)) {
        check.settings(settings, true);
    } else {
        let named = config.unwrap_or(&places.settings);
        if let Some(settings) = check.settings(named, config.is_some()) {
            match target {
                Some(target) => check.target(target, &settings),
                None => settings
                    .vassals
                    .iter()
                    .for_each(|directory| check.target(directory, &settings)),
            }
            check.claim_drafts();
        }
    }
    check.findings
}

impl Check<'_> {
    /// Judges the settings. A file that is not there counts as none, unless it `must_exist`.
    fn settings(&mut self, path: &Path, must_exist: bool) -> Option<Settings> {
        let text = match read(path) {
            Ok(bytes) => Some(bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound && !must_exist => None,
            Err(error) => {
                self.findings.unreadable(path, &error);
                return None;
            }
        };
        let judged = load::settings_bytes(path, text.as_deref(), self.places, self.world);
        if let Some(text) = text {
            self.findings.add(judged.problems, &text);
        }
        judged.value
    }

    fn target(&mut self, target: &Path, settings: &Settings) {
        if target == Path::new("-") {
            let mut text = Vec::new();
            match io::stdin().lock().take(MOST).read_to_end(&mut text) {
                Ok(_) => self.definition(target, &text, None, settings),
                Err(error) => self.findings.unreadable(target, &error),
            }
        } else if target.is_dir() {
            match definitions(target) {
                Ok(paths) => paths.iter().for_each(|path| self.file(path, settings)),
                Err(error) => self.findings.unreadable(target, &error),
            }
        } else {
            self.file(target, settings);
        }
    }

    fn file(&mut self, path: &Path, settings: &Settings) {
        let found = if settings.run_as_owner {
            owned(path).map(|(text, owner)| (text, Some(owner)))
        } else {
            read(path).map(|text| (text, None))
        };
        match found {
            Ok((text, owner)) => self.definition(path, &text, owner, settings),
            Err(error) => self.findings.unreadable(path, &error),
        }
    }

    fn definition(&mut self, path: &Path, text: &[u8], owner: Option<Owner>, settings: &Settings) {
        let judged = load::definition_of(path, text, owner, settings, self.world);
        let mut problems = judged.problems;
        if let Some(definition) = judged.value {
            problems.extend(self.claim(&definition, text));
        }
        let at = self.findings.add(problems, text);
        self.drafts
            .extend(judged.draft.map(|definition| (at, definition)));
    }

    /// A file that is wrong in itself hears of its claims as well, not only when the rest is right.
    fn claim_drafts(&mut self) {
        for (at, definition) in std::mem::take(&mut self.drafts) {
            let text = self.findings.text_of(at).unwrap_or_default().to_owned();
            let problems = self.claim(&definition, text.as_bytes());
            self.findings.add_to(at, problems);
        }
    }

    /// What an earlier file holds already.
    fn claim(&mut self, definition: &Definition, text: &[u8]) -> Vec<Problem> {
        let conflicts = self.claims.claim(definition).err().unwrap_or_default();
        conflicts.iter().map(|conflict| problem(conflict, text)).collect()
    }
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

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::json;

    use super::*;
    use crate::config::world::Anywhere;

    /// Places under a directory that holds these files.
    fn with(files: &[(&str, &str)]) -> (tempfile::TempDir, Places) {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        fs::create_dir(at("vassals")).unwrap();
        for (name, text) in files {
            fs::write(at(name), text).unwrap();
        }
        let places = Places {
            settings: at("emperor.yaml"),
            vassals: at("vassals"),
            run_directory: at("run"),
            state_directory: at("state"),
            log_directory: at("log"),
        };
        (root, places)
    }

    /// What `check` says of `target`, paths without the directory.
    fn found(files: &[(&str, &str)], target: &str, config: Option<&str>) -> (Vec<String>, String) {
        let (root, places) = with(files);
        let config = config.map(|config| root.path().join(config));
        let target = root.path().join(target);
        let findings = judge(Some(&target), config.as_deref(), &places, &Anywhere);
        let prefix = format!("{}/", root.path().display());
        let problems = findings.problems();
        let lines = problems
            .map(|problem| problem.to_string().replace(&prefix, ""))
            .collect();
        let text = findings.text();
        (lines, text.lines().last().unwrap_or_default().to_owned())
    }

    #[test]
    fn a_directory_is_judged_file_by_file_and_across_files() {
        let (lines, summary) = found(
            &[
                (
                    "vassals/a.yaml",
                    "command: [/bin/sh]\nnetwork: {address: 10.107.0.2}\n",
                ),
                (
                    "vassals/b.yaml",
                    "command: [/bin/sh]\nnetwork: {address: 10.107.0.2}\n",
                ),
                ("vassals/b.yml", "command: [/bin/sh]\n"),
                ("vassals/a.yml", "command: [/bin/sh]\n"),
                ("vassals/c.yaml", "comand: 1\n"),
                ("vassals/c.yaml~", "nonsense"),
                ("vassals/.d.yaml", "nonsense"),
            ],
            "vassals",
            None,
        );
        assert_eq!(
            lines,
            [
                "vassals/a.yml: error: the name a is already that of vassals/a.yaml; rename one of them",
                "vassals/b.yaml:2:20: error: the address 10.107.0.2 already belongs to vassals/a.yaml; give one of them \
             another address, or `auto`",
                "vassals/c.yaml:1:1: error: there is no `command`; add `command: [/usr/bin/program, argument]`",
                "vassals/c.yaml:1:1: error: unknown key `comand`; did you mean `command`?",
            ]
        );
        assert_eq!(summary, "5 files, 4 errors, 0 warnings");
    }

    #[test]
    fn the_settings_are_judged_first_and_without_them_nothing_else() {
        let files = [("emperor.yaml", "rooter: 1\n"), ("vassals/a.yaml", "x: 1\n")];
        for (target, config) in [
            ("vassals", None),
            ("emperor.yaml", None),
            ("emperor.yaml", Some("emperor.yaml")),
        ] {
            let (lines, summary) = found(&files, target, config);
            assert_eq!(
                lines,
                ["emperor.yaml:1:1: error: unknown key `rooter`; did you mean `router`?"]
            );
            assert_eq!(summary, "1 file, 1 error, 0 warnings");
        }
    }

    #[test]
    fn a_file_that_is_not_there_is_an_error() {
        for (target, config) in [("vassals/a.yaml", None), ("vassals", Some("other.yaml"))] {
            let (lines, summary) = found(&[], target, config);
            assert!(lines[0].contains("cannot be read"), "{lines:?}");
            assert_eq!(summary, "1 file, 1 error, 0 warnings");
        }
    }

    #[test]
    fn what_is_no_regular_file_is_refused_and_a_directory_passed_over() {
        let (root, places) = with(&[]);
        let target = root.path().join("vassals");
        fs::create_dir(target.join("a.yaml")).unwrap();
        std::os::unix::fs::symlink("/dev/zero", target.join("b.yaml")).unwrap();
        std::os::unix::fs::symlink("nowhere", target.join("c.yaml")).unwrap();
        let findings = judge(Some(&target), None, &places, &Anywhere);
        assert_eq!(findings.files(), 2);
        assert!(findings.text().contains("cannot be read: it is no regular file"));
        assert_eq!(findings.count(Severity::Error), 2);
    }

    #[test]
    fn good_files_are_good() {
        let files = [
            ("my.yaml", "router: {device: up0}\n"),
            ("vassals/a.yaml", "command: [/bin/sh]\n"),
        ];
        assert_eq!(
            found(&files, "vassals", Some("my.yaml")),
            (vec![], "2 files, 0 errors, 0 warnings".to_owned())
        );
    }

    #[test]
    fn json_has_every_field() {
        let (root, places) = with(&[("vassals/a.yaml", "command: x\n")]);
        let json = judge(Some(&root.path().join("vassals")), None, &places, &Anywhere).json();
        assert_eq!(
            json["problems"],
            json!([{
                "path": root.path().join("vassals/a.yaml"),
                "line": 1,
                "column": 10,
                "severity": "error",
                "message": "`command` is one string",
                "help": "write it as a list: [/bin/sh, -c, \"x\"]",
            }])
        );
    }
}
