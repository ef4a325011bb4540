//! The engine of few system calls: io_uring. One call hands over all frames that are to be written and brings all
//! that have been read.
//!
//! A read goes on by itself until no buffer is free; then it ends and stands in a queue. All that stand there are asked for
//! anew together, once half of the buffers are free again: a read that were asked for while the frames of a flood hold all
//! buffers would end at once, and always so if it came back every second turn. The queue's order turns as well, so that
//! among many busy ports each is first in its turn.

use std::os::fd::AsFd;
use std::sync::Arc;

use nix::errno::Errno;
use nix::sys::eventfd::EventFd;

use crate::router::{MAX_FRAME, PortId};
use crate::sys::uring::{Done, Ring};

use super::Device;
use super::desk::{Desk, Parcel, is_the_end};
use super::worker::{Carrier, Turn};

/// Buffers lent to the kernel, and so the longest batch of frames.
const BUFFERS: u16 = 64;
/// Bytes of a buffer: the longest frame, rounded up to pages.
const BUFFER: usize = MAX_FRAME.next_multiple_of(4096);
/// So many reports are taken in one turn.
const REPORTS: usize = 8 * BUFFERS as usize;
/// A read that fails so often, without a frame from anybody in between, has ended for good.
const TROUBLES: u32 = 10_000;

/// One ring, and the frames in it that are on their way out.
pub(super) struct UringEngine {
    ring: Ring,
    poke: Arc<EventFd>,
    done: Vec<Done>,
    /// By buffer: the frame that is being written from it.
    leaving: Vec<Option<Parcel>>,
    /// Reads to be asked for in the next turn.
    ended: Vec<PortId>,
    /// Reads that are being cancelled.
    ending: Vec<PortId>,
    troubles: u32,
}

impl UringEngine {
    pub(super) fn new(poke: Arc<EventFd>) -> Result<Self, Errno> {
        let mut ring = Ring::new(BUFFERS, BUFFER)?;
        ring.poll(poke.as_fd())?;
        Ok(Self {
            ring,
            poke,
            done: Vec::with_capacity(REPORTS),
            leaving: vec![None; BUFFERS.into()],
            ended: Vec::with_capacity(BUFFERS.into()),
            ending: Vec::new(),
            troubles: 0,
        })
    }

    /// Takes the kernel's reports: writes are settled at once, what has come is left in `done`.
    fn collect(&mut self, desk: &mut Desk) {
        self.done.clear();
        while self.done.len() < REPORTS
            && let Some(done) = self.ring.next_done()
        {
            match done {
                Done::Written { buffer, outcome } => self.settle(desk, buffer, outcome),
                Done::Frame { .. } | Done::Ended { .. } | Done::NotFound { .. } | Done::Polled { .. } => {
                    self.done.push(done);
                }
            }
        }
    }

    fn settle(&mut self, desk: &mut Desk, buffer: u16, outcome: Result<(), Errno>) {
        let parcel = self.leaving.get_mut(usize::from(buffer)).and_then(Option::take);
        if let Some(parcel) = parcel
            && let Some(frame) = self.ring.frame(buffer, parcel.length)
        {
            desk.settle(parcel, frame, outcome);
        }
        self.ring.give_back(buffer);
    }

    /// One frame: judged, then put among those that leave, or its buffer is lent again.
    #[inline]
    fn pass(&mut self, desk: &mut Desk, from: PortId, buffer: u16, length: usize) {
        let parcel = self
            .ring
            .frame(buffer, length)
            .and_then(|frame| desk.judge(from, frame));
        if let Some(parcel) = parcel {
            if !parcel.cut && self.send(desk, parcel, buffer) {
                return;
            }
            self.cut(desk, parcel, buffer);
        }
        self.ring.give_back(buffer);
    }

    #[inline]
    fn send(&mut self, desk: &Desk, parcel: Parcel, buffer: u16) -> bool {
        let sent = desk
            .device(parcel.to)
            .is_some_and(|device| self.ring.write(device.tun.as_fd(), buffer, parcel.length).is_ok());
        if sent && let Some(leaving) = self.leaving.get_mut(usize::from(buffer)) {
            *leaving = Some(parcel);
        }
        sent
    }

    /// A frame that is not written as it is, or that the ring does not take.
    #[cold]
    fn cut(&mut self, desk: &mut Desk, parcel: Parcel, buffer: u16) {
        // What came before it goes before it; a ring that cannot go on ends the worker at its next turn.
        let _ = self.ring.turn(false);
        if let Some(frame) = self.ring.frame(buffer, parcel.length) {
            desk.cut(parcel, frame);
        }
    }

    /// A read has ended; it is asked for again, unless that was wanted or its device is gone.
    fn read_ended(&mut self, desk: &Desk, port: PortId, errno: Errno) {
        if self.is_over(port) || desk.device(port).is_none() {
            return;
        }
        if errno != Errno::ENOBUFS {
            self.troubles += 1;
        }
        if is_the_end(errno) || self.troubles > TROUBLES {
            desk.lose(port, errno);
        } else {
            self.ended.push(port);
        }
    }

    /// Whether a read that has ended was being cancelled.
    fn is_over(&mut self, port: PortId) -> bool {
        let at = self.ending.iter().position(|ending| *ending == port);
        at.map(|at| self.ending.swap_remove(at)).is_some()
    }

    /// Asks for the reads that have ended, if there are buffers for them. Else the writes that hold those are over after
    /// the next turn.
    fn read_again(&mut self, desk: &Desk) {
        if self.ended.is_empty() || self.ring.lent() < usize::from(BUFFERS / 2) {
            return;
        }
        self.ended.rotate_left(1);
        let ring = &mut self.ring;
        self.ended.retain(|port| match desk.device(*port) {
            Some(device) => ring.read(device.tun.as_fd(), port.to_token()).is_err(),
            None => false,
        });
    }
}

impl Carrier for UringEngine {
    fn watch(&mut self, _: &Desk, device: &Device) {
        self.ended.push(device.port);
    }

    fn forget(&mut self, device: &Device) {
        let known = self.ended.len();
        self.ended.retain(|port| *port != device.port);
        if self.ended.len() == known && !self.ending.contains(&device.port) {
            self.ending.push(device.port);
            // A ring that takes no requests ends the worker at its next turn.
            let _ = self.ring.cancel(device.port.to_token());
        }
    }

    fn is_ending(&self, port: PortId) -> bool {
        self.ending.contains(&port)
    }

    fn turn(&mut self, desk: &mut Desk, wait: bool) -> Result<Turn, Errno> {
        // Whoever stands in the queue waits for no more than the buffers that leave now.
        let submitted = self.ring.turn(wait && self.ended.is_empty())?;
        if wait {
            desk.wake();
        }
        self.collect(desk);
        let mut turn = Turn {
            submitted,
            ..Turn::default()
        };
        for at in 0..self.done.len() {
            match self.done[at] {
                Done::Frame {
                    token,
                    buffer,
                    length,
                    more,
                } => {
                    let port = PortId::from_token(token);
                    self.pass(desk, port, buffer, length);
                    turn.frames += 1;
                    turn.longest = turn.longest.max(length);
                    self.troubles = 0;
                    if !more && !self.is_over(port) && desk.device(port).is_some() {
                        self.ended.push(port);
                    }
                }
                // It had ended before, and that was reported or its port was lost.
                Done::NotFound { token } => {
                    self.is_over(PortId::from_token(token));
                }
                Done::Ended { token, errno } => self.read_ended(desk, PortId::from_token(token), errno),
                Done::Polled { more } => {
                    let _ = self.poke.read(); // before the orders: a later one pokes again
                    turn.poked = true;
                    if !more {
                        self.ring.poll(self.poke.as_fd())?;
                    }
                }
                Done::Written { .. } => {}
            }
        }
        self.read_again(desk);
        Ok(turn)
    }
}
