//! What the emperor decided, done; and what the lives tell, passed on.

use crate::config::{Definition, Name};
use crate::emperor::state::{End, Life};
use crate::emperor::{Action, Event};
use crate::router::{Attachment, Traffic};

use super::daemon::{Alive, Daemon, chance};
use super::dialogue::Spoken;
use super::life::{Birth, News, Traces};
use super::tree::Tree;
use super::tun::Tun;
use super::workers::Device;

use std::sync::Arc;

use ipnet::IpNet;

impl Daemon {
    /// Does one thing that the emperor decided.
    pub(super) fn perform(&mut self, action: Action) {
        match action {
            Action::Spawn {
                life,
                definition,
                addresses,
            } => self.spawn(life, definition, addresses),
            Action::Probe { name, life, port } => self.probe(name, life, port),
            Action::Reload { name, life, by } => self.reload(&name, life, by),
            Action::Ask { life, by, .. } => self.ask(life, by),
            Action::Await(name) => tracing::info!(%name, "waiting for a client"),
            Action::Say { name, notice } => self.say(&name, notice),
            Action::Kill { name, life } => {
                tracing::warn!(%name, "killing the whole tree");
                if let Some(alive) = self.lives.get(&life) {
                    alive.handle.doom();
                }
            }
            Action::Update { definition } => self.update(&definition),
            Action::Forget(name) => {
                tracing::info!(%name, "vassal gone");
                self.logs.forget(&name);
                self.totals.remove(&name);
            }
            Action::Refuse { definition, why } => self.refuse(&definition, &why),
            Action::Abandon { name, end, why } if end.is_failure() => {
                tracing::error!(%name, %end, %why, "vassal failed; it stays down until its file changes");
            }
            Action::Abandon { name, end, why } => tracing::info!(%name, %end, %why, "vassal ended"),
            Action::Retry { name, end, at } => {
                let delay = at.saturating_duration_since(std::time::Instant::now());
                let after = format!("{:.1}s", delay.as_secs_f64());
                match end {
                    End::Stillborn(_) => {
                        tracing::error!(%name, %end, after, "vassal failed; it is tried again")
                    }
                    End::Exited(_) | End::Killed(_) | End::Felled(_) | End::Unknown => {
                        tracing::warn!(%name, %end, after, "vassal ended; it is started again");
                    }
                }
            }
        }
    }

    fn spawn(&mut self, life: Life, definition: Arc<Definition>, addresses: Vec<IpNet>) {
        let name = definition.name.clone();
        let tree = match definition.namespaces.pid {
            true => Ok(None),
            false => {
                let token = u32::try_from(chance() >> 32).unwrap_or_default();
                Tree::place(&name, life, token).map(Some)
            }
        };
        let output = self.logs.open(&definition, &self.state.fifo(&name, life));
        let (output, tree) = match output.and_then(|output| Ok((output, tree?))) {
            Ok(ready) => ready,
            Err(error) => {
                let end = End::Stillborn(error.to_string());
                // Through the channel, so that the emperor is never told from within its own actions.
                let _ = self.herald.send((name, life, News::Ended(end)));
                return;
            }
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
            written: Traffic::default(),
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
        };
        self.lives.insert(life, alive);
        tokio::spawn(birth.live());
    }

    fn update(&mut self, definition: &Arc<Definition>) {
        if let Err(error) = self.logs.update(definition) {
            tracing::error!(name = %definition.name, "{error}; the log stays as it was");
        }
        let alive = self
            .lives
            .values_mut()
            .find(|alive| alive.name == definition.name);
        let port = alive.and_then(|alive| {
            alive.under = definition.clone();
            alive.port
        });
        if let Some(port) = port {
            let network = &definition.network;
            self.fabric
                .replace(port, network.firewall_out.clone(), network.firewall_in.clone());
            self.workers.publish(self.fabric.tables());
        }
        tracing::info!(name = %definition.name, "vassal updated while it runs");
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
                self.tell(Event::Born { name, life, pid });
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
        self.give_port(life, tun)?;
        self.write(name).map_err(|error| error.to_string())
    }

    /// Attaches a life's tun to the router.
    pub(super) fn give_port(&mut self, life: Life, tun: Tun) -> Result<(), String> {
        let Some(alive) = self.lives.get_mut(&life) else {
            return Err("no longer wanted".to_owned());
        };
        let network = &alive.under.network;
        let attachment = Attachment {
            name: alive.name.clone(),
            addresses: alive.addresses.iter().map(IpNet::addr).collect(),
            mtu: network.mtu,
            out: network.firewall_out.clone(),
            in_: network.firewall_in.clone(),
        };
        let port = self
            .fabric
            .attach(attachment)
            .map_err(|error| error.to_string())?;
        alive.port = Some(port);
        let device = Device::new(port, tun.fd, tun.offloads);
        self.workers.attach(self.fabric.tables(), device);
        Ok(())
    }

    /// A life is over: its port, record and counters go where they belong, and the emperor hears of it.
    fn bury(&mut self, name: Name, life: Life, end: End) {
        if let Some(port) = self.lives.remove(&life).and_then(|alive| alive.port) {
            if let Some(traffic) = self.fabric.detach(port) {
                self.totals.entry(name.clone()).or_default().add(&traffic);
            }
            self.workers.detach(self.fabric.tables(), port);
        }
        tracing::debug!(%name, %end, "vassal stopped");
        self.tell(Event::Ended { name, life, end });
    }
}
