//! What holds for every order of events, whatever of what is done about them fails.
//!
//! After each event the pretended host checks that no process is without an owner or an owner without its
//! process, that no vassal has two and no address two users, and that no deadline is left unmet. At the end all
//! is stopped, and that must come to its end. Ports are kept by rules of the host's (`reign::ports`): none without a
//! process, none asleep that nothing would wake; `integration/kills.py` counts the real ones.

#![allow(clippy::unwrap_used, reason = "test code")]

mod reign;

use std::sync::LazyLock;
use std::time::Duration;

use mini_emperor::config::definition::Addresses;
use mini_emperor::config::{Definition, Name};
use mini_emperor::emperor::state::{End, Fault, Life, Rest, State, Then};
use mini_emperor::emperor::{Deed, Event, Past, Run, Trouble, Word};
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
    Adopt(usize, usize, usize),
    Fail,
    Born(usize),
    Dies(usize, End),
    Says(usize, Word),
    SaysOld(usize, Word),
    Hear,
    Demand(usize),
    Elapse(u64),
    Deaf(bool),
    Full(bool),
    /// Something could not be done for a process, and it is heard of late.
    Troubled(usize, Deed),
    /// The same for a vassal that has none.
    Unserved(usize, Deed),
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

const DEEDS: [Deed; 3] = [Deed::Reload, Deed::Update, Deed::Await];

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
        match kind % 35 {
            0..5 => Step::Define(who, text),
            5 => Step::Remove(who),
            6 => Step::Adopt(who, text, three),
            7..12 => Step::Born(one),
            12..15 => Step::Dies(one, end(two)),
            15..20 => Step::Says(one, WORDS[two % WORDS.len()]),
            20 => Step::SaysOld(one % 8, WORDS[two % WORDS.len()]),
            21..24 => Step::Hear,
            24 => Step::Demand(who),
            25..28 => Step::Elapse(MILLISECONDS[one % MILLISECONDS.len()]),
            28 => Step::Deaf(one % 2 == 0),
            29 => Step::Reload,
            30 if one % 2 == 0 => Step::TryNow,
            30 => Step::Hurry,
            31 => Step::Full(one % 2 == 0),
            32 => Step::Troubled(one, DEEDS[two % DEEDS.len()]),
            33 => Step::Unserved(who, DEEDS[two % DEEDS.len()]),
            _ => Step::Fail,
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
        Step::Adopt(who, text, state) => adopt_somewhere(reign, &DEFINITIONS[who][text], state),
        // What is done next, that is.
        Step::Fail => reign.fails = Some(reign.done.len()),
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
        Step::Full(full) => reign.full = full,
        Step::Troubled(one, deed) => {
            if let Some(life) = choose(reign, one) {
                let name = reign.processes[&life].name.clone();
                fail_late(reign, name, Some(life), deed);
            }
        }
        Step::Unserved(who, deed) => fail_late(reign, name(NAMES[who]), None, deed),
        Step::Reload => reign.happen(Event::Reload),
        Step::TryNow => reign.happen(Event::TryNow),
        Step::Hurry => reign.happen(Event::Hurry),
    }
}

fn fail_late(reign: &mut Reign, name: Name, life: Option<Life>, deed: Deed) {
    let why = "the kernel said no".to_owned();
    let trouble = Trouble { deed, why };
    reign.happen(Event::Failed { name, life, trouble });
}

/// A vassal of an earlier emperor is found in one of the states that a record can tell of.
fn adopt_somewhere(reign: &mut Reign, definition: &Definition, which: usize) {
    let life = Life(1000 + reign.done.len() as u64);
    if reign.processes.contains_key(&life) {
        return;
    }
    let now = reign.now;
    let running = |ready| {
        let past = Past::presumed(ready, definition);
        State::Running(Run::adopted(life, 1, now, past, now, definition))
    };
    let stopping = |born, then| State::Stopping {
        life,
        born,
        kill_at: now + Duration::from_secs(2),
        latest: now + Duration::from_secs(20),
        then,
    };
    let down = |why| State::Down {
        end: End::Exited(1),
        why,
    };
    let state = match which % 12 {
        0 => running(false),
        1..4 => running(true),
        4 => stopping(Some(now), Then::Start),
        5 => stopping(Some(now), Then::Again(Fault::Trigger)),
        6 => stopping(None, Then::Rest),
        7 => stopping(Some(now), Then::Leave),
        8 => State::Waiting {
            until: now + Duration::from_secs(1),
        },
        9 if definition.on_demand.is_some() => State::Idle,
        10 => down(Rest::Exile),
        _ => down(Rest::Policy),
    };
    let addresses = match &definition.network.address {
        Addresses::Fixed(addresses) => addresses.clone(),
        Addresses::Auto => vec!["10.107.0.3/29".parse().unwrap()],
    };
    reign.find(definition.clone(), state, life, addresses);
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
