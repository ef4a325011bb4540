//! What a worker reads: ports, rules and routes of one moment, swapped in whole.

use std::sync::Arc;

use super::PortId;
use super::counters::Counters;
use super::firewall::Filter;
use super::limiter::Limiters;
use super::routes::Routes;
use crate::config::definition::Name;
use crate::packet::Address;

/// One moment of the router. Parts that have not changed are shared with the moment before.
#[derive(Debug)]
pub struct Tables {
    /// By slot.
    pub(super) ports: Vec<Option<Arc<Port>>>,
    pub(super) uplink: Option<PortId>,
    pub(super) routes: Routes,
    pub(super) policy: Arc<Policy>,
}

/// Chains that every vassal's packets pass before its own.
#[derive(Debug)]
pub(super) struct Policy {
    pub(super) out: Filter,
    pub(super) in_: Filter,
    pub(super) isolate: bool,
}

/// One attachment, as the packet path reads it.
#[derive(Debug)]
pub struct Port {
    pub(super) id: PortId,
    pub(super) role: Role,
    pub(super) wakefulness: Wakefulness,
    pub(super) mtu: u16,
    pub(super) counters: Arc<Counters>,
}

/// Whether what is for a port's vassal finds a program that can take it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wakefulness {
    /// It does.
    Awake,
    /// The vassal has a device and is yet to be ready.
    Rising,
    /// There is no device; the vassal is to be started.
    Asleep,
}

/// What a port leads to.
#[derive(Debug)]
pub(super) enum Role {
    /// The host.
    Uplink,
    /// One vassal, behind its own chains and limits.
    Vassal {
        name: Name,
        out: Filter,
        in_: Filter,
        limits: Limiters,
    },
}

impl Tables {
    /// The port that `id` names; absent when it is gone, or its slot is somebody else's now.
    #[inline]
    pub fn port(&self, id: PortId) -> Option<&Port> {
        self.slot(id.index)
            .filter(|port| port.id.generation == id.generation)
    }

    /// The port that holds `address` now.
    pub fn holder(&self, address: Address) -> Option<&Port> {
        self.slot(self.routes.holder(address)?)
    }

    /// All ports, by slot.
    pub fn ports(&self) -> impl Iterator<Item = &Port> {
        self.ports.iter().filter_map(Option::as_deref)
    }

    /// The uplink's port.
    pub fn uplink(&self) -> Option<PortId> {
        self.uplink
    }

    #[inline]
    pub(super) fn slot(&self, index: u32) -> Option<&Port> {
        self.ports.get(index as usize)?.as_deref()
    }
}

impl Port {
    /// Its id.
    #[inline]
    pub fn id(&self) -> PortId {
        self.id
    }

    /// Whether its vassal can take what is for it.
    #[inline]
    pub fn wakefulness(&self) -> Wakefulness {
        self.wakefulness
    }

    /// Its MTU in bytes.
    #[inline]
    pub fn mtu(&self) -> u16 {
        self.mtu
    }

    /// The vassal's name; the uplink has none.
    pub fn name(&self) -> Option<&Name> {
        match &self.role {
            Role::Uplink => None,
            Role::Vassal { name, .. } => Some(name),
        }
    }
}
