//! Shows problems to a person: each with the lines it is about.

use std::process::ExitCode;

use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};

use crate::config::{Place, Problem, Severity};

/// Shows problems on standard error, in colour where that is a terminal and NO_COLOR is not set.
pub fn show(problems: &[Problem], text: Option<&str>) {
    if problems.is_empty() {
        return;
    }
    anstream::eprint!("{}", report(problems, text, true));
}

/// Shows one sentence on standard error; the exit code is that of a failure.
pub fn fatal(sentence: &str) -> ExitCode {
    anstream::eprintln!("mini-emperor: {sentence}");
    ExitCode::FAILURE
}

/// Renders the problems of one file; `text` is its content, where it could be read.
pub fn report(problems: &[Problem], text: Option<&str>, colour: bool) -> String {
    let renderer = if colour {
        Renderer::styled()
    } else {
        Renderer::plain()
    };
    let mut all = String::new();
    for problem in problems {
        all.push_str(&renderer.render(&groups(problem, text)));
        all.push_str("\n\n");
    }
    all
}

/// One problem as the renderer wants it.
fn groups<'a>(problem: &'a Problem, text: Option<&'a str>) -> Vec<Group<'a>> {
    let level = match problem.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let path = problem.path.to_string_lossy();
    let title = level.primary_title(problem.message.as_str());
    let shown = text
        .zip(problem.place)
        .and_then(|(text, place)| Some((text, span(text, place)?)));
    let group = match (shown, problem.place) {
        (Some((text, span)), _) => title.element(
            Snippet::source(text)
                .path(path)
                .annotation(AnnotationKind::Primary.span(span)),
        ),
        (None, Some(place)) => title.element(
            Origin::path(path)
                .line(index(place.line))
                .char_column(index(place.column)),
        ),
        (None, None) => title.element(Origin::path(path)),
    };
    vec![match &problem.help {
        Some(help) => group.element(Level::HELP.message(help.as_str())),
        None => group,
    }]
}

fn index(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// The bytes of `text` that a place marks; `None` if the text has no such line, or a line too long to show.
fn span(text: &str, place: Place) -> Option<std::ops::Range<usize>> {
    let mut begin = 0;
    let mut lines = text.split_inclusive('\n');
    for _ in 1..place.line {
        begin += lines.next()?.len();
    }
    let line = lines.next().unwrap_or_default().trim_end_matches(['\n', '\r']);
    if line.len() > 4096 {
        return None;
    }
    let byte = |column: usize| {
        line.char_indices()
            .nth(column)
            .map_or(line.len(), |(byte, _)| byte)
    };
    let from = index(place.column).saturating_sub(1);
    Some(begin + byte(from)..begin + byte(from.saturating_add(index(place.length))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(line: u32, column: u32, length: u32) -> Problem {
        Problem {
            severity: Severity::Error,
            path: "web.yaml".into(),
            place: Some(Place { line, column, length }),
            message: "wrong".to_owned(),
            help: Some("do right".to_owned()),
        }
    }

    #[test]
    fn the_marked_characters_are_underlined() {
        let shown = report(&[problem(2, 5, 3)], Some("ä: 1\nbö: xyz\n"), false);
        assert!(shown.contains("2 | bö: xyz\n  |     ^^^"), "{shown}");
        assert!(shown.contains("web.yaml:2:5"), "{shown}");
        assert!(shown.contains("do right"), "{shown}");
    }

    #[test]
    fn a_place_behind_the_end_is_shown_without_a_panic() {
        for (line, column) in [(1, 99), (2, 1), (3, 1), (99, 99), (u32::MAX, u32::MAX)] {
            let shown = report(&[problem(line, column, u32::MAX)], Some("a: 1\n"), false);
            assert!(shown.contains("wrong"), "{shown}");
        }
    }
}
