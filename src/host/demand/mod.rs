//! Vassals that are started by their first client (`on_demand`): where the emperor waits, and how it knows that a vassal
//! is not used any more.
//!
//! A socket is the emperor's for as long as it is defined. While no vassal runs, the first connection is a
//! [`Demand`](Event::Demand); the vassal gets the socket, accepts for itself, and the emperor only notes that something
//! came. A vassal that is woken by packets has a sleeping port at the router instead, which keeps its addresses.
//!
//! A vassal is unused when, for as long as its definition says, no new connection came to its socket, none is open or waits,
//! and no packet crossed its port. That is looked at now and then, while such a vassal runs, and never otherwise.

mod arrivals;
mod errands;
mod ledger;
mod listen;
mod post;
mod sleep;
mod usage;
mod watch;

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::config::definition::{OnDemand, Trigger};
use crate::config::{Definition, Name};
use crate::emperor::state::State;
use crate::emperor::{Deed, Event};
use crate::router::PortId;

use self::arrivals::Arrivals;
use self::errands::{Errands, Outcome};
use self::ledger::{Closing, Entry, Ledger};
use self::listen::{Listener, Maker};
use self::post::{Post, Socket};
pub(super) use self::sleep::{attachment, is_woken_by_packets, wakefulness};
use self::watch::Watch;
use super::daemon::Daemon;
use super::error::{Doing, HostError};

/// How long tenants' file systems can hold up the end of a reign.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// What happens to vassals on demand.
pub(super) enum Call {
    /// The socket of this number, which is written down there, listens or cannot.
    Opened(Name, u64, Option<Entry>, Result<Listener, HostError>),
    /// A client came.
    Client(Name),
}

/// All vassals on demand.
pub(super) struct Demands {
    posts: BTreeMap<Name, Post>,
    sleepers: BTreeMap<Name, PortId>,
    watches: BTreeMap<Name, Watch>,
    arrivals: Arrivals,
    calls: UnboundedSender<Call>,
    heard: UnboundedReceiver<Call>,
    closing: Vec<Closing>,
    ledger: Ledger,
    errands: Errands,
    /// Sockets that are being made for tenants.
    making: Vec<Outcome>,
    /// How many sockets were asked for.
    asked: u64,
    /// Sockets that this process had before it became this image.
    inherited: BTreeMap<String, OwnedFd>,
}

impl Demands {
    /// Tenants' sockets are written down in the directory `ledger`.
    pub(super) fn new(ledger: PathBuf) -> Self {
        let (calls, heard) = unbounded_channel();
        Self {
            posts: BTreeMap::new(),
            sleepers: BTreeMap::new(),
            watches: BTreeMap::new(),
            arrivals: Arrivals::Unused,
            calls,
            heard,
            closing: Vec::new(),
            ledger: Ledger::open(ledger),
            errands: Errands::default(),
            making: Vec::new(),
            asked: 0,
            inherited: BTreeMap::new(),
        }
    }

    /// Goes on with the sockets of the image before; those of vassals that it does not know are closed by the next call.
    pub(super) fn inherit(&mut self, listeners: BTreeMap<String, OwnedFd>) {
        self.inherited = listeners;
    }

    /// What the next image goes on with.
    pub(super) fn listeners(&self) -> BTreeMap<String, BorrowedFd<'_>> {
        let open = self.posts.iter().filter_map(|(name, post)| match &post.socket {
            Socket::Open { listener, .. } => Some((name.to_string(), listener.fd.as_fd())),
            Socket::Opening | Socket::Failed(_) => None,
        });
        open.collect()
    }

    /// The next thing that happens.
    pub(super) async fn next(&mut self) -> Call {
        match self.heard.recv().await {
            Some(call) => call,
            // Never: we hold a sender.
            None => std::future::pending().await,
        }
    }

    /// When [`Daemon::look_after_demands`] is due.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.watches.values().map(|watch| watch.next).min()
    }

    /// The sleeping port of a vassal.
    pub(super) fn sleeper(&self, name: &Name) -> Option<PortId> {
        self.sleepers.get(name).copied()
    }

    /// Asks for the socket of a post. The emperor's own is there when this returns, before whoever it is for can be taken
    /// away again. A tenant's way may lead anywhere, and nobody waits for it.
    fn open(&mut self, name: &Name) -> Result<(), HostError> {
        self.asked += 1;
        let Some(post) = self.posts.get_mut(name) else {
            return Ok(());
        };
        (post.number, post.socket) = (self.asked, Socket::Opening);
        let (trigger, maker) = (&post.trigger, post.maker);
        match maker {
            Maker::Emperor => {
                let opened = listen::open(trigger);
                post.opened(opened)
            }
            Maker::Tenant(uid, gid) => {
                let making = self.ledger.enter(name, trigger, maker).and_then(|entry| {
                    let (calls, whose, number, its) =
                        (self.calls.clone(), name.clone(), post.number, entry.clone());
                    let tell = move |opened| drop(calls.send(Call::Opened(whose, number, its, opened)));
                    self.making.retain(|making| making.by(Instant::now()).is_none());
                    listen::open_for((uid, gid), trigger, &mut self.errands, tell)
                        .map(|making| self.making.push(making))
                        .inspect_err(|_| entry.into_iter().for_each(Entry::strike))
                });
                making.or_else(|error| post.opened(Err(error)))
            }
        }
    }

    fn inherited(&mut self, name: &Name, trigger: &Trigger, maker: Maker) -> Option<Listener> {
        let fd = self.inherited.remove(name.as_str())?;
        let listener = Listener::of(fd, trigger, maker)?;
        Some(self.enter_open(name, trigger, listener))
    }

    fn leave_post(&mut self, name: &Name) {
        let left = self.posts.remove(name).and_then(Post::give_up);
        left.into_iter().for_each(|listener| self.close(listener));
    }
}

impl Daemon {
    /// There is no process; the emperor waits for a client. A tenant's socket is made meanwhile, and is heard of if it
    /// cannot be.
    ///
    /// # Errors
    /// If no client would be noticed.
    pub(super) fn await_client(&mut self, name: &Name) -> Result<(), String> {
        self.demands.unwatch(name);
        let Some(vassal) = self.emperor.vassals().get(name) else {
            return Ok(());
        };
        let definition = vassal.definition.clone();
        let Some(OnDemand { trigger, .. }) = &definition.on_demand else {
            return Ok(());
        };
        let at = listen::place(trigger);
        if *trigger == Trigger::Packet {
            self.demands.leave_post(name);
            self.put_to_sleep(&definition)
                .map_err(|error| format!("{error}; no packet can wake it"))?;
        } else {
            self.wake(name);
            self.man_post(&definition, trigger)
                .map_err(|error| error.to_string())?;
        }
        tracing::info!(%name, at, "waiting for a client");
        Ok(())
    }

    /// Tells the emperor if nobody can be waited for.
    fn tell_unless(&mut self, awaited: Result<(), HostError>, name: &Name) {
        if let Some(event) = self.failure(name, Deed::Await, awaited.err()) {
            self.tell(event);
        }
    }

    /// Goes on with a vassal of an earlier emperor; one that waits for a client has been awaited.
    pub(super) fn resume_demand(&mut self, name: &Name) {
        let Some(vassal) = self.emperor.vassals().get(name) else {
            return;
        };
        let (definition, run) = (vassal.definition.clone(), vassal.state.run().copied());
        let trigger = definition.on_demand.as_ref().map(|demand| &demand.trigger);
        let Some(trigger) = trigger else {
            return;
        };
        let Some(life) = vassal.state.life() else {
            return self.resume_post(&definition, trigger);
        };
        let pidfd = self.lives.get(&life).and_then(|alive| alive.handle.pidfd());
        let maker = self.maker(&definition);
        let fetch = |pidfd: Arc<OwnedFd>| listen::fetch(trigger, maker, pidfd.as_fd());
        let inherited = self.demands.inherited(name, trigger, maker);
        let fetched = || Some(self.demands.enter_open(name, trigger, pidfd.and_then(fetch)?));
        if let Some(listener) = inherited.or_else(fetched) {
            let post = Post::new(trigger, maker, Some(listener));
            self.demands.posts.insert(name.clone(), post);
        } else if *trigger != Trigger::Packet {
            // It has closed what it got. Whoever comes now waits for its next life.
            let manned = self.man_post(&definition, trigger);
            self.tell_unless(manned, name);
        }
        if run.is_some_and(|run| run.was_ready()) {
            self.is_awake(life);
            self.watch_usage(name, life);
        }
    }

    /// Goes on with the socket of a vassal without a process, so that there is somebody who takes it away with its vassal.
    fn resume_post(&mut self, definition: &Definition, trigger: &Trigger) {
        let state = self
            .emperor
            .vassals()
            .get(&definition.name)
            .map(|vassal| &vassal.state);
        match state {
            Some(State::Waiting { .. }) if *trigger != Trigger::Packet => {
                let manned = self.man_post(definition, trigger);
                self.tell_unless(manned, &definition.name);
            }
            Some(State::Down { .. }) => self.clear_post(definition),
            Some(
                State::Waiting { .. }
                | State::Idle
                | State::Starting { .. }
                | State::Running(_)
                | State::Stopping { .. }
                | State::Gone,
            )
            | None => {}
        }
    }

    fn maker(&self, definition: &Definition) -> Maker {
        match &definition.identity {
            Some(who) if self.settings.run_as_owner => Maker::Tenant(who.uid, who.gid),
            Some(_) | None => Maker::Emperor,
        }
    }

    /// Sees to it that the socket of a definition is open, and looked at if the vassal waits.
    fn man_post(&mut self, definition: &Definition, trigger: &Trigger) -> Result<(), HostError> {
        let (name, maker) = (&definition.name, self.maker(definition));
        let same = |post: &&Post| post.trigger == *trigger && post.maker == maker;
        let post = self.demands.posts.get(name).filter(same);
        if let Some(Socket::Failed(_)) = post.map(|post| &post.socket) {
            self.demands.open(name)?;
        } else if post.is_none() {
            self.demands.leave_post(name);
            let inherited = self.demands.inherited(name, trigger, maker);
            let is_new = inherited.is_none();
            let post = Post::new(trigger, maker, inherited);
            self.demands.posts.insert(name.clone(), post);
            if is_new {
                // Written down before it is there: another emperor must find it.
                self.stale.insert(name.clone());
                self.save();
                self.demands.open(name)?;
            }
        }
        self.look_out(name)
    }

    /// A client of a vassal without a process is its first.
    fn look_out(&mut self, name: &Name) -> Result<(), HostError> {
        let idle = self
            .emperor
            .vassals()
            .get(name)
            .is_some_and(|vassal| vassal.state == State::Idle);
        let Some(post) = self.demands.posts.get_mut(name).filter(|_| idle) else {
            return Ok(());
        };
        let (calls, whose) = (self.demands.calls.clone(), name.clone());
        post.look_out(move || drop(calls.send(Call::Client(whose))))
            .map_err(|error| HostError::from_io(Doing::Listen, listen::place(&post.trigger), &error))
    }

    /// Takes in what happened to a vassal on demand.
    pub(super) fn demanded(&mut self, call: Call) {
        match call {
            Call::Client(name) => self.tell(Event::Demand(name)),
            Call::Opened(name, number, entry, opened) => {
                self.opened(&name, number, ledger::keep(entry, opened));
            }
        }
    }

    fn opened(&mut self, name: &Name, number: u64, opened: Result<Listener, HostError>) {
        let post = self.demands.posts.get_mut(name);
        let Some(post) = post.filter(|post| post.number == number) else {
            // Not wanted any more.
            return opened
                .into_iter()
                .for_each(|listener| self.demands.close(listener));
        };
        let opened = post.opened(opened).and_then(|()| self.look_out(name));
        self.tell_unless(opened, name);
    }

    /// The listening socket for a new process, if its definition has one.
    pub(super) fn listener_for(&mut self, definition: &Definition) -> Result<Option<OwnedFd>, HostError> {
        let name = &definition.name;
        let trigger = definition.on_demand.as_ref().map(|demand| &demand.trigger);
        let Some(trigger) = trigger.filter(|trigger| **trigger != Trigger::Packet) else {
            self.demands.leave_post(name);
            return Ok(None);
        };
        let failed = |errno| HostError::new(Doing::Listen, listen::place(trigger), errno);
        let post = self.demands.posts.get_mut(name);
        match post.map(|post| &mut post.socket) {
            Some(Socket::Open { listener, lookout }) => {
                // From here on its connections are the vassal's.
                *lookout = None;
                let copy = listener.fd.as_fd().try_clone_to_owned();
                copy.map(Some)
                    .map_err(|error| HostError::from_io(Doing::Listen, listen::place(trigger), &error))
            }
            Some(Socket::Failed(why)) => Err(why.clone()),
            Some(Socket::Opening) | None => Err(failed(Errno::EAGAIN)),
        }
    }

    /// Does what is due.
    pub(super) fn look_after_demands(&mut self) {
        let now = Instant::now();
        let due = |watch: &Watch| watch.next <= now;
        let watches = &self.demands.watches;
        let names: Vec<_> = watches
            .iter()
            .filter(|(_, watch)| due(watch))
            .map(|(name, _)| name.clone())
            .collect();
        for name in names {
            self.look_at_usage(&name, now);
        }
    }

    /// A vassal is gone, or stays down: nobody is waited for any more.
    pub(super) fn forget_demand(&mut self, name: &Name) {
        self.demands.unwatch(name);
        self.demands.leave_post(name);
        self.wake_for_good(name);
    }

    /// Takes away where an earlier emperor waited for clients of a vassal that is no more.
    pub(super) fn clear_post(&mut self, definition: &Definition) {
        if let Some(OnDemand { trigger, .. }) = &definition.on_demand {
            // The image before may have handed it over; as long as it is ours, it is not abandoned.
            drop(self.demands.inherited.remove(definition.name.as_str()));
            let maker = self.maker(definition);
            self.demands.clear(trigger, maker, None);
        }
    }
}
