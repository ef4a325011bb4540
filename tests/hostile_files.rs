//! Whatever stands in a file: it is judged without a panic, and every problem can be shown.

use std::path::Path;

use mini_emperor::cli::complain;
use mini_emperor::config::{Identities, Judged, Places, Settings, Severity, User, World, load};
use proptest::prelude::*;

/// A host that knows everybody.
struct Host;

impl World for Host {
    fn user(&self, name: &str) -> Option<User> {
        Some(User {
            name: name.to_owned(),
            uid: 1,
            gid: 1,
            home: "/".into(),
        })
    }

    fn group(&self, _: &str) -> Option<u32> {
        Some(1)
    }

    fn is_executable(&self, _: &str, _: &str) -> bool {
        true
    }

    fn is_directory(&self, _: &Path) -> bool {
        true
    }

    fn identities(&self) -> Identities {
        Identities::Any
    }
}

fn places() -> Places {
    Places {
        settings: "/e.yaml".into(),
        vassals: "/v".into(),
        run_directory: "/r".into(),
        state_directory: "/s".into(),
        log_directory: "/l".into(),
    }
}

fn no_settings() -> Settings {
    load::settings(Path::new("/e.yaml"), None, &places(), &Host)
        .value
        .expect("defaults are good")
}

/// Holds for whatever was judged.
fn hold<T>(judged: &Judged<T>, text: &[u8]) {
    let errors = judged
        .problems
        .iter()
        .any(|problem| problem.severity == Severity::Error);
    assert_eq!(judged.value.is_none(), errors, "{:?}", judged.problems);
    let text = String::from_utf8_lossy(text);
    let lines = text.split('\n').count();
    for place in judged.problems.iter().filter_map(|problem| problem.place) {
        assert!(
            place.line >= 1 && place.column >= 1 && place.length >= 1,
            "{:?}",
            judged.problems
        );
        // A parser that misses something misses it behind the last line.
        assert!(
            usize::try_from(place.line).expect("a line number") <= lines + 1,
            "{:?}",
            judged.problems
        );
    }
    let shown = complain::report(&judged.problems, Some(&text), false);
    assert_eq!(shown.is_empty(), judged.problems.is_empty());
}

fn judge(text: &[u8]) {
    hold(
        &load::definition(Path::new("web.yaml"), text, &no_settings(), &Host),
        text,
    );
    hold(
        &load::settings_bytes(Path::new("/e.yaml"), Some(text), &places(), &Host),
        text,
    );
}

const GOOD: [&str; 3] = [
    include_str!("golden/good/vassals/everything.yaml"),
    include_str!("golden/good/vassals/anchors.yaml"),
    include_str!("golden/good/settings/everything.yaml"),
];

proptest! {
    #[test]
    fn any_bytes_are_judged(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        judge(&bytes);
    }

    #[test]
    fn any_yamlish_text_is_judged(text in "([a-z]{1,8}: |- |\\[|\\]|\\{|\\}|, |\n|  |'|\"|&a |\\*a|!x |<<: |#|\\||>|\\?|%|~|[0-9]|\\PC){0,60}") {
        judge(text.as_bytes());
    }

    #[test]
    fn any_damage_to_a_good_file_is_judged(
        which in 0..GOOD.len(),
        cuts in proptest::collection::vec((any::<prop::sample::Index>(), 0..12_usize, "[ -~\n\t\u{e4}]{0,6}"), 1..4),
    ) {
        let mut text: Vec<char> = GOOD[which].chars().collect();
        for (at, length, put) in cuts {
            let from = at.index(text.len());
            let to = (from + length).min(text.len());
            text.splice(from..to, put.chars());
            if text.is_empty() {
                text.push('x');
            }
        }
        judge(text.into_iter().collect::<String>().as_bytes());
    }
}
