//! A story told again and again, with each of its actions failing once.
//!
//! What a story expects is true only where nothing fails. Where something does, what must always hold must hold, the
//! failure must be heard of, and the end must come.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use mini_emperor::config::Name;
use mini_emperor::emperor::state::{Life, State};
use mini_emperor::emperor::{Action, Deed, Run};

use super::Reign;

/// Longer than any time in a story.
const LONG: Duration = Duration::from_secs(3 * 3600);

/// One telling.
#[derive(Default)]
struct Telling {
    /// The action of that reign fails.
    failing: Option<(usize, usize)>,
    begun: usize,
    /// The reigns of the story, as it left them.
    left: Vec<(usize, Reign)>,
    /// What did not hold.
    broken: Option<String>,
}

thread_local! {
    static TELLING: RefCell<Option<Telling>> = const { RefCell::new(None) };
}

/// A reign begins: its number, and which of its actions fails. Absent if no story is told.
pub(super) fn begin() -> Option<(usize, Option<usize>)> {
    TELLING.with_borrow_mut(|telling| {
        let telling = telling.as_mut()?;
        let number = telling.begun;
        telling.begun += 1;
        let fails = telling.failing.filter(|(reign, _)| *reign == number);
        Some((number, fails.map(|(_, action)| action)))
    })
}

/// The story has done with a reign.
pub(super) fn leave(number: usize, reign: Reign) {
    TELLING.with_borrow_mut(|telling| {
        if let Some(telling) = telling {
            telling.left.push((number, reign));
        }
    });
}

/// Something did not hold that always must.
pub(super) fn broke(why: &str) {
    TELLING.with_borrow_mut(|telling| {
        if let Some(telling) = telling {
            telling.broken.get_or_insert_with(|| why.to_owned());
        }
    });
}

/// Tells a story, then once for each action of each of its reigns, which fails.
pub(crate) fn told(story: impl Fn()) {
    let whole = tell(&story, None);
    assert!(whole.is_ok(), "the story itself does not hold");
    let mut failures = Vec::new();
    for (number, reign) in whole.unwrap_or_default() {
        let actions = reign.done.iter().enumerate();
        failures.extend(
            actions
                .filter(|(_, action)| can_fail(action))
                .map(|(at, _)| (number, at)),
        );
        reign.finish_for_good();
    }
    assert!(!failures.is_empty(), "nothing in it can fail");
    for failing in failures {
        // What the story expects may not hold any more.
        let left = tell(&story, Some(failing)).unwrap_or_else(|left| left);
        for (number, mut reign) in left {
            if number == failing.0 {
                is_heard_of(&mut reign, failing.1);
            }
            reign.finish_for_good();
        }
    }
}

/// What a story leaves; as an error if what it expects did not hold.
#[allow(clippy::type_complexity, reason = "the same twice")]
fn tell(
    story: &impl Fn(),
    failing: Option<(usize, usize)>,
) -> Result<Vec<(usize, Reign)>, Vec<(usize, Reign)>> {
    TELLING.set(Some(Telling {
        failing,
        ..Telling::default()
    }));
    let outcome = catch_unwind(AssertUnwindSafe(story));
    let Telling { left, broken, .. } = TELLING.take().unwrap_or_default();
    assert_eq!(broken, None, "with {failing:?} failing");
    match outcome {
        Ok(()) => Ok(left),
        Err(_) => Err(left),
    }
}

fn can_fail(action: &Action) -> bool {
    match action {
        Action::Spawn { .. }
        | Action::Probe { .. }
        | Action::Reload { .. }
        | Action::Ask { .. }
        | Action::Kill { .. }
        | Action::Update { .. }
        | Action::Await(_) => true,
        Action::Say { .. }
        | Action::Complain { .. }
        | Action::Forget(_)
        | Action::Refuse { .. }
        | Action::Abandon { .. }
        | Action::Retry { .. } => false,
    }
}

/// After a long time: whoever was to be born has been tried again or given up, whoever was to end has ended, whoever
/// could not be waited for has been tried again, and what else could not be done has been said.
fn is_heard_of(reign: &mut Reign, failing: usize) {
    // A story may end before it comes to that.
    let Some(action) = reign.done.get(failing).cloned() else {
        return;
    };
    reign.hear();
    reign.elapse(LONG);
    let is_over = |life: &Life| !reign.processes.contains_key(life);
    match &action {
        Action::Spawn { definition, .. } => {
            let name = &definition.name;
            let told: BTreeSet<_> = reign.done[failing..].iter().filter_map(about_an_end).collect();
            let vassal = reign.emperor.vassals().get(name);
            let known = vassal.is_none_or(|vassal| vassal.last_end.is_some());
            assert!(told.contains(name) || known, "nobody heard of {action:?}");
        }
        Action::Ask { life, .. } | Action::Kill { life, .. } => assert!(is_over(life), "{action:?}"),
        Action::Reload { name, .. } => assert!(is_said(reign, failing, name, Deed::Reload), "{action:?}"),
        Action::Update { definition } => {
            let name = &definition.name;
            assert!(is_said(reign, failing, name, Deed::Update), "{action:?}");
        }
        Action::Await(name) => {
            // What is tried again in vain is said once.
            assert!(is_said(reign, 0, name, Deed::Await), "{action:?}");
            let mut later = reign.done[failing + 1..].iter();
            assert!(later.any(|action| ends_a_wait(action, name)), "{action:?}");
        }
        Action::Probe { name, life, .. } => {
            let state = reign.emperor.vassals().get(name).map(|vassal| &vassal.state);
            let ready = state.and_then(State::run).is_some_and(Run::is_ready);
            assert!(is_over(life) || ready, "{action:?}");
        }
        Action::Say { .. }
        | Action::Complain { .. }
        | Action::Forget(_)
        | Action::Refuse { .. }
        | Action::Abandon { .. }
        | Action::Retry { .. } => unreachable!("{action:?} cannot fail"),
    }
}

/// Of whose end the operator hears.
fn about_an_end(action: &Action) -> Option<&Name> {
    match action {
        Action::Retry { name, .. } | Action::Abandon { name, .. } => Some(name),
        Action::Spawn { .. }
        | Action::Probe { .. }
        | Action::Reload { .. }
        | Action::Ask { .. }
        | Action::Kill { .. }
        | Action::Update { .. }
        | Action::Await(_)
        | Action::Say { .. }
        | Action::Complain { .. }
        | Action::Forget(_)
        | Action::Refuse { .. } => None,
    }
}

/// Whether the operator heard of it since the action of this number.
fn is_said(reign: &Reign, since: usize, whose: &Name, what: Deed) -> bool {
    reign.done[since..].iter().any(
        |action| matches!(action, Action::Complain { name, trouble } if name == whose && trouble.deed == what),
    )
}

/// Whether a client is waited for again, or need not be.
fn ends_a_wait(action: &Action, whose: &Name) -> bool {
    match action {
        Action::Await(name) | Action::Forget(name) => name == whose,
        Action::Spawn { definition, .. } => definition.name == *whose,
        Action::Probe { .. }
        | Action::Reload { .. }
        | Action::Ask { .. }
        | Action::Kill { .. }
        | Action::Update { .. }
        | Action::Say { .. }
        | Action::Complain { .. }
        | Action::Refuse { .. }
        | Action::Abandon { .. }
        | Action::Retry { .. } => false,
    }
}
