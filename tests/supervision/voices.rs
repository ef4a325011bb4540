//! What a vassal says about itself, and what it is expected to say.

use mini_emperor::emperor::state::{End, Fault};
use mini_emperor::emperor::table::Notice;
use mini_emperor::emperor::{Action, Event, Word};

use crate::reign::{Reign, replay};
use crate::{SECOND, count, is_ready, last_end, notices, running};

#[test]
fn no_signs_of_life_are_expected_while_it_reloads_or_leaves() {
    replay::told(|| {
        for word in [Word::Reloading(None), Word::Leaving] {
            let mut reign = running("ready: notify\nready_timeout: 1h\nwatchdog: 5s\nstop: {timeout: 1h}");
            reign.says("web", Word::Ready);
            reign.says("web", word);
            reign.elapse(SECOND * 60);
            assert_eq!(reign.word("web"), "running", "{word:?}");
        }
    });
}

#[test]
fn readiness_comes_by_word_or_the_vassal_is_at_fault() {
    replay::told(|| {
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
    });
}

#[test]
fn a_port_is_probed_once_the_command_runs() {
    replay::told(|| {
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
    });
}

#[test]
fn a_missed_watchdog_kills() {
    replay::told(|| {
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
    });
}

#[test]
fn a_vassal_may_trigger_its_watchdog_or_change_it() {
    replay::told(|| {
        let mut reign = running("watchdog: 5s\nrestart: {delay: 1m}");
        reign.says("web", Word::Every(Some(SECOND * 60)));
        reign.elapse(SECOND * 59);
        assert_eq!(reign.word("web"), "running");
        reign.says("web", Word::Fault(Fault::Trigger));
        reign.hear();
        assert_eq!(last_end(&reign), End::Felled(Fault::Trigger));
    });
}

#[test]
fn a_watchdog_that_is_new_does_not_kill_who_was_not_told() {
    replay::told(|| {
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
    });
}

#[test]
fn a_reload_is_what_the_definition_says() {
    replay::told(|| {
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
    });
}

#[test]
fn a_reload_from_before_the_question_is_no_answer_to_it() {
    replay::told(|| {
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
    });
}

#[test]
fn one_that_says_that_it_stops_has_the_time_of_a_stop() {
    replay::told(|| {
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
    });
}

#[test]
fn a_live_edit_goes_on_and_any_other_restarts() {
    replay::told(|| {
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
    });
}
