//! One vassal as the emperor knows it, and what an order of the table means for it.

use std::sync::Arc;

use ipnet::IpNet;

use crate::config::definition::Ready;
use crate::config::{Definition, Name};

use super::exchange::Action;
use super::pacing::Pacing;
use super::state::{End, State, Then};
use super::table::Order;
use super::trouble::{Deed, Trouble, Troubles};

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
    /// What could not be done for it.
    pub troubles: Troubles,
    /// The addresses of the process that exists, if they differ from those of the newest definition.
    held: Vec<IpNet>,
    pub(super) pacing: Pacing,
    pub(super) lives: u64,
}

impl Vassal {
    /// One without a history.
    pub(super) fn new(definition: Arc<Definition>, addresses: Vec<IpNet>, state: State) -> Self {
        Self {
            definition,
            addresses,
            state,
            restarts: 0,
            last_end: None,
            troubles: Troubles::default(),
            held: Vec::new(),
            pacing: Pacing::default(),
            lives: 0,
        }
    }

    /// A newer definition takes over; a process that exists keeps its addresses to its end.
    pub(super) fn redefine(&mut self, definition: Arc<Definition>, addresses: Vec<IpNet>) {
        let old = std::mem::replace(&mut self.addresses, addresses);
        self.definition = definition;
        if self.state.life().is_some() && self.held.is_empty() && old != self.addresses {
            self.held = old;
        }
    }

    /// Addresses that are its process's and not its definition's.
    pub(super) fn held(&self) -> &[IpNet] {
        if self.held.is_empty() && self.state.life().is_some() {
            &self.addresses
        } else {
            &self.held
        }
    }

    /// Whether addresses that it held beyond its definition are free now.
    pub(super) fn lets_go(&mut self) -> bool {
        let over = match self.state {
            // A new process has the addresses of the newest definition.
            State::Starting { .. } | State::Waiting { .. } | State::Idle | State::Down { .. } => true,
            State::Running(_) | State::Stopping { .. } | State::Gone => false,
        };
        over && !std::mem::take(&mut self.held).is_empty()
    }

    /// Goes on from what an earlier emperor counted.
    pub(super) fn resume(
        &mut self,
        restarts: u64,
        pacing: Pacing,
        last_end: Option<End>,
        troubles: Vec<Trouble>,
    ) {
        self.restarts = restarts;
        self.pacing = pacing;
        self.last_end = last_end;
        self.troubles = Troubles::resumed(troubles);
        self.lives = restarts + 1;
    }

    /// Its back-off.
    pub fn pacing(&self) -> &Pacing {
        &self.pacing
    }

    /// How a life ended, all things considered: one that the emperor ended for a fault did not end by itself.
    pub(super) fn verdict(&self, end: &End) -> End {
        match self.state {
            State::Stopping {
                then: Then::Again(fault),
                ..
            } => End::Felled(fault),
            State::Waiting { .. }
            | State::Idle
            | State::Starting { .. }
            | State::Running(_)
            | State::Stopping { .. }
            | State::Down { .. }
            | State::Gone => end.clone(),
        }
    }

    /// What an order of the table means for this vassal.
    pub(super) fn order(&mut self, order: Order) -> Option<Action> {
        let name = self.definition.name.clone();
        Some(match order {
            Order::Spawn(life) => {
                self.restarts += u64::from(self.lives > 0);
                self.lives += 1;
                self.troubles.clear();
                Action::Spawn {
                    life,
                    definition: self.definition.clone(),
                    addresses: self.addresses.clone(),
                }
            }
            Order::Probe(life) => match self.definition.ready {
                Ready::Tcp(port) => Action::Probe { name, life, port },
                Ready::Exec | Ready::Notify | Ready::Emperor => return None,
            },
            Order::Reload(life) => {
                self.troubles.retry(Deed::Reload);
                let by = self.definition.reload;
                Action::Reload { name, life, by }
            }
            Order::Ask(life) => Action::Ask {
                name,
                life,
                by: self.definition.stop.signal,
            },
            Order::Kill(life) => Action::Kill { name, life },
            Order::Update => {
                self.troubles.retry(Deed::Update);
                let definition = self.definition.clone();
                Action::Update { definition }
            }
            Order::Await => {
                self.troubles.retry(Deed::Await);
                Action::Await(name)
            }
            Order::Say(notice) => Action::Say { name, notice },
            Order::Complain(trouble) if self.troubles.add(&trouble) => Action::Complain { name, trouble },
            // He knows.
            Order::Complain(_) => return None,
        })
    }

    /// Says what follows an end that nobody asked for.
    pub(super) fn mourn(&self, name: &Name, end: &End, todo: &mut Vec<Action>) {
        match &self.state {
            State::Waiting { until } => {
                todo.push(Action::Retry {
                    name: name.clone(),
                    end: end.clone(),
                    at: *until,
                });
            }
            State::Down { end, why } => todo.push(Action::Abandon {
                name: name.clone(),
                end: end.clone(),
                why: *why,
            }),
            State::Idle
            | State::Starting { .. }
            | State::Running(_)
            | State::Stopping { .. }
            | State::Gone => {}
        }
    }
}
