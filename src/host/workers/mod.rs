//! The router's threads: frames in from the tuns they own, out to any.
//!
//! Each worker owns the *read* side of some ports and may write to all of them; so the frames of one flow,
//! which come from one port, are handled by one thread in their order. A port that would be better off with another
//! worker is given to it when the old one has handled the last frame that it read. What a frame may do is decided by
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
//! flood, median round trip of a small datagram in microseconds. TCP was paced by BBR, that machine's default, which hides
//! much of what streams can reach: the benchmark has used cubic since.
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
//! - **Looking on before sleep** for 0, 20, 50, 200 us: round trips of 58.8, 70.7, 18.7, 18.7 us. 50 us. The look gives way
//!   (`sched_yield`), but in a stream that is not paced it costs a quarter all the same (cubic: 27.5 against 37.5 Gbit/s
//!   for one stream, 23.9 against 27.5 for eight), since fewer frames are carried at once. So nobody looks in a rush.
//! - **Waiting for several frames** in a rush, 2, 4 or 8 of them, for 20 to 100 us at most: a sixth less for one stream, a tenth
//!   less for eight. Dropped.
//! - **Sleeping at once** after a look that gave way for long and found nothing: within the noise. Dropped.
//! - **Ports dealt out by number**: where two that are busy met at one worker, eight streams reached 16.8 instead of 22.1
//!   Gbit/s, and round trips took 38.9 instead of 19 us. So the work is looked at four times a second, and shared.
//! - **Huge pages** for the ring's buffers: within the noise (0.95 to 1.1). Dropped.
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
mod plane;
mod rota;
mod thread;
mod uring;
mod waiting_room;
mod worker;

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::eventfd::{EfdFlags, EventFd};
use tokio::sync::mpsc::UnboundedSender;

use crate::config::settings::Engine as Wish;
use crate::router::{PortId, Tables};

use super::error::{Doing, HostError};
use super::pulse::Pulse;
pub use plane::{Device, Plane};

use patience::Rush;
use rota::Rota;
use thread::{Order, Retired, Thread};

/// How often it is looked at who does how much, while packets move.
const LOOK_EVERY: Duration = Duration::from_millis(250);
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
    /// For [`Workers::released`].
    Released(Release),
    /// For [`Workers::kept`].
    Kept(Release),
}

/// A worker reads a device no more, whose frames another one is to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Release(u64);

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
    rota: Rota,
    /// When the rota is looked at next.
    look: Option<Instant>,
    closer: Sender<Retired>,
    pulse: Arc<Pulse>,
    rush: Arc<Rush>,
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
            rota: Rota::new(count),
            look: None,
            closer,
            pulse: Arc::new(Pulse::new(count)),
            rush: Arc::new(Rush::new(Instant::now())),
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
            self.tell(self.rota.reader(device.port), Order::Watch(device.clone()));
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
        let reader = self.rota.admit(device.port);
        self.tell(Some(reader), Order::Watch(device.clone()));
        device
    }

    /// Takes a device away; it is closed as soon as the workers have let go of it.
    pub fn detach(&mut self, tables: Arc<Tables>, port: PortId) {
        let mut devices = self.plane.devices.clone();
        let slot = devices.get_mut(port.index as usize);
        let device = slot.and_then(|slot| slot.take_if(|device| device.port == port));
        // In this order: a worker that has no such device any more does not begin to read it anew.
        self.swap(Plane { tables, devices });
        let reader = self.rota.dismiss(port);
        if let Some(device) = device {
            self.tell(reader, Order::Forget(device));
        }
    }

    /// Packets have [stirred](Pulse::stirred): in a while [`balance`](Self::balance) has something to do.
    pub fn stirred(&mut self, now: Instant) {
        if self.count > 1 {
            self.look.get_or_insert(now + LOOK_EVERY);
        }
    }

    /// When [`balance`](Self::balance) has something to do.
    pub fn deadline(&self) -> Option<Instant> {
        self.look
    }

    /// Looks whether the work is shared evenly, by what each device's `work` is by now, and begins to give a port to
    /// another worker if that helps.
    pub fn balance(&mut self, now: Instant, work: impl Fn(&Device) -> u64) {
        if self.look.take_if(|look| *look <= now).is_none() {
            return;
        }
        // Whoever goes on sending stirs anew.
        self.pulse.rest();
        if self.threads.iter().any(Thread::has_ended) {
            // It seems to have nothing to do, but nobody is helped by giving it more.
            return;
        }
        let done = |port| self.plane.device(port).map_or(0, |device| work(device));
        let Some(found) = self.rota.look(done) else {
            return;
        };
        match self.plane.device(found.port).cloned() {
            Some(device) => self.tell(Some(found.from), Order::Release(device, Release(found.number))),
            None => self.rota.give_up(),
        }
    }

    /// Whether a port is on its way from a worker to another one.
    pub fn is_moving(&self) -> bool {
        self.rota.is_moving()
    }

    /// A worker has let go of a device: the next one reads it.
    pub fn released(&mut self, release: Release) {
        if let Some(found) = self.rota.let_go(release.0)
            && let Some(device) = self.plane.device(found.port)
        {
            tracing::debug!(port = ?found.port, from = found.from, to = found.to, "read by another worker");
            self.tell(Some(found.to), Order::Watch(device.clone()));
        }
    }

    /// A worker keeps a device, since frames that came from it wait there.
    pub fn kept(&mut self, release: Release) {
        self.rota.keep(release.0);
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
            rush: self.rush.clone(),
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

    fn tell(&self, worker: Option<usize>, order: Order) {
        if let Some(thread) = worker.and_then(|worker| self.threads.get(worker)) {
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
        self.rota.give_up();
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

impl Drop for Workers {
    fn drop(&mut self) {
        self.end();
    }
}
