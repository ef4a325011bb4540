//! A worker's desk: what becomes of the frames that an engine brings, and what is counted when they have gone.
//!
//! The only system call made here is the write of what an engine does not carry: ICMP answers, and super-frames
//! that had to be cut.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use nix::errno::Errno;
use nix::unistd::write;
use tokio::sync::mpsc::UnboundedSender;

use crate::packet::vnet::VnetHeader;
use crate::packet::{Packet, Pieces};
use crate::router::{ANSWER, MAX_FRAME, Port, PortId, Reason, Router, VNET_HEADER, Verdict, Wakefulness};

use super::waiting_room::{LATE, Queue, WaitingRoom};
use super::{Device, DeviceLost, Plane, Release, Report};

/// Into more pieces no honest sender's frame is cut: 64 KiB of the smallest segments in use.
const MOST_PIECES: usize = 256;

/// A frame that is to be written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Parcel {
    /// From whom.
    pub(super) from: PortId,
    /// For whom.
    pub(super) to: PortId,
    /// Bytes of the frame.
    pub(super) length: usize,
    /// Not as it is, but by [`Desk::cut`], behind all that came before it.
    pub(super) cut: bool,
}

/// Whether a read that ends so has ended for good: the device is gone, and no packet or want of memory is to blame.
pub(super) fn is_the_end(errno: Errno) -> bool {
    matches!(
        errno,
        Errno::EBADFD | Errno::EBADF | Errno::ENODEV | Errno::EFAULT
    )
}

/// See the head of this file.
pub(super) struct Desk {
    plane: Arc<Plane>,
    router: Router,
    reports: UnboundedSender<Report>,
    room: WaitingRoom,
    /// When the worker woke up.
    now: Instant,
    /// Room for one piece of a super-frame.
    piece: Box<[u8]>,
}

impl Desk {
    pub(super) fn new(number: usize, plane: Arc<Plane>, reports: UnboundedSender<Report>) -> Self {
        Self {
            plane,
            router: Router::new(number),
            reports,
            room: WaitingRoom::default(),
            now: Instant::now(),
            piece: vec![0; MAX_FRAME].into_boxed_slice(),
        }
    }

    /// The worker has woken up: the only time a clock is read.
    pub(super) fn wake(&mut self) -> Instant {
        self.now = Instant::now();
        self.now
    }

    /// The device of `port`, unless it is gone.
    #[inline]
    pub(super) fn device(&self, port: PortId) -> Option<&Arc<Device>> {
        self.plane.device(port)
    }

    /// Works with another plane from now on; gives back the old one. Who waited for a vassal that is awake in the
    /// new plane goes first.
    pub(super) fn replace_plane(&mut self, plane: Arc<Plane>) -> Arc<Plane> {
        let old = std::mem::replace(&mut self.plane, plane);
        let tables = &self.plane.tables;
        let waits = |port: &Port| port.wakefulness() != Wakefulness::Awake;
        let out = self.room.let_out(|to| tables.port(to).is_some_and(waits));
        for queue in out {
            self.let_out(queue);
        }
        old
    }

    /// `port` cannot be read any more.
    pub(super) fn lose(&self, port: PortId, errno: Errno) {
        let _ = self.reports.send(Report::Lost(DeviceLost { port, errno }));
    }

    /// Whether frames of `port` wait here for a vassal that sleeps.
    pub(super) fn keeps_frames_of(&self, port: PortId) -> bool {
        self.room.has_frames_of(port)
    }

    /// A device that another worker is to read is read here no more, or is `kept` here.
    pub(super) fn release(&self, release: Release, kept: bool) {
        let report = if kept { Report::Kept } else { Report::Released };
        let _ = self.reports.send(report(release));
    }

    /// Nobody is let out any more.
    pub(super) fn close(&mut self) {
        for queue in self.room.let_out(|_| false) {
            for _ in queue.guests {
                self.router
                    .undeliverable(&self.plane.tables, queue.to, Reason::QueueFull);
            }
        }
    }

    /// Judges a frame that came from `from`, and does all that there is to do but write it as it is.
    #[inline]
    pub(super) fn judge(&mut self, from: PortId, frame: &mut [u8]) -> Option<Parcel> {
        if let Some(device) = self.plane.device(from) {
            device.worked(frame.len());
        }
        match self.router.forward(&self.plane.tables, from, frame, self.now) {
            Verdict::Forward(to) => return self.parcel(from, to, frame),
            Verdict::Answer(complaint) => {
                let mut reply = [0; ANSWER];
                let (router, tables) = (&mut self.router, &self.plane.tables);
                let length = router.answer(tables, from, frame, complaint, self.now, &mut reply);
                // A lost ICMP error is a lost packet like any other.
                if let (Some(length), Some(device)) = (length, self.plane.device(from))
                    && write(&device.tun, &reply[..length]).is_ok()
                {
                    router.answered(tables, from, length - VNET_HEADER);
                }
            }
            Verdict::Wake(to) => return self.knock(from, to, frame),
            Verdict::Drop(_) => {}
        }
        None
    }

    /// A frame on its way to `to`; one whose device is gone is counted.
    #[inline]
    fn parcel(&mut self, from: PortId, to: PortId, frame: &[u8]) -> Option<Parcel> {
        if let Some(device) = self.plane.device(to) {
            let whole = VnetHeader::is_plain(frame) || self.takes_whole(device, from);
            return Some(Parcel {
                from,
                to,
                length: frame.len(),
                cut: !whole,
            });
        }
        self.router
            .undeliverable(&self.plane.tables, to, Reason::QueueFull);
        None
    }

    /// A frame for a vassal that is not awake waits, and one that sleeps is woken. To one that only needs time to get
    /// ready goes what it may be waiting for itself: all but new connections and what belongs to a frame that waits.
    #[cold]
    fn knock(&mut self, from: PortId, to: PortId, frame: &[u8]) -> Option<Parcel> {
        let port = self.plane.tables.port(to);
        let rising = port.is_some_and(|port| port.wakefulness() == Wakefulness::Rising);
        if rising && !self.room.keeps(to, frame) {
            return self.parcel(from, to, frame);
        }
        self.hold(from, to, frame, self.now);
        None
    }

    #[cold]
    fn hold(&mut self, from: PortId, to: PortId, frame: &[u8], since: Instant) {
        let admission = self.room.admit(from, to, frame, since);
        for _ in 0..admission.late + usize::from(!admission.seated) {
            self.router
                .undeliverable(&self.plane.tables, to, Reason::QueueFull);
        }
        if admission.first {
            let _ = self.reports.send(Report::Wanted(to));
        }
    }

    /// Frames whose vassal is awake go to it, in their order; its policy judged them when they came. Others wait
    /// again, unless they have waited too long for one that still sleeps.
    #[cold]
    fn let_out(&mut self, queue: Queue) {
        let late = self.now.saturating_duration_since(queue.since) > LATE;
        for (from, frame) in queue.guests {
            let plane = self.plane.clone();
            let to = Packet::parse(&frame).ok().map(|packet| packet.destination());
            let holder = to.and_then(|to| plane.tables.holder(to));
            match holder.map(|port| (port.id(), port.wakefulness())) {
                Some((to, Wakefulness::Awake)) => self.deliver(from, to, &frame),
                Some((to, Wakefulness::Asleep)) if late => {
                    self.router.undeliverable(&plane.tables, to, Reason::QueueFull);
                }
                Some((to, Wakefulness::Rising | Wakefulness::Asleep)) => {
                    self.hold(from, to, &frame, queue.since);
                }
                None => self.router.undeliverable(&plane.tables, from, Reason::NoRoute),
            }
        }
    }

    fn deliver(&mut self, from: PortId, to: PortId, frame: &[u8]) {
        match self.parcel(from, to, frame) {
            Some(parcel) if parcel.cut => self.cut(parcel, frame),
            Some(parcel) => {
                let device = self.plane.device(to).cloned();
                let written = device.map_or(Err(Errno::ENODEV), |device| write(&device.tun, frame));
                self.settle(parcel, frame, written.map(drop));
            }
            None => {}
        }
    }

    /// Counts a frame that was written or not. What the kernel refuses to finish is finished here.
    #[inline]
    pub(super) fn settle(&mut self, parcel: Parcel, frame: &[u8], outcome: Result<(), Errno>) {
        match outcome {
            Ok(()) => self.count(parcel),
            Err(Errno::EINVAL | Errno::EIO | Errno::EPROTO) if !VnetHeader::is_plain(frame) => {
                if let Some(device) = self.plane.device(parcel.from) {
                    device.refused.store(true, Ordering::Relaxed);
                }
                self.cut(parcel, frame);
            }
            Err(_) => self.undeliverable(parcel),
        }
    }

    #[inline]
    fn count(&mut self, parcel: Parcel) {
        let bytes = parcel.length.saturating_sub(VNET_HEADER);
        self.router
            .delivered(&self.plane.tables, parcel.from, parcel.to, bytes);
    }

    fn undeliverable(&mut self, parcel: Parcel) {
        self.router
            .undeliverable(&self.plane.tables, parcel.to, Reason::QueueFull);
    }

    /// Whether a super-frame from `from` is written to `device` as it is.
    fn takes_whole(&self, device: &Device, from: PortId) -> bool {
        let sender = self.plane.device(from);
        device.offloads.checksum && sender.is_none_or(|sender| !sender.refused.load(Ordering::Relaxed))
    }

    /// Writes the packets that a super-frame stands for, one by one.
    #[cold]
    pub(super) fn cut(&mut self, parcel: Parcel, frame: &[u8]) {
        if self.write_pieces(parcel.to, frame).is_some() {
            self.router.segmented(&self.plane.tables, parcel.to);
            self.count(parcel);
        } else {
            self.undeliverable(parcel);
        }
    }

    /// `None` unless all were written.
    fn write_pieces(&mut self, to: PortId, frame: &[u8]) -> Option<()> {
        let device = self.plane.device(to)?;
        let mut pieces = Pieces::of(frame).ok()?;
        if pieces.count() > MOST_PIECES {
            return None;
        }
        while let Some(length) = pieces.next_into(&mut self.piece) {
            write(&device.tun, self.piece.get(..length)?).ok()?;
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::OwnedFd;

    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
    use nix::unistd::read;
    use tokio::sync::mpsc::unbounded_channel;

    use super::*;
    use crate::config::Name;
    use crate::config::definition::Bandwidth;
    use crate::config::rule::Chain;
    use crate::host::tun::Offloads;
    use crate::packet::checksum::Sum;
    use crate::router::{Attachment, Fabric, GlobalPolicy};

    /// A desk between two devices that are sockets, and the far ends of both.
    fn desk() -> (Desk, Fabric, [PortId; 2], [OwnedFd; 2]) {
        let mut fabric = Fabric::new(&["10.107.0.1/24".parse().unwrap()], GlobalPolicy::default(), 1);
        let mut devices = vec![None];
        let mut far_ends = Vec::new();
        let ports = [2, 3].map(|host: u8| {
            let port = fabric
                .attach(Attachment {
                    name: Name::new(&format!("v{host}")).unwrap(),
                    addresses: vec![[10, 107, 0, host].into()],
                    mtu: 1500,
                    out: Chain::default(),
                    in_: Chain::default(),
                    bandwidth: Bandwidth::default(),
                })
                .unwrap();
            let (near, far) = socketpair(
                AddressFamily::Unix,
                SockType::SeqPacket,
                None,
                SockFlag::SOCK_NONBLOCK,
            )
            .unwrap();
            far_ends.push(far);
            devices.push(Some(Arc::new(Device::new(port, near, Offloads::ALL))));
            port
        });
        let plane = Arc::new(Plane {
            tables: fabric.tables(),
            devices,
        });
        let desk = Desk::new(0, plane, unbounded_channel().0);
        (desk, fabric, ports, far_ends.try_into().unwrap())
    }

    /// TCP of 2,500 bytes that is to be cut into 1,000.
    fn super_frame() -> Vec<u8> {
        let mut frame = vec![1, 1, 0, 0, 0xe8, 3, 20, 0, 16, 0];
        frame.extend([
            0x45, 0, 0x09, 0xec, 0, 0, 0x40, 0, 64, 6, 0, 0, 10, 107, 0, 2, 10, 107, 0, 3,
        ]);
        let sum = Sum::default().bytes(&frame[10..]).checksum();
        frame[20..22].copy_from_slice(&sum.to_be_bytes());
        frame.extend([0, 80, 0, 80, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, 0x10, 0, 0, 0, 0, 0, 0]);
        frame.extend(vec![7; 2500]);
        frame
    }

    fn received(far: &OwnedFd) -> Vec<usize> {
        let mut frame = vec![0; MAX_FRAME];
        std::iter::from_fn(|| read(far, &mut frame).ok()).collect()
    }

    #[test]
    fn what_the_kernel_refuses_is_cut_here_and_counted_once() {
        for errno in [Errno::EINVAL, Errno::EIO] {
            let (mut desk, fabric, [from, to], [_, far]) = desk();
            let mut frame = super_frame();
            let parcel = desk.judge(from, &mut frame).unwrap();
            assert_eq!((parcel.to, parcel.length), (to, 2550));
            desk.settle(parcel, &frame, Err(errno));
            assert_eq!(received(&far), [1050, 1050, 550]);
            let traffic = fabric.traffic(to).unwrap();
            assert_eq!((traffic.segmented_packets, traffic.receive_packets), (1, 1));
            assert_eq!((traffic.receive_bytes, traffic.dropped.total()), (2540, 0));
        }
    }

    #[test]
    fn what_cannot_be_written_at_all_is_a_full_queue() {
        let (mut desk, fabric, [from, to], [_, far]) = desk();
        let mut frame = super_frame();
        let parcel = desk.judge(from, &mut frame).unwrap();
        desk.settle(parcel, &frame, Err(Errno::EAGAIN));
        drop(far);
        desk.settle(parcel, &frame, Err(Errno::EIO));
        let traffic = fabric.traffic(to).unwrap();
        assert_eq!(
            (traffic.dropped.get(Reason::QueueFull), traffic.receive_packets),
            (2, 0)
        );
        assert_eq!(traffic.segmented_packets, 0);
    }

    #[test]
    fn who_asks_for_nobody_is_answered_at_the_desk() {
        let (mut desk, fabric, [from, _], [far, _]) = desk();
        let mut frame = super_frame();
        frame[10 + 19] = 77;
        let sum = {
            frame[20..22].fill(0);
            Sum::default().bytes(&frame[10..30]).checksum()
        };
        frame[20..22].copy_from_slice(&sum.to_be_bytes());
        assert!(desk.judge(from, &mut frame).is_none());
        assert_eq!(received(&far).len(), 1);
        assert_eq!(fabric.traffic(from).unwrap().dropped.get(Reason::NoRoute), 1);
    }
}
