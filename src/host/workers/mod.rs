//! The router's threads: frames in from the tuns they own, out to any.
//!
//! Each worker owns the *read* side of some ports and may write to all of them; so the frames of one flow,
//! which come from one port, are handled by one thread in their order. What a frame may do is decided by
//! the pure [`Router`](crate::router::Router) at a worker's desk; an [`engine`](Engine) only carries frames
//! to it and from it.
//!
//! Policy reaches a worker as a [`Plane`]: compiled tables and the devices they speak of, swapped whole. The
//! control plane sends orders and pokes (an eventfd); nothing else wakes an idle worker, and no lock is on
//! the way of a packet.
//!
//! # What was tried
//!
//! Linux 6.18 on two cores of an AMD EPYC, vassal to vassal, MTU 1500, pins and chains on; medians of three rounds that
//! took turns, from `integration/bench`. Streams in Gbit/s, 64-byte datagrams in thousands delivered per second under
//! flood, median round trip of a small datagram in microseconds.
//!
//! | | 1 stream | 8 streams | 64 bytes | round trip |
//! |---|---|---|---|---|
//! | **io_uring, a worker a core** | 17.3 | 23.3 | 327 | 18.7 |
//! | io_uring, one worker | 18.6 | 18.6 | 340 | 39.2 |
//! | epoll, a worker a core | 17.3 | 22.6 | 244 | 35.9 |
//! | epoll, one worker | 15.5 | 18.9 | 225 | 40.8 |
//! | the bare relay (epoll, read, write, no router) | 16.1 | 19.6 | 266 | 61.2 |
//! | veth and bridge | 18.1 | 19.0 to 40.7 | 173 | 51.2 |
//!
//! - **io_uring** stays: it spends 0.45 s of CPU a gigabyte where epoll spends 0.60, and halves the loss under flood.
//!   epoll is what a sandbox without io_uring gets.
//! - **A worker a core** costs a single stream 7 % and gains eight streams a quarter.
//! - **Looking on before sleep** for 0, 20, 50, 200 us: round trips of 58.8, 70.7, 18.7, 18.7 us, streams alike. 50 us.
//!   The look gives way (`sched_yield`), so a busy machine loses nothing by it.
//! - **Buffers lent to the ring**, 4, 8, 16, 32, 64: 198, 208, 257, 290, 247 thousand small datagrams. 64; streams do not
//!   care, so the frames' staying in the nearest cache is not worth a smaller number.
//! - **`IFF_NAPI`**: round trips doubled (50.6 against 23.2 us) and a fifth fewer small datagrams. Dropped.
//! - **Queue of a tun** of 500, 1000, 4000 packets: 134, 204, 249 thousand small datagrams. 1000: more is memory in the kernel
//!   for each vassal, and delay behind a flood.
//! - **No queueing discipline** on the tun: within the noise. Dropped; the default one keeps flows fair.
//! - **Two queues on the uplink**, one for each worker (`IFF_MULTI_QUEUE`), vassal to host: eight streams 12.9 against 14.1, 64
//!   bytes 73 against 114, the other way alike. Dropped.
//! - **Workers pinned to cores**: within the noise (0.9 to 1.25), and the scheduler loses its freedom. Dropped.

mod desk;
mod epoll;
mod patience;
mod uring;
mod waiting_room;
mod worker;

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use nix::errno::Errno;
use nix::sys::eventfd::{EfdFlags, EventFd};
use tokio::sync::mpsc::UnboundedSender;

use crate::config::settings::Engine as Wish;
use crate::router::{PortId, Tables};

use super::error::{Doing, HostError};
use super::pulse::Pulse;
use super::tun::Offloads;

/// What the workers work with: the tables and, by port index, the devices.
pub struct Plane {
    /// Policy.
    pub tables: Arc<Tables>,
    /// By [`PortId::index`].
    pub devices: Vec<Option<Arc<Device>>>,
}

impl Plane {
    /// The device of `port`, unless the port is gone.
    #[inline]
    fn device(&self, port: PortId) -> Option<&Arc<Device>> {
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
    refused: AtomicBool,
}

impl Device {
    /// The tun of `port`, of which frames may leave as much undone as `offloads` says.
    pub fn new(port: PortId, tun: OwnedFd, offloads: Offloads) -> Self {
        Self {
            port,
            tun,
            offloads,
            refused: AtomicBool::new(false),
        }
    }
}

/// A device that ended by itself: deleted from inside its namespace, for instance.
#[derive(Debug, Clone, Copy)]
pub struct DeviceLost {
    /// Whose.
    pub port: PortId,
    /// The kernel's answer to the read.
    pub errno: Errno,
}

/// What a worker tells the control plane.
#[derive(Debug, Clone, Copy)]
pub enum Report {
    /// A device ended.
    Lost(DeviceLost),
    /// A frame waits for the vassal of this port, which sleeps.
    Wanted(PortId),
}

/// What a worker has let go of; dropped where it delays nobody.
#[allow(dead_code, reason = "held, then dropped")]
enum Retired {
    Plane(Arc<Plane>),
    Device(Arc<Device>),
}

/// What the control plane tells a worker.
enum Order {
    /// This is how it is from now on.
    Work(Arc<Plane>),
    /// Read from this device, too.
    Watch(Arc<Device>),
    /// Read from it no more.
    Forget(Arc<Device>),
    /// End.
    End,
}

/// How frames are carried between devices and desk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// Multishot reads into lent buffers, writes in batches. Linux 6.7.
    IoUring,
    /// One system call a frame and direction.
    Epoll,
}

impl std::fmt::Display for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::IoUring => "io_uring",
            Self::Epoll => "epoll",
        })
    }
}

/// The running workers.
pub struct Workers {
    plane: Arc<Plane>,
    engine: Engine,
    count: usize,
    threads: Vec<Thread>,
    closer: Sender<Retired>,
    pulse: Arc<Pulse>,
}

struct Thread {
    orders: Sender<Order>,
    poke: Arc<EventFd>,
    handle: Option<JoinHandle<()>>,
}

impl Workers {
    /// Starts `count` threads on the engine that `wish` names, or the best that the kernel grants. `reports` hears of
    /// devices that end by themselves, and of vassals that are to be woken.
    ///
    /// # Errors
    /// If no thread can be had, or the engine that was demanded cannot.
    pub fn start(
        count: usize,
        wish: Wish,
        tables: Arc<Tables>,
        reports: &UnboundedSender<Report>,
    ) -> Result<Self, HostError> {
        let plane = Arc::new(Plane {
            tables,
            devices: Vec::new(),
        });
        let (closer, retired) = channel();
        std::thread::Builder::new()
            .name("closer".to_owned())
            .spawn(move || retired.into_iter().for_each(drop::<Retired>))
            .map_err(|e| HostError::from_io(Doing::StartWorker, "the router", &e))?;
        let mut workers = Self {
            plane,
            engine: match wish {
                Wish::Auto | Wish::IoUring => Engine::IoUring,
                Wish::Epoll => Engine::Epoll,
            },
            count,
            threads: Vec::with_capacity(count),
            closer,
            pulse: Arc::new(Pulse::new(count)),
        };
        while workers.threads.len() < count {
            match workers.start_one(reports) {
                Ok(thread) => workers.threads.push(thread),
                // All workers use one engine: those that have started begin again.
                Err(error) if wish == Wish::Auto && workers.engine == Engine::IoUring => {
                    tracing::debug!("{error}; epoll instead");
                    workers.end();
                    workers.engine = Engine::Epoll;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(workers)
    }

    /// Ends every thread and waits for it: nothing moves and nothing is counted any more.
    pub fn stop(&mut self) {
        self.end();
    }

    /// Starts them again, with the devices they had.
    ///
    /// # Errors
    /// If no thread can be had.
    pub fn resume(&mut self, reports: &UnboundedSender<Report>) -> Result<(), HostError> {
        while self.threads.len() < self.count {
            let thread = self.start_one(reports)?;
            self.threads.push(thread);
        }
        for device in self.plane.devices.iter().flatten() {
            self.tell_owner(device.port, Order::Watch(device.clone()));
        }
        Ok(())
    }

    /// The signs of life of the threads.
    pub fn pulse(&self) -> &Arc<Pulse> {
        &self.pulse
    }

    /// Wakes every thread, so that it turns.
    pub fn poke(&self) {
        for thread in &self.threads {
            thread.poke();
        }
    }

    /// The device of `port`.
    pub fn device(&self, port: PortId) -> Option<&Arc<Device>> {
        self.plane.device(port)
    }

    /// The engine that was chosen.
    pub fn engine(&self) -> Engine {
        self.engine
    }

    /// Makes `tables` the policy, without a change of devices.
    pub fn publish(&mut self, tables: Arc<Tables>) {
        let devices = self.plane.devices.clone();
        self.swap(Plane { tables, devices });
    }

    /// Adds a device. From here on its frames are read.
    pub fn attach(&mut self, tables: Arc<Tables>, device: Device) -> Arc<Device> {
        let mut devices = self.plane.devices.clone();
        let (index, device) = (device.port.index as usize, Arc::new(device));
        if devices.len() <= index {
            devices.resize(index + 1, None);
        }
        devices[index] = Some(device.clone());
        self.swap(Plane { tables, devices });
        self.tell_owner(device.port, Order::Watch(device.clone()));
        device
    }

    /// Takes a device away; it is closed as soon as the workers have let go of it.
    pub fn detach(&mut self, tables: Arc<Tables>, port: PortId) {
        let mut devices = self.plane.devices.clone();
        let slot = devices.get_mut(port.index as usize);
        let device = slot.and_then(|slot| slot.take_if(|device| device.port == port));
        // In this order: a worker that has no such device any more does not begin to read it anew.
        self.swap(Plane { tables, devices });
        if let Some(device) = device {
            self.tell_owner(port, Order::Forget(device));
        }
    }

    fn start_one(&self, reports: &UnboundedSender<Report>) -> Result<Thread, HostError> {
        let failed = |errno| HostError::new(Doing::StartWorker, "the router", errno);
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let poke = Arc::new(EventFd::from_value_and_flags(0, flags).map_err(failed)?);
        let (orders, received) = channel();
        let contract = worker::Contract {
            number: self.threads.len(),
            engine: self.engine,
            plane: self.plane.clone(),
            orders: received,
            poke: poke.clone(),
            closer: self.closer.clone(),
            reports: reports.clone(),
            pulse: self.pulse.clone(),
        };
        let (started, ready): (Sender<Result<(), Errno>>, Receiver<_>) = channel();
        let handle = std::thread::Builder::new()
            .name(format!("router-{}", self.threads.len()))
            .spawn(move || worker::work(contract, &started))
            .map_err(|e| HostError::from_io(Doing::StartWorker, "the router", &e))?;
        let doing = Doing::StartEngine;
        // A thread that ends without a word has panicked.
        let outcome = ready.recv().unwrap_or(Err(Errno::ECANCELED));
        outcome.map_err(|errno| HostError::new(doing, self.engine.to_string(), errno))?;
        Ok(Thread {
            orders,
            poke,
            handle: Some(handle),
        })
    }

    fn tell_owner(&self, port: PortId, order: Order) {
        let threads = &self.threads;
        if let Some(thread) = threads.get(port.index as usize % threads.len().max(1)) {
            thread.tell(order);
        }
    }

    fn swap(&mut self, plane: Plane) {
        let plane = Arc::new(plane);
        for thread in &self.threads {
            thread.tell(Order::Work(plane.clone()));
        }
        // The closer ends only after all who can send to it.
        let _ = self
            .closer
            .send(Retired::Plane(std::mem::replace(&mut self.plane, plane)));
    }

    fn end(&mut self) {
        for thread in &self.threads {
            thread.tell(Order::End);
        }
        for thread in self.threads.drain(..) {
            if let Some(handle) = thread.handle {
                let _ = handle.join();
            }
        }
    }
}

impl Thread {
    fn tell(&self, order: Order) {
        // A worker that is gone has said why.
        let _ = self.orders.send(order);
        self.poke();
    }

    fn poke(&self) {
        // The counter is full only if a poke is pending anyway.
        let _ = self.poke.write(1);
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.end();
    }
}
