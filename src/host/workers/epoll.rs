//! The engine that runs everywhere: epoll, read, write.

use std::os::fd::AsFd;
use std::sync::Arc;

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::EventFd;
use nix::unistd::{read, write};

use crate::router::{MAX_FRAME, PortId};

use super::Device;
use super::desk::{Desk, is_the_end};
use super::patience::LONG;
use super::worker::{Carrier, Turn};

/// Frames taken from one port before the next one has its turn.
const BURST: usize = 64;
/// Ports looked at per wake-up.
const EVENTS: usize = 64;
/// A port that cannot be read so often, without a frame from anybody in between, has ended for good.
const TROUBLES: u32 = 10_000;
/// The epoll token of the poke; no port has it.
const POKE: u64 = u64::MAX;

/// One epoll set, one frame.
pub(super) struct EpollEngine {
    epoll: Epoll,
    poke: Arc<EventFd>,
    events: [EpollEvent; EVENTS],
    /// One for all: it stays in the nearest cache.
    frame: Box<[u8]>,
    troubles: u32,
}

impl EpollEngine {
    pub(super) fn new(poke: Arc<EventFd>) -> Result<Self, Errno> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        epoll.add(&*poke, EpollEvent::new(EpollFlags::EPOLLIN, POKE))?;
        Ok(Self {
            epoll,
            poke,
            events: [EpollEvent::empty(); EVENTS],
            frame: vec![0; MAX_FRAME].into_boxed_slice(),
            troubles: 0,
        })
    }

    /// Takes one burst of frames from one port.
    fn drain(&mut self, desk: &mut Desk, port: PortId, turn: &mut Turn) {
        // A slot that has a new holder: this event was about the old one.
        let Some(device) = desk.device(port).cloned() else {
            return;
        };
        for _ in 0..BURST {
            match read(&device.tun, &mut self.frame) {
                Ok(length) => {
                    self.troubles = 0;
                    self.pass(desk, port, length);
                    turn.frames += 1;
                    turn.long += usize::from(length > LONG);
                }
                Err(Errno::EAGAIN) => return,
                Err(Errno::EINTR) => {}
                Err(errno) => {
                    self.troubles += 1;
                    if is_the_end(errno) || self.troubles > TROUBLES {
                        let _ = self.epoll.delete(&device.tun);
                        desk.lose(port, errno);
                    }
                    return;
                }
            }
        }
    }

    /// One frame: judged, then written if it is to go as it is.
    #[inline]
    fn pass(&mut self, desk: &mut Desk, from: PortId, length: usize) {
        let frame = &mut self.frame[..length];
        let Some(parcel) = desk.judge(from, frame) else {
            return;
        };
        if let Some(device) = desk.device(parcel.to).filter(|_| !parcel.cut) {
            let outcome = write(&device.tun, frame).map(drop);
            desk.settle(parcel, frame, outcome);
        } else {
            desk.cut(parcel, frame);
        }
    }
}

impl Carrier for EpollEngine {
    fn watch(&mut self, desk: &Desk, device: &Device) {
        let event = EpollEvent::new(EpollFlags::EPOLLIN, device.port.to_token());
        if let Err(errno) = self.epoll.add(device.tun.as_fd(), event) {
            desk.lose(device.port, errno);
        }
    }

    fn forget(&mut self, device: &Device) {
        // Already gone from the set if it was found dead.
        let _ = self.epoll.delete(device.tun.as_fd());
    }

    fn is_ending(&self, _: PortId) -> bool {
        false
    }

    // Whatever has been read has been written.
    fn finish(&mut self, _: &mut Desk) {}

    fn turn(&mut self, desk: &mut Desk, wait: bool) -> Result<Turn, Errno> {
        let timeout = if wait {
            EpollTimeout::NONE
        } else {
            EpollTimeout::ZERO
        };
        let count = self.epoll.wait(&mut self.events, timeout)?;
        if wait {
            desk.wake();
        }
        let mut turn = Turn {
            submitted: true,
            ..Turn::default()
        };
        for at in 0..count {
            match self.events[at].data() {
                POKE => {
                    let _ = self.poke.read(); // before the orders: a later one pokes again
                    turn.poked = true;
                }
                token => self.drain(desk, PortId::from_token(token), &mut turn),
            }
        }
        Ok(turn)
    }
}
