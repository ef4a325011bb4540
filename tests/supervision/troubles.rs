//! What the host could not do, and what becomes of it.

use std::time::Duration;

use mini_emperor::emperor::pacing::Pacing;
use mini_emperor::emperor::run::Phase;
use mini_emperor::emperor::state::{End, Life, State};
use mini_emperor::emperor::{Action, Adoption, Deed, Event, Trouble, Word};

use crate::reign::{Reign, definition, name, replay};
use crate::{SECOND, count, is_ready, running};

/// What the operator sees in the status.
fn shown(reign: &Reign) -> Vec<Deed> {
    let troubles = reign.emperor.vassals()[&name("web")].troubles.open();
    troubles.iter().map(|trouble| trouble.deed).collect()
}

/// How often he was told.
fn said(reign: &Reign) -> usize {
    count(reign, |action| matches!(action, Action::Complain { .. }))
}

/// The host could not do it, for this reason.
fn fails(reign: &mut Reign, deed: Deed, why: &str) {
    let mut event = reign.failure(&name("web"), deed);
    if let Event::Failed { trouble, .. } = &mut event {
        why.clone_into(&mut trouble.why);
    }
    reign.happen(event);
}

fn pause(reign: &Reign) -> Duration {
    match reign.state("web") {
        Some(State::Waiting { until }) => until.saturating_duration_since(reign.now),
        other => panic!("it does not pause: {other:?}"),
    }
}

#[test]
fn a_place_that_is_taken_is_tried_again_with_growing_pauses_and_is_no_death() {
    replay::told(|| {
        let mut reign = Reign::new();
        let text = "on_demand: true\nrestart: {policy: never, delay: 1s, max_delay: 5s, give_up: {deaths: 2, within: 1h}}";
        reign.full = true;
        reign.define("web", text);
        let mut pauses = Vec::new();
        for _ in 0..6 {
            let pause = pause(&reign);
            pauses.push(pause.as_secs());
            assert_eq!(shown(&reign), [Deed::Await]);
            reign.elapse(pause);
        }
        assert_eq!(pauses, [1, 2, 4, 5, 5, 5]);
        assert_eq!(said(&reign), 1, "the same is said once");
        assert_eq!(reign.emperor.vassals()[&name("web")].last_end, None);
        fails(&mut reign, Deed::Await, "something else");
        assert_eq!(said(&reign), 2);
        reign.full = false;
        reign.elapse(SECOND * 6);
        assert_eq!((reign.word("web"), &shown(&reign)[..]), ("idle", &[][..]));
    });
}

#[test]
fn the_operator_has_it_tried_at_once_and_an_edit_too() {
    replay::told(|| {
        let mut reign = Reign::new();
        reign.full = true;
        reign.define("web", "on_demand: true\nrestart: {delay: 1m}");
        assert_eq!(reign.word("web"), "waiting");
        reign.happen(Event::Demand(name("web")));
        reign.happen(Event::Reload);
        assert_eq!(reign.word("web"), "waiting", "nobody can have come");
        reign.full = false;
        reign.happen(Event::TryNow);
        assert_eq!(reign.word("web"), "idle");
        fails(&mut reign, Deed::Await, "it is lost");
        assert_eq!(reign.word("web"), "waiting");
        reign.define("web", "on_demand: true\nrestart: {delay: 1m}\nenv: {A: 1}");
        assert_eq!(reign.word("web"), "idle");
        fails(&mut reign, Deed::Await, "it is lost");
        reign.define("web", "env: {A: 1}");
        assert_eq!(reign.word("web"), "starting", "nobody need be waited for");
        assert_eq!(shown(&reign), []);
    });
}

#[test]
fn the_pause_after_a_death_does_not_grow_by_it_nor_it_by_deaths() {
    replay::told(|| {
        let mut reign = Reign::new();
        reign.full = true;
        reign.define("web", "on_demand: true\nrestart: {delay: 1s}");
        reign.elapse(SECOND * 60);
        reign.full = false;
        reign.elapse(SECOND * 200);
        reign.happen(Event::Demand(name("web")));
        reign.bear_all();
        reign.dies("web", End::Exited(1));
        assert_eq!(pause(&reign).as_secs(), 1, "its first death");
        reign.full = true;
        reign.elapse(pause(&reign));
        assert_eq!(pause(&reign).as_secs(), 1, "the first time since a client came");
    });
}

#[test]
fn one_that_cannot_be_asked_to_reload_runs_on_and_is_ready() {
    replay::told(|| {
        let text = "ready: emperor\nreload: emperor\nready_timeout: 1m\nwatchdog: 2m";
        let mut reign = running(text);
        reign.says("web", Word::Ready);
        let life = reign.life("web");
        reign.happen(Event::Reload);
        assert!(!is_ready(&reign), "it was asked, as far as is known");
        fails(&mut reign, Deed::Reload, "it has closed its control socket");
        assert!(is_ready(&reign));
        assert_eq!(shown(&reign), [Deed::Reload]);
        reign.elapse(SECOND * 100);
        assert_eq!(
            (reign.life("web"), said(&reign)),
            (life, 1),
            "its reload is not late"
        );
        reign.elapse(SECOND * 30);
        assert_ne!(reign.word("web"), "running", "its signs of life are missed");
        reign.hear();
        reign.elapse(SECOND * 5);
        assert_eq!(shown(&reign), [], "another process has another control socket");
    });
}

#[test]
fn a_reload_that_began_by_itself_goes_on_if_another_cannot_be_asked_for() {
    replay::told(|| {
        let mut reign = running("ready: notify\nreload: signal HUP\nready_timeout: 1m");
        reign.says("web", Word::Ready);
        reign.says("web", Word::Reloading(None));
        reign.happen(Event::Reload);
        fails(&mut reign, Deed::Reload, "no");
        let phase = reign.state("web").and_then(State::run).map(|run| run.phase);
        assert!(matches!(phase, Some(Phase::Reloading { .. })));
        reign.says("web", Word::Ready);
        assert_eq!(shown(&reign), [Deed::Reload]);
        reign.happen(Event::Reload);
        assert_eq!(shown(&reign), [], "this time it was asked");
    });
}

#[test]
fn an_edit_that_does_not_take_effect_is_shown_until_another_does() {
    replay::told(|| {
        let mut reign = running("");
        let life = reign.life("web");
        reign.define("web", "stop: {timeout: 1s}");
        fails(&mut reign, Deed::Update, "its limits stay");
        fails(&mut reign, Deed::Update, "its log stays");
        assert_eq!(shown(&reign), [Deed::Update, Deed::Update]);
        assert!(is_ready(&reign));
        reign.define("web", "stop: {timeout: 2s}");
        assert_eq!(shown(&reign), []);
        fails(&mut reign, Deed::Update, "its log stays");
        assert_eq!(
            (reign.life("web"), said(&reign)),
            (life, 3),
            "each edit is answered"
        );
        reign.dies("web", End::Exited(1));
        assert_eq!(shown(&reign), [Deed::Update], "it was never mended");
        reign.elapse(SECOND * 2);
        assert_eq!(shown(&reign), [], "a new process has all of it");
    });
}

#[test]
fn what_could_not_be_done_for_an_earlier_process_is_not_heard() {
    replay::told(|| {
        let mut reign = running("reload: signal HUP");
        let late = [
            reign.failure(&name("web"), Deed::Update),
            reign.failure(&name("web"), Deed::Reload),
        ];
        reign.define("web", "reload: signal HUP\nenv: {A: 1}");
        let event = reign.failure(&name("web"), Deed::Update);
        reign.happen(event);
        assert_eq!(said(&reign), 0, "it is being stopped");
        reign.hear();
        reign.bear_all();
        for event in late {
            reign.happen(event);
        }
        assert_eq!((said(&reign), &shown(&reign)[..]), (0, &[][..]));
    });
}

#[test]
fn another_emperor_knows_what_could_not_be_done() {
    replay::told(|| {
        let mut reign = Reign::new();
        let until = reign.now + SECOND;
        let trouble = Trouble {
            deed: Deed::Await,
            why: "the place is taken".to_owned(),
        };
        reign.full = true;
        reign.happen(Event::Adopted(Box::new(Adoption {
            definition: definition("web", "on_demand: true"),
            addresses: vec!["10.107.0.5/29".parse().unwrap()],
            state: State::Waiting { until },
            life: Life(900),
            restarts: 0,
            pacing: Pacing::resumed(0, Duration::ZERO, 2, []),
            last_end: None,
            troubles: vec![trouble],
        })));
        assert_eq!(shown(&reign), [Deed::Await]);
        reign.elapse(SECOND);
        assert_eq!((reign.word("web"), said(&reign)), ("waiting", 1), "it is another");
        let third = pause(&reign);
        assert_eq!(third.as_secs(), 4, "the third in a row");
        reign.full = false;
        reign.elapse(third);
        assert_eq!((reign.word("web"), &shown(&reign)[..]), ("idle", &[][..]));
        // And one whose socket a process has closed, that cannot be made anew meanwhile.
        reign.happen(Event::Demand(name("web")));
        reign.bear_all();
        fails(&mut reign, Deed::Await, "it is lost");
        assert_eq!(
            (reign.word("web"), &shown(&reign)[..]),
            ("running", &[Deed::Await][..])
        );
    });
}
