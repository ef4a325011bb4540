//! Going on with the vassals that an earlier emperor left: one that died, that was told to leave them, or that
//! this process was before its exec.
//!
//! ```text
//!   record ─▶ its process exists ─▶ its netns, its tun, by number ─▶ port, log, pidfd ─▶ as if it were our child
//!        │         └─ ended: its exit status, if the kernel still knows
//!        ├─▶ it was being made: its gate is shut, it ends by itself; another is made
//!        └─▶ it had none: its back-off, or its rest, goes on
//! ```
//!
//! Nothing is taken on trust that can be looked at: a pid is compared with the time at which its process began, a
//! namespace and an interface with their numbers. What is not as it was written down is ended, whole, and started
//! anew under its restart policy, with the reason. Files are read only after all that; so an edit or a removal
//! that no emperor saw meets a vassal that runs, as any other does.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream;
use ipnet::IpNet;
use nix::errno::Errno;
use nix::libc;

use crate::config::Definition;
use crate::config::definition::Addresses;
use crate::config::settings::Offload;
use crate::emperor::pacing::Pacing;
use crate::emperor::state::{End, Fault, Life, State};
use crate::emperor::{Adoption, Event, Run, Word};
use crate::router::Traffic;
use crate::sys::process::send_signal;
use crate::sys::readiness::readable;

use super::clock::Moment;
use super::daemon::{Alive, Daemon};
use super::dialogue::Spoken;
use super::ears::{Ears, Sockets};
use super::error::{Doing, HostError};
use super::init;
use super::life::{Handle, Heir, Traces};
use super::netns;
use super::notify::Speakers;
use super::process::{self, Process};
use super::spawn;
use super::state::{Body, Kept, Record, Remains, StateFiles};
use super::tree::Tree;
use super::tun::{self, Tun, when_free};
use super::upgrade::Inherited;

/// Vassals whose namespaces are entered at one time.
const AT_ONCE: usize = 16;
/// How long a process may take from its gate to its command.
const BIRTH: Duration = Duration::from_secs(5);
/// How often it is looked whether it has.
const LOOK: Duration = Duration::from_millis(1);

/// A process that an emperor left behind in this run directory, whichever.
pub fn witness(run: &Path) -> Option<OwnedFd> {
    let boot = process::boot();
    let records = StateFiles::peek(run);
    let bodies = records.into_iter().filter_map(|record| match record.kept {
        Kept::Alive(body) if record.boot == boot => Some(body),
        Kept::Alive(_) | Kept::Unborn { .. } | Kept::Waiting { .. } | Kept::Idle | Kept::Down { .. } => None,
    });
    bodies
        .filter_map(|body| body.process.open())
        .find(|pidfd| !process::has_ended(pidfd))
}

/// What was found of a vassal.
struct Found {
    record: Record,
    life: Option<(Body, Remnant)>,
}

/// What was found of a life.
enum Remnant {
    /// It ended, and whoever reaped it knows how.
    Nothing,
    /// It ended, and waits to be reaped.
    Ended(Arc<OwnedFd>),
    /// It goes on; its tun and sockets, or why it cannot be left to go on.
    Alive(Arc<OwnedFd>, Result<(Tun, Sockets), Fault>),
}

impl Daemon {
    /// Goes on with whatever was left; before the first look at the directories.
    pub(super) async fn adopt(&mut self, inherited: &mut Inherited) -> Result<(), HostError> {
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
                Err(remains) => self.clear_away(remains).await,
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
        let mut fifos = Vec::new();
        while let Some(found) = found.next().await {
            if let Some((body, Remnant::Alive(..) | Remnant::Ended(_))) = &found.life {
                fifos.push(self.state.fifo(&found.record.name, body.life));
            }
            self.take_over(found);
        }
        self.state.sweep(&fifos)?;
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
    async fn clear_away(&self, remains: Remains) {
        let path = remains.path.display();
        tracing::error!(record = %path, "cannot be read; what it names is ended, and its vassal starts anew");
        if let Some(pidfd) = remains.process.and_then(Process::open) {
            end(&Arc::new(pidfd)).await;
        }
        if let Some(tree) = remains.tree {
            Tree::adopt(tree).fell().await;
        }
        self.state.discard(&remains.path);
    }

    fn take_over(&mut self, found: Found) {
        let Found { record, life } = found;
        let now = Instant::now();
        let definition = *record.under;
        let name = definition.name.clone();
        // A file that is gone cannot bring back what does not run.
        if life.is_none() && !record.definition.exists() {
            self.state.erase(&name);
            return;
        }
        self.totals.insert(name.clone(), record.traffic);
        self.watch.expect(record.definition);
        let last = match (&life, &record.kept) {
            (Some((Body { life, .. }, _)), _) | (None, Kept::Unborn { life, .. }) => *life,
            (None, Kept::Alive(body)) => body.life,
            (None, Kept::Waiting { .. } | Kept::Idle | Kept::Down { .. }) => Life(0),
        };
        let state = match (&life, record.kept) {
            (Some((body, _)), _) => {
                let pid = record.pid.unwrap_or(body.process.pid);
                let since = body.born.map_or(now, Moment::instant);
                let ready = record.ready;
                State::Running(Run::adopted(last, pid, since, ready, now, &definition))
            }
            (None, Kept::Alive(_) | Kept::Unborn { .. }) => State::Waiting { until: now },
            (None, Kept::Waiting { until }) => State::Waiting {
                until: until.instant(),
            },
            (None, Kept::Idle) => State::Idle,
            (None, Kept::Down { end, why }) => State::Down { end, why },
        };
        let under = Arc::new(definition.clone());
        let spoken = Spoken {
            status: record.status,
            ..Spoken::default()
        };
        let next =
            life.and_then(|(body, remnant)| self.hold(&under, &record.addresses, spoken, body, remnant));
        // The emperor must know of a life before it hears what is wrong with it.
        self.tell(Event::Adopted(Box::new(Adoption {
            definition,
            addresses: record.addresses,
            state,
            life: last,
            restarts: record.restarts,
            pacing: Pacing::resumed(record.deaths_in_a_row),
            last_end: record.last_end,
        })));
        self.resume_demand(&name);
        if let Some(next) = next {
            self.tell(next);
        }
    }

    /// Puts a process in the place that it would have if it were our child; what comes back is to be told to the
    /// emperor next.
    fn hold(
        &mut self,
        under: &Arc<Definition>,
        addresses: &[IpNet],
        spoken: Spoken,
        body: Body,
        remnant: Remnant,
    ) -> Option<Event> {
        let (name, life) = (under.name.clone(), body.life);
        let fault = |fault| Event::Says {
            name: name.clone(),
            life,
            word: Word::Fault(fault),
        };
        let (pidfd, found) = match remnant {
            Remnant::Nothing => {
                let end = End::Unknown;
                return Some(Event::Ended { name, life, end });
            }
            Remnant::Ended(pidfd) => (pidfd, None),
            Remnant::Alive(pidfd, found) => (pidfd, Some(found)),
        };
        let (tun, sockets) = match found {
            None => (None, Sockets::default()),
            Some(Ok((tun, sockets))) => (Some(Ok(tun)), sockets),
            Some(Err(why)) => (Some(Err(why)), Sockets::default()),
        };
        let main = body.main.map(|main| main.open().map(Arc::new));
        let handle = Arc::new(Handle::of(
            pidfd.clone(),
            main.clone().flatten(),
            sockets.channel.clone(),
        ));
        if matches!(main, Some(None)) {
            // What it said is its main process has ended, so it has.
            handle.doom();
        }
        let speakers = Speakers::of(body.process.pid, body.netns);
        let ears = Ears::new(sockets, speakers).unwrap_or_else(|error| {
            tracing::error!(%name, %error, "the vassal is not heard");
            None
        });
        let alive = Alive {
            name: name.clone(),
            handle: handle.clone(),
            under: under.clone(),
            addresses: addresses.to_vec(),
            traces: Some(Traces {
                process: body.process,
                netns: body.netns,
                index: body.index,
            }),
            born: Some(body.born.map_or_else(Instant::now, Moment::instant)),
            tree: body.tree.clone(),
            spoken,
            probe: None,
            port: None,
            started: true,
            written: Traffic::default(),
        };
        self.lives.insert(life, alive);
        if let Err(error) = self.logs.adopt(under, &self.state.fifo(&name, life)) {
            // A program that has closed its output has no FIFO any more.
            tracing::debug!(%name, %error, "no output to go on with");
        }
        let heir = Heir {
            name: name.clone(),
            life,
            process: (body.process.pid, pidfd),
            main: main.flatten(),
            tree: body.tree.map(Tree::adopt),
            ears,
            handle,
            herald: self.herald.clone(),
        };
        tokio::spawn(heir.live());
        match tun? {
            Ok(tun) => match self.give_port(life, tun) {
                Ok(()) => None,
                Err(why) => {
                    tracing::error!(%name, "{why}");
                    Some(fault(Fault::Displaced))
                }
            },
            Err(why) => Some(fault(why)),
        }
    }
}

/// Looks for what a record names.
async fn find(record: Record, inherited: Option<OwnedFd>, offload: Offload, subnets: &[IpNet]) -> Found {
    let (body, left_tree) = match &record.kept {
        Kept::Alive(body) => (Some((**body).clone()), body.tree.clone()),
        Kept::Unborn { tree, .. } => (None, tree.clone()),
        Kept::Waiting { .. } | Kept::Idle | Kept::Down { .. } => (None, None),
    };
    let life = match body {
        Some(body) => look_for(&record, &body, inherited, offload, subnets)
            .await
            .map(|remnant| (body, remnant)),
        None => None,
    };
    let is_whole = matches!(life, Some((_, Remnant::Alive(..) | Remnant::Ended(_))));
    if let Some(tree) = left_tree.filter(|_| !is_whole) {
        Tree::adopt(tree).fell().await;
    }
    Found { record, life }
}

/// Looks for one life; `None` if its command was never reached.
async fn look_for(
    record: &Record,
    body: &Body,
    inherited: Option<OwnedFd>,
    offload: Offload,
    subnets: &[IpNet],
) -> Option<Remnant> {
    let pidfd = body.process.open().map(Arc::new);
    if body.born.is_none() {
        // Its gate may have opened or not.
        is_born(body.process, pidfd.as_ref()?).await.then_some(())?;
    }
    let Some(pidfd) = pidfd else {
        return Some(Remnant::Nothing);
    };
    if process::has_ended(&pidfd) {
        return Some(Remnant::Ended(pidfd));
    }
    if !fits(record, subnets) {
        return Some(Remnant::Alive(pidfd, Err(Fault::Displaced)));
    }
    let found = match inherited {
        Some(fd) => inherit(record, body, &pidfd, fd, offload).await,
        None => attach(record, body, &pidfd, offload).await,
    };
    Some(match found {
        Err(_) if process::has_ended(&pidfd) => Remnant::Ended(pidfd),
        Err(error) => {
            tracing::error!(name = %record.name, "{error}");
            Remnant::Alive(pidfd, Err(Fault::DeviceLost))
        }
        Ok(found) => Remnant::Alive(pidfd, Ok(found)),
    })
}

/// Whether addresses that were given by `auto` are such as this router would give. Whether it routes to them is
/// asked of the router.
fn fits(record: &Record, subnets: &[IpNet]) -> bool {
    record.under.network.address != Addresses::Auto
        || record.addresses.len() == subnets.len()
            && record.addresses.iter().all(|address| {
                subnets
                    .iter()
                    .any(|subnet| subnet.trunc() == address.trunc() && subnet.addr() != address.addr())
            })
}

/// Opens the tun of a life, if it is the one that was made for it, and the sockets over which it speaks.
async fn attach(
    record: &Record,
    body: &Body,
    pidfd: &Arc<OwnedFd>,
    offload: Offload,
) -> Result<(Tun, Sockets), HostError> {
    when_free(|| {
        let (device, netns, index) = (record.device.clone(), body.netns, body.index);
        let changed = HostError::new(Doing::AttachTun, &device, Errno::ENODEV).within(record.name.as_str());
        let sockets = sockets(record, body, pidfd);
        netns::inside(pidfd.as_fd(), record.name.as_str(), move || {
            let is_same = netns::inode(netns::current()?)? == netns && tun::index(&device) == Ok(index);
            if !is_same {
                return Err(changed);
            }
            Ok((tun::adopt(&device, offload)?, sockets()))
        })
    })
    .await
}

/// The same with a tun that is open; most vassals have no socket, and their namespace need not be entered.
async fn inherit(
    record: &Record,
    body: &Body,
    pidfd: &Arc<OwnedFd>,
    tun: OwnedFd,
    offload: Offload,
) -> Result<(Tun, Sockets), HostError> {
    let tun = tun::inherit(tun, offload)?;
    if !record.under.has_notify() && body.channel.is_none() {
        return Ok((tun, Sockets::default()));
    }
    let sockets = sockets(record, body, pidfd);
    let sockets = netns::inside(pidfd.as_fd(), record.name.as_str(), move || Ok(sockets())).await?;
    Ok((tun, sockets))
}

fn sockets(record: &Record, body: &Body, pidfd: &Arc<OwnedFd>) -> impl FnOnce() -> Sockets + Send + use<> {
    let (definition, pidfd, channel) = (record.under.clone(), pidfd.clone(), body.channel);
    move || Sockets::regain(&definition, &*pidfd, channel)
}

/// Whether the command of a process was reached. Its emperor has died, so its gate opens no more: it has opened, or
/// the process ends in a moment.
async fn is_born(process: Process, pidfd: &Arc<OwnedFd>) -> bool {
    let end_of_wait = Instant::now() + BIRTH;
    while Instant::now() < end_of_wait && !process::has_ended(pidfd) {
        if !init::is_before_command(process.pid) && !process::has_ended(pidfd) {
            return true;
        }
        tokio::time::sleep(LOOK).await;
    }
    end(pidfd).await;
    // It is a child of ours if we were its emperor, before an exec.
    let _ = spawn::reap(pidfd);
    false
}

/// Kills a process and waits until it has ended.
async fn end(pidfd: &Arc<OwnedFd>) {
    // ESRCH: it has.
    let _ = send_signal(pidfd, libc::SIGKILL);
    if let Ok(watched) = readable(pidfd.clone()) {
        // One that cannot end now, in the midst of a system call, will when it can.
        let _ = tokio::time::timeout(BIRTH, watched.readable()).await;
    }
}
