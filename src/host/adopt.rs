//! Going on with the vassals that an earlier emperor left: one that died, that was told to leave them, or that
//! this process was before its exec.
//!
//! ```text
//!   record ─▶ its process exists ─▶ its netns, its tun, by number ─▶ port, log, pidfd ─▶ as if it were our child
//!        │         └─ ended: its exit status, if the kernel still knows
//!        ├─▶ it was being made: its gate is shut, it ends by itself; another is made
//!        └─▶ it had none: its back-off, or its rest, goes on
//!   owed ───▶ a `post_stop` that has not run to its end: it is called, before all else that its vassal's hooks do
//! ```
//!
//! Nothing is taken on trust that can be looked at: a pid is compared with the time at which its process began, a
//! namespace and an interface with their numbers. What is not as it was written down is ended, whole, and started
//! anew under its restart policy, with the reason. Files are read only after all that; so an edit or a removal
//! that no emperor saw meets a vassal that runs, as any other does.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use futures_util::stream;
use futures_util::{StreamExt, TryStreamExt};

use crate::emperor::pacing::Pacing;
use crate::emperor::state::{End, Fault, Life, State};
use crate::emperor::{Adoption, Event, Past, Run, Word};
use crate::router::Traffic;

use super::body::Heir;
use super::bookkeeping::Total;
use super::calls::OwedByEarlier;
use super::clock::Moment;
use super::daemon::{Alive, Daemon};
use super::dialogue::Spoken;
use super::ears::{Ears, Sockets};
use super::error::HostError;
use super::life::{Handle, Traces};
use super::notify::Speakers;
use super::process::{self, Process};
use super::record::{Kept, LifeRecord, Record, Remains};
use super::search::{Found, Remnant, end, find};
use super::state::StateFiles;
use super::tree::Tree;
use super::tun::Tun;
use super::upgrade::Inherited;
use super::userns;

/// How a life ended whose command was never reached.
const ORPHANED: &str = "its emperor ended before its command was reached";

/// Vassals whose namespaces are entered at one time.
const AT_ONCE: usize = 16;

/// What an emperor left behind in this run directory of its own user namespace: a process in it, or the namespace itself.
pub fn witness(run: &Path) -> Option<OwnedFd> {
    let boot = process::boot();
    let records = StateFiles::peek(run);
    let mut bodies = records.into_iter().filter_map(|record| match record.kept {
        Kept::Alive(body) if record.boot == boot => Some((body, record.under.namespaces.user)),
        Kept::Alive(_) | Kept::Unborn { .. } | Kept::Waiting { .. } | Kept::Idle | Kept::Down { .. } => None,
    });
    bodies.find_map(|(body, user)| {
        let pidfd = body.process.open()?;
        let above = user.map(|_| userns::above(body.process.pid));
        // In this order: what was opened by its number was the process's own if that has not ended.
        if process::has_ended(&pidfd) {
            return None;
        }
        above.map_or(Ok(pidfd), |above| above).ok()
    })
}

impl Daemon {
    /// Goes on with whatever was left; before the first look at the directories.
    pub(super) async fn adopt(&mut self, inherited: &mut Inherited) -> Result<(), HostError> {
        let all = self.go_on(inherited).await;
        if all.is_err() {
            // Connections of the host to those that go on without us outlive this, too.
            self.uplink.leave();
        }
        all
    }

    async fn go_on(&mut self, inherited: &mut Inherited) -> Result<(), HostError> {
        self.hooks.end_earlier().await;
        let owed = self.call_owed_by_earlier();
        self.demands.inherit(std::mem::take(&mut inherited.listeners));
        let mut left = Vec::new();
        for record in self.state.records()? {
            match record {
                Ok(record) if record.boot == self.boot => {
                    let Kept::Alive(body) = &record.kept else {
                        left.push((record, None));
                        continue;
                    };
                    let tun = inherited.tuns.remove(&body.life.0);
                    left.push((record, tun));
                }
                Ok(record) => self.state.erase(&record.name),
                Err(remains) => self.clear_away(remains).await?,
            }
        }
        let offload = self.settings.router.offload;
        let subnets = self.settings.router.addresses.clone();
        // Last those that are waited for.
        left.sort_by_key(|(record, _)| record.is_being_born());
        let all = left.len();
        let mut found = stream::iter(left)
            .map(|(record, tun)| find(record, tun, offload, &subnets))
            .buffered(AT_ONCE);
        let (mut fifos, mut news) = (Vec::new(), Vec::new());
        while let Some(found) = found.try_next().await? {
            if let Some((body, Remnant::Alive(..) | Remnant::Ended(_))) = &found.life {
                fifos.push(self.state.fifo(&found.record.name, body.life));
            }
            news.extend(self.take_over(found, &owed)?);
        }
        self.state.sweep(&fifos)?;
        // Only now: what follows from them may be a new life, whose number and FIFO are to be nobody else's.
        news.into_iter().for_each(|event| self.tell(event));
        owed.values().for_each(|(name, _)| self.forget_hooks(name));
        self.demands.clear_earlier();
        if all > 0 {
            let running = fifos.len();
            tracing::info!(
                vassals = all,
                running,
                "went on with what an earlier emperor left"
            );
        }
        Ok(())
    }

    /// Ends what a record that cannot be read still names.
    async fn clear_away(&self, remains: Remains) -> Result<(), HostError> {
        let path = remains.path.display();
        tracing::error!(record = %path, "cannot be read; what it names is ended, and its vassal starts anew");
        if let Some(pidfd) = remains.process.map(Process::find).transpose()?.flatten() {
            end(&Arc::new(pidfd)).await;
        }
        if let Some(tree) = remains.tree {
            Tree::adopt(tree).fell().await;
        }
        remains.cages.remove().await;
        self.state.discard(&remains.path);
        Ok(())
    }

    /// Has the emperor know what was found; what comes back is to be told to it once it knows all.
    fn take_over(&mut self, found: Found, owed: &OwedByEarlier) -> Result<Option<Event>, HostError> {
        let Found { record, life } = found;
        let name = record.name.clone();
        if let (None, Kept::Alive(body)) = (&life, &record.kept) {
            // Its `pre_start` may have been called, and what that has made is to be taken back.
            self.end_of(&record, body, End::Stillborn(ORPHANED.to_owned()), owed);
        }
        // A file that is gone cannot bring back what does not run.
        if life.is_none() && !record.definition.exists() {
            self.clear_post(&record.under);
            self.state.erase(&name);
            self.forget_hooks(&name);
            return Ok(None);
        }
        self.totals.insert(name.clone(), Total::of(record.traffic));
        self.logs.resume(&name, record.log.dropped);
        self.watch.expect(record.definition.clone());
        let body = life.as_ref().map(|(body, _)| body);
        let adoption = Adoption {
            definition: (*record.under).clone(),
            addresses: record.addresses.clone(),
            state: state(&record, body),
            life: last_life(&record),
            restarts: record.restarts,
            pacing: Pacing::resumed(
                record.deaths_in_a_row,
                record.last_delay,
                record.refusals_in_a_row,
                record.deaths.iter().copied().map(Moment::instant),
            ),
            last_end: record.last_end.clone(),
            troubles: record.troubles.clone(),
        };
        let name = record.name.clone();
        let next = life.map(|(body, remnant)| self.hold(record, body, remnant, owed));
        let next = next.transpose()?.flatten();
        self.tell(Event::Adopted(Box::new(adoption)));
        self.resume_demand(&name);
        self.greet(&name);
        if let Some(life) = self
            .emperor
            .vassals()
            .get(&name)
            .and_then(|vassal| vassal.state.life())
        {
            self.keep_vigil(life);
        }
        Ok(next)
    }

    /// Puts a process in the place that it would have if it were our child; what comes back is to be told to the
    /// emperor next.
    fn hold(
        &mut self,
        record: Record,
        body: LifeRecord,
        remnant: Remnant,
        owed: &OwedByEarlier,
    ) -> Result<Option<Event>, HostError> {
        let (name, life) = (record.name.clone(), body.life);
        let (pidfd, tun, sockets) = match remnant {
            Remnant::Nothing => {
                let end = self.end_of(&record, &body, End::Unknown, owed);
                return Ok(Some(Event::Ended { name, life, end }));
            }
            Remnant::Ended(pidfd) => (pidfd, None, Sockets::default()),
            Remnant::Alive(pidfd, Ok((tun, sockets))) => (pidfd, Some(Ok(tun)), sockets),
            Remnant::Alive(pidfd, Err(why)) => (pidfd, Some(Err(why)), Sockets::default()),
        };
        let main = body.main.map(Process::find).transpose()?;
        let main = main.map(|main| main.map(Arc::new));
        let channel = sockets.channel.clone();
        let handle = Arc::new(Handle::of(pidfd.clone(), main.clone().flatten(), channel));
        handle.enclose(body.cages.clone());
        if matches!(main, Some(None)) {
            // What it said is its main process has ended, so it has.
            handle.doom();
        }
        if let Err(error) = self.logs.adopt(&record.under, &self.state.fifo(&name, life)) {
            // What is not read would stop the vassal.
            if error.is_shortage() {
                return Err(error);
            }
            // A program that has closed its output has no FIFO any more.
            tracing::debug!(%name, %error, "no output to go on with");
        }
        let heir = Heir {
            name: name.clone(),
            life,
            process: (body.process.pid, pidfd),
            main: main.flatten(),
            tree: body.tree.clone().map(Tree::adopt),
            ears: ears(&record, &body, sockets),
            handle: handle.clone(),
            herald: self.herald.clone(),
        };
        if let Some(Ok(_)) = &tun {
            renew(&record, &body);
        }
        let owes = !owed.contains_key(&body.process);
        self.lives.insert(life, alive(record, body, handle, owes));
        tokio::spawn(heir.live());
        let fault = tun.and_then(|tun| self.connect(life, tun).err());
        Ok(fault.map(|fault| {
            let word = Word::Fault(fault);
            Event::Says { name, life, word }
        }))
    }

    /// How a life ended that is over: as an earlier emperor knew, or like `end`. Its `post_stop` is called.
    fn end_of(&mut self, record: &Record, body: &LifeRecord, end: End, owed: &OwedByEarlier) -> End {
        if let Some((_, end)) = owed.get(&body.process) {
            return end.clone();
        }
        self.owe_post_stop(&record.under, &record.addresses, body.process, &end);
        end
    }

    /// Attaches a tun that was found to the router.
    fn connect(&mut self, life: Life, tun: Result<Tun, Fault>) -> Result<(), Fault> {
        self.give_port(life, tun?).map_err(|why| {
            tracing::error!("{why}");
            Fault::Displaced
        })
    }
}

/// Where the vassal of a record is; `body` is its process, if there is or was one that it cannot be denied.
fn state(record: &Record, body: Option<&LifeRecord>) -> State {
    let now = Instant::now();
    match (body, &record.kept) {
        (Some(body), _) => {
            if let Some(stop) = body.stop {
                return State::Stopping {
                    life: body.life,
                    born: body.born.map(Moment::instant),
                    kill_at: stop.kill_at.instant(),
                    latest: stop.latest.instant(),
                    then: stop.then,
                };
            }
            let pid = record.pid.unwrap_or(body.process.pid);
            let since = body.born.map_or(now, Moment::instant);
            let run = Run::adopted(body.life, pid, since, past(record, body), now, &record.under);
            State::Running(run)
        }
        (None, Kept::Alive(_) | Kept::Unborn { .. }) => State::Waiting { until: now },
        (None, Kept::Waiting { until }) => State::Waiting {
            until: until.instant(),
        },
        (None, Kept::Idle) => State::Idle,
        (None, Kept::Down { end, why }) => State::Down {
            end: end.clone(),
            why: *why,
        },
    }
}

/// How far a command was. An earlier version wrote down only whether it was ready.
fn past(record: &Record, body: &LifeRecord) -> Past {
    body.run
        .unwrap_or_else(|| Past::presumed(record.ready, &record.under))
}

/// The last life that the record knows; none is earlier than all.
fn last_life(record: &Record) -> Life {
    match &record.kept {
        Kept::Alive(body) => body.life,
        Kept::Unborn { life, .. } => *life,
        Kept::Waiting { .. } | Kept::Idle | Kept::Down { .. } => Life(0),
    }
}

/// A change of its limits may have been under way when the earlier emperor died.
fn renew(record: &Record, body: &LifeRecord) {
    let (limits, name) = (&record.under.limits, &record.name);
    let renewed = body.cages.raise(limits, name).and_then(|()| {
        let tree = body.tree.as_deref();
        body.cages.gather(body.process.pid, tree, name)
    });
    if let Err(error) = renewed {
        tracing::error!(%name, "{error}; its limits are as the earlier emperor left them");
    }
}

fn ears(record: &Record, body: &LifeRecord, sockets: Sockets) -> Option<Box<Ears>> {
    let speakers = Speakers::of(body.process.pid, body.netns);
    Ears::new(sockets, speakers).unwrap_or_else(|error| {
        tracing::error!(name = %record.name, %error, "the vassal is not heard");
        None
    })
}

fn alive(record: Record, body: LifeRecord, handle: Arc<Handle>, owes: bool) -> Alive {
    let started = body.born.is_some() && past(&record, &body).was_ready();
    Alive {
        name: record.name,
        handle,
        under: Arc::new(*record.under),
        addresses: record.addresses,
        traces: Some(Traces {
            process: body.process,
            netns: body.netns,
            index: body.index,
        }),
        born: Some(body.born.map_or_else(Instant::now, Moment::instant)),
        tree: body.tree,
        spoken: Spoken {
            status: record.status,
            errno: body.said.errno,
            accepting: body.said.accepting,
            loyal: body.said.loyal,
        },
        probe: None,
        port: None,
        vigil: None,
        owes,
        started,
        pre_stop: body.stop.is_some_and(|stop| stop.pre_stop),
        written: (Traffic::default(), record.log.dropped),
    }
}
