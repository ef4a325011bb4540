//! An emperor with a host that only pretends: processes are entries of a map, time is an argument.
//!
//! After everything that happens, what must always hold is checked ([`Reign::check`]).

#![allow(dead_code, reason = "each test file uses a part of it")]
#![allow(clippy::unwrap_used, reason = "test code")]

mod deeds;
pub(crate) mod ports;
pub(crate) mod replay;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ipnet::IpNet;
use mini_emperor::config::definition::{OnDemand, Trigger};
use mini_emperor::config::world::Anywhere;
use mini_emperor::config::{Definition, Name, Places, Settings, load};
use mini_emperor::emperor::addresses::AddressBook;
use mini_emperor::emperor::pacing::Pacing;
use mini_emperor::emperor::state::{End, Life, State};
use mini_emperor::emperor::{Action, Adoption, Deed, Emperor, Event, Word};

fn settings() -> Settings {
    let text = "router: {address: 10.107.0.1/29}";
    let places = Places {
        settings: "/e.yaml".into(),
        vassals: "/v".into(),
        run_directory: "/r".into(),
        state_directory: "/s".into(),
        log_directory: "/l".into(),
    };
    load::settings(Path::new("/e.yaml"), Some(text), &places, &Anywhere)
        .value
        .unwrap()
}

pub(crate) fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

pub(crate) fn path(name: &str) -> PathBuf {
    format!("/v/{name}.yaml").into()
}

/// What a file means; `on_demand: true` in it has the vassal wait for a client.
pub(crate) fn definition(name: &str, text: &str) -> Definition {
    let on_demand = text.contains("on_demand: true");
    let text = format!("command: [/bin/x]\n{}", text.replace("on_demand: true", ""));
    let judged = load::definition(&path(name), text.as_bytes(), &settings(), &Anywhere);
    let mut definition = judged.value.unwrap_or_else(|| panic!("{:?}", judged.problems));
    definition.on_demand = on_demand.then_some(OnDemand {
        trigger: Trigger::Packet,
        idle: None,
    });
    definition
}

/// A process.
#[derive(Debug, Clone)]
pub(crate) struct Process {
    pub(crate) name: Name,
    pub(crate) addresses: Vec<IpAddr>,
    pub(crate) born: bool,
    /// Its end has not been told yet.
    pub(crate) ending: bool,
}

/// The emperor and what it made.
pub(crate) struct Reign {
    pub(crate) emperor: Emperor,
    pub(crate) now: Instant,
    pub(crate) processes: BTreeMap<Life, Process>,
    ports: ports::Ports,
    /// Everything that was to be done, in order.
    pub(crate) done: Vec<Action>,
    /// What the processes are about to tell.
    pub(crate) news: VecDeque<Event>,
    /// The number of the action that fails.
    pub(crate) fails: Option<usize>,
    /// Does what a process does when it is asked to end: nothing.
    pub(crate) deaf: bool,
    /// Nobody can be waited for.
    pub(crate) full: bool,
    pids: u32,
    /// Which reign of a story it is.
    number: Option<usize>,
}

impl Drop for Reign {
    /// A story that is told again wants to know how it ends.
    fn drop(&mut self) {
        if let Some(number) = self.number.take() {
            let mut left = Self::outside();
            std::mem::swap(self, &mut left);
            replay::leave(number, left);
        }
    }
}

impl Reign {
    pub(crate) fn new() -> Self {
        let mut reign = Self::outside();
        if let Some((number, fails)) = replay::begin() {
            (reign.number, reign.fails) = (Some(number), fails);
        }
        reign
    }

    /// One of no story.
    fn outside() -> Self {
        Self {
            emperor: Emperor::new(settings().router.addresses, AddressBook::default()),
            now: Instant::now(),
            processes: BTreeMap::new(),
            ports: ports::Ports::default(),
            done: Vec::new(),
            news: VecDeque::new(),
            fails: None,
            deaf: false,
            full: false,
            pids: 100,
            number: None,
        }
    }

    /// Something happens.
    pub(crate) fn happen(&mut self, event: Event) {
        if let Event::Ended { life, .. } = &event {
            self.processes.remove(life);
            self.ports.detach(*life);
        }
        let mut found = None;
        if let Event::Adopted(adoption) = &event
            && let Some(life) = adoption.state.life()
        {
            let process = Process {
                name: adoption.definition.name.clone(),
                addresses: adoption.addresses.iter().map(|net| net.addr()).collect(),
                born: true,
                ending: false,
            };
            found = Some((process.name.clone(), life));
            assert!(self.processes.insert(life, process).is_none());
        }
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            let mut todo = Vec::new();
            self.emperor.handle(event, self.now, 7, &mut todo);
            for action in todo {
                events.extend(self.perform(action));
            }
        }
        if let Some((name, life)) = found {
            self.connect(&name, life);
        }
        if let Err(why) = self.check() {
            replay::broke(&why);
            panic!("{why}");
        }
    }

    /// Does one thing, as the host does; what comes back is to be told at once.
    fn perform(&mut self, action: Action) -> Option<Event> {
        let no_room = self.full && matches!(action, Action::Await(_));
        let fails = no_room || self.fails == Some(self.done.len());
        self.done.push(action.clone());
        self.ports.perform(&action, &self.emperor, fails);
        let undone = action.clone();
        match action {
            Action::Spawn {
                life,
                definition,
                addresses,
            } => {
                let process = Process {
                    name: definition.name.clone(),
                    addresses: addresses.iter().map(|net| net.addr()).collect(),
                    born: false,
                    ending: false,
                };
                assert!(
                    self.processes.insert(life, process).is_none(),
                    "{life:?} is used twice"
                );
                if fails {
                    self.end(life, End::Stillborn("the kernel said no".to_owned()));
                }
            }
            Action::Ask { life, .. } if !fails && !self.deaf => self.end(life, End::Exited(0)),
            Action::Kill { life, .. } if !fails => self.end(life, End::Killed(9)),
            Action::Probe { name, life, .. } if !fails => {
                self.news.push_back(Event::Says {
                    name,
                    life,
                    word: Word::Ready,
                });
            }
            Action::Ask { .. }
            | Action::Kill { .. }
            | Action::Probe { .. }
            | Action::Reload { .. }
            | Action::Update { .. }
            | Action::Await(_)
            | Action::Say { .. }
            | Action::Complain { .. }
            | Action::Forget(_)
            | Action::Refuse { .. }
            | Action::Abandon { .. }
            | Action::Retry { .. } => {}
        }
        fails.then(|| deeds::failing(&undone, &self.emperor)).flatten()
    }

    /// Something could not be done for the process that a vassal has, or for the want of one.
    pub(crate) fn failure(&self, name: &Name, deed: Deed) -> Event {
        deeds::failure(name, deed, &self.emperor)
    }

    /// The tun of a process that was found is attached, if the emperor has taken it over.
    fn connect(&mut self, name: &Name, life: Life) {
        let vassal = self.emperor.vassals().get(name);
        if vassal.and_then(|vassal| vassal.state.life()) == Some(life) {
            let addresses = &self.processes[&life].addresses;
            self.ports.attach(life, name, addresses);
        }
    }

    /// A process ends; the emperor hears of it with the other news.
    pub(crate) fn end(&mut self, life: Life, end: End) {
        if let Some(process) = self.processes.get_mut(&life)
            && !std::mem::replace(&mut process.ending, true)
        {
            let name = process.name.clone();
            self.news.push_back(Event::Ended { name, life, end });
        }
    }

    /// A process reaches its first instruction.
    pub(crate) fn bear(&mut self, life: Life) {
        if let Some(process) = self.processes.get_mut(&life)
            && !process.ending
            && !std::mem::replace(&mut process.born, true)
        {
            self.pids += 1;
            let (name, pid) = (process.name.clone(), self.pids);
            self.ports.attach(life, &name, &process.addresses);
            self.happen(Event::Born { name, life, pid });
        }
    }

    /// Every process that can be is born.
    pub(crate) fn bear_all(&mut self) {
        let unborn: Vec<_> = self.processes.keys().copied().collect();
        for life in unborn {
            self.bear(life);
        }
    }

    /// The emperor hears what there is to hear.
    pub(crate) fn hear(&mut self) {
        while let Some(event) = self.news.pop_front() {
            self.happen(event);
        }
    }

    /// Time passes; deadlines are met as they come.
    pub(crate) fn elapse(&mut self, time: Duration) {
        let end = self.now + time;
        let mut turns = 0;
        while let Some(at) = self.emperor.deadline().filter(|at| *at <= end) {
            turns = if at > self.now { 0 } else { turns + 1 };
            assert!(
                turns < 8,
                "a deadline that was met is still there: the host would spin"
            );
            self.now = self.now.max(at);
            self.happen(Event::Deadline);
            self.hear();
        }
        self.now = end;
    }

    pub(crate) fn define(&mut self, who: &str, text: &str) {
        self.happen(Event::Defined(Box::new(definition(who, text))));
    }

    /// An earlier emperor left this; it was in its back-off.
    pub(crate) fn find(&mut self, definition: Definition, state: State, life: Life, addresses: Vec<IpNet>) {
        self.happen(Event::Adopted(Box::new(Adoption {
            definition,
            addresses,
            state,
            life,
            restarts: 0,
            pacing: Pacing::resumed(1, Duration::ZERO, 0, []),
            last_end: None,
            troubles: Vec::new(),
        })));
    }

    pub(crate) fn remove(&mut self, who: &str) {
        self.happen(Event::Removed(path(who)));
    }

    pub(crate) fn state(&self, who: &str) -> Option<&State> {
        self.emperor.vassals().get(&name(who)).map(|vassal| &vassal.state)
    }

    pub(crate) fn word(&self, who: &str) -> &'static str {
        self.state(who).map_or("absent", State::word)
    }

    /// The process of a vassal.
    pub(crate) fn life(&self, who: &str) -> Life {
        self.state(who).and_then(State::life).expect("it has a process")
    }

    pub(crate) fn says(&mut self, who: &str, word: Word) {
        let (name, life) = (name(who), self.life(who));
        self.happen(Event::Says { name, life, word });
    }

    /// Its process ends like this, and the emperor hears of it.
    pub(crate) fn dies(&mut self, who: &str, end: End) {
        self.end(self.life(who), end);
        self.hear();
    }

    /// Stops all; it must come to its end, whatever the processes do.
    pub(crate) fn finish(&mut self) {
        self.happen(Event::StopAll);
        for _ in 0..100 {
            self.hear();
            if self.emperor.is_done() {
                break;
            }
            let wait = self
                .emperor
                .deadline()
                .map(|at| at.saturating_duration_since(self.now));
            self.elapse(wait.expect("a vassal that is left has a deadline"));
        }
        assert!(self.emperor.is_done(), "{:?}", self.emperor.vassals());
        assert!(self.processes.is_empty(), "left: {:?}", self.processes);
    }

    /// The same for one that nobody uses any more.
    pub(crate) fn finish_for_good(mut self) {
        self.finish();
    }

    /// What always holds; the sentence says what does not.
    pub(crate) fn check(&self) -> Result<(), String> {
        let mut owners = BTreeSet::new();
        let mut addresses = BTreeSet::new();
        for (life, process) in &self.processes {
            let name = &process.name;
            let owner = self.emperor.vassals().get(name);
            let owned = owner.and_then(|vassal| vassal.state.life()) == Some(*life);
            // An adoption that was refused is on its way out.
            let ends = process.ending || self.emperor.is_outcast(*life);
            ensure(owned || ends, || format!("{life:?} of {name} is nobody's"))?;
            if owned {
                ensure(owners.insert(name.clone()), || {
                    format!("{name} has two processes")
                })?;
                for address in &process.addresses {
                    ensure(addresses.insert(*address), || format!("{address} is used twice"))?;
                }
            }
        }
        for (name, vassal) in self.emperor.vassals() {
            let state = &vassal.state;
            let real = state.life().is_none_or(|life| self.processes.contains_key(&life));
            ensure(real, || format!("{name} is {state:?} without a process"))?;
            ensure(*state != State::Gone, || format!("{name} was kept"))?;
            let mut open = vassal.troubles.open().iter();
            let unheard = *state == State::Idle && open.any(|trouble| trouble.deed == Deed::Await);
            ensure(!unheard, || format!("{name} waits for clients it cannot hear"))?;
        }
        self.ports
            .check(&self.emperor, |life| self.processes.contains_key(&life))
    }
}

fn ensure(holds: bool, why: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(why()) }
}
