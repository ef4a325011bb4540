//! What the emperor decided, done; and what the lives tell, passed on.

use crate::config::{Definition, Name};
use crate::emperor::state::{End, Life, Rest};
use crate::emperor::table::Notice;
use crate::emperor::{Action, Deed, Event, Trouble};
use crate::router::Traffic;

use super::birth::Birth;
use super::daemon::{Alive, Daemon};
use super::demand;
use super::dialogue::Spoken;
use super::error::HostError;
use super::life::{News, Traces};
use super::limits::trees::Trees;
use super::limits::{self, Cages};
use super::tree::Tree;
use super::tun::Tun;
use super::workers::Device;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use ipnet::IpNet;

impl Daemon {
    /// Does one thing that the emperor decided. What comes back is to be told to it: that it could not be done.
    pub(super) fn perform(&mut self, action: Action) -> Option<Event> {
        match action {
            Action::Spawn {
                life,
                definition,
                addresses,
            } => self.spawn(life, definition, addresses),
            Action::Probe { name, life, port } => self.probe(name, life, port),
            Action::Reload { name, life, by } => {
                let asked = self.reload(&name, life, by);
                return self.failure(&name, Deed::Reload, asked.err());
            }
            Action::Ask { name, life, by } => {
                if !self.call_pre_stop(&name, life, by) {
                    self.ask(life, by);
                }
            }
            Action::Await(name) => {
                let awaited = self.await_client(&name);
                return self.failure(&name, Deed::Await, awaited.err());
            }
            Action::Complain { name, trouble } => self.complain_of(&name, &trouble),
            Action::Say { name, notice } => {
                self.say(&name, notice);
                if notice == Notice::Ready {
                    self.greet(&name);
                }
            }
            Action::Kill { name, life } => {
                tracing::warn!(%name, "killing the whole tree");
                if let Some(alive) = self.lives.get(&life) {
                    alive.handle.doom();
                }
            }
            Action::Update { definition } => {
                let updated = self.update(&definition);
                return self.failure(&definition.name, Deed::Update, updated.err());
            }
            Action::Forget(name) => self.forget(&name),
            Action::Refuse { definition, why } => self.refuse(&definition, &why),
            Action::Abandon { name, end, why } => self.abandon(&name, &end, why),
            Action::Retry { name, end, at } => retry(&name, &end, at),
        }
        None
    }

    fn forget(&mut self, name: &Name) {
        tracing::info!(%name, "vassal gone");
        self.logs.forget(name);
        self.hooks.forget(name);
        self.forget_demand(name);
        self.totals.remove(name);
    }

    fn abandon(&mut self, name: &Name, end: &End, why: Rest) {
        if why.is_failure(end) {
            tracing::error!(%name, %end, %why, "vassal failed; it stays down until its file changes");
        } else {
            tracing::info!(%name, %end, %why, "vassal ended");
        }
        // Whoever comes now is turned away instead of waiting for nobody.
        self.forget_demand(name);
    }

    /// What the emperor is to hear of something that could not be done for the process that a vassal has, or for the want
    /// of one.
    pub(super) fn failure(&self, name: &Name, deed: Deed, why: Option<impl ToString>) -> Option<Event> {
        let why = why?.to_string();
        let vassal = self.emperor.vassals().get(name);
        Some(Event::Failed {
            name: name.clone(),
            life: vassal.and_then(|vassal| vassal.state.life()),
            trouble: Trouble { deed, why },
        })
    }

    fn spawn(&mut self, life: Life, definition: Arc<Definition>, addresses: Vec<IpNet>) {
        let name = definition.name.clone();
        if !demand::is_woken_by_packets(&definition) {
            self.wake_for_good(&name);
        }
        let output = self.logs.open(&definition, &self.state.fifo(&name, life));
        let opened = output.and_then(|output| {
            let hook = self.pre_start(&definition)?;
            let places = places(&definition, life)?;
            Ok((output, places, hook, self.listener_for(&definition)?))
        });
        let ((output, opening), (tree, cages), hook, listener) = match opened {
            Ok(opened) => opened,
            Err(error) => return self.miscarry(name, life, &error),
        };
        let alive = Alive {
            name,
            handle: Arc::default(),
            under: definition.clone(),
            addresses: addresses.clone(),
            traces: None,
            born: None,
            tree: tree.clone(),
            spoken: Spoken::default(),
            probe: None,
            port: None,
            vigil: None,
            owes: false,
            started: false,
            pre_stop: false,
            written: <(Traffic, u64)>::default(),
        };
        let birth = Birth {
            definition,
            life,
            addresses,
            offload: self.settings.router.offload,
            output,
            cradle: self.cradle.clone(),
            handle: alive.handle.clone(),
            herald: self.herald.clone(),
            turn: self.turn.clone(),
            tree,
            hook,
            listener,
        };
        alive.handle.enclose(cages);
        self.lives.insert(life, alive);
        tokio::spawn(birth.live(opening));
    }

    /// There is no life, for want of something that it needs.
    fn miscarry(&self, name: Name, life: Life, error: &HostError) {
        let end = End::Stillborn(error.to_string());
        // Through the channel, so that the emperor is never told from within its own actions.
        let _ = self.herald.send((name, life, News::Ended(end)));
    }

    /// Applies live keys; as an error what the kernel refuses at once.
    fn update(&mut self, definition: &Arc<Definition>) -> Result<(), String> {
        let of_it = |(_, alive): &(&Life, &Alive)| alive.name == definition.name;
        let life = self.lives.iter().find(of_it).map(|(life, _)| *life);
        self.update_log(definition, life);
        let (under, refused) = life.map(|life| self.hold_to(life, definition)).unzip();
        let alive = life.and_then(|life| self.lives.get_mut(&life));
        let port = alive.zip(under).and_then(|(alive, under)| {
            alive.under = under;
            // It asks for what the old definition wanted; the table orders a new one where it is needed.
            alive.probe = None;
            alive.port
        });
        if let Some(port) = port {
            let network = &definition.network;
            self.fabric
                .replace(port, network.firewall_out.clone(), network.firewall_in.clone());
            self.fabric.limit(port, network.bandwidth);
            self.workers.publish(self.fabric.tables());
        }
        tracing::info!(name = %definition.name, "vassal updated while it runs");
        refused.flatten().map_or(Ok(()), Err)
    }

    /// The file may lie on a disk that takes its time.
    fn update_log(&mut self, definition: &Definition, life: Option<Life>) {
        let opening = self.logs.update(definition);
        let (herald, name, life) = (
            self.herald.clone(),
            definition.name.clone(),
            life.unwrap_or(Life(0)),
        );
        tokio::spawn(async move {
            if let Err(error) = opening.complete().await {
                // The daemon is gone only at the very end, when nobody listens any more.
                let _ = herald.send((name, life, News::LogRefused(error)));
            }
        });
    }

    /// Takes in news of a life.
    pub(super) fn hear(&mut self, name: Name, life: Life, news: News) {
        match news {
            News::Prepared { tun, traces, answer } => {
                let attached = self.attach(&name, life, tun, traces);
                // A task that does not wait any more sees the end by itself.
                let _ = answer.send(attached);
            }
            News::Born { pid } => {
                if let Some(alive) = self.lives.get_mut(&life) {
                    alive.born = Some(std::time::Instant::now());
                    let addresses: Vec<_> = alive.addresses.iter().map(ToString::to_string).collect();
                    tracing::info!(%name, pid, addresses = addresses.join(" "), "vassal running");
                }
                let whose = name.clone();
                self.tell(Event::Born {
                    name: whose,
                    life,
                    pid,
                });
                self.keep_vigil(life);
                self.greet(&name);
            }
            News::Ask(by) => self.ask(life, by),
            News::LimitsRefused { error, old, new } => self.limits_refused(life, &error, old, new),
            News::LogRefused(error) => {
                let why = format!("its log stays as it was: {error}");
                self.tell(Event::Failed {
                    name,
                    life: Some(life),
                    trouble: Trouble {
                        deed: Deed::Update,
                        why,
                    },
                });
            }
            News::Heard(heard) => self.take_in(&name, life, heard),
            News::Ended(end) => self.bury(name, life, end),
        }
    }

    /// Gives a newborn its port. It is written down before its gate opens: from then on
    /// it outlives this emperor.
    fn attach(&mut self, name: &Name, life: Life, tun: Tun, traces: Traces) -> Result<(), String> {
        if let Some(alive) = self.lives.get_mut(&life) {
            alive.traces = Some(traces);
        }
        self.hold_newborn(name, life);
        self.give_port(life, tun)?;
        if let Some(alive) = self.lives.get_mut(&life) {
            alive.owes = true;
        }
        self.write(name).map_err(|error| error.to_string())
    }

    /// Attaches a life's tun to the router.
    pub(super) fn give_port(&mut self, life: Life, tun: Tun) -> Result<(), String> {
        let Some(alive) = self.lives.get(&life) else {
            return Err("no longer wanted".to_owned());
        };
        let attachment = demand::attachment(&alive.under, &alive.addresses);
        let (name, wakefulness) = (alive.name.clone(), demand::wakefulness(&alive.under));
        // Its addresses pass from the sleeping port, if it has one, to this one within one change of the tables.
        self.wake(&name);
        let port = self
            .fabric
            .attach_as(attachment, wakefulness)
            .map_err(|error| error.to_string())?;
        if let Some(alive) = self.lives.get_mut(&life) {
            alive.port = Some(port);
        }
        let device = Device::new(port, tun.fd, tun.offloads);
        self.workers.attach(self.fabric.tables(), device);
        Ok(())
    }

    /// A life is over: its port, record and counters go where they belong, and the emperor hears of it.
    fn bury(&mut self, name: Name, life: Life, end: End) {
        let alive = self.lives.remove(&life);
        let port = alive.as_ref().and_then(|alive| alive.port);
        if let Some(remains) = port.and_then(|port| self.fabric.detach(port)) {
            self.totals.entry(name.clone()).or_default().add(remains);
        }
        self.forget_usage(&name);
        if let Some(alive) = alive.filter(|alive| alive.owes) {
            self.call_post_stop(&name, &alive, &end);
        }
        tracing::debug!(%name, %end, "vassal stopped");
        self.tell(Event::Ended { name, life, end });
        // Only now, so that the addresses of a vassal that sleeps from here on are never without a port.
        if let Some(port) = port {
            self.workers.detach(self.fabric.tables(), port);
        }
    }
}

/// Where the cgroup of a life's tree will be, if no pid namespace holds it together, and those that its limits need.
fn places(definition: &Definition, life: Life) -> Result<(Option<PathBuf>, Cages), HostError> {
    let Definition { name, limits, .. } = definition;
    let leaf = limits::leaf(name, life, limits::token());
    let trees = Trees::read();
    let tree = if definition.namespaces.pid {
        None
    } else {
        Some(Tree::place(&trees, name, &leaf)?)
    };
    let cages = Cages::default().plan(limits, &trees, name, &leaf, tree.as_deref())?;
    Ok((tree, cages))
}

/// Tells the operator when a vassal is started again.
fn retry(name: &Name, end: &End, at: Instant) {
    let after = until(at);
    match end {
        End::Stillborn(_) => tracing::error!(%name, %end, after, "vassal failed; it is tried again"),
        End::Exited(_) | End::Killed(_) | End::OutOfMemory | End::Felled(_) | End::Unknown => {
            tracing::warn!(%name, %end, after, "vassal ended; it is started again");
        }
    }
}

/// How long it is from now, for people.
pub(super) fn until(at: Instant) -> String {
    let delay = at.saturating_duration_since(Instant::now());
    format!("{:.1}s", delay.as_secs_f64())
}
