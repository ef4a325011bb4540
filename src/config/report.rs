//! Collects everything that is wrong with one file.

use std::path::{Path, PathBuf};

use super::problem::{Place, Problem, Severity, printable};

/// The problems of one file, in the order in which they are found.
#[derive(Debug)]
pub(super) struct Report {
    path: PathBuf,
    problems: Vec<Problem>,
}

impl Report {
    /// Nothing wrong yet with the file at `path`.
    pub(super) fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            problems: Vec::new(),
        }
    }

    /// The file cannot be used.
    pub(super) fn error(
        &mut self,
        place: Option<Place>,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.add(Severity::Error, place, message.into(), help.into());
    }

    /// The file can be used, but hardly as it was meant.
    pub(super) fn warning(
        &mut self,
        place: Option<Place>,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.add(Severity::Warning, place, message.into(), help.into());
    }

    fn add(&mut self, severity: Severity, place: Option<Place>, message: String, help: String) {
        let message = printable(&message);
        let help = (!help.is_empty()).then(|| printable(&help));
        self.problems.push(Problem {
            severity,
            path: self.path.clone(),
            place,
            message,
            help,
        });
    }

    /// How many problems there are.
    pub(super) fn len(&self) -> usize {
        self.problems.len()
    }

    /// Adds to the help of the last problem that `text` may be one of these words, too.
    pub(super) fn words_also(&mut self, text: Option<&str>, words: &[&str]) {
        let Some(Problem { help: Some(help), .. }) = self.problems.last_mut() else {
            return;
        };
        let near = text.map(|text| suggest(text, words.iter().copied()));
        if help.ends_with('?') {
            // It is clear what was meant.
        } else if let Some(near) = near.filter(|near| near.ends_with('?')) {
            *help = near;
        } else {
            help.push_str(", or ");
            help.push_str(&words.join(", "));
        }
    }

    /// Whether the file can be used.
    pub(super) fn is_usable(&self) -> bool {
        self.problems
            .iter()
            .all(|problem| problem.severity == Severity::Warning)
    }

    /// The problems in the order of the file.
    pub(super) fn finish(mut self) -> Vec<Problem> {
        self.problems.sort_by_key(|problem| problem.place);
        self.problems
    }
}

/// "did you mean …?", if one of `known` is close to `word`; else the list of them.
pub(super) fn suggest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let known: Vec<&str> = known.into_iter().collect();
    let lower = word.to_lowercase();
    let near = known
        .iter()
        .map(|&one| (strsim::damerau_levenshtein(&lower, &one.to_lowercase()), one))
        .filter(|&(distance, one)| distance <= 1 + one.len().min(word.len()) / 4)
        .min_by_key(|&(distance, _)| distance);
    match near {
        Some((_, one)) => format!("did you mean `{one}`?"),
        None => format!("valid here: {}", known.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_near_miss_is_suggested_and_a_far_one_gets_the_list() {
        let known = ["restart", "network", "stop"];
        assert_eq!(suggest("Netwrok", known), "did you mean `network`?");
        assert_eq!(suggest("publish", known), "valid here: restart, network, stop");
    }
}
