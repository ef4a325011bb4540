//! What the workers work with.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::host::tun::Offloads;
use crate::router::{PortId, Tables};

/// Copying so many bytes takes about as long as all else that is done for a frame.
const BYTES_LIKE_A_FRAME: u64 = 8192;

/// The tables and, by port index, the devices.
pub struct Plane {
    /// Policy.
    pub tables: Arc<Tables>,
    /// By [`PortId::index`].
    pub devices: Vec<Option<Arc<Device>>>,
}

impl Plane {
    /// The device of `port`, unless the port is gone.
    #[inline]
    pub(super) fn device(&self, port: PortId) -> Option<&Arc<Device>> {
        let device = self.devices.get(port.index as usize)?.as_ref();
        device.filter(|device| device.port == port)
    }
}

/// A device as a worker sees it.
pub struct Device {
    /// The port that it belongs to.
    pub port: PortId,
    /// The tun.
    pub tun: OwnedFd,
    /// What frames for it may leave undone.
    pub offloads: Offloads,
    /// A kernel has refused a super-frame that came from it: they are cut here from then on, in their order.
    pub(super) refused: AtomicBool,
    work: Work,
}

/// Apart from what other workers read of a device.
#[repr(align(128))]
#[derive(Default)]
struct Work(AtomicU64);

impl Device {
    /// The tun of `port`, of which frames may leave as much undone as `offloads` says.
    pub fn new(port: PortId, tun: OwnedFd, offloads: Offloads) -> Self {
        Self {
            port,
            tun,
            offloads,
            refused: AtomicBool::new(false),
            work: Work::default(),
        }
    }

    /// What its frames have cost so far, whatever became of them; a small frame costs 1.
    pub fn work(&self) -> u64 {
        self.work.0.load(Ordering::Relaxed)
    }

    /// A frame of so many bytes was read from it. Only its reader may say so.
    #[inline]
    pub(super) fn worked(&self, bytes: usize) {
        let cost = 1 + (bytes as u64) / BYTES_LIKE_A_FRAME;
        self.work.0.store(self.work() + cost, Ordering::Relaxed);
    }
}
