//! When hooks are called: the daemon's side of [`hooks`](super::hooks).

use std::os::fd::OwnedFd;

use ipnet::IpNet;

use crate::config::definition::Farewell;
use crate::config::{Definition, Name};
use crate::emperor::state::{End, Life};

use super::daemon::{Alive, Daemon};
use super::error::HostError;
use super::hooks::{Call, Facts, Line, Moment};
use super::life::News;

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
            let call = self.prepare(name, Moment::PostStart, Some(pid), None);
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
        let Some(call) = self.prepare(name, Moment::PreStop, pid, None) else {
            return false;
        };
        if let Some(alive) = self.lives.get_mut(&life) {
            alive.pre_stop = true;
        }
        self.hooks.start(call.only_while(pidfd), ask);
        true
    }

    /// A life that got as far as its hooks is over.
    pub(super) fn call_post_stop(&mut self, name: &Name, end: &End) {
        let call = self.prepare(name, Moment::PostStop, None, Some(end));
        call.into_iter().for_each(|call| self.hooks.start(call, || {}));
    }

    /// The same for a vassal that this emperor does not know, or not yet.
    pub(super) fn call_post_stop_of(&mut self, definition: &Definition, addresses: &[IpNet], end: &End) {
        let (name, moment) = (&definition.name, Moment::PostStop);
        let Some(hook) = moment.of(definition) else { return };
        match std::fs::OpenOptions::new().write(true).open("/dev/null") {
            Ok(nowhere) => {
                let facts = Facts {
                    definition,
                    addresses,
                    pid: None,
                    end: Some(end),
                };
                let call = Call::new(moment, hook, &facts, nowhere.into(), self.hooks.line(name));
                self.hooks.start(call, || {});
            }
            Err(error) => tracing::error!(%name, "hook {} is not called: {error}", moment.word()),
        }
    }

    /// The hook of `moment`; absent if there is none, or it cannot be called.
    fn prepare(&mut self, name: &Name, moment: Moment, pid: Option<u32>, end: Option<&End>) -> Option<Call> {
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
            end,
        };
        Some(Call::new(moment, hook, &facts, output, self.hooks.line(name)))
    }
}
