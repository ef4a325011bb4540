//! From changed files to what the emperor hears.
//!
//! A file is judged whole before anything is touched. A bad one changes nothing: whoever runs under the
//! file's last good text goes on, and the problems are logged and kept for the status.

use std::path::Path;
use std::time::Instant;

use crate::config::definition::Addresses;
use crate::config::{Definition, Owner, Problem, Severity, load};
use crate::emperor::Event;

use super::daemon::Daemon;
use super::watch::Change;

impl Daemon {
    /// Looks at the directories and passes on what changed.
    pub(super) fn deploy(&mut self) {
        let mut definitions = Vec::new();
        for change in self.watch.look(Instant::now()) {
            match change {
                Change::Gone(path) => {
                    self.problems.remove(&path);
                    self.tell(Event::Removed(path));
                }
                Change::Unreadable { path, why } => {
                    let message = format!("cannot be read: {why}");
                    self.complain(&path, vec![Problem::of_file(path.clone(), message)]);
                }
                Change::Read { path, text, owner } => definitions.extend(self.judge(&path, &text, owner)),
            }
        }
        // Who names an address gets it before somebody else is given it by chance.
        definitions.sort_by_key(|definition| definition.network.address == Addresses::Auto);
        for definition in definitions {
            let name = definition.name.clone();
            self.tell(Event::Defined(Box::new(definition)));
            self.update_sleeper(&name);
        }
    }

    fn judge(&mut self, path: &Path, text: &[u8], owner: Option<Owner>) -> Option<Definition> {
        let judged = load::definition_of(path, text, owner, &self.settings, &self.facts);
        self.complain(path, judged.problems);
        judged.value
    }

    /// A definition that is good in itself cannot be used beside the others.
    pub(super) fn refuse(&mut self, definition: &Definition, why: &str) {
        let path = definition.path.clone();
        self.complain(&definition.path, vec![Problem::of_file(path, why.to_owned())]);
    }

    /// Logs the problems of a file and keeps them, in place of its earlier ones.
    fn complain(&mut self, path: &Path, problems: Vec<Problem>) {
        for problem in &problems {
            match problem.severity {
                Severity::Error => tracing::error!("{problem}"),
                Severity::Warning => tracing::warn!("{problem}"),
            }
        }
        let runs = self
            .emperor
            .vassals()
            .values()
            .find(|vassal| vassal.definition.path == path);
        if let Some(vassal) = runs
            && problems.iter().any(|problem| problem.severity == Severity::Error)
        {
            let name = &vassal.definition.name;
            tracing::warn!(%name, "the edit is refused; the vassal goes on under its last good definition");
        }
        if problems.is_empty() {
            self.problems.remove(path);
        } else {
            self.problems.insert(path.to_owned(), problems);
        }
    }
}
