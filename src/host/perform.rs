//! What the emperor decided, done; and what the lives tell, passed on.

use crate::config::{Definition, Name};
use crate::emperor::state::{End, Life};
use crate::emperor::{Action, Event, Run};
use crate::router::Attachment;

use super::daemon::{Alive, Daemon};
use super::dialogue::Spoken;
use super::life::{Birth, News};
use super::state::Record;
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
            Action::Ask { name, life, by } => self.ask(&name, life, by),
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
            Action::Abandon { name, end, why } if why.is_failure(&end) => {
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
                    End::Exited(_) | End::Killed(_) | End::Felled(_) | End::Unknown | End::Lost(_) => {
                        tracing::warn!(%name, %end, after, "vassal ended; it is started again");
                    }
                }
            }
        }
    }

    fn spawn(&mut self, life: Life, definition: Arc<Definition>, addresses: Vec<IpNet>) {
        let name = definition.name.clone();
        let output = match self.logs.open(&definition) {
            Ok(output) => output,
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
            spoken: Spoken::default(),
            probe: None,
            pid: 0,
            netns: 0,
            port: None,
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
        };
        self.lives.insert(life, alive);
        tokio::spawn(birth.live());
    }

    fn update(&mut self, definition: &Definition) {
        if let Err(error) = self.logs.update(definition) {
            tracing::error!(name = %definition.name, "{error}; the log stays as it was");
        }
        let alive = self
            .lives
            .values_mut()
            .find(|alive| alive.name == definition.name);
        let port = alive.and_then(|alive| {
            // It asks for what the old definition wanted; the table orders a new one where it is needed.
            alive.probe = None;
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
            News::Prepared {
                tun,
                pid,
                netns,
                answer,
            } => {
                let attached = self.attach(&name, life, tun, (pid, netns));
                // A task that does not wait any more sees the end by itself.
                let _ = answer.send(attached);
            }
            News::Born { pid } => {
                self.tell(Event::Born {
                    name: name.clone(),
                    life,
                    pid,
                });
                self.record(&name);
            }
            News::Heard(heard) => self.take_in(&name, life, heard),
            News::Ended(end) => self.bury(name, life, end),
        }
    }

    /// Gives a newborn its port, under the newest policy.
    fn attach(&mut self, name: &Name, life: Life, tun: Tun, (pid, netns): (u32, u64)) -> Result<(), String> {
        let vassal = self.emperor.vassals().get(name);
        let (Some(vassal), Some(alive)) = (vassal, self.lives.get_mut(&life)) else {
            return Err("no longer wanted".to_owned());
        };
        let network = &vassal.definition.network;
        let attachment = Attachment {
            name: name.clone(),
            addresses: vassal.addresses.iter().map(IpNet::addr).collect(),
            mtu: network.mtu,
            out: network.firewall_out.clone(),
            in_: network.firewall_in.clone(),
        };
        let port = self
            .fabric
            .attach(attachment)
            .map_err(|error| error.to_string())?;
        (alive.pid, alive.netns, alive.port) = (pid, netns, Some(port));
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
        self.state.erase(&name);
        tracing::debug!(%name, %end, "vassal stopped");
        self.tell(Event::Ended { name, life, end });
    }

    fn record(&mut self, name: &Name) {
        let Some(vassal) = self.emperor.vassals().get(name) else {
            return;
        };
        let Some(&Run { life, pid, .. }) = vassal.state.run() else {
            return;
        };
        let addresses: Vec<_> = vassal.addresses.iter().map(ToString::to_string).collect();
        tracing::info!(%name, pid, addresses = addresses.join(" "), "vassal running");
        let record = Record {
            name: name.to_string(),
            pid,
            netns: self.lives.get(&life).map_or(0, |alive| alive.netns),
            device: vassal.definition.network.device.clone(),
            addresses,
            definition: vassal.definition.path.clone(),
        };
        if let Err(error) = self.state.record(&record) {
            tracing::error!("{error}");
        }
    }
}
