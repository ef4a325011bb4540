//! Vassals that are started by their first client (`on_demand`): where the emperor waits, and how it knows that a vassal
//! is not used any more.
//!
//! A socket is the emperor's for as long as it is defined. While no vassal runs, the first connection is a
//! [`Demand`](Event::Demand); the vassal gets the socket, accepts for itself, and the emperor only notes that something
//! came. A vassal that is woken by packets has a sleeping port at the router instead, which keeps its addresses.
//!
//! A vassal is unused when, for as long as its definition says, no new connection came to its socket, none is open, and
//! no packet crossed its port. That is looked at now and then, while such a vassal runs, and never otherwise.

mod listen;
mod usage;

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ipnet::IpNet;
use nix::errno::Errno;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;

use crate::config::definition::{OnDemand, Trigger};
use crate::config::{Definition, Name};
use crate::emperor::state::{Life, State};
use crate::emperor::{Event, Word};
use crate::router::{Attachment, PortId, Wakefulness};
use crate::sys::readiness::readable;

use self::listen::{Listener, Maker};
use super::daemon::Daemon;
use super::error::{Doing, HostError};

/// How often in an idle time it is looked whether a vassal is used…
const LOOKS: u32 = 8;
/// …but not more often than this…
const SHORTEST: Duration = Duration::from_millis(250);
/// …and not more seldom.
const LONGEST: Duration = Duration::from_secs(30);
/// When a socket that could not be opened is tried again, at first and at last.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// What happens to vassals on demand.
pub(super) enum Call {
    /// The socket of this trigger listens, or cannot.
    Opened(Name, Trigger, Result<Listener, HostError>),
    /// A client came.
    Client(Name),
}

/// All vassals on demand.
pub(super) struct Demands {
    posts: BTreeMap<Name, Post>,
    sleepers: BTreeMap<Name, PortId>,
    watches: BTreeMap<Name, Watch>,
    calls: UnboundedSender<Call>,
    heard: UnboundedReceiver<Call>,
    closing: Vec<std::thread::JoinHandle<()>>,
    /// Sockets that this process had before it became this image.
    inherited: BTreeMap<String, OwnedFd>,
}

/// Where the emperor waits for clients of one vassal.
struct Post {
    trigger: Trigger,
    maker: Maker,
    socket: Socket,
}

enum Socket {
    /// Being made.
    Opening,
    /// There.
    Open {
        listener: Listener,
        /// Looks out for the next client; absent while nobody does.
        lookout: Option<Lookout>,
    },
    /// It could not be made, and is tried again.
    Failed {
        again: Instant,
        delay: Duration,
        why: HostError,
    },
}

/// A task that ends when a client comes. Dropped, it looks no more.
struct Lookout(JoinHandle<()>);

impl Drop for Lookout {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Whether a running vassal is used.
struct Watch {
    life: Life,
    idle: Duration,
    used: Instant,
    next: Instant,
    packets: u64,
    /// A new connection came.
    touched: Arc<AtomicBool>,
}

impl Demands {
    pub(super) fn new() -> Self {
        let (calls, heard) = unbounded_channel();
        Self {
            posts: BTreeMap::new(),
            sleepers: BTreeMap::new(),
            watches: BTreeMap::new(),
            calls,
            heard,
            closing: Vec::new(),
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
            Socket::Opening | Socket::Failed { .. } => None,
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
        let retries = self.posts.values().filter_map(|post| match post.socket {
            Socket::Failed { again, .. } => Some(again),
            Socket::Opening | Socket::Open { .. } => None,
        });
        retries.chain(self.watches.values().map(|watch| watch.next)).min()
    }

    /// The sleeping port of a vassal.
    pub(super) fn sleeper(&self, name: &Name) -> Option<PortId> {
        self.sleepers.get(name).copied()
    }

    /// Gives up what cannot be given back by dropping it, and waits until it is done.
    pub(super) fn finish(&mut self) {
        for (_, post) in std::mem::take(&mut self.posts) {
            self.closing.extend(post.close());
        }
        for thread in self.closing.drain(..) {
            let _ = thread.join();
        }
    }

    fn open(&self, name: &Name, trigger: &Trigger, maker: Maker) {
        let (calls, name, trigger) = (self.calls.clone(), name.clone(), trigger.clone());
        tokio::spawn(async move {
            let opened = listen::open(trigger.clone(), maker).await;
            let _ = calls.send(Call::Opened(name, trigger, opened));
        });
    }

    fn inherited(&mut self, name: &Name, trigger: &Trigger, maker: Maker) -> Option<Listener> {
        let fd = self.inherited.remove(name.as_str())?;
        Listener::of(fd, trigger, maker)
    }

    fn leave_post(&mut self, name: &Name) {
        self.closing.retain(|thread| !thread.is_finished());
        if let Some(post) = self.posts.remove(name) {
            self.closing.extend(post.close());
        }
    }
}

impl Post {
    fn open(trigger: &Trigger, maker: Maker, listener: Listener) -> Self {
        Self {
            trigger: trigger.clone(),
            maker,
            socket: Socket::Open {
                listener,
                lookout: None,
            },
        }
    }

    fn close(self) -> Option<std::thread::JoinHandle<()>> {
        match self.socket {
            Socket::Open { listener, .. } => listener.close(),
            Socket::Opening | Socket::Failed { .. } => None,
        }
    }

    /// Does `then` when a client comes; the one before is not waited for any more.
    fn look_out(&mut self, then: impl FnOnce() + Send + 'static) -> Result<(), std::io::Error> {
        let Socket::Open { listener, lookout } = &mut self.socket else {
            return Ok(());
        };
        *lookout = None;
        // A copy: a descriptor has one place in the event queue, and an aborted task may still hold its own.
        let watched = readable(Arc::new(listener.fd.try_clone()?))?;
        *lookout = Some(Lookout(tokio::spawn(async move {
            if watched.readable().await.is_ok() {
                then();
            }
        })));
        Ok(())
    }
}

impl Daemon {
    /// There is no process; the emperor waits for a client.
    pub(super) fn await_client(&mut self, name: &Name) {
        self.demands.watches.remove(name);
        let Some(vassal) = self.emperor.vassals().get(name) else {
            return;
        };
        let definition = vassal.definition.clone();
        let Some(OnDemand { trigger, .. }) = &definition.on_demand else {
            return;
        };
        let at = listen::place(trigger);
        tracing::info!(%name, at, "waiting for a client");
        if *trigger == Trigger::Packet {
            self.demands.leave_post(name);
            self.put_to_sleep(&definition);
        } else {
            self.wake(name);
            self.man_post(&definition, trigger);
        }
    }

    /// Goes on with a vassal of an earlier emperor that has a process; one that waits has been awaited.
    pub(super) fn resume_demand(&mut self, name: &Name) {
        let Some(vassal) = self.emperor.vassals().get(name) else {
            return;
        };
        let (definition, run) = (vassal.definition.clone(), vassal.state.run().copied());
        let trigger = definition.on_demand.as_ref().map(|demand| &demand.trigger);
        let (Some(trigger), Some(life)) = (trigger, vassal.state.life()) else {
            return;
        };
        let pidfd = self.lives.get(&life).and_then(|alive| alive.handle.pidfd());
        let maker = self.maker(&definition);
        let fetch = |pidfd: Arc<OwnedFd>| listen::fetch(trigger, maker, pidfd.as_fd());
        let inherited = self.demands.inherited(name, trigger, maker);
        if let Some(listener) = inherited.or_else(|| pidfd.and_then(fetch)) {
            let post = Post::open(trigger, maker, listener);
            self.demands.posts.insert(name.clone(), post);
        } else if *trigger != Trigger::Packet {
            // It has closed what it got. Whoever comes now waits for its next life.
            self.man_post(&definition, trigger);
        }
        if run.is_some_and(|run| run.was_ready()) {
            self.is_awake(life);
            self.watch_usage(name, life);
        }
    }

    fn maker(&self, definition: &Definition) -> Maker {
        match &definition.identity {
            Some(who) if self.settings.run_as_owner => Maker::Tenant(who.uid, who.gid),
            Some(_) | None => Maker::Emperor,
        }
    }

    /// Sees to it that the socket of a definition is open, and looked at if the vassal waits.
    fn man_post(&mut self, definition: &Definition, trigger: &Trigger) {
        let (name, maker) = (&definition.name, self.maker(definition));
        let same = |post: &Post| post.trigger == *trigger && post.maker == maker;
        if !self.demands.posts.get(name).is_some_and(same) {
            self.demands.leave_post(name);
            let inherited = self.demands.inherited(name, trigger, maker);
            let post = match inherited {
                Some(listener) => Post::open(trigger, maker, listener),
                None => {
                    self.demands.open(name, trigger, maker);
                    Post {
                        trigger: trigger.clone(),
                        maker,
                        socket: Socket::Opening,
                    }
                }
            };
            self.demands.posts.insert(name.clone(), post);
        }
        self.look_out(name);
    }

    /// A client of a vassal without a process is its first.
    fn look_out(&mut self, name: &Name) {
        let idle = self
            .emperor
            .vassals()
            .get(name)
            .is_some_and(|vassal| vassal.state == State::Idle);
        let Some(post) = self.demands.posts.get_mut(name).filter(|_| idle) else {
            return;
        };
        let (calls, whose) = (self.demands.calls.clone(), name.clone());
        let looks = post.look_out(move || drop(calls.send(Call::Client(whose))));
        if let Err(error) = looks {
            let error = HostError::from_io(Doing::Listen, listen::place(&post.trigger), &error);
            post.fail(error, name);
        }
    }

    /// Takes in what happened to a vassal on demand.
    pub(super) fn demanded(&mut self, call: Call) {
        match call {
            Call::Client(name) => self.tell(Event::Demand(name)),
            Call::Opened(name, trigger, opened) => self.opened(&name, &trigger, opened),
        }
    }

    fn opened(&mut self, name: &Name, trigger: &Trigger, opened: Result<Listener, HostError>) {
        let post = self.demands.posts.get_mut(name);
        let Some(post) = post.filter(|post| post.trigger == *trigger) else {
            // Not wanted any more.
            let closing = opened.ok().and_then(Listener::close);
            self.demands.closing.extend(closing);
            return;
        };
        match opened {
            Ok(listener) => {
                post.socket = Socket::Open {
                    listener,
                    lookout: None,
                };
                self.look_out(name);
            }
            Err(error) => post.fail(error, name),
        }
    }

    /// A frame waits for the vassal of this port.
    pub(super) fn wanted(&mut self, port: PortId) {
        let sleeper = self
            .demands
            .sleepers
            .iter()
            .find(|(_, sleeper)| **sleeper == port);
        if let Some(name) = sleeper.map(|(name, _)| name.clone()) {
            self.tell(Event::Demand(name));
        }
    }

    /// Keeps the addresses of a vassal that a packet is to wake.
    fn put_to_sleep(&mut self, definition: &Definition) {
        let name = &definition.name;
        self.wake(name);
        let Some(vassal) = self.emperor.vassals().get(name) else {
            return;
        };
        let attachment = attachment(definition, &vassal.addresses);
        match self.fabric.attach_as(attachment, Wakefulness::Asleep) {
            Ok(port) => drop(self.demands.sleepers.insert(name.clone(), port)),
            Err(error) => tracing::error!(%name, "{error}; no packet can wake it"),
        }
        self.workers.publish(self.fabric.tables());
    }

    /// Takes the sleeping port away, if there is one. The next tables must say who has the addresses.
    pub(super) fn wake(&mut self, name: &Name) {
        let port = self.demands.sleepers.remove(name);
        if let Some(traffic) = port.and_then(|port| self.fabric.detach(port)) {
            self.totals.entry(name.clone()).or_default().add(&traffic);
        }
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
            Some(Socket::Failed { why, .. }) => Err(why.clone()),
            Some(Socket::Opening) | None => Err(failed(Errno::EAGAIN)),
        }
    }

    /// A vassal is ready: what waited for it can enter.
    pub(super) fn is_awake(&mut self, life: Life) {
        let port = self.lives.get(&life).and_then(|alive| alive.port);
        let rises = |port: &PortId| {
            self.fabric
                .tables()
                .port(*port)
                .is_some_and(|port| port.wakefulness() == Wakefulness::Rising)
        };
        if let Some(port) = port.filter(rises) {
            self.fabric.wake(port);
            self.workers.publish(self.fabric.tables());
        }
    }

    /// A vassal is ready; from here on it is watched whether it is used.
    pub(super) fn watch_usage(&mut self, name: &Name, life: Life) {
        let Some(vassal) = self.emperor.vassals().get(name) else {
            return;
        };
        let Some(idle) = vassal
            .definition
            .on_demand
            .as_ref()
            .and_then(|demand| demand.idle)
        else {
            return;
        };
        if self
            .demands
            .watches
            .get(name)
            .is_some_and(|watch| watch.life == life)
        {
            return;
        }
        let now = Instant::now();
        let watch = Watch {
            life,
            idle,
            used: now,
            next: now,
            packets: 0,
            touched: Arc::default(),
        };
        self.demands.watches.insert(name.clone(), watch);
        self.look_at_usage(name, now);
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
        let mut again = Vec::new();
        for (name, post) in &mut self.demands.posts {
            if matches!(post.socket, Socket::Failed { again, .. } if again <= now) {
                again.push((name.clone(), post.trigger.clone(), post.maker));
            }
        }
        for (name, trigger, maker) in again {
            // Its delay stays until it succeeds.
            if let Some(Socket::Failed { again, delay, .. }) =
                self.demands.posts.get_mut(&name).map(|post| &mut post.socket)
            {
                *again = now + *delay;
            }
            self.demands.open(&name, &trigger, maker);
        }
    }

    /// Looks whether a vassal was used since the last look, and has it stopped if it was not for long enough.
    fn look_at_usage(&mut self, name: &Name, now: Instant) {
        let traffic = self.traffic_of(name);
        let packets = traffic.receive_packets + traffic.transmit_packets;
        let Some(watch) = self.demands.watches.get_mut(name) else {
            return;
        };
        let post = self.demands.posts.get_mut(name);
        let came = watch.touched.swap(false, Ordering::Relaxed);
        if came || packets != watch.packets {
            (watch.used, watch.packets) = (now, packets);
        }
        let mut unused = now.saturating_duration_since(watch.used) >= watch.idle;
        if let Some(post) = post {
            // The list of connections may be long, so it is read only when all else says unused.
            if unused && usage::is_connected(&post.trigger) {
                (watch.used, unused) = (now, false);
            }
            let touched = watch.touched.clone();
            if let Err(error) = post.look_out(move || touched.store(true, Ordering::Relaxed)) {
                // Better a vassal that stays than one that is stopped while it is used.
                tracing::debug!(%name, %error, "it cannot be seen whether clients come");
                (watch.used, unused) = (now, false);
            }
        }
        let pause = (watch.idle / LOOKS).clamp(SHORTEST, LONGEST);
        watch.next = (now + pause).min((watch.used + watch.idle).max(now + SHORTEST));
        if unused {
            let (life, idle) = (watch.life, watch.idle);
            self.is_unused(name, life, idle);
        }
    }

    fn is_unused(&mut self, name: &Name, life: Life, idle: Duration) {
        let (whose, word) = (name.clone(), Word::Unused);
        self.tell(Event::Says {
            name: whose,
            life,
            word,
        });
        let vassal = self.emperor.vassals().get(name);
        // One that reloads, for instance, is not stopped, and looked at again.
        if vassal.is_some_and(|vassal| vassal.state.run().is_none()) {
            tracing::info!(%name, ?idle, "nobody uses the vassal; it is stopped");
            self.demands.watches.remove(name);
        }
    }

    /// The process of a vassal is over, and with it what was watched.
    pub(super) fn forget_usage(&mut self, name: &Name) {
        self.demands.watches.remove(name);
    }

    /// A vassal is gone, with all that it was waited for.
    pub(super) fn forget_demand(&mut self, name: &Name) {
        self.demands.watches.remove(name);
        self.demands.leave_post(name);
        if self.demands.sleepers.contains_key(name) {
            self.wake(name);
            self.workers.publish(self.fabric.tables());
        }
    }

    /// Takes away where an earlier emperor waited for clients of a vassal that is no more.
    pub(super) fn clear_post(&mut self, definition: &Definition) {
        if let Some(OnDemand { trigger, .. }) = &definition.on_demand {
            let closing = listen::clear(trigger, self.maker(definition));
            self.demands.closing.extend(closing);
        }
    }

    /// The live keys of a vassal that sleeps.
    pub(super) fn update_sleeper(&mut self, name: &Name) {
        let (Some(port), Some(vassal)) = (self.demands.sleeper(name), self.emperor.vassals().get(name))
        else {
            return;
        };
        let network = &vassal.definition.network;
        self.fabric
            .replace(port, network.firewall_out.clone(), network.firewall_in.clone());
        self.workers.publish(self.fabric.tables());
    }
}

impl Post {
    fn fail(&mut self, error: HostError, name: &Name) {
        let delay = match &self.socket {
            Socket::Failed { delay, why, .. } => {
                if *why != error {
                    tracing::error!(%name, "{error}; it is tried again");
                }
                (*delay * 2).min(RETRY.1)
            }
            Socket::Opening | Socket::Open { .. } => {
                tracing::error!(%name, "{error}; it is tried again");
                RETRY.0
            }
        };
        self.socket = Socket::Failed {
            again: Instant::now() + delay,
            delay,
            why: error,
        };
    }
}

/// Whether a vassal that has just got its device can take packets: one that was woken by a packet is yet to be ready.
pub(super) fn wakefulness(definition: &Definition) -> Wakefulness {
    match definition.on_demand.as_ref().map(|demand| &demand.trigger) {
        Some(Trigger::Packet) => Wakefulness::Rising,
        Some(Trigger::Unix { .. } | Trigger::Tcp(_)) | None => Wakefulness::Awake,
    }
}

/// What the router is told of a vassal.
pub(super) fn attachment(definition: &Definition, addresses: &[IpNet]) -> Attachment {
    let network = &definition.network;
    Attachment {
        name: definition.name.clone(),
        addresses: addresses.iter().map(IpNet::addr).collect(),
        mtu: network.mtu,
        out: network.firewall_out.clone(),
        in_: network.firewall_in.clone(),
        bandwidth: network.bandwidth,
    }
}
