//! Stories that come to the same end whatever fails on the way.

use std::time::Duration;

use mini_emperor::config::Definition;
use mini_emperor::config::definition::Addresses;
use mini_emperor::emperor::state::{End, Life, Rest, State};
use mini_emperor::emperor::{Action, Event, Past, Run, Word};

use crate::reign::{Reign, definition, name};

/// A story, told with as many failures as it has actions.
fn told_with_every_failure(story: impl Fn(&mut Reign)) {
    let mut reign = Reign::new();
    story(&mut reign);
    reign.finish();
    let actions = reign.done.len();
    assert!(actions > 2, "the story is too short");
    for failing in 0..actions {
        let mut reign = Reign::new();
        reign.fails = Some(failing);
        story(&mut reign);
        if let Some(Action::Spawn { definition, .. }) = reign.done.get(failing) {
            let name = &definition.name;
            let told = reign.done[failing..].iter().any(|action| {
                matches!(action, Action::Retry { name: whose, .. } | Action::Abandon { name: whose, .. } if whose == name)
            });
            let over = reign
                .emperor
                .vassals()
                .get(name)
                .is_none_or(|vassal| vassal.last_end.is_some());
            assert!(told || over, "nobody heard of the failure of action {failing}");
        }
        reign.finish();
    }
}

/// Everything that can be done now is done.
fn settle(reign: &mut Reign) {
    for _ in 0..4 {
        reign.bear_all();
        reign.hear();
    }
}

#[test]
fn a_deployment_survives_every_failure() {
    told_with_every_failure(|reign| {
        reign.define("a", "network: {address: 10.107.0.2}");
        reign.define("b", "network: {address: 10.107.0.2}");
        reign.define("c", "ready: {tcp: 80}\nready_timeout: 5s");
        settle(reign);
        reign.define("a", "network: {address: 10.107.0.2}\nstop: {timeout: 1s}");
        reign.define("c", "ready: {tcp: 80}\nready_timeout: 5s\nenv: {A: 1}");
        settle(reign);
        reign.elapse(Duration::from_secs(40));
        settle(reign);
        reign.remove("a");
        settle(reign);
        reign.elapse(Duration::from_secs(10));
        settle(reign);
        assert_eq!(reign.word("a"), "absent");
        assert_eq!(reign.word("b"), "running", "the address is free for it");
        assert_eq!(reign.word("c"), "running");
    });
}

#[test]
fn supervision_survives_every_failure() {
    told_with_every_failure(|reign| {
        reign.define(
            "a",
            "ready: notify\nready_timeout: 3s\nwatchdog: 2s\nstop: {timeout: 1s}",
        );
        reign.define(
            "b",
            "ready: emperor\nreload: emperor\nready_timeout: 3s\nstop: {timeout: 1s}",
        );
        settle(reign);
        for who in ["a", "b"] {
            if reign.state(who).and_then(State::run).is_some() {
                reign.says(who, Word::Ready);
            }
        }
        reign.happen(Event::Reload);
        reign.elapse(Duration::from_secs(20)); // the watchdog is missed, the reload is late
        settle(reign);
        reign.happen(Event::TryNow);
        settle(reign);
        for who in ["a", "b"] {
            assert_eq!(reign.word(who), "running", "{who}");
        }
    });
}

#[test]
fn waiting_for_clients_survives_every_failure() {
    told_with_every_failure(|reign| {
        reign.define("a", "on_demand: true\nstop: {timeout: 1s}");
        for _ in 0..3 {
            reign.happen(Event::Demand(name("a")));
            settle(reign);
            if reign.state("a").and_then(State::run).is_some() {
                reign.says("a", Word::Unused);
            }
            settle(reign);
            reign.elapse(Duration::from_secs(60));
            assert_eq!(reign.word("a"), "idle");
        }
    });
}

/// A process of an earlier emperor is found.
fn adopt(reign: &mut Reign, definition: &Definition, life: u64, ready: bool) {
    let (life, now, past) = (Life(life), reign.now, Past::presumed(ready, definition));
    let run = Run::adopted(life, 1, now, past, now, definition);
    let addresses = match &definition.network.address {
        Addresses::Fixed(addresses) => addresses.clone(),
        Addresses::Auto => vec!["10.107.0.3/29".parse().unwrap()],
    };
    reign.find(definition.clone(), State::Running(run), life, addresses);
}

/// It runs, after whatever time a failure costs.
fn recovers(reign: &mut Reign, who: &str) {
    settle(reign);
    reign.elapse(Duration::from_secs(20));
    settle(reign);
    assert_eq!(reign.word(who), "running", "{who}");
}

#[test]
fn adoption_survives_every_failure() {
    let probed = "ready: {tcp: 80}\nready_timeout: 5s\nnetwork: {address: 10.107.0.2}\nstop: {timeout: 1s}";
    let telling = "ready: notify\nready_timeout: 1h\nreload: signal HUP\nstop: {timeout: 1s}";
    let waiting = "on_demand: true\nstop: {timeout: 1s}";
    told_with_every_failure(|reign| {
        adopt(reign, &definition("a", probed), 901, false);
        adopt(reign, &definition("b", telling), 902, true);
        let addresses = vec!["10.107.0.5/29".parse().unwrap()];
        reign.find(definition("c", waiting), State::Idle, Life(900), addresses);
        reign.elapse(Duration::from_secs(2));
        assert_eq!(reign.word("c"), "idle");
        for (who, text) in [("a", probed), ("b", telling), ("c", waiting)] {
            reign.define(who, text);
        }
        reign.happen(Event::Reload);
        for who in ["a", "b"] {
            recovers(reign, who);
        }
        reign.define("b", &format!("{telling}\nenv: {{A: 1}}"));
        for _ in 0..2 {
            reign.happen(Event::Demand(name("c")));
            settle(reign);
            reign.elapse(Duration::from_secs(60));
        }
        for who in ["a", "b", "c"] {
            recovers(reign, who);
        }
        // All ends in the midst of a stop and of a birth.
        reign.remove("a");
        reign.define("c", &format!("{waiting}\nenv: {{A: 1}}"));
        reign.happen(Event::StopAll);
        reign.define("d", "");
        assert_eq!(reign.word("d"), "absent", "nobody is born any more");
    });
}

#[test]
fn those_that_stay_down_survive_every_failure() {
    let given_up = "restart: {delay: 1s, give_up: {deaths: 3, within: 10m}}\nstop: {timeout: 1s}";
    let telling = "ready: notify\nready_timeout: 1h\nstop: {timeout: 1s}";
    told_with_every_failure(|reign| {
        for (who, text) in [("a", given_up), ("b", ""), ("c", telling)] {
            reign.define(who, text);
        }
        for who in ["a", "b", "c"] {
            recovers(reign, who);
        }
        for _ in 0..3 {
            if reign.word("a") == "running" {
                reign.dies("a", End::Exited(1));
            }
            reign.elapse(Duration::from_secs(5));
            settle(reign);
        }
        reign.dies("b", End::Exited(26));
        reign.says("c", Word::MainPid(77));
        assert_eq!(reign.state("c").and_then(State::run).map(|run| run.pid), Some(77));
        reign.says("c", Word::Rest);
        reign.elapse(Duration::from_secs(3600));
        settle(reign);
        let within = Duration::from_secs(600);
        for (who, why) in [
            ("a", Rest::GaveUp { deaths: 3, within }),
            ("b", Rest::Exile),
            ("c", Rest::Asked),
        ] {
            assert_eq!(reign.state(who).and_then(State::rest), Some(&why), "{who}");
        }
        reign.happen(Event::TryNow);
        reign.define("c", &format!("{telling}\nenv: {{A: 1}}"));
        for who in ["a", "b", "c"] {
            recovers(reign, who);
        }
        // All ends in the midst of a restart, of a rest and of a removal.
        reign.define("a", &format!("{given_up}\nenv: {{A: 1}}"));
        reign.says("c", Word::Rest);
        reign.remove("b");
        reign.happen(Event::StopAll);
    });
}
