//! What the next emperor makes of a vassal.

use std::time::Duration;

use mini_emperor::config::Definition;
use mini_emperor::emperor::pacing::Pacing;
use mini_emperor::emperor::state::{End, Fault, Life, State};
use mini_emperor::emperor::table::Notice;
use mini_emperor::emperor::{Action, Adoption, Event, Past, Run, Word};

use crate::reign::{Reign, definition, name, replay};
use crate::{SECOND, count, is_ready, last_end, notices, running};

/// The process of an earlier emperor's vassal, as it was found.
fn found_running(reign: &Reign, definition: &Definition) -> Run {
    let past = Past::presumed(true, definition);
    Run::adopted(Life(41), 4711, reign.now, past, reign.now, definition)
}

/// What an emperor that comes after this one's death makes of its vassal.
fn inherited(reign: &Reign, text: &str) -> Reign {
    let mut next = Reign::new();
    take_over(reign, &mut next, text);
    next
}

fn take_over(reign: &Reign, next: &mut Reign, text: &str) {
    let vassal = &reign.emperor.vassals()[&name("web")];
    let old = definition("web", text);
    let pacing = vassal.pacing();
    let life = vassal.state.life().expect("a process");
    let state = vassal.state.run().map_or(vassal.state.clone(), |run| {
        let (pid, since, past) = (run.pid, run.since, run.past());
        State::Running(Run::adopted(life, pid, since, past, reign.now, &old))
    });
    assert!(
        matches!(state, State::Running(_) | State::Stopping { .. }),
        "{state:?} is nothing to go on with"
    );
    next.now = reign.now;
    next.happen(Event::Adopted(Box::new(Adoption {
        definition: old,
        addresses: vassal.addresses.clone(),
        state,
        life,
        restarts: 0,
        pacing: Pacing::resumed(
            pacing.deaths_in_a_row(),
            pacing.last_delay(),
            pacing.refusals_in_a_row(),
            pacing.deaths(),
        ),
        last_end: None,
        troubles: Vec::new(),
    })));
    next.define("web", text);
    assert_eq!(next.life("web"), life);
}

#[test]
fn an_adopted_vassal_goes_on_under_its_old_definition() {
    replay::told(|| {
        let mut reign = Reign::new();
        let old = definition("web", "ready: notify\nnetwork: {address: 10.107.0.2}");
        let run = found_running(&reign, &old);
        let adoption = Adoption {
            definition: old.clone(),
            addresses: vec!["10.107.0.2/29".parse().unwrap()],
            state: State::Running(run),
            life: run.life,
            restarts: 3,
            pacing: Pacing::resumed(2, SECOND * 2, 0, []),
            last_end: Some(End::Exited(1)),
            troubles: Vec::new(),
        };
        reign.happen(Event::Adopted(Box::new(adoption.clone())));
        assert!(is_ready(&reign));
        reign.define("web", "ready: notify\nnetwork: {address: 10.107.0.2}");
        assert_eq!(reign.life("web"), run.life, "the same file changes nothing");
        assert_eq!(reign.emperor.vassals()[&name("web")].restarts, 3);
        reign.define("other", "network: {address: 10.107.0.2}");
        assert_eq!(reign.word("other"), "absent", "its address is not free");
        reign.define("third", "");
        assert!(reign.life("third") > run.life, "numbers go on");
        reign.define(
            "web",
            "ready: notify\nnetwork: {address: 10.107.0.2}\nenv: {A: 1}",
        );
        reign.hear();
        assert_eq!(reign.word("web"), "starting");
        assert_eq!(reign.emperor.vassals()[&name("web")].restarts, 4);
    });
}

#[test]
fn an_adoption_that_cannot_be_is_killed() {
    replay::told(|| {
        let mut reign = running("network: {address: 10.107.0.2}");
        let old = definition("web", "network: {address: 10.107.0.3}");
        let run = found_running(&reign, &old);
        reign.happen(Event::Adopted(Box::new(Adoption {
            definition: old,
            addresses: vec!["10.107.0.3/29".parse().unwrap()],
            state: State::Running(run),
            life: run.life,
            restarts: 0,
            pacing: Pacing::resumed(0, Duration::ZERO, 0, []),
            last_end: None,
            troubles: Vec::new(),
        })));
        assert!(matches!(reign.done.last(), Some(Action::Kill { life, .. }) if *life == run.life));
        reign.hear();
        assert_eq!(reign.processes.len(), 1);
        reign.define("other", "network: {address: 10.107.0.3}");
        assert_eq!(reign.word("other"), "starting", "it claimed nothing");
    });
}

#[test]
fn the_next_emperor_expects_no_sign_of_life_that_this_one_did_not() {
    replay::told(|| {
        let mut reign = running("");
        reign.define("web", "watchdog: 500ms");
        let mut next = inherited(&reign, "watchdog: 500ms");
        next.elapse(SECOND * 60);
        assert_eq!(next.word("web"), "running", "it was never told of a watchdog");

        let mut reign = running("ready: notify\nwatchdog: 1s");
        reign.says("web", Word::Ready);
        reign.says("web", Word::Every(None));
        let mut next = inherited(&reign, "ready: notify\nwatchdog: 1s");
        next.elapse(SECOND * 60);
        assert_eq!(next.word("web"), "running", "it has switched its watchdog off");

        let mut reign = running("ready: notify");
        reign.says("web", Word::Ready);
        reign.says("web", Word::Every(Some(SECOND)));
        let mut next = inherited(&reign, "ready: notify");
        next.elapse(SECOND * 2);
        assert_eq!(
            notices(&next),
            [Notice::Fault(Fault::Watchdog(SECOND))],
            "it has switched one on"
        );
    });
}

#[test]
fn one_that_was_ready_before_need_not_be_again_for_the_next_emperor() {
    replay::told(|| {
        let text = "ready: notify\nready_timeout: 9s";
        let mut reign = running(text);
        reign.says("web", Word::Ready);
        reign.says("web", Word::Reloading(None));
        let mut next = inherited(&reign, text);
        assert!(!is_ready(&next), "it reads its configuration");
        next.elapse(SECOND * 10);
        assert_eq!(next.word("web"), "running");
        assert!(is_ready(&next), "its word was lost with the earlier emperor");
    });
}

#[test]
fn what_a_command_does_goes_on_under_the_next_emperor() {
    replay::told(|| {
        let text = "ready: notify\nready_timeout: 9s\nstop: {timeout: 3s}\nreload: signal HUP";
        let mut reign = running(text);
        reign.happen(Event::Reload);
        let mut next = inherited(&reign, text);
        assert_eq!(
            count(&next, |action| matches!(action, Action::Reload { .. })),
            0,
            "it is not ready"
        );
        next.says("web", Word::Ready);
        assert_eq!(
            count(&next, |action| matches!(action, Action::Reload { .. })),
            1,
            "it was to reload as soon as it is"
        );
        next.says("web", Word::Leaving);
        let mut last = inherited(&next, text);
        last.elapse(SECOND * 4);
        assert_eq!(notices(&last), [Notice::Fault(Fault::Lingering(SECOND * 3))]);
    });
}

#[test]
fn one_that_may_have_said_to_nobody_that_it_is_ready_is_not_ended_for_it() {
    replay::told(|| {
        let text = "ready: notify\nready_timeout: 9s\nreload: signal HUP";
        let mut reign = running(text);
        reign.happen(Event::Reload);
        let mut next = inherited(&reign, text);
        next.elapse(SECOND * 10);
        assert!(is_ready(&next));
        assert_eq!(notices(&next), [Notice::Unheard(SECOND * 9), Notice::Ready]);
        assert_eq!(count(&next, |action| matches!(action, Action::Reload { .. })), 1);

        let text = "ready: {tcp: 80}\nready_timeout: 9s";
        let mut reign = Reign::new();
        reign.define("web", text);
        reign.bear_all();
        let mut next = inherited(&reign, text);
        next.elapse(SECOND * 9);
        let fault = Fault::NotReady(SECOND * 9);
        assert_eq!(notices(&next), [Notice::Fault(fault)], "its port is tried again");
    });
}

#[test]
fn what_was_being_stopped_is_stopped_for_the_same_by_the_next_emperor() {
    replay::told(|| {
        let text = "ready: notify\nwatchdog: 1s\nstop: {timeout: 9s}";
        let mut reign = running(text);
        reign.deaf = true;
        reign.says("web", Word::Rest);
        reign.elapse(SECOND * 4);
        let mut next = inherited(&reign, text);
        assert_eq!(next.word("web"), "stopping");
        let asked = count(&next, |action| matches!(action, Action::Ask { .. }));
        assert_eq!(asked, 1, "the earlier one may not have come to it");
        next.hear();
        assert_eq!(next.word("web"), "ended", "it asked to be stopped");

        let mut next = Reign::new();
        next.deaf = true;
        take_over(&reign, &mut next, text);
        next.elapse(SECOND * 6);
        assert_eq!(
            count(&next, |action| matches!(action, Action::Kill { .. })),
            1,
            "when its time is over"
        );

        let mut reign = running(text);
        reign.says("web", Word::Fault(Fault::DeviceLost));
        let mut next = inherited(&reign, text);
        next.hear();
        assert_eq!(
            (next.word("web"), last_end(&next)),
            ("waiting", End::Felled(Fault::DeviceLost))
        );
    });
}

#[test]
fn deaths_count_under_whichever_emperor_they_were() {
    replay::told(|| {
        let text = "restart: {delay: 1s, max_delay: 1s, give_up: {deaths: 3, within: 1m}}";
        let mut reign = running(text);
        for _ in 0..2 {
            reign.dies("web", End::Exited(3));
            reign.elapse(SECOND * 2);
            reign.bear_all();
        }
        let mut next = inherited(&reign, text);
        next.dies("web", End::Exited(3));
        assert_eq!(next.word("web"), "failed", "it was the third");

        let text = "restart: {delay: 1m, max_delay: 10m}";
        let mut reign = running(text);
        reign.dies("web", End::Exited(3));
        reign.elapse(SECOND * 70);
        reign.bear_all();
        let mut next = inherited(&reign, text);
        next.elapse(SECOND * 20);
        next.dies("web", End::Exited(3));
        next.elapse(SECOND * 90);
        assert_eq!(
            next.word("web"),
            "waiting",
            "a run that is shorter than the pause before it is not healthy"
        );
    });
}
