//! Text that an operator, or somebody who can write a vassal's file, may put there.

use std::path::Path;
use std::sync::OnceLock;

use mini_emperor::cli::complain;
use mini_emperor::config::definition::Bandwidth;
use mini_emperor::config::rule::Chain;
use mini_emperor::config::world::Anywhere;
use mini_emperor::config::{Judged, Places, Settings, Severity, load, rule_text};
use mini_emperor::router::{Attachment, Fabric, GlobalPolicy};

fn places() -> Places {
    Places {
        settings: "/e.yaml".into(),
        vassals: "/v".into(),
        run_directory: "/r".into(),
        state_directory: "/s".into(),
        log_directory: "/l".into(),
    }
}

fn no_settings() -> &'static Settings {
    static SETTINGS: OnceLock<Settings> = OnceLock::new();
    SETTINGS.get_or_init(|| {
        load::settings(Path::new("/e.yaml"), None, &places(), &Anywhere)
            .value
            .expect("defaults are good")
    })
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
    let control = |letter: char| letter.is_control() && letter != '\n';
    for problem in &judged.problems {
        assert!(!problem.to_string().contains(control), "{problem:?}");
    }
}

/// A file, read as a vassal's and as the emperor's own.
pub fn definition(text: &[u8]) {
    hold(
        &load::definition(Path::new("web.yaml"), text, no_settings(), &Anywhere),
        text,
    );
    hold(
        &load::settings_bytes(Path::new("/e.yaml"), Some(text), &places(), &Anywhere),
        text,
    );
}

/// A rule is read, or refused within itself; what is read means the same when it is written out and read again.
pub fn rule(text: &[u8]) {
    let Ok(text) = std::str::from_utf8(text) else {
        return;
    };
    match rule_text::parse(text) {
        Ok(rule) => {
            let written = rule.to_string();
            assert_eq!(rule_text::parse(&written).as_ref(), Ok(&rule), "{written}");
            compile(Chain {
                rules: vec![rule],
                ..Chain::default()
            });
        }
        Err(error) => {
            let letters = text.chars().count();
            assert!(error.length >= 1 && !error.message.is_empty(), "{error:?}");
            assert!(
                error.at + error.length <= letters.max(error.at + 1),
                "{error:?} in {letters}"
            );
        }
    }
}

/// The router takes every rule that can be written.
fn compile(chain: Chain) {
    let gateway = "10.107.0.1/24".parse().expect("a prefix");
    let policy = GlobalPolicy {
        out: chain.clone(),
        in_: chain.clone(),
        isolate: false,
    };
    let mut fabric = Fabric::new(&[gateway], policy, 1);
    let vassal = Attachment {
        name: crate::world::name("a"),
        addresses: vec!["10.107.0.2".parse().expect("an address")],
        mtu: 1500,
        out: chain.clone(),
        in_: chain,
        bandwidth: Bandwidth::default(),
    };
    fabric.attach(vassal).expect("a free address");
    assert_eq!(fabric.tables().ports().count(), 1);
}
