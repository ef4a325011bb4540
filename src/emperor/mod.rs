//! Who should be alive. Never reads a clock, a file or a socket.
//!
//! The host tells [`Emperor::handle`] what happened and performs the [`Action`]s that come back, in their
//! order. Each vassal is a [`state::State`]; all transitions stand in one table ([`state::step`]). Names and
//! addresses are claimed in the order of arrival: a definition that claims what another one holds is
//! refused, stays aside, and is taken up as soon as the holder lets go.

pub mod addresses;
pub mod pacing;
pub mod state;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use ipnet::IpNet;

use crate::config::claims::Claims;
use crate::config::definition::Addresses;
use crate::config::{Change, Definition, Name};

use addresses::AddressBook;
use pacing::Pacing;
use state::{Circumstances, End, Input, Life, Order, State};

/// What happened.
#[derive(Debug, Clone)]
pub enum Event {
    /// A good definition was read.
    Defined(Box<Definition>),
    /// This file is gone.
    Removed(PathBuf),
    /// The command of this life runs.
    Born {
        /// Whose.
        name: Name,
        /// Which process.
        life: Life,
        /// Its process id.
        pid: u32,
    },
    /// This life is over.
    Ended {
        /// Whose.
        name: Name,
        /// Which process.
        life: Life,
        /// How.
        end: End,
    },
    /// A deadline may have come.
    Deadline,
    /// Forget the back-off of all.
    TryNow,
    /// Stop all, for good; definitions are ignored from here on.
    StopAll,
    /// Whoever is still stopping is killed at once.
    Hurry,
}

/// What the host is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Give birth.
    Spawn {
        /// Which process.
        life: Life,
        /// To whom.
        definition: Arc<Definition>,
        /// Bound to it.
        addresses: Vec<IpNet>,
    },
    /// Send the signal of the definition to the command.
    Ask {
        /// To whom.
        name: Name,
        /// Which process.
        life: Life,
        /// Signal number.
        signal: i32,
    },
    /// Kill the whole tree.
    Kill {
        /// Whose.
        name: Name,
        /// Which process.
        life: Life,
    },
    /// Apply the keys that are live: firewall, log.
    Update {
        /// The newest definition.
        definition: Arc<Definition>,
    },
    /// The vassal is gone and all of it can be forgotten.
    Forget(Name),
    /// A good definition cannot be used; the sentence names both files or the full subnet.
    Refuse {
        /// Whose.
        definition: Arc<Definition>,
        /// Why.
        why: String,
    },
    /// The vassal will not be started again before its file changes.
    Abandon {
        /// Whose.
        name: Name,
        /// Its last end.
        end: End,
    },
    /// The vassal is started again at this moment.
    Retry {
        /// Whose.
        name: Name,
        /// Its last end.
        end: End,
        /// When.
        at: Instant,
    },
}

/// One vassal as the emperor knows it.
#[derive(Debug)]
pub struct Vassal {
    /// The newest good definition.
    pub definition: Arc<Definition>,
    /// Bound to it.
    pub addresses: Vec<IpNet>,
    /// Where it is.
    pub state: State,
    /// How often a process was started after the first.
    pub restarts: u64,
    /// How the last life ended.
    pub last_end: Option<End>,
    pacing: Pacing,
    lives: u64,
}

/// All vassals, and who should be alive.
#[derive(Debug)]
pub struct Emperor {
    subnets: Vec<IpNet>,
    vassals: BTreeMap<Name, Vassal>,
    /// By file: what waits for its claims to become free.
    refused: BTreeMap<PathBuf, Arc<Definition>>,
    claims: Claims,
    book: AddressBook,
    next_life: u64,
    ending: bool,
}

impl Emperor {
    /// An emperor without vassals. `subnets` are the router's addresses with their lengths.
    pub fn new(subnets: Vec<IpNet>, book: AddressBook) -> Self {
        Self {
            subnets,
            vassals: BTreeMap::new(),
            refused: BTreeMap::new(),
            claims: Claims::new(),
            book,
            next_life: 1,
            ending: false,
        }
    }

    /// Every vassal, by name.
    pub fn vassals(&self) -> &BTreeMap<Name, Vassal> {
        &self.vassals
    }

    /// Which addresses to remember.
    pub fn book(&self) -> &AddressBook {
        &self.book
    }

    /// Whether all is over.
    pub fn is_done(&self) -> bool {
        self.ending && self.vassals.is_empty()
    }

    /// When [`Event::Deadline`] is due.
    pub fn deadline(&self) -> Option<Instant> {
        self.vassals
            .values()
            .filter_map(|vassal| vassal.state.deadline())
            .min()
    }

    /// Takes in one event. `chance` is any random number; what is to be done is added to `todo`.
    pub fn handle(&mut self, event: Event, now: Instant, chance: u64, todo: &mut Vec<Action>) {
        match event {
            Event::Defined(definition) => self.define(Arc::new(*definition), now, chance, todo),
            Event::Removed(path) => self.remove(&path, now, chance, todo),
            Event::Born { name, life, pid } => {
                self.about(&name, life, Input::Born { pid }, now, chance, todo);
            }
            Event::Ended { name, life, end } => {
                self.about(&name, life, Input::Ended(end), now, chance, todo);
            }
            Event::Deadline => self.all(&Input::Deadline, now, chance, todo),
            Event::TryNow => self.all(&Input::TryNow, now, chance, todo),
            Event::StopAll => {
                self.ending = true;
                self.refused.clear();
                self.all(&Input::Removed, now, chance, todo);
            }
            Event::Hurry => {
                for vassal in self.vassals.values_mut() {
                    if let State::Stopping {
                        kill_at: Some(kill_at),
                        ..
                    } = &mut vassal.state
                    {
                        *kill_at = now;
                    }
                }
                self.all(&Input::Deadline, now, chance, todo);
            }
        }
    }

    fn define(&mut self, definition: Arc<Definition>, now: Instant, chance: u64, todo: &mut Vec<Action>) {
        if self.ending {
            return;
        }
        let name = definition.name.clone();
        let addresses = match self.claim(&definition) {
            Ok(addresses) => addresses,
            Err(why) => {
                todo.push(Action::Refuse {
                    definition: definition.clone(),
                    why,
                });
                self.refused.insert(definition.path.clone(), definition);
                return;
            }
        };
        self.refused.remove(&definition.path);
        let change = match self.vassals.get_mut(&name) {
            None => {
                let vassal = Vassal {
                    definition,
                    addresses,
                    state: State::Waiting { until: now },
                    restarts: 0,
                    last_end: None,
                    pacing: Pacing::default(),
                    lives: 0,
                };
                self.vassals.insert(name.clone(), vassal);
                Change::Restart
            }
            Some(vassal) => {
                let change = Change::between(&vassal.definition, &definition);
                vassal.definition = definition;
                vassal.addresses = addresses;
                change
            }
        };
        self.input(&name, Input::Defined(change), now, chance, todo);
        self.reconsider(now, chance, todo);
    }

    /// Claims the name and the addresses of a definition, or says what stands in the way.
    fn claim(&mut self, definition: &Definition) -> Result<Vec<IpNet>, String> {
        let addresses = match &definition.network.address {
            Addresses::Fixed(addresses) => addresses.clone(),
            Addresses::Auto => {
                let (claims, name) = (&self.claims, &definition.name);
                let taken = |address| claims.holder_of(address).is_some_and(|holder| holder != name);
                self.book.assign(name, &self.subnets, taken).map_err(|subnet| {
                    format!("no address of {subnet} is free; widen router.address or remove a vassal")
                })?
            }
        };
        let mut settled = definition.clone();
        settled.network.address = Addresses::Fixed(addresses.clone());
        self.claims.claim(&settled).map_err(|conflicts| {
            conflicts
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join("; ")
        })?;
        Ok(addresses)
    }

    fn remove(&mut self, path: &Path, now: Instant, chance: u64, todo: &mut Vec<Action>) {
        self.refused.remove(path);
        let holder = self
            .vassals
            .iter()
            .find(|(_, vassal)| vassal.definition.path == path);
        let Some(name) = holder.map(|(name, _)| name.clone()) else {
            return;
        };
        self.input(&name, Input::Removed, now, chance, todo);
        self.reconsider(now, chance, todo);
    }

    /// What was refused may be possible now.
    fn reconsider(&mut self, now: Instant, chance: u64, todo: &mut Vec<Action>) {
        let candidates: Vec<_> = self.refused.values().cloned().collect();
        for definition in candidates {
            if self.claim(&definition).is_ok() {
                self.define(definition, now, chance, todo);
                return; // defining reconsiders the rest
            }
        }
    }

    /// An event about one life; the table hears only of the one that exists.
    fn about(
        &mut self,
        name: &Name,
        life: Life,
        input: Input,
        now: Instant,
        chance: u64,
        todo: &mut Vec<Action>,
    ) {
        if self.vassals.get(name).and_then(|vassal| vassal.state.life()) != Some(life) {
            return;
        }
        self.input(name, input, now, chance, todo);
        self.reconsider(now, chance, todo);
    }

    fn all(&mut self, input: &Input, now: Instant, chance: u64, todo: &mut Vec<Action>) {
        let names: Vec<_> = self.vassals.keys().cloned().collect();
        for name in names {
            self.input(&name, input.clone(), now, chance, todo);
        }
    }

    fn input(&mut self, name: &Name, input: Input, now: Instant, chance: u64, todo: &mut Vec<Action>) {
        let Some(vassal) = self.vassals.get_mut(name) else {
            return;
        };
        let ended = match &input {
            Input::Ended(end) => Some(end.clone()),
            Input::Defined(_) | Input::Removed | Input::Born { .. } | Input::Deadline | Input::TryNow => None,
        };
        let at = Circumstances {
            definition: &vassal.definition,
            pacing: &mut vassal.pacing,
            next_life: &mut self.next_life,
            now,
            chance,
        };
        let mut orders = Vec::new();
        let before = std::mem::replace(&mut vassal.state, State::Gone);
        vassal.state = state::step(before, input, at, &mut orders);
        if let Some(end) = ended {
            vassal.mourn(name, &end, todo);
            vassal.last_end = Some(end);
        }
        todo.extend(orders.into_iter().map(|order| vassal.order(order)));
        if vassal.state == State::Gone {
            self.vassals.remove(name);
            self.claims.release(name);
            todo.push(Action::Forget(name.clone()));
        }
    }
}

impl Vassal {
    fn order(&mut self, order: Order) -> Action {
        let name = self.definition.name.clone();
        match order {
            Order::Spawn(life) => {
                self.restarts += u64::from(self.lives > 0);
                self.lives += 1;
                Action::Spawn {
                    life,
                    definition: self.definition.clone(),
                    addresses: self.addresses.clone(),
                }
            }
            Order::Ask(life) => Action::Ask {
                name,
                life,
                signal: self.definition.stop.signal,
            },
            Order::Kill(life) => Action::Kill { name, life },
            Order::Update => Action::Update {
                definition: self.definition.clone(),
            },
        }
    }

    /// Says what follows an end that nobody asked for.
    fn mourn(&self, name: &Name, end: &End, todo: &mut Vec<Action>) {
        match &self.state {
            State::Waiting { until } => {
                todo.push(Action::Retry {
                    name: name.clone(),
                    end: end.clone(),
                    at: *until,
                });
            }
            State::Down { end } => todo.push(Action::Abandon {
                name: name.clone(),
                end: end.clone(),
            }),
            State::Starting { .. } | State::Running { .. } | State::Stopping { .. } | State::Gone => {}
        }
    }
}
