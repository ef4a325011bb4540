//! How an emperor makes room for the next: by leaving its vassals running, or by becoming another binary.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::emperor::state::State;

use super::daemon::{Alive, Daemon};
use super::error::HostError;
use super::life::BIRTHS_AT_ONCE;
use super::upgrade::{self, Luggage, Ready, Request};

/// How long births and burials that have begun may take; the next image finds out about the others by itself.
const SETTLED_WITHIN: Duration = Duration::from_secs(2);

/// An upgrade that waits until no birth is under way.
pub(super) struct Quiet {
    request: Request,
    binary: File,
    births: oneshot::Receiver<OwnedSemaphorePermit>,
}

/// An upgrade that can go on: while the permit is held no birth begins.
pub(super) struct Relief {
    request: Request,
    binary: File,
    _births: OwnedSemaphorePermit,
}

/// Resolves when an upgrade that waits can go on; never, if none does.
pub(super) async fn is_quiet(quiet: &mut Option<Quiet>) -> Option<Relief> {
    let Some(waiting) = quiet else {
        return std::future::pending().await;
    };
    let births = (&mut waiting.births).await;
    let Quiet { request, binary, .. } = quiet.take()?;
    Some(Relief {
        request,
        binary,
        _births: births.ok()?,
    })
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

    /// The operator wants another binary. It takes the place of this one when no birth is under way.
    pub(super) fn upgrade(&mut self) {
        let Some(request) = Request::read(self.state.run()) else {
            return tracing::warn!("SIGUSR2 without a request; use `mini-emperor upgrade`");
        };
        if self.quiet.is_some() || self.end.is_some() {
            return self.refuse_upgrade(request, "it is being upgraded or ends already");
        }
        let binary = match request.open() {
            Ok(binary) => binary,
            Err(why) => return self.refuse_upgrade(request, &why),
        };
        let (held, births) = oneshot::channel();
        let (turn, all) = (
            self.turn.clone(),
            u32::try_from(BIRTHS_AT_ONCE).unwrap_or(u32::MAX),
        );
        tokio::spawn(async move {
            if let Ok(permit) = turn.acquire_many_owned(all).await {
                // Nobody waits only if the emperor ends.
                let _ = held.send(permit);
            }
        });
        tracing::info!(binary = %request.binary.display(), "upgrading as soon as no birth is under way");
        self.quiet = Some(Quiet {
            request,
            binary,
            births,
        });
    }

    /// Becomes the new binary; returns only if that fails, and goes on then.
    pub(super) async fn relieve(&mut self, relief: Relief) {
        self.settle().await;
        // The next image would not know its children.
        let _ = tokio::time::timeout(SETTLED_WITHIN, self.hooks.finish()).await;
        if self.end.is_some() {
            return self.refuse_upgrade(relief.request, "the emperor ends");
        }
        let Some(logs) = self.logs.pause() else {
            return self.refuse_upgrade(relief.request, "the disk of the logs does not answer");
        };
        self.service.reloading();
        self.workers.stop();
        self.write_all();
        super::logs::stderr::flush();
        let why = self.exec(&relief.binary);
        drop(logs);
        if let Err(error) = self.workers.resume(&self.report) {
            tracing::error!("{error}; no packet moves any more");
        }
        self.service.ready();
        self.refuse_upgrade(relief.request, &why);
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

    /// Hears of every life that has ended, whose exit status is told to this image and not to the next, and of every
    /// command that is about to be reached.
    async fn settle(&mut self) {
        let end = tokio::time::Instant::now() + SETTLED_WITHIN;
        loop {
            while let Ok((name, life, news)) = self.news.try_recv() {
                self.hear(name, life, news);
            }
            let is_due =
                |alive: &Alive| alive.handle.has_ended() || alive.traces.is_some() && alive.born.is_none();
            if !self.lives.values().any(is_due) {
                return;
            }
            match tokio::time::timeout_at(end, self.news.recv()).await {
                Ok(Some((name, life, news))) => self.hear(name, life, news),
                Ok(None) | Err(_) => return,
            }
        }
    }

    fn refuse_upgrade(&mut self, mut request: Request, why: &str) {
        tracing::error!(binary = %request.binary.display(), why, "the upgrade is refused; the emperor goes on as it was");
        request.refused = Some(why.to_owned());
        if let Err(error) = request.write(self.state.run()) {
            tracing::error!("{error}");
        }
    }
}
