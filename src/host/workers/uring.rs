//! The engine of few system calls: io_uring. One call hands over all frames that are to be written and brings all
//! that have been read.

use std::os::fd::AsFd;
use std::sync::Arc;

use nix::errno::Errno;
use nix::sys::eventfd::EventFd;

use crate::router::{MAX_FRAME, PortId};
use crate::sys::uring::{Done, Ring};

use super::Device;
use super::desk::{Desk, Parcel};
use super::worker::{Carrier, Turn};

/// Buffers lent to the kernel, and so the longest batch of frames.
const BUFFERS: u16 = 64;
/// Bytes of a buffer: the longest frame, rounded up to pages.
const BUFFER: usize = MAX_FRAME.next_multiple_of(4096);
/// The kernel reports at most so much in a turn before it keeps reports back.
const REPORTS: usize = 8 * BUFFERS as usize;

/// One ring, and the frames in it that are on their way out.
pub(super) struct UringEngine {
    ring: Ring,
    poke: Arc<EventFd>,
    done: Vec<Done>,
    leaving: Vec<(Parcel, u16)>,
    /// By buffer: why its write failed.
    failed: Vec<Option<Errno>>,
    /// Reads that have ended and go on once buffers are free.
    ended: Vec<PortId>,
}

impl UringEngine {
    pub(super) fn new(poke: Arc<EventFd>) -> Result<Self, Errno> {
        let mut ring = Ring::new(BUFFERS, BUFFER)?;
        ring.poll(poke.as_fd())?;
        Ok(Self {
            ring,
            poke,
            done: Vec::with_capacity(REPORTS),
            leaving: Vec::with_capacity(BUFFERS.into()),
            failed: vec![None; BUFFERS.into()],
            ended: Vec::with_capacity(BUFFERS.into()),
        })
    }

    /// Collects what the kernel reports. If all was `submitted`, writes are over, and their buffers ours again.
    fn collect(&mut self, desk: &mut Desk, submitted: bool) {
        self.done.clear();
        while self.done.len() < REPORTS
            && let Some(done) = self.ring.next_done()
        {
            match done {
                Done::Unwritten { buffer, errno } => {
                    if let Some(failed) = self.failed.get_mut(usize::from(buffer)) {
                        *failed = Some(errno);
                    }
                }
                Done::Frame { .. } | Done::Ended { .. } | Done::Polled { .. } => self.done.push(done),
            }
        }
        if !submitted {
            return;
        }
        for (parcel, buffer) in self.leaving.drain(..) {
            self.ring.written(buffer);
            let failed = self.failed.get_mut(usize::from(buffer)).and_then(Option::take);
            if let Some(frame) = self.ring.frame(buffer, parcel.length) {
                desk.settle(parcel, frame, failed.map_or(Ok(()), Err));
            }
            self.ring.give_back(buffer);
        }
    }

    /// One frame: judged, then put among those that leave, or its buffer is lent again.
    #[inline]
    fn pass(&mut self, desk: &mut Desk, from: PortId, buffer: u16, length: usize) {
        if let Some(frame) = self.ring.frame(buffer, length)
            && let Some(parcel) = desk.judge(from, frame)
            && let Some(device) = desk.device(parcel.to)
            && self.ring.write(device.tun.as_fd(), buffer, length).is_ok()
        {
            self.leaving.push((parcel, buffer));
        } else {
            self.ring.give_back(buffer);
        }
    }

    /// A read has ended; it goes on, unless its device is gone.
    fn read_ended(&mut self, desk: &Desk, port: PortId, errno: Errno) {
        if matches!(errno, Errno::ENOBUFS | Errno::EAGAIN | Errno::EINTR) {
            self.ended.push(port);
        } else if errno != Errno::ECANCELED && desk.device(port).is_some() {
            desk.lose(port, errno);
        }
    }

    fn read_again(&mut self, desk: &Desk) {
        while let Some(port) = self.ended.pop() {
            if let Some(device) = desk.device(port)
                && let Err(errno) = self.ring.read(device.tun.as_fd(), port.to_token())
            {
                desk.lose(port, errno);
            }
        }
    }
}

impl Carrier for UringEngine {
    fn watch(&mut self, device: &Device) -> Result<(), Errno> {
        self.ring.read(device.tun.as_fd(), device.port.to_token())
    }

    fn forget(&mut self, device: &Device) {
        // A ring that takes no requests ends the worker at its next turn.
        let _ = self.ring.cancel(device.port.to_token());
    }

    fn turn(&mut self, desk: &mut Desk, wait: bool) -> Result<Turn, Errno> {
        // A read that has ended waits for the buffers that leave now.
        let submitted = self.ring.turn(wait && self.ended.is_empty())?;
        if wait {
            desk.wake();
        }
        self.collect(desk, submitted);
        self.read_again(desk);
        let mut turn = Turn::default();
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
                    if !more {
                        self.ended.push(port);
                    }
                }
                Done::Ended { token, errno } => self.read_ended(desk, PortId::from_token(token), errno),
                Done::Polled { more } => {
                    let _ = self.poke.read(); // before the orders: a later one pokes again
                    turn.poked = true;
                    if !more {
                        self.ring.poll(self.poke.as_fd())?;
                    }
                }
                Done::Unwritten { .. } => {}
            }
        }
        Ok(turn)
    }
}
