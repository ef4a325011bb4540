//! Who should be alive, told as stories: what happens, and what becomes of it.

#![allow(clippy::unwrap_used, reason = "test code")]

mod reign;

use std::time::Duration;

use mini_emperor::emperor::state::{End, Fault, Rest, State};
use mini_emperor::emperor::table::Notice;
use mini_emperor::emperor::{Action, Adoption, Event, Past, Run, Word, pacing::Pacing};

use reign::{Reign, definition, name};

const SECOND: Duration = Duration::from_secs(1);

/// A reign with one vassal that runs.
fn running(text: &str) -> Reign {
    let mut reign = Reign::new();
    reign.define("web", text);
    reign.bear_all();
    reign.hear();
    assert_eq!(reign.word("web"), "running");
    reign
}

fn is_ready(reign: &Reign) -> bool {
    reign.state("web").and_then(State::run).is_some_and(Run::is_ready)
}

fn notices(reign: &Reign) -> Vec<Notice> {
    let notice = |action: &Action| {
        if let Action::Say { notice, .. } = action {
            Some(*notice)
        } else {
            None
        }
    };
    reign.done.iter().filter_map(notice).collect()
}

fn count(reign: &Reign, wanted: impl Fn(&Action) -> bool) -> usize {
    reign.done.iter().filter(|action| wanted(action)).count()
}

fn last_end(reign: &Reign) -> End {
    let vassal = &reign.emperor.vassals()[&name("web")];
    vassal.last_end.clone().expect("it died")
}

#[test]
fn a_vassal_lives_and_leaves_with_its_file() {
    let mut reign = running("");
    assert!(is_ready(&reign), "a command that runs is ready");
    reign.remove("web");
    assert_eq!(reign.word("web"), "stopping");
    reign.hear();
    assert_eq!(reign.word("web"), "absent");
    assert!(reign.processes.is_empty());
    assert_eq!(reign.done.last(), Some(&Action::Forget(name("web"))));
}

#[test]
fn policies_decide_after_an_end() {
    let (bad, good) = (End::Exited(1), End::Exited(0));
    for (policy, end, word) in [
        ("always", good.clone(), "waiting"),
        ("always", bad.clone(), "waiting"),
        ("on-failure", good.clone(), "ended"),
        ("on-failure", bad.clone(), "waiting"),
        ("on-failure", End::Unknown, "waiting"),
        ("never", good, "ended"),
        ("never", bad, "failed"),
        ("never", End::Killed(9), "failed"),
    ] {
        let mut reign = running(&format!("restart: {{policy: {policy}}}"));
        reign.dies("web", end.clone());
        assert_eq!(reign.word("web"), word, "{policy}, {end}");
    }
}

#[test]
fn the_pause_grows_and_a_healthy_run_resets_it() {
    let mut reign = running("restart: {delay: 1s, max_delay: 4s}");
    let mut pauses = Vec::new();
    for ran in [0, 0, 0, 0, 60, 0] {
        reign.elapse(SECOND * ran);
        reign.dies("web", End::Exited(1));
        let Some(State::Waiting { until }) = reign.state("web") else {
            panic!("{:?}", reign.state("web"));
        };
        pauses.push(until.saturating_duration_since(reign.now).as_secs());
        reign.elapse(SECOND * 5);
        reign.bear_all();
    }
    assert_eq!(pauses, [1, 2, 4, 4, 1, 2]);
}

#[test]
fn it_gives_up_until_the_file_changes() {
    let text = "restart: {delay: 1s, give_up: {deaths: 3, within: 1m}}";
    let mut reign = running(text);
    for _ in 0..2 {
        reign.dies("web", End::Killed(11));
        reign.elapse(SECOND * 3);
        reign.bear_all();
    }
    reign.dies("web", End::Killed(11));
    let within = SECOND * 60;
    let why = Rest::GaveUp { deaths: 3, within };
    assert_eq!(
        reign.state("web"),
        Some(&State::Down {
            end: End::Killed(11),
            why
        })
    );
    reign.elapse(SECOND * 3600);
    assert_eq!(reign.word("web"), "failed");
    reign.define("web", &format!("{text}\nenv: {{A: 1}}"));
    assert_eq!(reign.word("web"), "starting");
}

#[test]
fn exit_code_26_means_stay_down() {
    let mut reign = running("");
    reign.dies("web", End::Exited(26));
    assert_eq!(reign.word("web"), "failed");
    reign.elapse(SECOND * 3600);
    assert_eq!(reign.word("web"), "failed");
    reign.happen(Event::TryNow);
    assert_eq!(reign.word("web"), "starting", "the operator wants it tried");
}

#[test]
fn try_now_ends_a_back_off_and_leaves_what_has_ended_well_alone() {
    let mut reign = running("restart: {policy: on-failure, delay: 1m}");
    reign.dies("web", End::Exited(1));
    reign.happen(Event::TryNow);
    assert_eq!(reign.word("web"), "starting");
    reign.bear_all();
    reign.dies("web", End::Exited(1));
    let Some(State::Waiting { until }) = reign.state("web") else {
        panic!("{:?}", reign.state("web"));
    };
    assert!(*until < reign.now + SECOND * 70, "the pauses begin anew");
    reign.happen(Event::TryNow);
    reign.bear_all();
    reign.dies("web", End::Exited(0));
    reign.happen(Event::TryNow);
    assert_eq!(reign.word("web"), "ended");
}

#[test]
fn a_hurry_kills_what_is_stopping_and_nothing_else() {
    let mut reign = running("stop: {timeout: 1h}");
    reign.define("other", "");
    reign.bear_all();
    reign.deaf = true;
    reign.remove("web");
    reign.happen(Event::Hurry);
    reign.hear();
    assert_eq!((reign.word("web"), reign.word("other")), ("absent", "running"));
}

#[test]
fn no_signs_of_life_are_expected_while_it_reloads_or_leaves() {
    for word in [Word::Reloading(None), Word::Leaving] {
        let mut reign = running("ready: notify\nready_timeout: 1h\nwatchdog: 5s\nstop: {timeout: 1h}");
        reign.says("web", Word::Ready);
        reign.says("web", word);
        reign.elapse(SECOND * 60);
        assert_eq!(reign.word("web"), "running", "{word:?}");
    }
}

#[test]
fn readiness_comes_by_word_or_the_vassal_is_at_fault() {
    let mut reign = running("ready: notify\nready_timeout: 10s");
    assert!(!is_ready(&reign));
    reign.elapse(SECOND * 9);
    reign.says("web", Word::Extend(SECOND * 30));
    reign.elapse(SECOND * 29);
    assert!(!is_ready(&reign));
    reign.says("web", Word::Ready);
    assert!(is_ready(&reign));
    assert_eq!(notices(&reign), [Notice::Ready]);
    reign.elapse(SECOND * 3600);
    assert!(is_ready(&reign));

    let mut reign = running("ready: notify\nready_timeout: 10s\nrestart: {delay: 1m}");
    reign.elapse(SECOND * 10);
    let fault = Fault::NotReady(SECOND * 10);
    assert_eq!(notices(&reign), [Notice::Fault(fault)]);
    assert_eq!(
        count(&reign, |action| matches!(action, Action::Ask { .. })),
        1,
        "politely"
    );
    assert_eq!(
        (last_end(&reign), reign.word("web")),
        (End::Felled(fault), "waiting")
    );
}

#[test]
fn a_port_is_probed_once_the_command_runs() {
    let mut reign = Reign::new();
    reign.define("web", "ready: {tcp: 80}");
    assert_eq!(count(&reign, |action| matches!(action, Action::Probe { .. })), 0);
    reign.bear_all();
    assert_eq!(
        count(&reign, |action| matches!(action, Action::Probe { port: 80, .. })),
        1
    );
    assert!(!is_ready(&reign));
    reign.hear();
    assert!(is_ready(&reign));
}

#[test]
fn a_missed_watchdog_kills() {
    let mut reign = running("ready: notify\nwatchdog: 5s\nrestart: {delay: 1m}");
    reign.elapse(SECOND * 30);
    assert_eq!(reign.word("web"), "running", "not before it is ready");
    reign.says("web", Word::Ready);
    for _ in 0..5 {
        reign.elapse(SECOND * 4);
        reign.says("web", Word::Alive);
    }
    reign.elapse(SECOND * 5);
    assert_eq!(last_end(&reign), End::Felled(Fault::Watchdog(SECOND * 5)));
    assert_eq!(count(&reign, |action| matches!(action, Action::Kill { .. })), 1);
    assert_eq!(reign.word("web"), "waiting");
}

#[test]
fn a_vassal_may_trigger_its_watchdog_or_change_it() {
    let mut reign = running("watchdog: 5s\nrestart: {delay: 1m}");
    reign.says("web", Word::Every(Some(SECOND * 60)));
    reign.elapse(SECOND * 59);
    assert_eq!(reign.word("web"), "running");
    reign.says("web", Word::Fault(Fault::Trigger));
    reign.hear();
    assert_eq!(last_end(&reign), End::Felled(Fault::Trigger));
}

#[test]
fn a_watchdog_that_is_new_does_not_kill_who_was_not_told() {
    let mut reign = running("");
    reign.define("web", "watchdog: 5s");
    reign.elapse(SECOND * 60);
    assert_eq!(reign.word("web"), "running");
    reign.says("web", Word::Alive);
    reign.elapse(SECOND * 6);
    assert_eq!(
        last_end(&reign),
        End::Felled(Fault::Watchdog(SECOND * 5)),
        "now it knows"
    );

    let mut reign = running("watchdog: 60s");
    reign.define("web", "watchdog: 5s");
    reign.elapse(SECOND * 59);
    assert_eq!(reign.word("web"), "running", "it was told 60 s");
    reign.define("web", "watchdog: none");
    reign.elapse(SECOND * 3600);
    assert_eq!(reign.word("web"), "running");
}

#[test]
fn a_reload_is_what_the_definition_says() {
    let mut reign = running("");
    reign.happen(Event::Reload);
    assert_eq!(reign.word("web"), "stopping");
    reign.hear();
    assert_eq!(reign.word("web"), "starting");

    let mut reign = running("reload: signal HUP");
    reign.happen(Event::Reload);
    assert!(is_ready(&reign), "nobody can tell how long a signal takes");
    assert_eq!(count(&reign, |action| matches!(action, Action::Reload { .. })), 1);

    let mut reign = running("reload: emperor\nready: emperor\nready_timeout: 5s");
    reign.happen(Event::Reload);
    assert_eq!(
        count(&reign, |action| matches!(action, Action::Reload { .. })),
        0,
        "it reads its files now"
    );
    reign.says("web", Word::Ready);
    assert_eq!(
        count(&reign, |action| matches!(action, Action::Reload { .. })),
        1,
        "afterwards"
    );
    assert!(!is_ready(&reign));
    reign.says("web", Word::Ready);
    assert!(is_ready(&reign));
    reign.happen(Event::Reload);
    reign.elapse(SECOND * 5);
    assert!(is_ready(&reign), "it goes on as it was");
    assert_eq!(notices(&reign).last(), Some(&Notice::ReloadLate(SECOND * 5)));
}

#[test]
fn a_reload_from_before_the_question_is_no_answer_to_it() {
    let mut reign = running("reload: signal HUP\nready: notify");
    reign.says("web", Word::Ready);
    let before = reign.now;
    reign.elapse(SECOND);
    reign.happen(Event::Reload);
    reign.says("web", Word::Reloading(Some(before)));
    assert!(is_ready(&reign));
    reign.elapse(SECOND);
    reign.says("web", Word::Reloading(Some(reign.now)));
    assert!(!is_ready(&reign));
    reign.says("web", Word::Ready);
    assert!(is_ready(&reign));
}

#[test]
fn one_that_says_that_it_stops_has_the_time_of_a_stop() {
    let text = "stop: {timeout: 10s}\nrestart: {delay: 1m}";
    let mut reign = running(text);
    reign.says("web", Word::Leaving);
    assert!(!is_ready(&reign));
    reign.elapse(SECOND * 9);
    reign.dies("web", End::Exited(3));
    assert_eq!(last_end(&reign), End::Exited(3), "by itself");

    let mut reign = running(text);
    reign.says("web", Word::Leaving);
    reign.elapse(SECOND * 10);
    assert_eq!(last_end(&reign), End::Felled(Fault::Lingering(SECOND * 10)));
}

#[test]
fn no_vassal_outlives_its_removal_by_asking_for_time() {
    let mut reign = running("stop: {timeout: 10s}");
    reign.deaf = true;
    reign.remove("web");
    let mut seconds = 0;
    while reign.word("web") == "stopping" {
        reign.says("web", Word::Extend(SECOND * 60));
        reign.elapse(SECOND);
        seconds += 1;
        assert!(seconds < 200, "it stays for ever");
    }
    assert_eq!(seconds, 100, "ten times its timeout");
}

#[test]
fn a_kill_without_effect_is_repeated() {
    let mut reign = running("stop: {timeout: 1s}");
    reign.deaf = true;
    let next = reign.done.len();
    reign.fails = Some(next + 1); // the ask, then the kill
    reign.remove("web");
    reign.elapse(SECOND);
    assert_eq!(count(&reign, |action| matches!(action, Action::Kill { .. })), 1);
    assert_eq!(reign.word("web"), "stopping");
    reign.elapse(SECOND * 5);
    assert_eq!(count(&reign, |action| matches!(action, Action::Kill { .. })), 2);
    assert_eq!(reign.word("web"), "absent");
}

#[test]
fn a_vassal_on_demand_waits_for_its_client() {
    let mut reign = Reign::new();
    reign.define("web", "on_demand: true");
    assert_eq!(
        (reign.word("web"), &reign.done[..]),
        ("idle", &[Action::Await(name("web"))][..])
    );
    reign.happen(Event::TryNow);
    reign.happen(Event::Reload);
    reign.elapse(SECOND * 3600);
    assert_eq!(reign.word("web"), "idle");
    reign.happen(Event::Demand(name("web")));
    reign.bear_all();
    assert_eq!(reign.word("web"), "running");
    reign.says("web", Word::Unused);
    reign.hear();
    assert_eq!(reign.word("web"), "idle");
    // A client that comes while it goes has it started again.
    reign.happen(Event::Demand(name("web")));
    reign.bear_all();
    reign.says("web", Word::Rest);
    reign.happen(Event::Demand(name("web")));
    assert_eq!(reign.word("web"), "stopping");
    reign.hear();
    assert_eq!(reign.word("web"), "idle", "which finds its client still there");
}

#[test]
fn one_on_demand_that_dies_pauses_before_it_waits_again() {
    let mut reign = Reign::new();
    reign.define("web", "on_demand: true\nrestart: {delay: 1s}");
    reign.happen(Event::Demand(name("web")));
    reign.bear_all();
    reign.dies("web", End::Exited(1));
    assert_eq!(reign.word("web"), "waiting");
    reign.happen(Event::Demand(name("web")));
    assert_eq!(reign.word("web"), "waiting");
    reign.elapse(SECOND * 2);
    assert_eq!(reign.word("web"), "idle");
    assert_eq!(reign.done.last(), Some(&Action::Await(name("web"))));
}

#[test]
fn one_that_wants_to_be_stopped_stays_down() {
    let mut reign = running("");
    reign.says("web", Word::Rest);
    reign.hear();
    assert!(matches!(
        reign.state("web"),
        Some(State::Down { why: Rest::Asked, .. })
    ));
}

#[test]
fn a_live_edit_goes_on_and_any_other_restarts() {
    let mut reign = running("ready: notify\nready_timeout: 10s");
    let life = reign.life("web");
    reign.define(
        "web",
        "ready: notify\nready_timeout: 20s\nstop: {timeout: 3s}\nrestart: {policy: never}",
    );
    reign.elapse(SECOND * 15);
    assert_eq!((reign.life("web"), reign.word("web")), (life, "running"));
    reign.define("web", "ready: exec\nready_timeout: 20s");
    assert!(is_ready(&reign), "the edit says that it is");
    reign.define("web", "ready: emperor");
    assert_eq!(
        reign.word("web"),
        "stopping",
        "its control socket can only be given to a new process"
    );
    reign.hear();
    assert_ne!(reign.life("web"), life);
}

#[test]
fn one_that_fails_after_an_edit_is_tried_at_once_and_then_with_pauses() {
    let mut reign = running("restart: {delay: 1s, max_delay: 1m}");
    reign.define("web", "restart: {delay: 1s, max_delay: 1m}\nenv: {A: 1}");
    reign.hear();
    let mut pauses = Vec::new();
    for _ in 0..3 {
        assert_eq!(reign.word("web"), "starting");
        reign.dies("web", End::Stillborn("no such file".to_owned()));
        let before = reign.now;
        while reign.word("web") == "waiting" {
            reign.elapse(SECOND / 2);
        }
        pauses.push((reign.now - before).as_secs());
    }
    assert_eq!(pauses, [1, 2, 4]);
}

#[test]
fn an_adopted_vassal_goes_on_under_its_old_definition() {
    let mut reign = Reign::new();
    let old = definition("web", "ready: notify\nnetwork: {address: 10.107.0.2}");
    let run = Run::adopted(
        mini_emperor::emperor::state::Life(41),
        4711,
        reign.now,
        Past::presumed(true, &old),
        reign.now,
        &old,
    );
    let adoption = Adoption {
        definition: old.clone(),
        addresses: vec!["10.107.0.2/29".parse().unwrap()],
        state: State::Running(run),
        life: run.life,
        restarts: 3,
        pacing: Pacing::resumed(2, SECOND * 2, []),
        last_end: Some(End::Exited(1)),
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
}

#[test]
fn an_adoption_that_cannot_be_is_killed() {
    let mut reign = running("network: {address: 10.107.0.2}");
    let old = definition("web", "network: {address: 10.107.0.3}");
    let run = Run::adopted(
        mini_emperor::emperor::state::Life(41),
        4711,
        reign.now,
        Past::presumed(true, &old),
        reign.now,
        &old,
    );
    reign.happen(Event::Adopted(Box::new(Adoption {
        definition: old,
        addresses: vec!["10.107.0.3/29".parse().unwrap()],
        state: State::Running(run),
        life: run.life,
        restarts: 0,
        pacing: Pacing::resumed(0, Duration::ZERO, []),
        last_end: None,
    })));
    assert!(matches!(reign.done.last(), Some(Action::Kill { life, .. }) if *life == run.life));
    reign.hear();
    assert_eq!(reign.processes.len(), 1);
    reign.define("other", "network: {address: 10.107.0.3}");
    assert_eq!(reign.word("other"), "starting", "it claimed nothing");
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
    next.now = reign.now;
    next.happen(Event::Adopted(Box::new(Adoption {
        definition: old,
        addresses: vassal.addresses.clone(),
        state,
        life,
        restarts: 0,
        pacing: Pacing::resumed(pacing.deaths_in_a_row(), pacing.last_delay(), pacing.deaths()),
        last_end: None,
    })));
    next.define("web", text);
    assert_eq!(next.life("web"), life);
}

#[test]
fn the_next_emperor_expects_no_sign_of_life_that_this_one_did_not() {
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
}

#[test]
fn one_that_was_ready_before_need_not_be_again_for_the_next_emperor() {
    let text = "ready: notify\nready_timeout: 9s";
    let mut reign = running(text);
    reign.says("web", Word::Ready);
    reign.says("web", Word::Reloading(None));
    let mut next = inherited(&reign, text);
    assert!(!is_ready(&next), "it reads its configuration");
    next.elapse(SECOND * 10);
    assert_eq!(next.word("web"), "running");
    assert!(is_ready(&next), "its word was lost with the earlier emperor");
}

#[test]
fn what_a_command_does_goes_on_under_the_next_emperor() {
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
}

#[test]
fn one_that_may_have_said_to_nobody_that_it_is_ready_is_not_ended_for_it() {
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
}

#[test]
fn what_was_being_stopped_is_stopped_for_the_same_by_the_next_emperor() {
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
}

#[test]
fn deaths_count_under_whichever_emperor_they_were() {
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
}
