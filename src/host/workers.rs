//! The router's threads: frames in from the tuns they own, out to any.
//!
//! Each worker owns the *read* side of some ports and may write to all of them; so the frames of one flow,
//! which come from one port, are handled by one thread in their order. What a frame may do is decided by
//! the pure [`Router`]; this file only reads, asks and writes.
//!
//! Policy reaches a worker as a [`Plane`]: compiled tables and the devices they speak of, swapped whole. A
//! worker looks at it once per wake-up and holds no lock. A poke (an eventfd) makes a sleeping worker let go
//! of the old plane, so that a removed vassal's device is closed at once. Nothing else wakes an idle worker.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;
use std::time::Instant;

use arc_swap::ArcSwap;
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::unistd::{read, write};
use tokio::sync::mpsc::UnboundedSender;

use crate::router::{ANSWER, MAX_FRAME, PortId, Reason, Router, Tables, VNET_HEADER, Verdict};

use super::confine;
use super::error::{Doing, HostError};
use super::pulse::Pulse;

/// Frames taken from one port before the next one has its turn.
const BURST: usize = 64;
/// Ports looked at per wake-up.
const EVENTS: usize = 64;
/// The epoll token of the poke; no port has it.
const POKE: u64 = u64::MAX;

/// What the workers work with: the tables and, by port index, the devices.
pub struct Plane {
    /// Policy.
    pub tables: Arc<Tables>,
    /// By [`PortId::index`].
    pub devices: Vec<Option<Device>>,
}

/// A device as a worker sees it.
#[derive(Clone)]
pub struct Device {
    /// The port that it belongs to.
    pub port: PortId,
    /// The tun.
    pub tun: Arc<OwnedFd>,
}

/// A device that ended by itself: deleted from inside its namespace, for instance.
#[derive(Debug, Clone, Copy)]
pub struct DeviceLost {
    /// Whose.
    pub port: PortId,
    /// The kernel's answer to the read.
    pub errno: Errno,
}

/// The running workers.
pub struct Workers {
    plane: Arc<ArcSwap<Plane>>,
    threads: Vec<Thread>,
    closer: Sender<Arc<Plane>>,
    pulse: Arc<Pulse>,
}

struct Thread {
    epoll: Arc<Epoll>,
    poke: Arc<EventFd>,
    ending: Arc<AtomicBool>,
    handle: Option<JoinHandle<()>>,
}

impl Workers {
    /// Starts `count` threads. `lost` hears of devices that end by themselves.
    pub fn start(
        count: usize,
        tables: Arc<Tables>,
        lost: &UnboundedSender<DeviceLost>,
    ) -> Result<Self, HostError> {
        let failed = |errno| HostError::new(Doing::StartWorker, "the router", errno);
        let plane = Arc::new(ArcSwap::from_pointee(Plane {
            tables,
            devices: Vec::new(),
        }));
        let (closer, retired) = channel();
        std::thread::Builder::new()
            .name("closer".to_owned())
            .spawn(move || retired.into_iter().for_each(drop::<Arc<Plane>>))
            .map_err(|e| HostError::from_io(Doing::StartWorker, "the router", &e))?;
        let pulse = Arc::new(Pulse::new(count));
        let mut threads = Vec::with_capacity(count);
        for number in 0..count {
            let epoll = Arc::new(Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).map_err(failed)?);
            let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
            let poke = Arc::new(EventFd::from_value_and_flags(0, flags).map_err(failed)?);
            epoll
                .add(&*poke, EpollEvent::new(EpollFlags::EPOLLIN, POKE))
                .map_err(failed)?;
            let ending = Arc::new(AtomicBool::new(false));
            let mut worker = Worker {
                epoll: epoll.clone(),
                poke: poke.clone(),
                ending: ending.clone(),
                plane: plane.clone(),
                closer: closer.clone(),
                router: Router::new(number),
                lost: lost.clone(),
                number,
                pulse: pulse.clone(),
            };
            let handle = std::thread::Builder::new()
                .name(format!("router-{number}"))
                .spawn(move || worker.run())
                .map_err(|e| HostError::from_io(Doing::StartWorker, "the router", &e))?;
            threads.push(Thread {
                epoll,
                poke,
                ending,
                handle: Some(handle),
            });
        }
        Ok(Self {
            plane,
            threads,
            closer,
            pulse,
        })
    }

    /// The signs of life of the threads.
    pub fn pulse(&self) -> &Arc<Pulse> {
        &self.pulse
    }

    /// Wakes every thread, so that it turns.
    pub fn poke(&self) {
        for thread in &self.threads {
            // The counter is full only if a poke is pending anyway.
            let _ = thread.poke.write(1);
        }
    }

    /// Every attached device.
    pub fn devices(&self) -> Vec<Device> {
        self.plane.load().devices.iter().flatten().cloned().collect()
    }

    /// Makes `tables` the policy, without a change of devices.
    pub fn publish(&self, tables: Arc<Tables>) {
        let devices = self.plane.load().devices.clone();
        self.swap(Plane { tables, devices });
    }

    /// Adds a device. From here on its frames are read.
    pub fn attach(&self, tables: Arc<Tables>, device: Device) -> Result<(), HostError> {
        let mut devices = self.plane.load().devices.clone();
        let index = device.port.index as usize;
        if devices.len() <= index {
            devices.resize(index + 1, None);
        }
        let (port, tun) = (device.port, device.tun.clone());
        devices[index] = Some(device);
        self.swap(Plane { tables, devices });
        self.owner(port)
            .add(&*tun, EpollEvent::new(EpollFlags::EPOLLIN, port.to_token()))
            .map_err(|errno| HostError::new(Doing::StartWorker, "a port", errno))
    }

    /// Takes a device away; it is closed as soon as the workers have let go of it.
    pub fn detach(&self, tables: Arc<Tables>, port: PortId) {
        let mut devices = self.plane.load().devices.clone();
        let Some(slot) = devices.get_mut(port.index as usize) else {
            return;
        };
        // The old plane, which `swap` gives to the closer, still holds the device taken here.
        if let Some(device) = slot.take_if(|device| device.port == port) {
            // Already gone from the set if the worker found it dead.
            let _ = self.owner(port).delete(&*device.tun);
        }
        self.swap(Plane { tables, devices });
    }

    fn owner(&self, port: PortId) -> &Epoll {
        &self.threads[port.index as usize % self.threads.len()].epoll
    }

    fn swap(&self, plane: Plane) {
        // The closer ends only after all who can send to it.
        let _ = self.closer.send(self.plane.swap(Arc::new(plane)));
        self.poke();
    }
}

impl Workers {
    /// Ends every thread and waits for it: no packet is half way when this returns.
    pub fn stop(&mut self) {
        for thread in &self.threads {
            thread.ending.store(true, Ordering::Release);
            let _ = thread.poke.write(1);
        }
        for thread in &mut self.threads {
            if let Some(handle) = thread.handle.take() {
                let _ = handle.join();
            }
        }
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.stop();
    }
}

struct Worker {
    epoll: Arc<Epoll>,
    poke: Arc<EventFd>,
    ending: Arc<AtomicBool>,
    plane: Arc<ArcSwap<Plane>>,
    closer: Sender<Arc<Plane>>,
    router: Router,
    lost: UnboundedSender<DeviceLost>,
    number: usize,
    pulse: Arc<Pulse>,
}

impl Worker {
    fn run(&mut self) {
        if let Err(error) = confine::router_thread() {
            tracing::error!("{error}; the router does not run unconfined");
            return;
        }
        let mut frame = vec![0; MAX_FRAME];
        let mut events = [EpollEvent::empty(); EVENTS];
        let mut plane = self.plane.load_full();
        loop {
            let count = match self.epoll.wait(&mut events, EpollTimeout::NONE) {
                Ok(count) => count,
                Err(Errno::EINTR) => continue,
                Err(errno) => return tracing::error!(%errno, "a router thread cannot wait"),
            };
            let now = Instant::now();
            if events[..count].iter().any(|event| event.data() == POKE) {
                let _ = self.poke.read(); // before the load: a later swap pokes again
                self.pulse.turned(self.number);
                if self.ending.load(Ordering::Acquire) {
                    return;
                }
                let _ = self
                    .closer
                    .send(std::mem::replace(&mut plane, self.plane.load_full()));
            }
            for event in &events[..count] {
                if event.data() != POKE {
                    self.drain(&plane, PortId::from_token(event.data()), &mut frame, now);
                    self.pulse.moved();
                }
            }
        }
    }

    /// Takes one burst of frames from one port.
    fn drain(&mut self, plane: &Plane, port: PortId, frame: &mut [u8], now: Instant) {
        let Some(device) = plane.devices.get(port.index as usize).and_then(Option::as_ref) else {
            return;
        };
        if device.port != port {
            return; // the slot has a new holder; this event was about the old one
        }
        for _ in 0..BURST {
            match read(&*device.tun, frame) {
                Ok(length) => self.pass(plane, device, &mut frame[..length], now),
                Err(Errno::EAGAIN) => return,
                Err(Errno::EINTR) => {}
                Err(errno) => {
                    let _ = self.epoll.delete(&*device.tun);
                    let _ = self.lost.send(DeviceLost { port, errno });
                    return;
                }
            }
        }
    }

    /// One frame: judged, then sent, answered or dropped.
    #[inline]
    fn pass(&mut self, plane: &Plane, from: &Device, frame: &mut [u8], now: Instant) {
        match self.router.forward(&plane.tables, from.port, frame, now) {
            Verdict::Forward(to) => self.send(plane, from.port, to, frame),
            Verdict::Answer(complaint) => {
                let mut reply = [0; ANSWER];
                let tables = &plane.tables;
                let length = self
                    .router
                    .answer(tables, from.port, frame, complaint, now, &mut reply);
                // A lost ICMP error is a lost packet like any other.
                if let Some(length) = length
                    && write(&*from.tun, &reply[..length]).is_ok()
                {
                    self.router.answered(tables, from.port, length - VNET_HEADER);
                }
            }
            Verdict::Drop(_) => {}
        }
    }

    #[inline]
    fn send(&mut self, plane: &Plane, from: PortId, to: PortId, frame: &[u8]) {
        let device = plane.devices.get(to.index as usize).and_then(Option::as_ref);
        let sent = device.is_some_and(|device| device.port == to && write(&*device.tun, frame).is_ok());
        if sent {
            self.router
                .delivered(&plane.tables, from, to, frame.len() - VNET_HEADER);
        } else {
            self.router.undeliverable(&plane.tables, to, Reason::QueueFull);
        }
    }
}
