//! Who sits where: slots are given again, ids never.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::PortId;
use super::counters::Counters;
use super::fabric::Attachment;
use super::limiter::Limiters;
use super::tables::{Port, Wakefulness};

/// The slot of the uplink; nobody else ever has it.
pub(super) const UPLINK: u32 = 0;
/// The lowest slot of a vassal.
const FIRST_VASSAL: u32 = 1;

/// Every slot that somebody ever had.
#[derive(Debug)]
pub(super) struct Slots {
    slots: Vec<Slot>,
    /// Those of vassals that are gone.
    free: BTreeSet<u32>,
    workers: usize,
}

#[derive(Debug, Default)]
struct Slot {
    generation: u32,
    tenant: Option<Tenant>,
}

/// Who is in a slot.
#[derive(Debug)]
pub(super) struct Tenant {
    pub(super) id: PortId,
    pub(super) kind: Kind,
    pub(super) counters: Arc<Counters>,
    pub(super) limits: Limiters,
    /// What the workers last got of it; taken away by a change.
    pub(super) compiled: Option<Arc<Port>>,
}

#[derive(Debug)]
pub(super) enum Kind {
    Uplink { mtu: u16 },
    Vassal(Attachment, Wakefulness),
}

impl Kind {
    /// What a vassal brought along; the uplink brings nothing.
    pub(super) fn attachment(&self) -> Option<&Attachment> {
        match self {
            Self::Vassal(vassal, _) => Some(vassal),
            Self::Uplink { .. } => None,
        }
    }
}

impl Slots {
    /// None yet; `workers` is how many will count.
    pub(super) fn new(workers: usize) -> Self {
        Self {
            slots: Vec::new(),
            free: BTreeSet::new(),
            workers,
        }
    }

    /// The lowest slot that a vassal can have; `None` if all are taken.
    pub(super) fn free(&self) -> Option<u32> {
        let next = u32::try_from(self.slots.len().max(FIRST_VASSAL as usize)).ok();
        let fresh = next.filter(|index| *index != u32::MAX);
        self.free.first().copied().or(fresh)
    }

    /// Puts somebody into a free slot.
    pub(super) fn occupy(&mut self, index: u32, kind: Kind) -> PortId {
        let slot = index as usize;
        if self.slots.len() <= slot {
            self.slots.resize_with(slot + 1, Slot::default);
        }
        self.free.remove(&index);
        let slot = &mut self.slots[slot];
        let id = PortId {
            index,
            generation: slot.generation,
        };
        let counters = Arc::new(Counters::new(self.workers));
        let limits = Limiters::of(kind.attachment().map(|vassal| vassal.bandwidth));
        slot.tenant = Some(Tenant {
            id,
            kind,
            counters,
            limits,
            compiled: None,
        });
        id
    }

    /// Takes somebody out; `None` if nobody has that id any more.
    pub(super) fn vacate(&mut self, port: PortId) -> Option<Tenant> {
        self.get(port)?;
        let slot = self.slots.get_mut(port.slot())?;
        let tenant = slot.tenant.take()?;
        slot.generation = slot.generation.wrapping_add(1);
        if port.index != UPLINK {
            self.free.insert(port.index);
        }
        Some(tenant)
    }

    /// Who has that id.
    pub(super) fn get(&self, port: PortId) -> Option<&Tenant> {
        self.at(port.index).filter(|tenant| tenant.id == port)
    }

    /// The same, to be changed.
    pub(super) fn get_mut(&mut self, port: PortId) -> Option<&mut Tenant> {
        self.slots
            .get_mut(port.slot())?
            .tenant
            .as_mut()
            .filter(|tenant| tenant.id == port)
    }

    /// Who is in that slot.
    pub(super) fn at(&self, index: u32) -> Option<&Tenant> {
        self.slots.get(index as usize)?.tenant.as_ref()
    }

    /// Every slot in its order.
    pub(super) fn all(&self) -> impl Iterator<Item = Option<&Tenant>> {
        self.slots.iter().map(|slot| slot.tenant.as_ref())
    }

    /// Everybody, to be changed.
    pub(super) fn tenants_mut(&mut self) -> impl Iterator<Item = &mut Tenant> {
        self.slots.iter_mut().filter_map(|slot| slot.tenant.as_mut())
    }
}
