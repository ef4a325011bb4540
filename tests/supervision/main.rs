//! Who should be alive, told as stories: what happens, and what becomes of it. Each story is told again with each of its
//! actions failing ([`reign::replay`]).

#![allow(clippy::unwrap_used, reason = "test code")]

mod adoption;
mod demand;
mod policies;
mod recoveries;
#[path = "../reign/mod.rs"]
mod reign;
mod troubles;
mod voices;

use std::time::Duration;

use mini_emperor::emperor::state::{End, State};
use mini_emperor::emperor::table::Notice;
use mini_emperor::emperor::{Action, Run};

use reign::{Reign, name};

pub(crate) const SECOND: Duration = Duration::from_secs(1);

/// A reign with one vassal that runs.
pub(crate) fn running(text: &str) -> Reign {
    let mut reign = Reign::new();
    reign.define("web", text);
    reign.bear_all();
    reign.hear();
    assert_eq!(reign.word("web"), "running");
    reign
}

pub(crate) fn is_ready(reign: &Reign) -> bool {
    reign.state("web").and_then(State::run).is_some_and(Run::is_ready)
}

pub(crate) fn notices(reign: &Reign) -> Vec<Notice> {
    let notice = |action: &Action| {
        if let Action::Say { notice, .. } = action {
            Some(*notice)
        } else {
            None
        }
    };
    reign.done.iter().filter_map(notice).collect()
}

pub(crate) fn count(reign: &Reign, wanted: impl Fn(&Action) -> bool) -> usize {
    reign.done.iter().filter(|action| wanted(action)).count()
}

pub(crate) fn last_end(reign: &Reign) -> End {
    let vassal = &reign.emperor.vassals()[&name("web")];
    vassal.last_end.clone().expect("it died")
}
