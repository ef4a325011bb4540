//! When a vassal is started again, and when it is ended.

use mini_emperor::emperor::state::{End, Rest, State};
use mini_emperor::emperor::{Action, Event, Word};

use crate::reign::{name, replay};
use crate::{SECOND, count, is_ready, running};

#[test]
fn a_vassal_lives_and_leaves_with_its_file() {
    replay::told(|| {
        let mut reign = running("");
        assert!(is_ready(&reign), "a command that runs is ready");
        reign.remove("web");
        assert_eq!(reign.word("web"), "stopping");
        reign.hear();
        assert_eq!(reign.word("web"), "absent");
        assert!(reign.processes.is_empty());
        assert_eq!(reign.done.last(), Some(&Action::Forget(name("web"))));
    });
}

#[test]
fn policies_decide_after_an_end() {
    replay::told(|| {
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
    });
}

#[test]
fn the_pause_grows_and_a_healthy_run_resets_it() {
    replay::told(|| {
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
    });
}

#[test]
fn it_gives_up_until_the_file_changes() {
    replay::told(|| {
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
    });
}

#[test]
fn exit_code_26_means_stay_down() {
    replay::told(|| {
        let mut reign = running("");
        reign.dies("web", End::Exited(26));
        assert_eq!(reign.word("web"), "failed");
        reign.elapse(SECOND * 3600);
        assert_eq!(reign.word("web"), "failed");
        reign.happen(Event::TryNow);
        assert_eq!(reign.word("web"), "starting", "the operator wants it tried");
    });
}

#[test]
fn try_now_ends_a_back_off_and_leaves_what_has_ended_well_alone() {
    replay::told(|| {
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
    });
}

#[test]
fn one_that_fails_after_an_edit_is_tried_at_once_and_then_with_pauses() {
    replay::told(|| {
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
    });
}

#[test]
fn one_that_wants_to_be_stopped_stays_down() {
    replay::told(|| {
        let mut reign = running("");
        reign.says("web", Word::Rest);
        reign.hear();
        assert!(matches!(
            reign.state("web"),
            Some(State::Down { why: Rest::Asked, .. })
        ));
    });
}

#[test]
fn a_hurry_kills_what_is_stopping_and_nothing_else() {
    replay::told(|| {
        let mut reign = running("stop: {timeout: 1h}");
        reign.define("other", "");
        reign.bear_all();
        reign.deaf = true;
        reign.remove("web");
        reign.happen(Event::Hurry);
        reign.hear();
        assert_eq!((reign.word("web"), reign.word("other")), ("absent", "running"));
    });
}

#[test]
fn no_vassal_outlives_its_removal_by_asking_for_time() {
    replay::told(|| {
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
    });
}

#[test]
fn a_kill_without_effect_is_repeated() {
    replay::told(|| {
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
    });
}
