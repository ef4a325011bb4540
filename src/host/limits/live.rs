//! Limits that are changed while a vassal runs, or while it is being born.
//!
//! A memory limit below what is used has the kernel take memory back until it is, for as long as that takes. So limits of
//! a running vassal are written by a thread.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::config::definition::Limits;
use crate::config::{Definition, Name};
use crate::emperor::state::Life;
use crate::emperor::{Deed, Event, Trouble};

use super::trees::Trees;
use super::{Cages, leaf, token};
use crate::host::daemon::Daemon;
use crate::host::error::{Doing, HostError};
use crate::host::life::News;

/// Changes of the limits of one life: one at a time, and the last one holds.
#[derive(Default)]
pub struct Changes {
    wanted: AtomicU64,
    turn: Mutex<()>,
}

impl Changes {
    pub(super) fn next(&self) -> u64 {
        self.wanted.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Makes the change of this number when its turn comes; absent if a later one is wanted by then.
    pub(super) fn make<T>(&self, number: u64, change: impl FnOnce() -> T) -> Option<T> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        (self.wanted.load(Ordering::Relaxed) == number).then(change)
    }
}

/// Cgroups that are there and whose limits are yet to be written.
struct Change {
    cages: Cages,
    old: Limits,
    new: Limits,
    name: Name,
    first: u32,
    tree: Option<PathBuf>,
}

impl Change {
    /// Writes the limits and moves the processes in. The kernel may take its time: it takes memory back until what is
    /// left is below a new limit.
    fn make(&self) -> Result<(), HostError> {
        let Self { cages, name, .. } = self;
        let outcome = cages.write(&self.new, name);
        let outcome = outcome.and_then(|()| cages.gather(self.first, self.tree.as_deref(), name));
        outcome.inspect_err(|_| {
            // What is not there to be undone was not done.
            let _ = cages.write(&self.old, name);
        })
    }
}

impl Daemon {
    /// Holds a running vassal to the limits of its new definition. What it is under from then on comes back; if the
    /// kernel refuses the new limits, which it may do later, that is the old ones, and why.
    pub(in crate::host) fn hold_to(
        &mut self,
        life: Life,
        wanted: &Arc<Definition>,
    ) -> (Arc<Definition>, Option<String>) {
        match self.change(life, wanted) {
            Ok(None) => (wanted.clone(), None),
            Ok(Some(change)) => {
                self.change_beside(life, change);
                (wanted.clone(), None)
            }
            Err(error) => (self.kept(life, wanted), error.as_ref().map(stay)),
        }
    }

    /// A thread writes the limits, and is heard of if it cannot.
    fn change_beside(&mut self, life: Life, change: Change) {
        let Some(handle) = self.lives.get(&life).map(|alive| alive.handle.clone()) else {
            return;
        };
        let (number, herald) = (handle.changes.next(), self.herald.clone());
        let (name, old, new) = (change.name.clone(), change.old, change.new);
        let refuse = move |error| {
            // The daemon is gone only at the very end, when nobody listens any more.
            let _ = herald.send((name, life, News::LimitsRefused { error, old, new }));
        };
        let tell = refuse.clone();
        let make = move || {
            if let Some(Err(error)) = handle.changes.make(number, || change.make()) {
                tell(error);
            }
        };
        let thread = std::thread::Builder::new().name("limits".to_owned()).spawn(make);
        if let Err(error) = thread {
            refuse(HostError::from_io(Doing::StartWorker, "limits", &error));
        }
    }

    /// The limits of a running vassal could not be changed.
    pub(in crate::host) fn limits_refused(
        &mut self,
        life: Life,
        error: &HostError,
        old: Limits,
        new: Limits,
    ) {
        // It may be over, or have got others meanwhile.
        let alive = self
            .lives
            .get_mut(&life)
            .filter(|alive| alive.under.limits == new);
        let Some(alive) = alive else { return };
        let refused = alive.under.clone();
        alive.under = with(&refused, old);
        let name = alive.name.clone();
        self.tell(refusal(name, life, error));
    }

    /// A definition with the limits that hold.
    fn kept(&self, life: Life, wanted: &Definition) -> Arc<Definition> {
        let old = self.lives.get(&life).map(|alive| alive.under.limits);
        with(wanted, old.unwrap_or(wanted.limits))
    }

    /// What there is to change, with its cgroups made.
    fn change(&mut self, life: Life, wanted: &Definition) -> Result<Option<Change>, Option<HostError>> {
        let (name, limits) = (&wanted.name, &wanted.limits);
        let Some(alive) = self
            .lives
            .get(&life)
            .filter(|alive| alive.under.limits != *limits)
        else {
            return Ok(None);
        };
        let (old, tree, handle) = (alive.under.limits, alive.tree.clone(), alive.handle.clone());
        // Before its network is ready it is not known, or being moved; this is looked at again then.
        let first = alive.traces.ok_or(None)?.process.pid;
        if handle.has_ended() && !handle.has_other() {
            return Err(None); // it is being buried, and its cgroups with it
        }
        let leaf = leaf(name, life, token());
        let cages = handle.cages();
        let cages = cages
            .plan(limits, &Trees::read(), name, &leaf, tree.as_deref())
            .map_err(Some)?;
        if handle.cages() != cages {
            handle.enclose(cages.clone());
            self.write(name).map_err(Some)?;
        }
        cages.make(name).map_err(Some)?;
        Ok(Some(Change {
            cages,
            old,
            new: *limits,
            name: name.clone(),
            first,
            tree,
        }))
    }

    /// A newborn is about to get its port: whatever of its limits was changed meanwhile holds from its first instruction.
    pub(in crate::host) fn hold_newborn(&mut self, name: &Name, life: Life) {
        let newest = self
            .emperor
            .vassals()
            .get(name)
            .map(|vassal| vassal.definition.clone());
        let Some(newest) = newest else { return };
        // At once: its gate opens next, and it has taken nothing that would have to be taken back.
        let outcome = self.change(life, &newest);
        let outcome = outcome.and_then(|change| change.map_or(Ok(()), |change| change.make().map_err(Some)));
        match outcome {
            Ok(()) => {
                if let Some(alive) = self.lives.get_mut(&life)
                    && alive.under.limits != newest.limits
                {
                    alive.under = with(&alive.under, newest.limits);
                }
            }
            Err(Some(error)) => self.tell(refusal(name.clone(), life, &error)),
            // It is ending.
            Err(None) => {}
        }
    }
}

/// The limits of a life could not be changed.
fn refusal(name: Name, life: Life, error: &HostError) -> Event {
    let trouble = Trouble {
        deed: Deed::Update,
        why: stay(error),
    };
    let life = Some(life);
    Event::Failed { name, life, trouble }
}

fn stay(error: &HostError) -> String {
    format!("its limits stay as they were: {error}")
}

/// The same with other limits.
fn with(definition: &Definition, limits: Limits) -> Arc<Definition> {
    Arc::new(Definition {
        limits,
        ..definition.clone()
    })
}
