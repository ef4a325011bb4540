//! The ports of the pretended router, kept as the host keeps the real ones (`host::demand`): a life has one from its birth
//! to its end, a vassal that a packet wakes has a sleeping one while it has none.

use std::collections::BTreeMap;
use std::net::IpAddr;

use mini_emperor::config::definition::Trigger;
use mini_emperor::config::{Definition, Name};
use mini_emperor::emperor::state::{Life, State};
use mini_emperor::emperor::{Action, Emperor};

use super::ensure;

/// Which addresses lead where.
#[derive(Debug, Default)]
pub(crate) struct Ports {
    lives: BTreeMap<Life, (Name, Vec<IpAddr>)>,
    asleep: BTreeMap<Name, Vec<IpAddr>>,
}

impl Ports {
    /// A process has its network.
    pub(crate) fn attach(&mut self, life: Life, name: &Name, addresses: &[IpAddr]) {
        self.asleep.remove(name);
        let port = (name.clone(), addresses.to_vec());
        assert!(self.lives.insert(life, port).is_none(), "{life:?} has two ports");
    }

    /// It has ended.
    pub(crate) fn detach(&mut self, life: Life) {
        self.lives.remove(&life);
    }

    /// What an action of the emperor's means for them; one that fails gives nobody a port.
    pub(crate) fn perform(&mut self, action: &Action, emperor: &Emperor, fails: bool) {
        match action {
            Action::Await(name) => {
                let vassal = &emperor.vassals()[name];
                self.asleep.remove(name);
                if !fails && is_woken_by_packets(&vassal.definition) {
                    let addresses = vassal.addresses.iter().map(|net| net.addr()).collect();
                    self.asleep.insert(name.clone(), addresses);
                }
            }
            Action::Spawn { definition, .. } if !is_woken_by_packets(definition) => {
                self.asleep.remove(&definition.name);
            }
            Action::Abandon { name, .. } | Action::Forget(name) => {
                self.asleep.remove(name);
            }
            Action::Spawn { .. }
            | Action::Probe { .. }
            | Action::Reload { .. }
            | Action::Ask { .. }
            | Action::Kill { .. }
            | Action::Update { .. }
            | Action::Say { .. }
            | Action::Complain { .. }
            | Action::Refuse { .. }
            | Action::Retry { .. } => {}
        }
    }

    /// What always holds; the sentence says what does not.
    pub(crate) fn check(&self, emperor: &Emperor, exists: impl Fn(Life) -> bool) -> Result<(), String> {
        for (life, (name, _)) in &self.lives {
            ensure(exists(*life), || {
                format!("{life:?} of {name} has a port and no process")
            })?;
        }
        for name in self.asleep.keys() {
            let vassal = emperor.vassals().get(name);
            let Some(state) = vassal.map(|vassal| &vassal.state) else {
                return Err(format!("{name} is no more and sleeps"));
            };
            let may_sleep = match state {
                State::Idle | State::Waiting { .. } | State::Starting { .. } | State::Stopping { .. } => true,
                State::Running(_) | State::Down { .. } | State::Gone => false,
            };
            ensure(may_sleep, || format!("{name} sleeps and is {state:?}"))?;
        }
        for (name, vassal) in emperor.vassals() {
            let addresses: Vec<_> = vassal.addresses.iter().map(|net| net.addr()).collect();
            let waits = vassal.state == State::Idle && is_woken_by_packets(&vassal.definition);
            ensure(!waits || self.asleep.get(name) == Some(&addresses), || {
                format!("{name} waits for packets that nobody holds")
            })?;
        }
        self.nobody_shares_an_address()
    }

    fn nobody_shares_an_address(&self) -> Result<(), String> {
        let mut holders = BTreeMap::new();
        let lives = self.lives.values().map(|(name, addresses)| (name, addresses));
        for (name, addresses) in lives.chain(&self.asleep) {
            for address in addresses {
                let other = holders.insert(address, name);
                ensure(other.is_none(), || {
                    format!("{address} leads to {name} and to {other:?}")
                })?;
            }
        }
        Ok(())
    }
}

fn is_woken_by_packets(definition: &Definition) -> bool {
    let trigger = definition.on_demand.as_ref().map(|demand| &demand.trigger);
    trigger == Some(&Trigger::Packet)
}
