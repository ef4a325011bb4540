//! One vassal as the emperor knows it, and what an order of the table means for it.

use std::sync::Arc;
use std::time::Instant;

use ipnet::IpNet;

use crate::config::definition::Ready;
use crate::config::{Definition, Name};

use super::exchange::Action;
use super::pacing::Pacing;
use super::state::{End, State, Then};
use super::table::Order;

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
    pub(super) pacing: Pacing,
    pub(super) lives: u64,
}

impl Vassal {
    /// One that has just been defined: it waits for nothing.
    pub(super) fn new(definition: Arc<Definition>, addresses: Vec<IpNet>, now: Instant) -> Self {
        Self {
            definition,
            addresses,
            state: State::Waiting { until: now },
            restarts: 0,
            last_end: None,
            pacing: Pacing::default(),
            lives: 0,
        }
    }

    /// Goes on from what an earlier emperor counted.
    pub(super) fn resume(&mut self, restarts: u64, pacing: Pacing, last_end: Option<End>) {
        self.restarts = restarts;
        self.pacing = pacing;
        self.last_end = last_end;
        self.lives = restarts + 1;
    }

    /// The last process that was counted never was.
    pub(super) fn uncount(&mut self) {
        self.lives = self.restarts;
        self.restarts = self.restarts.saturating_sub(1);
    }

    /// How often it died in a row, for [`Pacing::resumed`].
    pub fn deaths_in_a_row(&self) -> u32 {
        self.pacing.deaths_in_a_row()
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
            Order::Reload(life) => Action::Reload {
                name,
                life,
                by: self.definition.reload,
            },
            Order::Ask(life) => Action::Ask {
                name,
                life,
                by: self.definition.stop.signal,
            },
            Order::Kill(life) => Action::Kill { name, life },
            Order::Update => Action::Update {
                definition: self.definition.clone(),
            },
            Order::Await => Action::Await(name),
            Order::Say(notice) => Action::Say { name, notice },
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
