//! Vassals that a packet wakes: their sleeping ports, and what waits for them.

use ipnet::IpNet;

use crate::config::definition::Trigger;
use crate::config::{Definition, Name};
use crate::emperor::Event;
use crate::emperor::state::Life;
use crate::host::daemon::Daemon;
use crate::router::{AttachError, Attachment, PortId, Wakefulness};

impl Daemon {
    /// A frame waits for the vassal of this port.
    pub(in crate::host) fn wanted(&mut self, port: PortId) {
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
    pub(super) fn put_to_sleep(&mut self, definition: &Definition) -> Result<(), AttachError> {
        let name = &definition.name;
        self.wake(name);
        let Some(vassal) = self.emperor.vassals().get(name) else {
            return Ok(());
        };
        let attachment = attachment(definition, &vassal.addresses);
        let attached = self.fabric.attach_as(attachment, Wakefulness::Asleep);
        self.workers.publish(self.fabric.tables());
        self.demands.sleepers.insert(name.clone(), attached?);
        Ok(())
    }

    /// Takes the sleeping port away, if there is one. The next tables must say who has the addresses.
    pub(in crate::host) fn wake(&mut self, name: &Name) {
        let port = self.demands.sleepers.remove(name);
        if let Some(remains) = port.and_then(|port| self.fabric.detach(port)) {
            self.totals.entry(name.clone()).or_default().add(remains);
        }
    }

    /// No packet is to wake it from here on: its addresses are nobody's, until it has a port.
    pub(in crate::host) fn wake_for_good(&mut self, name: &Name) {
        if self.demands.sleepers.contains_key(name) {
            self.wake(name);
            self.workers.publish(self.fabric.tables());
        }
    }

    /// A vassal is ready: what waited for it can enter.
    pub(in crate::host) fn is_awake(&mut self, life: Life) {
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

    /// The live keys of a vassal that sleeps.
    pub(in crate::host) fn update_sleeper(&mut self, name: &Name) {
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

/// Whether a vassal that has just got its device can take packets: one that was woken by a packet is yet to be ready.
pub(in crate::host) fn wakefulness(definition: &Definition) -> Wakefulness {
    if is_woken_by_packets(definition) {
        Wakefulness::Rising
    } else {
        Wakefulness::Awake
    }
}

/// What the router is told of a vassal.
pub(in crate::host) fn attachment(definition: &Definition, addresses: &[IpNet]) -> Attachment {
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

/// Whether it is started on demand, by its first packet.
pub(in crate::host) fn is_woken_by_packets(definition: &Definition) -> bool {
    match definition.on_demand.as_ref().map(|demand| &demand.trigger) {
        Some(Trigger::Packet) => true,
        Some(Trigger::Unix { .. } | Trigger::Tcp(_)) | None => false,
    }
}
