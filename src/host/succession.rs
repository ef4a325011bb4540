//! How an emperor makes room for the next: by leaving its vassals running, or by becoming another binary.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::emperor::state::State;

use super::birth::BIRTHS_AT_ONCE;
use super::daemon::{Alive, Daemon};
use super::error::HostError;
use super::upgrade::{self, Luggage, Ready, Request};

/// How long births and burials that have begun may take once no hook runs; the next image finds out about the others
/// by itself.
const SETTLED_WITHIN: Duration = Duration::from_secs(2);

/// Before an emperor makes room: births wait, what is under way ends, and all that happens meanwhile is dealt with.
pub(super) struct Standstill {
    purpose: Purpose,
    births: Births,
    /// When nothing is waited for any more; absent while births or hooks are.
    settled_by: Option<Instant>,
}

/// For whom room is made.
enum Purpose {
    /// Another binary.
    Upgrade(Request, File),
    /// An emperor that is yet to be started.
    Leave,
}

/// The turn of all births.
enum Births {
    Wanted(oneshot::Receiver<OwnedSemaphorePermit>),
    /// No birth begins.
    Held {
        _permit: Option<OwnedSemaphorePermit>,
    },
}

impl Standstill {
    fn begin(purpose: Purpose, turn: Arc<Semaphore>) -> Self {
        let (held, births) = oneshot::channel();
        let all = u32::try_from(BIRTHS_AT_ONCE).unwrap_or(u32::MAX);
        tokio::spawn(async move {
            if let Ok(permit) = turn.acquire_many_owned(all).await {
                // Nobody waits only if nothing is to stand still any more.
                let _ = held.send(permit);
            }
        });
        Self {
            purpose,
            births: Births::Wanted(births),
            settled_by: None,
        }
    }

    /// When it is over at the latest, once that is known.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.settled_by
    }
}

/// Resolves when no birth begins any more; never, if that is known or not wanted.
pub(super) async fn births_stand_still(standstill: &mut Option<Standstill>) {
    match standstill {
        Some(Standstill {
            births: births @ Births::Wanted(_),
            ..
        }) => {
            if let Births::Wanted(wanted) = births {
                let _permit = wanted.await.ok();
                *births = Births::Held { _permit };
            }
        }
        Some(_) | None => std::future::pending().await,
    }
}

impl Daemon {
    /// The router forwards and the directories have been looked at.
    pub(super) fn become_ready(&mut self) -> Result<(), HostError> {
        self.show_status();
        Ready::write(self.state.run(), self.image.number)?;
        self.service.ready();
        let (vassals, problems) = (self.emperor.vassals().len(), self.problems.len());
        tracing::info!(vassals, problems, "emperor ready");
        Ok(())
    }

    /// Tells the service manager how many vassals there are.
    pub(super) fn show_status(&mut self) {
        let vassals = self.emperor.vassals();
        self.service.status(
            || {
                let count =
                    |is: fn(&State) -> bool| vassals.values().filter(|vassal| is(&vassal.state)).count();
                let running = count(|state| state.run().is_some());
                let failed = count(|state| state.word() == "failed");
                format!("{} vassals, {running} running, {failed} failed", vassals.len())
            },
            Instant::now(),
        );
    }

    /// Leaves the vassals running and everything in its place, for the next emperor.
    pub(super) fn leave(mut self) {
        // First the router, so that the counters are exact; packets wait for the next one.
        self.workers.stop();
        self.write_all();
        self.uplink.leave();
        self.state.leave();
        tracing::info!(
            vassals = self.lives.len(),
            "leaving the vassals to the next emperor"
        );
    }

    /// The operator wants another binary. It takes the place of this one when nothing is under way that it could not
    /// know.
    pub(super) fn upgrade(&mut self) {
        let Some(request) = Request::read(self.state.run()) else {
            return tracing::warn!("SIGUSR2 without a request; use `mini-emperor upgrade`");
        };
        if self.standstill.is_some() || self.end.is_some() {
            return self.refuse_upgrade(request, "it is being upgraded or ends already");
        }
        match request.open() {
            Ok(binary) => {
                let wanted = request.binary.display();
                tracing::info!(binary = %wanted, "upgrading as soon as no birth and no hook is under way");
                self.stand_still(Purpose::Upgrade(request, binary));
            }
            Err(why) => self.refuse_upgrade(request, &why),
        }
    }

    /// The emperor ends and its vassals do not.
    pub(super) fn leave_soon(&mut self) {
        self.call_off_upgrade();
        self.stand_still(Purpose::Leave);
    }

    /// Nobody makes room for another binary any more.
    pub(super) fn call_off_upgrade(&mut self) {
        let purpose = self.standstill.take().map(|standstill| standstill.purpose);
        if let Some(Purpose::Upgrade(request, _)) = purpose {
            self.refuse_upgrade(request, "the emperor ends");
        }
    }

    fn stand_still(&mut self, purpose: Purpose) {
        self.standstill = Some(Standstill::begin(purpose, self.turn.clone()));
    }

    /// Whether all is settled: every end is known to this image, which is told the exit status and not the next, every
    /// command that was about to be reached is, and no hook runs, which the next image would have to kill.
    pub(super) fn stands_still(&mut self) -> bool {
        let busy = self.hooks.are_busy() || !self.news.is_empty();
        let is_due =
            |alive: &Alive| alive.handle.has_ended() || alive.traces.is_some() && alive.born.is_none();
        let opening = self.logs.are_opening();
        match &mut self.standstill {
            Some(standstill) if matches!(standstill.births, Births::Held { .. }) => {
                if busy {
                    standstill.settled_by = None;
                    return false;
                }
                let now = Instant::now();
                let by = *standstill.settled_by.get_or_insert(now + SETTLED_WITHIN);
                now >= by || !opening && !self.lives.values().any(is_due)
            }
            Some(_) | None => false,
        }
    }

    /// Becomes the new binary, if that is what all stands still for; returns only if that fails, and goes on then.
    pub(super) fn relieve(&mut self) {
        let Some(Standstill {
            purpose: Purpose::Upgrade(request, binary),
            births: _births,
            ..
        }) = self
            .standstill
            .take_if(|still| matches!(still.purpose, Purpose::Upgrade(..)))
        else {
            return;
        };
        if Request::read(self.state.run()).is_none() {
            return tracing::warn!("whoever asked for the upgrade waits no more; it is not done");
        }
        let Some(logs) = self.logs.pause() else {
            return self.refuse_upgrade(request, "the disk of the logs does not answer");
        };
        self.service.reloading();
        self.workers.stop();
        self.write_all();
        super::logs::stderr::flush();
        let why = self.exec(&binary);
        drop(logs);
        if let Err(error) = self.workers.resume(&self.report) {
            tracing::error!("{error}; no packet moves any more");
        }
        self.service.ready();
        self.refuse_upgrade(request, &why);
    }

    fn exec(&self, binary: &File) -> String {
        let Some(lock) = self.state.lock() else {
            return "the run directory is not locked".to_owned();
        };
        let tun_of = |port| Some(self.workers.device(port)?.tun.as_fd());
        let tuns: BTreeMap<_, _> = self
            .lives
            .iter()
            .filter_map(|(life, alive)| Some((life.0, tun_of(alive.port?)?)))
            .collect();
        let luggage = Luggage {
            lock,
            uplink: self.uplink.tun().as_fd(),
            tuns,
            listeners: self.demands.listeners(),
        };
        upgrade::become_image(binary, self.state.run(), &self.image, &luggage)
    }

    fn refuse_upgrade(&mut self, mut request: Request, why: &str) {
        tracing::error!(binary = %request.binary.display(), why, "the upgrade is refused; the emperor goes on as it was");
        request.refused = Some(why.to_owned());
        if let Err(error) = request.write(self.state.run()) {
            tracing::error!("{error}");
        }
    }
}
