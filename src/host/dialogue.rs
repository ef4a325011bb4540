//! What the emperor says to running vassals, and hears from them.

use std::net::SocketAddr;

use ipnet::IpNet;
use nix::libc;
use tokio::task::AbortHandle;

use crate::config::Name;
use crate::config::definition::{Farewell, Ready, Reload};
use crate::emperor::state::{Life, State};
use crate::emperor::table::Notice;
use crate::emperor::{Deed, Event, Trouble, Word};

use super::ask;
use super::channel::{Byte, Command};
use super::daemon::{Alive, Daemon};
use super::ears::Heard;
use super::error::{Doing, HostError};
use super::notify::Said;
use super::perform::until;
use super::probe::Probe;

/// What a vassal said for people, in this life.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Spoken {
    /// `STATUS=`, whatever characters it has.
    pub status: Option<String>,
    /// `ERRNO=`
    pub errno: Option<i32>,
    /// It accepts requests, by uWSGI's emperor protocol.
    pub accepting: bool,
    /// It serves as it was meant to, by uWSGI's emperor protocol.
    pub loyal: bool,
}

/// A probe that runs, until this is dropped.
pub struct Probing(AbortHandle);

impl Drop for Probing {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Daemon {
    /// Takes in what a life said.
    pub(super) fn take_in(&mut self, name: &Name, life: Life, heard: Vec<Heard>) {
        for heard in heard {
            let Some(alive) = self.lives.get_mut(&life) else {
                return;
            };
            tracing::debug!(%name, ?heard, "the vassal speaks");
            let word = match heard {
                Heard::Said(Said::Word(word)) => Some(word),
                Heard::Said(Said::Status(status)) => {
                    alive.spoken.status = Some(status);
                    self.record_soon(name);
                    None
                }
                Heard::Said(Said::Errno(errno)) => {
                    alive.spoken.errno = Some(errno);
                    self.record_soon(name);
                    None
                }
                Heard::Byte(byte) => {
                    let before = (alive.spoken.accepting, alive.spoken.loyal);
                    alive.spoken.accepting |= byte == Byte::Accepting;
                    alive.spoken.loyal |= byte == Byte::Loyal;
                    if before != (alive.spoken.accepting, alive.spoken.loyal) {
                        self.record_soon(name);
                    }
                    byte.word()
                }
            };
            if let Some(word) = word {
                let name = name.clone();
                self.tell(Event::Says { name, life, word });
            }
        }
    }

    /// Asks a vassal to read its configuration anew.
    ///
    /// # Errors
    /// If it cannot be asked.
    pub(super) fn reload(&mut self, name: &Name, life: Life, by: Reload) -> Result<(), HostError> {
        let Some(alive) = self.lives.get_mut(&life) else {
            return Ok(()); // it has ended, which is heard of
        };
        let failed = |on| move |errno| HostError::new(Doing::AskReload, on, errno);
        match by {
            Reload::Signal(signal) => {
                let sent = alive.handle.try_signal(signal);
                sent.map_err(failed(format!("signal {signal}")))?;
                tracing::info!(%name, signal, "asking the vassal to reload");
            }
            Reload::Emperor => {
                let told = alive.handle.tell(Command::Reload);
                told.map_err(failed("its control socket".to_owned()))?;
                tracing::info!(%name, "asking the vassal to reload");
                (alive.spoken.accepting, alive.spoken.loyal) = (false, false);
            }
            // The table stops and starts it.
            Reload::Restart => {}
        }
        Ok(())
    }

    /// Asks a vassal to end.
    pub(super) fn ask(&self, life: Life, by: Farewell) {
        let Some(alive) = self.lives.get(&life) else {
            return;
        };
        let handle = &alive.handle;
        match by {
            Farewell::Emperor if handle.tell(Command::Stop).is_ok() => {}
            // One that does not listen is no uWSGI, or not any more.
            Farewell::Emperor => signal_main(alive, libc::SIGTERM),
            Farewell::Signal(signal) => signal_main(alive, signal),
        }
        // A stopped process cannot end.
        handle.signal(libc::SIGCONT);
    }

    /// Finds out when a port of a vassal can be connected to. An earlier probe of this life ends.
    pub(super) fn probe(&mut self, name: Name, life: Life, port: u16) {
        let Some(vassal) = self.emperor.vassals().get(&name) else {
            return;
        };
        let addresses = vassal.addresses.iter().map(IpNet::addr);
        let targets = addresses.map(|address| SocketAddr::new(address, port)).collect();
        let Some(alive) = self.lives.get_mut(&life) else {
            return;
        };
        let Some(pidfd) = alive.handle.pidfd() else {
            return;
        };
        let (herald, owner) = (self.herald.clone(), name.clone());
        let task = tokio::spawn(async move {
            Probe { pidfd, name, targets }.succeed().await;
            let ready = vec![Heard::Said(Said::Word(Word::Ready))];
            // The daemon is gone only at the very end, when nobody listens any more.
            let _ = herald.send((owner, life, super::life::News::Heard(ready)));
        });
        alive.probe = Some(Probing(task.abort_handle()));
    }

    /// Tells the operator what became of a running vassal.
    pub(super) fn say(&self, name: &Name, notice: Notice) {
        let vassal = self.emperor.vassals().get(name);
        match notice {
            // That it runs is said anyway.
            Notice::Ready if vassal.is_some_and(|vassal| vassal.definition.ready == Ready::Exec) => {}
            Notice::Ready => tracing::info!(%name, "vassal ready"),
            Notice::Leaving => tracing::info!(%name, "the vassal says that it stops"),
            Notice::Unheard(limit) => {
                tracing::warn!(%name, ?limit, "the vassal did not say in time that it is ready; it may have while there was no emperor");
            }
            Notice::ReloadLate(limit) => {
                tracing::warn!(%name, ?limit, "the vassal did not say in time that its reload is done");
            }
            Notice::Fault(fault) => tracing::error!(%name, %fault, "ending the vassal"),
        }
    }

    /// Tells the operator what could not be done.
    pub(super) fn complain_of(&self, name: &Name, trouble: &Trouble) {
        let Trouble { deed, why } = trouble;
        let state = self.emperor.vassals().get(name).map(|vassal| &vassal.state);
        match (deed, state) {
            (Deed::Await, Some(State::Waiting { until: at })) => {
                let after = until(*at);
                tracing::error!(%name, after, "{why}; it is tried again");
            }
            (Deed::Await | Deed::Reload | Deed::Update, _) => tracing::error!(%name, "{why}"),
        }
    }
}

/// Sends a signal to the main process, and sees to it that it has an effect.
fn signal_main(alive: &Alive, signal: i32) {
    let is_first = alive.under.namespaces.pid && !alive.handle.has_other();
    let first = alive.traces.filter(|_| is_first).map(|traces| traces.process.pid);
    if first.is_some_and(|pid| ask::would_end_any_other_process(pid, signal)) {
        // pid_namespaces(7): process 1 of a namespace gets no signal that it has no handler for.
        alive.handle.signal(libc::SIGKILL);
    } else {
        alive.handle.signal(signal);
    }
}
