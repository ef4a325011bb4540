//! The control plane's side: who is attached, with which addresses and rules, compiled for the workers.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use super::PortId;
use super::counters::{Remains, Traffic};
use super::firewall::{Filter, mentions};
use super::routes::Book;
use super::slots::{Kind, Slots, Tenant, UPLINK};
use super::tables::{Policy, Port, Role, Tables, Wakefulness};
use crate::config::definition::{Bandwidth, Name};
use crate::config::rule::Chain;

/// Rules for all vassals.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GlobalPolicy {
    /// Packets that leave any vassal.
    pub out: Chain,
    /// Packets that enter any vassal.
    pub in_: Chain,
    /// Vassals cannot reach each other.
    pub isolate: bool,
}

/// What a vassal brings along.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attachment {
    /// Its name, for `@name` in others' rules.
    pub name: Name,
    /// Its addresses; a packet from any other source is spoofed.
    pub addresses: Vec<IpAddr>,
    /// The MTU of its tun in bytes.
    pub mtu: u16,
    /// Packets that leave it.
    pub out: Chain,
    /// Packets that enter it.
    pub in_: Chain,
    /// How much may leave and enter it.
    pub bandwidth: Bandwidth,
}

/// Why a vassal cannot be attached. Nothing has changed then.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AttachError {
    /// Another vassal holds one of its addresses.
    #[error("{address} is held by {by}")]
    Held {
        /// The address.
        address: IpAddr,
        /// Who holds it.
        by: Name,
    },
    /// One of its addresses is in no subnet of the router, or the gateway's, or a broadcast address.
    #[error("{address} is no vassal's address in any of the router's subnets")]
    Unusable {
        /// The address.
        address: IpAddr,
    },
    /// A vassal of that name is attached.
    #[error("{name} is attached already")]
    Attached {
        /// The name.
        name: Name,
    },
    /// All 4,294,967,294 slots for vassals are taken.
    #[error("no port is left")]
    Full,
}

/// Everything that is attached to the router.
#[derive(Debug)]
pub struct Fabric {
    slots: Slots,
    names: BTreeMap<Name, u32>,
    uplink: Option<PortId>,
    book: Book,
    policy: GlobalPolicy,
    /// What the workers last got of the global policy; taken away by a change.
    compiled_policy: Option<Arc<Policy>>,
    /// What the workers last got; taken away by a change.
    compiled: Option<Arc<Tables>>,
}

impl Fabric {
    /// A router with nobody attached. `subnets` are gateway addresses with their prefix lengths, at most one of each
    /// family; `workers` is how many [`Router`](super::Router)s will count.
    pub fn new(subnets: &[IpNet], policy: GlobalPolicy, workers: usize) -> Self {
        Self {
            slots: Slots::new(workers),
            names: BTreeMap::new(),
            uplink: None,
            book: Book::new(subnets),
            policy,
            compiled_policy: None,
            compiled: None,
        }
    }

    /// Attaches the host; `mtu` in bytes. An uplink that was there before is detached.
    pub fn attach_uplink(&mut self, mtu: u16) -> PortId {
        if let Some(old) = self.uplink {
            self.detach(old);
        }
        let id = self.slots.occupy(UPLINK, Kind::Uplink { mtu });
        self.compiled = None;
        self.uplink = Some(id);
        id
    }

    /// Attaches a vassal.
    ///
    /// # Errors
    /// If a name or an address is taken or cannot be a vassal's; nothing has changed then.
    pub fn attach(&mut self, vassal: Attachment) -> Result<PortId, AttachError> {
        self.attach_as(vassal, Wakefulness::Awake)
    }

    /// Attaches a vassal that is not [`Awake`](Wakefulness::Awake): packets that may enter it get the verdict
    /// [`Wake`](super::Verdict::Wake). One that sleeps has no device; when it gets one, this port is detached and
    /// another attached before the next [`tables`](Self::tables), so that nobody ever sees its addresses without a holder.
    ///
    /// # Errors
    /// As [`attach`](Self::attach).
    pub fn attach_as(&mut self, vassal: Attachment, wakefulness: Wakefulness) -> Result<PortId, AttachError> {
        if self.names.contains_key(&vassal.name) {
            return Err(AttachError::Attached { name: vassal.name });
        }
        for address in &vassal.addresses {
            self.check_address(*address)?;
        }
        let (name, addresses) = (vassal.name.clone(), vassal.addresses.clone());
        let index = self.slots.free().ok_or(AttachError::Full)?;
        let id = self.slots.occupy(index, Kind::Vassal(vassal, wakefulness));
        self.compiled = None;
        for address in addresses {
            self.book.set(address, Some(id.index));
        }
        self.forget_mentions(&name);
        self.names.insert(name, id.index);
        Ok(id)
    }

    /// Gives a vassal other chains; false if the port is gone, or the uplink's.
    pub fn replace(&mut self, port: PortId, out: Chain, in_: Chain) -> bool {
        let Some(tenant) = self.slots.get_mut(port) else {
            return false;
        };
        let Kind::Vassal(vassal, _) = &mut tenant.kind else {
            return false;
        };
        (vassal.out, vassal.in_) = (out, in_);
        tenant.compiled = None;
        self.compiled = None;
        true
    }

    /// Gives a vassal other limits; a direction whose limit stays the same goes on with what is in its bucket. False if
    /// the port is gone, or the uplink's.
    pub fn limit(&mut self, port: PortId, bandwidth: Bandwidth) -> bool {
        let Some(tenant) = self.slots.get_mut(port) else {
            return false;
        };
        let Kind::Vassal(vassal, _) = &mut tenant.kind else {
            return false;
        };
        vassal.bandwidth = bandwidth;
        tenant.limits.set(bandwidth);
        tenant.compiled = None;
        self.compiled = None;
        true
    }

    /// A vassal is awake now; false if the port is gone, or the uplink's.
    pub fn wake(&mut self, port: PortId) -> bool {
        let Some(tenant) = self.slots.get_mut(port) else {
            return false;
        };
        let Kind::Vassal(_, wakefulness) = &mut tenant.kind else {
            return false;
        };
        *wakefulness = Wakefulness::Awake;
        tenant.compiled = None;
        self.compiled = None;
        true
    }

    /// Gives all vassals other rules.
    pub fn set_policy(&mut self, policy: GlobalPolicy) {
        self.policy = policy;
        self.compiled_policy = None;
        self.compiled = None;
    }

    /// Takes a port away, and leaves what it has moved; `None` if it is gone already. Its addresses are free at once,
    /// its id names nobody any more.
    pub fn detach(&mut self, port: PortId) -> Option<Remains> {
        let tenant = self.slots.vacate(port)?;
        self.compiled = None;
        match tenant.kind {
            Kind::Uplink { .. } => self.uplink = None,
            Kind::Vassal(vassal, _) => {
                for address in vassal.addresses {
                    self.book.set(address, None);
                }
                self.names.remove(&vassal.name);
                self.forget_mentions(&vassal.name);
            }
        }
        Some(Remains::of(tenant.counters))
    }

    /// How many vassals are attached, asleep or awake.
    pub fn vassals(&self) -> usize {
        let tenants = self.slots.all().flatten();
        tenants
            .filter(|tenant| tenant.kind.attachment().is_some())
            .count()
    }

    /// What a port has moved, summed over the workers; `None` if it is gone.
    pub fn traffic(&self, port: PortId) -> Option<Traffic> {
        Some(self.slots.get(port)?.counters.total())
    }

    /// What the workers are to read from now on. Without a change in between it is the same again.
    pub fn tables(&mut self) -> Arc<Tables> {
        if let Some(tables) = &self.compiled {
            return Arc::clone(tables);
        }
        let tables = Arc::new(Tables {
            policy: self.compile_policy(),
            routes: self.book.compile(),
            uplink: self.uplink,
            ports: self.compile_ports(),
        });
        self.compiled = Some(Arc::clone(&tables));
        tables
    }
}

impl Fabric {
    fn check_address(&self, address: IpAddr) -> Result<(), AttachError> {
        if !self.book.is_usable(address) {
            return Err(AttachError::Unusable { address });
        }
        let holder = self.book.holder(address).and_then(|slot| self.slots.at(slot));
        match holder.and_then(|tenant| tenant.kind.attachment()) {
            Some(vassal) => Err(AttachError::Held {
                address,
                by: vassal.name.clone(),
            }),
            None => Ok(()),
        }
    }

    /// Everything that speaks of `name` is compiled again: its addresses have changed.
    fn forget_mentions(&mut self, name: &Name) {
        let speaks = |chain: &Chain| mentions(chain).any(|mentioned| mentioned == name);
        if speaks(&self.policy.out) || speaks(&self.policy.in_) {
            self.compiled_policy = None;
        }
        for tenant in self.slots.tenants_mut() {
            let attachment = tenant.kind.attachment();
            if attachment.is_some_and(|vassal| speaks(&vassal.out) || speaks(&vassal.in_)) {
                tenant.compiled = None;
            }
        }
    }

    fn compile_policy(&mut self) -> Arc<Policy> {
        if let Some(policy) = &self.compiled_policy {
            return Arc::clone(policy);
        }
        let policy = Arc::new(Policy {
            out: self.compile_chain(&self.policy.out),
            in_: self.compile_chain(&self.policy.in_),
            isolate: self.policy.isolate,
        });
        self.compiled_policy = Some(Arc::clone(&policy));
        policy
    }

    fn compile_ports(&mut self) -> Vec<Option<Arc<Port>>> {
        let ports: Vec<_> = self
            .slots
            .all()
            .map(|tenant| self.compile_port(tenant?))
            .collect();
        for tenant in self.slots.tenants_mut() {
            let port = ports.get(tenant.id.slot());
            tenant.compiled = port.and_then(Option::clone);
        }
        ports
    }

    fn compile_port(&self, tenant: &Tenant) -> Option<Arc<Port>> {
        if let Some(port) = &tenant.compiled {
            return Some(Arc::clone(port));
        }
        let (mtu, role, wakefulness) = match &tenant.kind {
            Kind::Uplink { mtu } => (*mtu, Role::Uplink, Wakefulness::Awake),
            Kind::Vassal(vassal, wakefulness) => {
                let role = Role::Vassal {
                    name: vassal.name.clone(),
                    out: self.compile_chain(&vassal.out),
                    in_: self.compile_chain(&vassal.in_),
                    limits: tenant.limits.clone(),
                };
                (vassal.mtu, role, *wakefulness)
            }
        };
        let counters = Arc::clone(&tenant.counters);
        Some(Arc::new(Port {
            id: tenant.id,
            role,
            wakefulness,
            mtu,
            counters,
        }))
    }

    fn compile_chain(&self, chain: &Chain) -> Filter {
        Filter::compile(chain, |name| self.addresses(name))
    }

    /// The addresses of the vassal of that name; none if there is no such vassal.
    fn addresses(&self, name: &Name) -> &[IpAddr] {
        self.names
            .get(name)
            .and_then(|slot| self.slots.at(*slot))
            .and_then(|tenant| tenant.kind.attachment())
            .map_or(&[], |vassal| &vassal.addresses)
    }
}
