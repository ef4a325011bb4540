//! One router thread, from its start to its end.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender};

use nix::errno::Errno;
use nix::sys::eventfd::EventFd;
use tokio::sync::mpsc::UnboundedSender;

use super::desk::Desk;
use super::epoll::EpollEngine;
use super::patience::Patience;
use super::uring::UringEngine;
use super::{Device, Engine, Order, Plane, Report};
use crate::host::confine;
use crate::host::pulse::Pulse;

/// Frames in, frames out, for the devices that one worker reads.
pub(super) trait Carrier {
    /// Reads from `device` from now on.
    fn watch(&mut self, device: &Device) -> Result<(), Errno>;

    /// Reads from it no more.
    fn forget(&mut self, device: &Device);

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
    /// Orders wait.
    pub(super) poked: bool,
}

/// What a worker is given on its way.
pub(super) struct Contract {
    pub(super) number: usize,
    pub(super) engine: Engine,
    pub(super) plane: Arc<Plane>,
    pub(super) orders: Receiver<Order>,
    pub(super) poke: Arc<EventFd>,
    pub(super) closer: Sender<Arc<Plane>>,
    pub(super) reports: UnboundedSender<Report>,
    pub(super) pulse: Arc<Pulse>,
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

struct Worker<C> {
    carrier: C,
    desk: Desk,
    orders: Receiver<Order>,
    closer: Sender<Arc<Plane>>,
    number: usize,
    pulse: Arc<Pulse>,
}

impl<C: Carrier> Worker<C> {
    fn new(carrier: C, contract: Contract) -> Self {
        Self {
            carrier,
            desk: Desk::new(contract.number, contract.plane, contract.reports),
            orders: contract.orders,
            closer: contract.closer,
            number: contract.number,
            pulse: contract.pulse,
        }
    }

    fn run(mut self) {
        let mut patience = Patience::default();
        let mut wait = true;
        loop {
            let turn = match self.carrier.turn(&mut self.desk, wait) {
                Ok(turn) => turn,
                Err(Errno::EINTR) => continue,
                Err(errno) => return tracing::error!(%errno, "a router thread cannot go on"),
            };
            if turn.poked {
                self.pulse.turned(self.number);
                if !self.obey() {
                    return;
                }
            }
            if turn.frames > 0 {
                self.pulse.moved();
            }
            let looking_on = !wait;
            wait = !patience.after(turn.frames, self.desk.wake());
            if looking_on && !wait && turn.frames == 0 {
                std::thread::yield_now();
            }
        }
    }

    /// Does what was ordered; false = the end.
    fn obey(&mut self) -> bool {
        while let Ok(order) = self.orders.try_recv() {
            match order {
                // Devices are closed by a thread that does nothing else, so the old plane goes there.
                Order::Work(plane) => drop(self.closer.send(self.desk.replace_plane(plane))),
                Order::Watch(device) => {
                    if let Err(errno) = self.carrier.watch(&device) {
                        self.desk.lose(device.port, errno);
                    }
                }
                Order::Forget(device) => self.carrier.forget(&device),
                Order::End => return false,
            }
        }
        true
    }
}
