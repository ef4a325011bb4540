//! A router thread as the control plane has it, and what it is told.

use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::thread::JoinHandle;

use nix::sys::eventfd::EventFd;

use super::Release;
use super::plane::{Device, Plane};

/// What a worker has let go of; dropped where it delays nobody.
#[allow(dead_code, reason = "held, then dropped")]
pub(super) enum Retired {
    Plane(Arc<Plane>),
    Device(Arc<Device>),
}

/// What the control plane tells a worker.
pub(super) enum Order {
    /// This is how it is from now on.
    Work(Arc<Plane>),
    /// Read from this device, too.
    Watch(Arc<Device>),
    /// Read from it no more.
    Forget(Arc<Device>),
    /// Read from it no more, and say when its last frame has been written.
    Release(Arc<Device>, Release),
    /// End.
    End,
}

/// A router thread, as the control plane has it.
pub(super) struct Thread {
    pub(super) orders: Sender<Order>,
    pub(super) poke: Arc<EventFd>,
    pub(super) handle: Option<JoinHandle<()>>,
}

impl Thread {
    pub(super) fn has_ended(&self) -> bool {
        self.handle.as_ref().is_none_or(JoinHandle::is_finished)
    }

    pub(super) fn tell(&self, order: Order) {
        // A worker that is gone has said why.
        let _ = self.orders.send(order);
        self.poke();
    }

    pub(super) fn poke(&self) {
        // The counter is full only if a poke is pending anyway.
        let _ = self.poke.write(1);
    }
}
