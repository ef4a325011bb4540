//! What is written down of each vassal, and when.
//!
//! A vassal's record is made anew whenever something happened to it, before anything else can: a process is
//! written down before it is told to run. Counters alone change without an event; they are written a while after
//! the first packet, and nothing wakes up where no packet moves.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::config::Name;
use crate::emperor::state::{Life, State};
use crate::emperor::{Action, Event, Run, Vassal, Word};
use crate::router::{Remains, Traffic};

use super::channel;
use super::clock::Moment;
use super::daemon::{Alive, Daemon};
use super::error::HostError;
use super::record::{Kept, LifeRecord, LogRecord, Record, SaidRecord, StopRecord};

/// How old counters in a record can be; so much of them is lost by a `kill -9`.
const COUNTERS: Duration = Duration::from_secs(5);
/// Records looked at in one go for their counters; then the loop has its turn.
const AT_ONCE: usize = 32;

/// What the operator was told cannot be written down.
#[derive(Debug, Default)]
pub(super) struct Unwritten {
    /// The records of these vassals.
    records: BTreeSet<Name>,
    /// Which addresses were given.
    addresses: bool,
}

/// How far the counters in the records are behind.
#[derive(Debug, Clone, Copy)]
pub(super) enum Counters {
    /// Nothing has moved since they were written.
    Written,
    /// They are written then.
    Due(Instant),
    /// All lives before this one have been written.
    BeingWritten {
        /// The next one.
        from: Life,
        /// Something has moved since the beginning.
        again: bool,
    },
}

impl Counters {
    /// When [`Daemon::write_counters`] has something to do.
    pub(super) fn deadline(self, now: Instant) -> Option<Instant> {
        match self {
            Self::Written => None,
            Self::Due(due) => Some(due),
            Self::BeingWritten { .. } => Some(now),
        }
    }
}

/// What the ports moved that a vassal has no more.
#[derive(Debug, Default)]
pub(super) struct Total {
    sum: Traffic,
    /// Of these a worker may still count something.
    late: Vec<Remains>,
}

impl Total {
    /// What an earlier emperor wrote down.
    pub(super) fn of(sum: Traffic) -> Self {
        let late = Vec::new();
        Self { sum, late }
    }

    /// One more port is gone.
    pub(super) fn add(&mut self, remains: Remains) {
        self.late.push(remains);
        let sum = &mut self.sum;
        self.late.retain(|remains| {
            let are_final = remains.are_final();
            if are_final {
                sum.add(&remains.traffic());
            }
            !are_final
        });
    }

    fn traffic(&self) -> Traffic {
        let mut sum = self.sum;
        for remains in &self.late {
            sum.add(&remains.traffic());
        }
        sum
    }
}

impl Daemon {
    /// Traffic of a vassal over all its lives.
    pub(super) fn traffic_of(&self, name: &Name) -> Traffic {
        let mut sum = self.totals.get(name).map(Total::traffic).unwrap_or_default();
        let vassal = self.emperor.vassals().get(name);
        let alive = vassal
            .and_then(|vassal| vassal.state.life())
            .and_then(|life| self.lives.get(&life));
        let ports = alive
            .and_then(|alive| alive.port)
            .into_iter()
            .chain(self.demands.sleeper(name));
        for port in ports {
            if let Some(traffic) = self.fabric.traffic(port) {
                sum.add(&traffic);
            }
        }
        sum
    }

    /// Traffic of the uplink, under earlier emperors too.
    pub(super) fn uplink_traffic(&self) -> Traffic {
        let mut sum = self.uplink.earlier();
        if let Some(traffic) = self.fabric.traffic(self.uplink.port()) {
            sum.add(&traffic);
        }
        sum
    }

    /// This vassal's record is old; it is written by the next [`save`](Self::save).
    pub(super) fn record(&mut self, name: &Name) {
        self.stale.insert(name.clone());
    }

    /// It is, but not by something that matters to the next emperor: it is written with the counters.
    pub(super) fn record_soon(&mut self, name: &Name) {
        self.record(name);
        self.stirred(Instant::now());
    }

    /// The records that an event or an action makes old.
    pub(super) fn record_of_event(&mut self, event: &Event) {
        match event {
            Event::Defined(definition) => self.record(&definition.name),
            Event::Adopted(adoption) => self.record(&adoption.definition.name),
            Event::Says {
                word: Word::Alive, ..
            } => {}
            Event::Born { name, .. }
            | Event::Says { name, .. }
            | Event::Ended { name, .. }
            | Event::Failed { name, .. }
            | Event::Demand(name) => self.record(name),
            Event::Removed(_)
            | Event::Deadline
            | Event::Reload
            | Event::TryNow
            | Event::StopAll
            | Event::Hurry => {}
        }
    }

    /// The same for an action.
    pub(super) fn record_of_action(&mut self, action: &Action) {
        match action {
            Action::Spawn { definition, .. } | Action::Update { definition } => self.record(&definition.name),
            Action::Ask { name, .. }
            | Action::Kill { name, .. }
            | Action::Reload { name, .. }
            | Action::Await(name)
            | Action::Say { name, .. }
            | Action::Complain { name, .. }
            | Action::Forget(name)
            | Action::Abandon { name, .. }
            | Action::Retry { name, .. } => self.record(name),
            Action::Probe { .. } | Action::Refuse { .. } => {}
        }
    }

    /// Writes every record that is old. What cannot be written is tried again with the next, and in a while.
    pub(super) fn save(&mut self) {
        for name in std::mem::take(&mut self.stale) {
            match self.write(&name) {
                Ok(()) if self.unwritten.records.remove(&name) => {
                    tracing::info!(%name, "the vassal's state can be written again");
                }
                Ok(()) => {}
                Err(error) => {
                    if self.unwritten.records.insert(name.clone()) {
                        tracing::error!(%name, "{error}; until then another emperor would not know what this vassal does now");
                    }
                    self.record_soon(&name);
                }
            }
        }
    }

    /// Writes down which addresses were given, if there are new ones. The same holds for it.
    pub(super) fn remember(&mut self) {
        let book = self.emperor.book().remembered();
        if *book == self.remembered {
            return;
        }
        match self.state.remember(book) {
            Ok(()) => {
                self.remembered = book.clone();
                if std::mem::take(&mut self.unwritten.addresses) {
                    tracing::info!("addresses can be remembered again");
                }
            }
            Err(error) => {
                if !std::mem::replace(&mut self.unwritten.addresses, true) {
                    tracing::error!("{error}; until then addresses may change after a restart");
                }
                self.stirred(Instant::now());
            }
        }
    }

    /// Writes one record, or takes it away with its vassal.
    pub(super) fn write(&mut self, name: &Name) -> Result<(), HostError> {
        match self.emperor.vassals().get(name) {
            // There is nothing yet that would outlive us, and nothing was before.
            Some(vassal) if !self.state.has_record(name) && self.is_unmade(vassal) => Ok(()),
            Some(vassal) => self.state.record(&self.picture(name, vassal)),
            // One that could not be adopted: until it has ended, another emperor must find it.
            None if self.lives.values().any(|alive| alive.name == *name) => Ok(()),
            None => {
                self.state.erase(name);
                Ok(())
            }
        }
    }

    /// Whether its process is to be made, and has no cgroup that would have to be taken away.
    fn is_unmade(&self, vassal: &Vassal) -> bool {
        let alive = vassal.state.life().and_then(|life| self.lives.get(&life));
        alive.is_some_and(|alive| {
            alive.traces.is_none() && alive.tree.is_none() && alive.handle.cages().is_empty()
        })
    }

    fn picture(&self, name: &Name, vassal: &Vassal) -> Record {
        let life = vassal.state.life();
        let alive = life.and_then(|life| self.lives.get(&life));
        let under = alive.map_or(&vassal.definition, |alive| &alive.under);
        let run = vassal.state.run();
        let first = alive.and_then(|alive| Some(alive.born.and(alive.traces)?.process.pid));
        Record {
            name: name.clone(),
            state: vassal.state.word().to_owned(),
            ready: run.is_some_and(|run| run.is_ready()),
            pid: run.map(|run| run.pid).or(first),
            netns: alive.and_then(|alive| alive.traces).map(|traces| traces.netns),
            device: under.network.device.clone(),
            addresses: alive.map_or(&vassal.addresses, |alive| &alive.addresses).clone(),
            definition: vassal.definition.path.clone(),
            boot: self.boot.clone(),
            restarts: vassal.restarts,
            deaths_in_a_row: vassal.pacing().deaths_in_a_row(),
            last_delay: vassal.pacing().last_delay(),
            refusals_in_a_row: vassal.pacing().refusals_in_a_row(),
            deaths: vassal.pacing().deaths().map(Moment::of).collect(),
            status: alive.and_then(|alive| alive.spoken.status.clone()),
            why: vassal.state.rest().map(ToString::to_string),
            last_end: vassal.last_end.clone(),
            troubles: vassal.troubles.open().to_vec(),
            traffic: self.traffic_of(name),
            log: LogRecord {
                dropped: self.logs.dropped(name),
            },
            kept: kept(vassal, life, alive),
            under: Box::new((**under).clone()),
        }
    }

    /// Packets move: their counters are written down in a while, and the workers are looked at.
    pub(super) fn stirred(&mut self, now: Instant) {
        self.workers.stirred(now);
        match self.counters {
            Counters::Written => self.counters = Counters::Due(now + COUNTERS),
            Counters::Due(_) => {}
            Counters::BeingWritten { from, .. } => {
                self.counters = Counters::BeingWritten { from, again: true };
            }
        }
    }

    /// Writes the records whose counters have changed, some at a time.
    pub(super) fn write_counters(&mut self, now: Instant) {
        let (from, again) = match self.counters {
            Counters::Written => return,
            Counters::Due(due) if now < due => return,
            Counters::Due(_) => {
                // Before they are read: what moves from here on is told anew.
                self.workers.pulse().rest();
                self.write_uplink();
                (Life(0), false)
            }
            Counters::BeingWritten { from, again } => (from, again),
        };
        let mut last = None;
        for (life, alive) in self.lives.range_mut(from..).take(AT_ONCE) {
            last = Some(*life);
            let traffic = alive.port.and_then(|port| self.fabric.traffic(port));
            let counted = (traffic.unwrap_or_default(), self.logs.dropped(&alive.name));
            if counted != alive.written {
                alive.written = counted;
                self.stale.insert(alive.name.clone());
            }
        }
        // What is written down in vain from here on stirs them again.
        self.counters = match last {
            Some(Life(last)) => Counters::BeingWritten {
                from: Life(last + 1),
                again,
            },
            None if again => Counters::Due(now + COUNTERS),
            None => Counters::Written,
        };
        self.remember();
        self.save();
    }

    /// Writes everything as it is now. Exact only if no packet moves.
    pub(super) fn write_all(&mut self) {
        let names: Vec<_> = self.emperor.vassals().keys().cloned().collect();
        self.stale.extend(names);
        self.save();
        self.write_uplink();
    }

    fn write_uplink(&mut self) {
        let traffic = self.uplink_traffic();
        if let Err(error) = self.uplink.record(&self.state, traffic) {
            tracing::error!("{error}");
        }
    }
}

fn kept(vassal: &Vassal, life: Option<Life>, alive: Option<&Alive>) -> Kept {
    if let Some(life) = life {
        let tree = alive.and_then(|alive| alive.tree.clone());
        let cages = alive.map(|alive| alive.handle.cages()).unwrap_or_default();
        return match alive.and_then(|alive| Some((alive, alive.traces?))) {
            None => Kept::Unborn { life, tree, cages },
            Some((alive, traces)) => Kept::Alive(Box::new(LifeRecord {
                life,
                process: traces.process,
                netns: traces.netns,
                index: traces.index,
                tree,
                cages,
                main: alive.handle.other(),
                channel: alive.handle.has_channel().then(|| channel::number(&alive.under)),
                born: alive.born.map(Moment::of),
                run: vassal.state.run().map(Run::past),
                said: SaidRecord {
                    errno: alive.spoken.errno,
                    accepting: alive.spoken.accepting,
                    loyal: alive.spoken.loyal,
                },
                stop: stop(&vassal.state, alive.pre_stop),
            })),
        };
    }
    match &vassal.state {
        State::Waiting { until } => Kept::Waiting {
            until: Moment::of(*until),
        },
        State::Down { end, why } => Kept::Down {
            end: end.clone(),
            why: *why,
        },
        State::Idle | State::Starting { .. } | State::Running(_) | State::Stopping { .. } | State::Gone => {
            Kept::Idle
        }
    }
}

fn stop(state: &State, pre_stop: bool) -> Option<StopRecord> {
    match *state {
        State::Stopping {
            kill_at,
            latest,
            then,
            ..
        } => Some(StopRecord {
            kill_at: Moment::of(kill_at),
            latest: Moment::of(latest),
            then,
            pre_stop,
        }),
        State::Waiting { .. }
        | State::Idle
        | State::Starting { .. }
        | State::Running(_)
        | State::Down { .. }
        | State::Gone => None,
    }
}
