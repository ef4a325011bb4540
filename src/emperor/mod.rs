//! Who should be alive. Never reads a clock, a file or a socket.
//!
//! The host tells [`Emperor::handle`] what happened and performs the [`Action`]s that come back, in their
//! order. Each vassal is a [`state::State`]; all transitions stand in one table ([`table::step`]). Names and
//! addresses are claimed in the order of arrival: a definition that claims what another one holds is
//! refused, stays aside, and is taken up as soon as the holder lets go.

pub mod addresses;
pub mod exchange;
mod heed;
pub mod moves;
pub mod pacing;
pub mod patience;
pub mod run;
pub mod state;
pub mod table;
pub mod trouble;
pub mod vassal;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use ipnet::IpNet;

use crate::config::claims::Claims;
use crate::config::definition::Addresses;
use crate::config::{Change, Definition, Name};

use addresses::AddressBook;
use moves::{Circumstances, KILL_AGAIN};
use state::{Life, State};
use table::{Input, Order};

pub use exchange::{Action, Adoption, Event};
pub use run::{Past, Run, Word};
pub use trouble::{Deed, Trouble};
pub use vassal::Vassal;

/// When something is handled, and with which luck.
#[derive(Debug, Clone, Copy)]
struct Moment {
    now: Instant,
    chance: u64,
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
    /// Processes of earlier emperors that could not be adopted: whose, and when they are killed again.
    outcasts: BTreeMap<Life, (Name, Instant)>,
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
            outcasts: BTreeMap::new(),
            next_life: 1,
            ending: false,
        }
    }

    /// Every vassal, by name.
    pub fn vassals(&self) -> &BTreeMap<Name, Vassal> {
        &self.vassals
    }

    /// Whether a process of an earlier emperor is being ended because it could not be adopted.
    pub fn is_outcast(&self, life: Life) -> bool {
        self.outcasts.contains_key(&life)
    }

    /// Which addresses to remember.
    pub fn book(&self) -> &AddressBook {
        &self.book
    }

    /// Whether all is over.
    pub fn is_done(&self) -> bool {
        self.ending && self.vassals.is_empty() && self.outcasts.is_empty()
    }

    /// When [`Event::Deadline`] is due.
    pub fn deadline(&self) -> Option<Instant> {
        let vassals = self.vassals.values().filter_map(|vassal| vassal.state.deadline());
        vassals.chain(self.outcasts.values().map(|(_, at)| *at)).min()
    }

    /// Takes in one event. `chance` is any random number; what is to be done is added to `todo`.
    pub fn handle(&mut self, event: Event, now: Instant, chance: u64, todo: &mut Vec<Action>) {
        let at = Moment { now, chance };
        match event {
            Event::Defined(definition) => self.define(Arc::new(*definition), at, todo),
            Event::Removed(path) => self.remove(&path, at, todo),
            Event::Born { name, life, pid } => self.about(&name, life, Input::Born { pid }, at, todo),
            Event::Adopted(adoption) => self.adopt(*adoption, at, todo),
            Event::Says { name, life, word } => self.about(&name, life, Input::Says(word), at, todo),
            Event::Demand(name) => self.input(&name, Input::Demand, at, todo),
            Event::Ended { name, life, end } => {
                self.outcasts.remove(&life);
                self.about(&name, life, Input::Ended(end), at, todo);
            }
            Event::Failed { name, life, trouble } => {
                self.about(&name, life, Input::Failed(trouble), at, todo);
            }
            Event::Deadline => {
                self.all(&Input::Deadline, at, todo);
                self.kill_outcasts(at, todo);
            }
            Event::Reload => self.all(&Input::Reload, at, todo),
            Event::TryNow => self.all(&Input::TryNow, at, todo),
            Event::StopAll => {
                self.ending = true;
                self.refused.clear();
                self.all(&Input::Removed, at, todo);
            }
            Event::Hurry => self.all(&Input::Hurry, at, todo),
        }
    }

    fn define(&mut self, definition: Arc<Definition>, at: Moment, todo: &mut Vec<Action>) {
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
                let vassal = Vassal::new(definition, addresses, State::Waiting { until: at.now });
                self.vassals.insert(name.clone(), vassal);
                Change::Restart
            }
            Some(vassal) => {
                let change = Change::between(&vassal.definition, &definition);
                vassal.redefine(definition, addresses);
                change
            }
        };
        self.input(&name, Input::Defined(change), at, todo);
        self.reconsider(at, todo);
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
        // What a process has stays its own until its end, whatever its file says by now.
        let held = self.vassals.get(&definition.name).map_or(&[][..], Vassal::held);
        let all = held.iter().chain(&addresses).copied().collect();
        self.claims
            .claim(&settled(definition, all))
            .map_err(|conflicts| {
                conflicts
                    .iter()
                    .map(ToString::to_string)
                    .collect::<Vec<_>>()
                    .join("; ")
            })?;
        Ok(addresses)
    }

    /// A vassal of an earlier emperor goes on under this one, with the addresses it has.
    fn adopt(&mut self, adoption: Adoption, at: Moment, todo: &mut Vec<Action>) {
        let (name, life) = (adoption.definition.name.clone(), adoption.life);
        self.next_life = self.next_life.max(life.0 + 1);
        let claim = settled(&adoption.definition, adoption.addresses.clone());
        let refused = self.ending || self.vassals.contains_key(&name) || self.claims.claim(&claim).is_err();
        if refused {
            // Never two processes for one vassal, nor two vassals for one address.
            if adoption.state.life() == Some(life) {
                self.outcasts.insert(life, (name, at.now));
                self.kill_outcasts(at, todo);
            }
            return;
        }
        let (state, input) = match adoption.state {
            State::Running(run) => (State::Waiting { until: at.now }, Some(Input::Adopted(run))),
            // The process of such a state is not one of ours any more, if there is any.
            State::Starting { .. } | State::Gone => (State::Waiting { until: at.now }, None),
            state @ (State::Waiting { .. } | State::Idle | State::Stopping { .. } | State::Down { .. }) => {
                (state, None)
            }
        };
        if adoption.definition.network.address == Addresses::Auto {
            self.book.learn(&name, &adoption.addresses);
        }
        let mut vassal = Vassal::new(Arc::new(adoption.definition), adoption.addresses, state);
        vassal.resume(
            adoption.restarts,
            adoption.pacing,
            adoption.last_end,
            adoption.troubles,
        );
        match vassal.state {
            State::Idle => todo.extend(vassal.order(Order::Await)),
            // The earlier emperor may have died before it did; the time for it is what is left.
            State::Stopping { life, .. } => todo.extend(vassal.order(Order::Ask(life))),
            State::Waiting { .. }
            | State::Starting { .. }
            | State::Running(_)
            | State::Down { .. }
            | State::Gone => {}
        }
        self.vassals.insert(name.clone(), vassal);
        if let Some(input) = input {
            self.input(&name, input, at, todo);
        }
    }

    /// Until they end, as any other.
    fn kill_outcasts(&mut self, at: Moment, todo: &mut Vec<Action>) {
        for (life, (name, again)) in &mut self.outcasts {
            if *again <= at.now {
                *again = at.now + KILL_AGAIN;
                let (name, life) = (name.clone(), *life);
                todo.push(Action::Kill { name, life });
            }
        }
    }

    fn remove(&mut self, path: &Path, at: Moment, todo: &mut Vec<Action>) {
        self.refused.remove(path);
        let holder = self
            .vassals
            .iter()
            .find(|(_, vassal)| vassal.definition.path == path);
        let Some(name) = holder.map(|(name, _)| name.clone()) else {
            return;
        };
        self.input(&name, Input::Removed, at, todo);
        self.reconsider(at, todo);
    }

    /// What was refused may be possible now.
    fn reconsider(&mut self, at: Moment, todo: &mut Vec<Action>) {
        let candidates: Vec<_> = self.refused.values().cloned().collect();
        for definition in candidates {
            if self.claim(&definition).is_ok() {
                self.define(definition, at, todo);
                return; // defining reconsiders the rest
            }
        }
    }

    /// An event about one life, or about having none; the table hears only of the one that exists.
    fn about(
        &mut self,
        name: &Name,
        life: impl Into<Option<Life>>,
        input: Input,
        at: Moment,
        todo: &mut Vec<Action>,
    ) {
        if self.vassals.get(name).and_then(|vassal| vassal.state.life()) != life.into() {
            return;
        }
        self.input(name, input, at, todo);
        self.reconsider(at, todo);
    }

    fn all(&mut self, input: &Input, at: Moment, todo: &mut Vec<Action>) {
        let names: Vec<_> = self.vassals.keys().cloned().collect();
        for name in names {
            self.input(&name, input.clone(), at, todo);
        }
    }

    fn input(&mut self, name: &Name, input: Input, at: Moment, todo: &mut Vec<Action>) {
        let Some(vassal) = self.vassals.get_mut(name) else {
            return;
        };
        let ended = match &input {
            Input::Ended(end) => Some(vassal.verdict(end)),
            Input::Defined(_)
            | Input::Removed
            | Input::Born { .. }
            | Input::Adopted(_)
            | Input::Says(_)
            | Input::Demand
            | Input::Failed(_)
            | Input::Deadline
            | Input::Reload
            | Input::TryNow
            | Input::Hurry => None,
        };
        let mut orders = Vec::new();
        let before = std::mem::replace(&mut vassal.state, State::Gone);
        let circumstances = Circumstances {
            definition: &vassal.definition,
            pacing: &mut vassal.pacing,
            next_life: &mut self.next_life,
            now: at.now,
            chance: at.chance,
        };
        vassal.state = table::step(before, input, circumstances, &mut orders);
        if let Some(end) = ended {
            vassal.mourn(name, &end, todo);
            vassal.last_end = Some(end);
        }
        todo.extend(orders.into_iter().filter_map(|order| vassal.order(order)));
        if vassal.lets_go() {
            // Fails for nobody who held all of it before.
            let _ = self
                .claims
                .claim(&settled(&vassal.definition, vassal.addresses.clone()));
        }
        if vassal.state == State::Gone {
            self.vassals.remove(name);
            self.claims.release(name);
            todo.push(Action::Forget(name.clone()));
        }
    }
}

/// `definition` with exactly these addresses.
fn settled(definition: &Definition, addresses: Vec<IpNet>) -> Definition {
    let mut settled = definition.clone();
    settled.network.address = Addresses::Fixed(addresses);
    settled
}
