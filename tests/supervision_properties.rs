//! What holds for every order of events, and for every action that fails.
//!
//! After each event the pretended host checks that no process is without an owner or an owner without its
//! process, that no vassal has two and no address two users, and that no deadline is left unmet. At the end all
//! is stopped, and that must come to its end. Ports are the host's: `integration/kills.py` counts them.

#![allow(clippy::unwrap_used, reason = "test code")]

mod reign;

use std::sync::LazyLock;
use std::time::Duration;

use mini_emperor::config::Definition;
use mini_emperor::config::definition::Addresses;
use mini_emperor::emperor::pacing::Pacing;
use mini_emperor::emperor::state::{End, Fault, Life, Rest, State};
use mini_emperor::emperor::{Action, Adoption, Event, Past, Run, Word};
use proptest::prelude::*;

use reign::{Reign, definition, name, path};

const NAMES: [&str; 3] = ["a", "b", "c"];

/// What a vassal's file may say. The second and third want one address.
const TEXTS: [&str; 9] = [
    "",
    "network: {address: 10.107.0.2}\nready: notify\nready_timeout: 3s",
    "network: {address: 10.107.0.2}\nenv: {A: 1}\nready: {tcp: 80}\nwatchdog: 2s",
    "restart: {policy: never}\nready: notify\nwatchdog: 2s",
    "restart: {policy: on-failure, delay: 1s, give_up: {deaths: 3, within: 1m}}\nstop: {timeout: 1s}",
    "ready: emperor\nreload: emperor\nready_timeout: 3s\nstop: {timeout: 2s}",
    "reload: signal HUP\nready: notify\nstop: {timeout: 0s}",
    "on_demand: true\nrestart: {delay: 1s}",
    "on_demand: true\nrestart: {policy: never}\nready: notify\nready_timeout: 1s",
];

/// Judging a file takes longer than all else here.
static DEFINITIONS: LazyLock<Vec<Vec<Definition>>> = LazyLock::new(|| {
    let all = |name: &str| TEXTS.iter().map(|text| definition(name, text)).collect();
    NAMES.iter().map(|name| all(name)).collect()
});

/// One thing that happens. Numbers choose among what there is at that moment.
#[derive(Debug, Clone)]
enum Step {
    Define(usize, usize),
    Remove(usize),
    Adopt(usize, usize, bool),
    Born(usize),
    Dies(usize, End),
    Says(usize, Word),
    SaysOld(usize, Word),
    Hear,
    Demand(usize),
    Elapse(u64),
    Deaf(bool),
    Reload,
    TryNow,
    Hurry,
}

const WORDS: [Word; 14] = [
    Word::Ready,
    Word::Ready,
    Word::Reloading(None),
    Word::Leaving,
    Word::Alive,
    Word::Every(None),
    Word::Every(Some(Duration::from_secs(1))),
    Word::Extend(Duration::from_secs(3)),
    Word::Extend(Duration::from_secs(1 << 50)),
    Word::MainPid(77),
    Word::Rest,
    Word::Unused,
    Word::Fault(Fault::Trigger),
    Word::Fault(Fault::DeviceLost),
];

const MILLISECONDS: [u64; 6] = [1, 300, 1000, 2500, 20_000, 200_000];

fn end(which: usize) -> End {
    match which % 6 {
        0 => End::Exited(0),
        1 => End::Exited(1),
        2 => End::Exited(26),
        3 => End::Killed(9),
        4 => End::Unknown,
        _ => End::Stillborn("no".to_owned()),
    }
}

/// A step from one random number: a strategy for each field would take most of the time.
fn step() -> impl Strategy<Value = Step> {
    any::<u32>().prop_map(|number| {
        let [kind, one, two, three] = number.to_be_bytes().map(usize::from);
        let (who, text) = (one % NAMES.len(), two % TEXTS.len());
        match kind % 32 {
            0..5 => Step::Define(who, text),
            5 => Step::Remove(who),
            6 => Step::Adopt(who, text, three % 2 == 0),
            7..12 => Step::Born(one),
            12..15 => Step::Dies(one, end(two)),
            15..20 => Step::Says(one, WORDS[two % WORDS.len()]),
            20 => Step::SaysOld(one % 8, WORDS[two % WORDS.len()]),
            21..24 => Step::Hear,
            24 => Step::Demand(who),
            25..28 => Step::Elapse(MILLISECONDS[one % MILLISECONDS.len()]),
            28 => Step::Deaf(one % 2 == 0),
            29 => Step::Reload,
            30 => Step::TryNow,
            _ => Step::Hurry,
        }
    })
}

/// The process that `one` chooses.
fn choose(reign: &Reign, one: usize) -> Option<Life> {
    let lives: Vec<_> = reign.processes.keys().copied().collect();
    (!lives.is_empty()).then(|| lives[one % lives.len()])
}

fn play(reign: &mut Reign, step: Step) {
    match step {
        Step::Define(who, text) => {
            reign.happen(Event::Defined(Box::new(DEFINITIONS[who][text].clone())));
        }
        Step::Remove(who) => reign.happen(Event::Removed(path(NAMES[who]))),
        Step::Adopt(who, text, ready) => adopt(reign, &DEFINITIONS[who][text], ready),
        Step::Born(one) => {
            if let Some(life) = choose(reign, one) {
                reign.bear(life);
            }
        }
        Step::Dies(one, end) => {
            if let Some(life) = choose(reign, one) {
                reign.end(life, end);
            }
        }
        Step::Says(one, word) => {
            if let Some(life) = choose(reign, one) {
                let name = reign.processes[&life].name.clone();
                reign.happen(Event::Says { name, life, word });
            }
        }
        Step::SaysOld(old, word) => {
            let (life, name) = (Life(u64::try_from(old).unwrap()), name(NAMES[old % NAMES.len()]));
            if !reign.processes.contains_key(&life) {
                reign.happen(Event::Says { name, life, word });
            }
        }
        Step::Hear => reign.hear(),
        Step::Demand(who) => reign.happen(Event::Demand(name(NAMES[who]))),
        Step::Elapse(milliseconds) => reign.elapse(Duration::from_millis(milliseconds)),
        Step::Deaf(deaf) => reign.deaf = deaf,
        Step::Reload => reign.happen(Event::Reload),
        Step::TryNow => reign.happen(Event::TryNow),
        Step::Hurry => reign.happen(Event::Hurry),
    }
}

/// A process of an earlier emperor is found, whatever this one has already done.
fn adopt(reign: &mut Reign, definition: &Definition, ready: bool) {
    let life = Life(1000 + reign.done.len() as u64);
    if reign.processes.contains_key(&life) {
        return;
    }
    let past = Past::presumed(ready, definition);
    let run = Run::adopted(life, 1, reign.now, past, reign.now, definition);
    reign.happen(Event::Adopted(Box::new(Adoption {
        definition: definition.clone(),
        addresses: match &definition.network.address {
            Addresses::Fixed(addresses) => addresses.clone(),
            Addresses::Auto => vec!["10.107.0.3/29".parse().unwrap()],
        },
        state: State::Running(run),
        life,
        restarts: 0,
        pacing: Pacing::resumed(1, Duration::ZERO, []),
        last_end: None,
    })));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100_000))]

    #[test]
    fn whatever_happens_no_process_is_lost_doubled_or_immortal(
        steps in prop::collection::vec(step(), 1..30),
    ) {
        let mut reign = Reign::new();
        for step in steps {
            play(&mut reign, step);
        }
        reign.finish();
    }
}

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

/// What an earlier emperor left without a process.
fn adopt_at_rest(reign: &mut Reign, definition: Definition, state: State) {
    reign.happen(Event::Adopted(Box::new(Adoption {
        definition,
        addresses: vec!["10.107.0.5/29".parse().unwrap()],
        state,
        life: Life(900),
        restarts: 0,
        pacing: Pacing::resumed(1, Duration::ZERO, []),
        last_end: None,
    })));
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
        adopt(reign, &definition("a", probed), false);
        adopt(reign, &definition("b", telling), true);
        adopt_at_rest(reign, definition("c", waiting), State::Idle);
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
