//! Limits that are changed while a vassal runs, or while it is being born.

use std::sync::Arc;

use crate::config::{Definition, Name};
use crate::emperor::state::Life;

use super::trees::Trees;
use super::{leaf, token};
use crate::host::daemon::Daemon;
use crate::host::error::HostError;

impl Daemon {
    /// Holds a running vassal to the limits of its new definition. What it is under from then on comes back: with the
    /// old limits, if the kernel refuses the new ones.
    pub(in crate::host) fn hold_to(&mut self, life: Life, wanted: &Arc<Definition>) -> Arc<Definition> {
        let Some(alive) = self.lives.get(&life) else {
            return wanted.clone();
        };
        let old = alive.under.limits;
        if old == wanted.limits {
            return wanted.clone();
        }
        // Before its network is ready it is not known, or being moved; this is looked at again then.
        let outcome = match alive.traces.map(|traces| traces.process.pid) {
            Some(first) => self.change_limits(life, first, wanted),
            None => Err(None),
        };
        let Err(error) = outcome else {
            return wanted.clone();
        };
        if let Some(error) = error {
            self.refuse_part(wanted, format!("its limits stay as they were: {error}"));
        }
        Arc::new(Definition {
            limits: old,
            ..(**wanted).clone()
        })
    }

    fn change_limits(
        &mut self,
        life: Life,
        first: u32,
        wanted: &Definition,
    ) -> Result<(), Option<HostError>> {
        let (name, limits) = (&wanted.name, &wanted.limits);
        let Some(alive) = self.lives.get(&life) else {
            return Ok(());
        };
        let (old, tree, handle) = (alive.under.limits, alive.tree.clone(), alive.handle.clone());
        if handle.has_ended() && !handle.has_other() {
            return Err(None); // it is being buried, and its cgroups with it
        }
        let cages = handle
            .cages()
            .plan(
                limits,
                &Trees::read(),
                name,
                &leaf(name, life, token()),
                tree.as_deref(),
            )
            .map_err(Some)?;
        if handle.cages() != cages {
            handle.enclose(cages.clone());
            self.write(name).map_err(Some)?;
        }
        let outcome = cages
            .raise(limits, name)
            .and_then(|()| cages.gather(first, tree.as_deref(), name));
        outcome.map_err(|error| {
            // What is not there to be undone was not done.
            let _ = cages.write(&old, name);
            Some(error)
        })
    }

    /// A newborn is about to get its port: whatever of its limits was changed meanwhile holds from its first instruction.
    pub(in crate::host) fn hold_newborn(&mut self, name: &Name, life: Life) {
        let newest = self
            .emperor
            .vassals()
            .get(name)
            .map(|vassal| vassal.definition.clone());
        let Some(newest) = newest else { return };
        let limits = self.hold_to(life, &newest).limits;
        if let Some(alive) = self.lives.get_mut(&life)
            && alive.under.limits != limits
        {
            alive.under = Arc::new(Definition {
                limits,
                ..(*alive.under).clone()
            });
        }
    }
}
