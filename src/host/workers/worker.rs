//! One router thread, from its start to its end.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender};

use nix::errno::Errno;
use nix::sys::eventfd::EventFd;
use tokio::sync::mpsc::UnboundedSender;

use super::desk::Desk;
use super::epoll::EpollEngine;
use super::patience::{Patience, Rush};
use super::uring::UringEngine;
use super::{Device, Engine, Order, Plane, Release, Report, Retired};
use crate::host::confine;
use crate::host::pulse::Pulse;
use crate::router::PortId;

/// Frames in, frames out, for the devices that one worker reads.
pub(super) trait Carrier {
    /// Reads from `device` from now on; if that cannot be, the desk hears of it.
    fn watch(&mut self, desk: &Desk, device: &Device);

    /// Reads from it no more, though what has been read may still have to be brought to the desk.
    fn forget(&mut self, device: &Device);

    /// Whether frames of a forgotten device may still be brought, or are on their way out.
    fn is_ending(&self, port: PortId) -> bool;

    /// Reads nothing more, and brings what has been read to where it is to go.
    fn finish(&mut self, desk: &mut Desk);

    /// Waits for something to happen if `wait`, brings what has come to the desk and takes away what the desk sends.
    ///
    /// # Errors
    /// Only what keeps the engine from going on.
    fn turn(&mut self, desk: &mut Desk, wait: bool) -> Result<Turn, Errno>;
}

/// What happened in one turn.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Turn {
    /// Frames that were judged.
    pub(super) frames: usize,
    /// How many of them were [long](super::patience::LONG).
    pub(super) long: usize,
    /// Orders wait.
    pub(super) poked: bool,
    /// No request that was made before this turn is still to be submitted.
    pub(super) submitted: bool,
}

/// What a worker is given on its way.
pub(super) struct Contract {
    pub(super) number: usize,
    pub(super) engine: Engine,
    pub(super) plane: Arc<Plane>,
    pub(super) orders: Receiver<Order>,
    pub(super) poke: Arc<EventFd>,
    pub(super) closer: Sender<Retired>,
    pub(super) reports: UnboundedSender<Report>,
    pub(super) pulse: Arc<Pulse>,
    pub(super) rush: Arc<Rush>,
}

/// Works until it is told to end; says first whether it could begin.
pub(super) fn work(contract: Contract, started: &Sender<Result<(), Errno>>) {
    match contract.engine {
        // An io_uring belongs to the thread that makes it.
        Engine::IoUring => begin(UringEngine::new(contract.poke.clone()), contract, started),
        Engine::Epoll => begin(EpollEngine::new(contract.poke.clone()), contract, started),
    }
}

fn begin<C: Carrier>(carrier: Result<C, Errno>, contract: Contract, started: &Sender<Result<(), Errno>>) {
    let confined = |carrier| match confine::router_thread() {
        Ok(()) => Ok(carrier),
        Err(error) => Err(error.errno),
    };
    // Nobody listens only if the start was given up.
    match carrier.and_then(confined) {
        Ok(carrier) => {
            let _ = started.send(Ok(()));
            Worker::new(carrier, contract).run();
        }
        Err(errno) => {
            let _ = started.send(Err(errno));
        }
    }
}

/// A device on its way to another worker.
struct Handover {
    device: Arc<Device>,
    release: Release,
    /// Its last frame was at the desk in an earlier turn.
    over: bool,
}

struct Worker<C> {
    carrier: C,
    desk: Desk,
    patience: Patience,
    orders: Receiver<Order>,
    closer: Sender<Retired>,
    /// What the worker needs no more, but a request that is not yet submitted may still name.
    retired: Vec<Retired>,
    /// What another worker is to read.
    releases: Vec<Handover>,
    number: usize,
    pulse: Arc<Pulse>,
}

impl<C: Carrier> Worker<C> {
    fn new(carrier: C, contract: Contract) -> Self {
        Self {
            carrier,
            desk: Desk::new(contract.number, contract.plane, contract.reports),
            patience: Patience::new(contract.rush),
            orders: contract.orders,
            closer: contract.closer,
            number: contract.number,
            pulse: contract.pulse,
            retired: Vec::new(),
            releases: Vec::new(),
        }
    }

    fn run(mut self) {
        let mut wait = true;
        loop {
            let turn = match self.carrier.turn(&mut self.desk, wait) {
                Ok(turn) => turn,
                Err(Errno::EINTR) => continue,
                Err(errno) => return tracing::error!(%errno, "a router thread cannot go on"),
            };
            if turn.submitted {
                // Devices are closed by a thread that does nothing else.
                self.retired
                    .drain(..)
                    .for_each(|retired| drop(self.closer.send(retired)));
            }
            self.hand_over(turn.submitted);
            if turn.frames > 0 {
                self.pulse.moved();
            }
            if turn.poked {
                if !self.obey() {
                    self.carrier.finish(&mut self.desk);
                    return self.desk.close();
                }
                self.pulse.turned(self.number);
            }
            let looking_on = !wait;
            let idle = !self.patience.after(turn.frames, turn.long, self.desk.wake());
            wait = idle && self.retired.is_empty() && self.releases.is_empty();
            if looking_on && !wait && turn.frames == 0 {
                std::thread::yield_now();
            }
        }
    }

    /// Says which devices another worker may read from here on: those whose last frame has been written, as it is when
    /// all that was asked for before this turn has been `submitted`. One whose frames wait here stays here, or they would
    /// be overtaken.
    fn hand_over(&mut self, submitted: bool) {
        let (carrier, desk) = (&mut self.carrier, &self.desk);
        self.releases.retain_mut(|handover| {
            let device = &handover.device;
            if handover.over && submitted {
                let kept = desk.keeps_frames_of(device.port);
                if kept {
                    carrier.watch(desk, device);
                }
                desk.release(handover.release, kept);
                return false;
            }
            handover.over = !carrier.is_ending(device.port);
            true
        });
    }

    /// Does what was ordered; false = the end.
    fn obey(&mut self) -> bool {
        while let Ok(order) = self.orders.try_recv() {
            match order {
                Order::Work(plane) => self.retired.push(Retired::Plane(self.desk.replace_plane(plane))),
                Order::Watch(device) => self.carrier.watch(&self.desk, &device),
                Order::Release(device, release) => {
                    self.carrier.forget(&device);
                    let over = false;
                    self.releases.push(Handover {
                        device,
                        release,
                        over,
                    });
                }
                Order::Forget(device) => {
                    self.carrier.forget(&device);
                    self.releases
                        .retain(|handover| handover.device.port != device.port);
                    self.retired.push(Retired::Device(device));
                }
                Order::End => return false,
            }
        }
        true
    }
}
