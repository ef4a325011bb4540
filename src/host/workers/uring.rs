//! The engine of few system calls: io_uring. One call hands over all frames that are to be written and brings all
//! that have been read.
//!
//! A read goes on by itself until no buffer is free; then it ends and stands in a queue. All that stand there are asked for
//! anew together, once half of the buffers are free again: a read that were asked for while the frames of a flood hold all
//! buffers would end at once, and always so if it came back every second turn. The queue's order turns as well, so that
//! among many busy ports each is first in its turn.

use std::collections::HashSet;
use std::os::fd::AsFd;
use std::sync::Arc;

use nix::errno::Errno;
use nix::sys::eventfd::EventFd;

use crate::router::{MAX_FRAME, PortId};
use crate::sys::uring::{Done, Ring};

use super::Device;
use super::desk::{Desk, Parcel, is_the_end};
use super::patience::LONG;
use super::worker::{Carrier, Turn};

/// Buffers lent to the kernel, and so the longest batch of frames.
const BUFFERS: u16 = 64;
/// Bytes of a buffer: the longest frame, rounded up to pages.
const BUFFER: usize = MAX_FRAME.next_multiple_of(4096);
/// So many reports are taken in one turn.
const REPORTS: usize = 8 * BUFFERS as usize;
/// A worker that ends needs two turns or three for what it has begun; more than this is waiting for nothing.
const LAST_TURNS: usize = 1000;
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
    /// Reads that go on.
    reading: HashSet<PortId>,
    /// Those of them that are to end, and whether the kernel has been asked for that.
    ending: Vec<(PortId, bool)>,
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
            reading: HashSet::new(),
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

    /// A read has ended, with a frame or for a reason; it is asked for again, unless its device is gone or is to be read
    /// no more.
    fn read_ended(&mut self, desk: &Desk, port: PortId, why: Option<Errno>) {
        self.reading.remove(&port);
        let wanted = self.ending.iter().position(|(ending, _)| *ending == port);
        if let Some(at) = wanted {
            self.ending.swap_remove(at);
            return;
        }
        if desk.device(port).is_none() {
            return;
        }
        if why.is_some_and(|errno| errno != Errno::ENOBUFS) {
            self.troubles += 1;
        }
        match why {
            Some(errno) if is_the_end(errno) || self.troubles > TROUBLES => desk.lose(port, errno),
            Some(_) | None => self.ended.push(port),
        }
    }

    /// Asks for the end of reads. A read that is about to go on by itself is not found for a moment; it is asked anew.
    fn end_reads(&mut self) {
        for (port, asked) in &mut self.ending {
            *asked = *asked || self.ring.cancel(port.to_token()).is_ok();
        }
    }

    fn not_found(&mut self, port: PortId) {
        for (ending, asked) in &mut self.ending {
            *asked = *asked && *ending != port;
        }
    }

    /// Whether nothing is being read or written any more.
    fn is_done(&self) -> bool {
        self.reading.is_empty() && self.leaving.iter().all(Option::is_none)
    }

    /// Asks for the reads that have ended, if there are buffers for them. Else the writes that hold those are over after
    /// the next turn.
    fn read_again(&mut self, desk: &Desk) {
        if self.ended.is_empty() || self.ring.lent() < usize::from(BUFFERS / 2) {
            return;
        }
        self.ended.rotate_left(1);
        let (ring, reading) = (&mut self.ring, &mut self.reading);
        self.ended.retain(|port| match desk.device(*port) {
            Some(device) if ring.read(device.tun.as_fd(), port.to_token()).is_ok() => {
                reading.insert(*port);
                false
            }
            Some(_) => true,
            None => false,
        });
    }
}

impl Carrier for UringEngine {
    fn watch(&mut self, _: &Desk, device: &Device) {
        self.ended.push(device.port);
    }

    fn forget(&mut self, device: &Device) {
        let port = device.port;
        self.ended.retain(|ended| *ended != port);
        let known = self.ending.iter().any(|(ending, _)| *ending == port);
        if self.reading.contains(&port) && !known {
            self.ending.push((port, false));
        }
    }

    fn is_ending(&self, port: PortId) -> bool {
        let mut leaving = self.leaving.iter().flatten();
        self.reading.contains(&port) || leaving.any(|parcel| parcel.from == port)
    }

    fn finish(&mut self, desk: &mut Desk) {
        self.ended.clear();
        self.ending = self.reading.iter().map(|port| (*port, false)).collect();
        for _ in 0..LAST_TURNS {
            if self.turn(desk, false).is_err() || self.is_done() {
                return;
            }
        }
    }

    fn turn(&mut self, desk: &mut Desk, wait: bool) -> Result<Turn, Errno> {
        self.end_reads();
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
                    turn.long += usize::from(length > LONG);
                    self.troubles = 0;
                    if !more {
                        self.read_ended(desk, port, None);
                    }
                }
                Done::NotFound { token } => self.not_found(PortId::from_token(token)),
                Done::Ended { token, errno } => {
                    self.read_ended(desk, PortId::from_token(token), Some(errno));
                }
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
