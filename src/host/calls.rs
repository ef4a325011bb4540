//! When hooks are called: the daemon's side of [`hooks`](super::hooks).

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;

use ipnet::IpNet;

use crate::config::definition::Farewell;
use crate::config::{Definition, Name};
use crate::emperor::state::{End, Life};

use super::daemon::{Alive, Daemon};
use super::error::HostError;
use super::hooks::{Call, Entry, Facts, Line, Moment, Owed};
use super::life::News;
use super::process::Process;

/// Lives whose `post_stop` an earlier emperor owed, by their first process: whose, and how they ended.
pub(super) type OwedByEarlier = BTreeMap<Process, (Name, End)>;

impl Daemon {
    /// What a birth needs to call its `pre_start`, if it has one.
    pub(super) fn pre_start(
        &mut self,
        definition: &Definition,
    ) -> Result<Option<(Line, OwnedFd)>, HostError> {
        if Moment::PreStart.of(definition).is_none() {
            return Ok(None);
        }
        let output = self.logs.open_hook(&definition.name, Moment::PreStart.word())?;
        Ok(Some((self.hooks.line(&definition.name), output)))
    }

    /// The vassal runs, and is perhaps ready, for the first time or again.
    pub(super) fn greet(&mut self, name: &Name) {
        let vassal = self.emperor.vassals().get(name);
        let run = vassal
            .and_then(|vassal| vassal.state.run())
            .filter(|run| run.is_ready());
        let Some((life, pid)) = run.map(|run| (run.life, run.pid)) else {
            return;
        };
        let first = |alive: &mut Alive| !std::mem::replace(&mut alive.started, true);
        if self.lives.get_mut(&life).is_some_and(first) {
            self.is_awake(life);
            self.watch_usage(name, life);
            let call = self.prepare(name, Moment::PostStart, Some(pid));
            call.into_iter().for_each(|call| self.hooks.start(call, || {}));
        }
    }

    /// Calls `pre_stop`, after which the vassal is asked to end; false if there is none to wait for.
    pub(super) fn call_pre_stop(&mut self, name: &Name, life: Life, by: Farewell) -> bool {
        // An earlier emperor has called it.
        let Some(alive) = self.lives.get(&life).filter(|alive| !alive.pre_stop) else {
            return false;
        };
        let (pid, pidfd) = (
            alive.traces.map(|traces| traces.process.pid),
            alive.handle.pidfd(),
        );
        let (herald, whose) = (self.herald.clone(), name.clone());
        let ask = move || {
            // The daemon is gone only at the very end, when nobody listens any more.
            let _ = herald.send((whose, life, News::Ask(by)));
        };
        let Some(call) = self.prepare(name, Moment::PreStop, pid) else {
            return false;
        };
        if let Some(alive) = self.lives.get_mut(&life) {
            alive.pre_stop = true;
        }
        self.hooks.start(call.only_while(pidfd), ask);
        true
    }

    /// A life that got as far as its hooks is over.
    pub(super) fn call_post_stop(&mut self, name: &Name, alive: &Alive, end: &End) {
        let Some(traces) = alive.traces else { return };
        let vassal = self.emperor.vassals().get(name);
        let newest = vassal.map(|vassal| (vassal.definition.clone(), vassal.addresses.clone()));
        // The emperor does not know one that it could not adopt.
        let (definition, addresses) =
            newest.unwrap_or_else(|| (alive.under.clone(), alive.addresses.clone()));
        self.owe_post_stop(&definition, &addresses, traces.process, end);
    }

    /// The same for a life whose end this emperor has not seen. It is written down first: whatever else says that the
    /// life is over comes later.
    pub(super) fn owe_post_stop(
        &mut self,
        definition: &Definition,
        addresses: &[IpNet],
        process: Process,
        end: &End,
    ) {
        if Moment::PostStop.of(definition).is_none() {
            return;
        }
        let owed = Owed {
            boot: self.boot.clone(),
            process,
            definition: Box::new(definition.clone()),
            addresses: addresses.to_vec(),
            end: end.clone(),
        };
        let entry = self.hooks.owe(&owed).map_err(|error| {
            let (name, moment) = (&definition.name, Moment::PostStop.word());
            tracing::error!(%name, "{error}; if the emperor is killed before its hook {moment} has ended, nobody calls that again");
        });
        self.call_owed(&owed, entry.ok());
    }

    /// Calls what an earlier emperor owed, which comes before all else that its vassals' hooks do. Says which lives these
    /// were, and how they ended.
    pub(super) fn call_owed_by_earlier(&mut self) -> OwedByEarlier {
        let mut lives = OwedByEarlier::new();
        for (entry, owed) in self.hooks.owed_by_earlier(&self.boot) {
            let (name, hook) = (&owed.definition.name, Moment::PostStop.word());
            tracing::info!(%name, hook, end = %owed.end, "an earlier emperor did not get to the end of this hook; it is called");
            self.call_owed(&owed, Some(entry));
            lives.insert(owed.process, (owed.definition.name, owed.end));
        }
        lives
    }

    fn call_owed(&mut self, owed: &Owed, entry: Option<Entry>) {
        let (definition, moment) = (&*owed.definition, Moment::PostStop);
        let name = &definition.name;
        let Some(hook) = moment.of(definition) else { return };
        match self.logs.open_last_hook(definition, moment.word()) {
            Ok(output) => {
                let facts = Facts {
                    definition,
                    addresses: &owed.addresses,
                    pid: None,
                    end: Some(&owed.end),
                };
                let call = Call::new(moment, hook, &facts, output, self.hooks.line(name));
                self.hooks.start(call.owed(entry), || {});
            }
            Err(error) => {
                let (moment, whose) = (moment.word(), entry.map_or("nobody", |_| "the next emperor"));
                tracing::error!(%name, "hook {moment} is not called: {error}; {whose} calls it");
            }
        }
    }

    /// Nothing is kept for a name that no vassal has; what still runs for it goes on.
    pub(super) fn forget_hooks(&mut self, name: &Name) {
        if !self.emperor.vassals().contains_key(name) {
            self.logs.forget(name);
            self.hooks.forget(name);
        }
    }

    /// The hook of `moment`; absent if there is none, or it cannot be called.
    fn prepare(&mut self, name: &Name, moment: Moment, pid: Option<u32>) -> Option<Call> {
        let vassal = self.emperor.vassals().get(name)?;
        let hook = moment.of(&vassal.definition)?;
        let output = match self.logs.open_hook(name, moment.word()) {
            Ok(output) => output,
            Err(error) => {
                tracing::error!(%name, "hook {} is not called: {error}", moment.word());
                return None;
            }
        };
        let facts = Facts {
            definition: &vassal.definition,
            addresses: &vassal.addresses,
            pid,
            end: None,
        };
        Some(Call::new(moment, hook, &facts, output, self.hooks.line(name)))
    }
}
