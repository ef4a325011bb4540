//! Decides what becomes of one packet. Never reads a clock, a file or a socket.

use std::time::Instant;

use super::buckets::Buckets;
use super::firewall::Filter;
use super::limiter::{Limiter, Limiters};
use super::routes::Place;
use super::tables::{Port, Role, Tables, Wakefulness};
use super::{PortId, Reason, Verdict};
use crate::config::rule::Action;
use crate::packet::{Complaint, Frame, Packet, icmp};

pub use crate::packet::icmp::ANSWER;

/// One worker's side of the router.
#[derive(Debug)]
pub struct Router {
    worker: usize,
    buckets: Buckets,
}

/// How a packet ended: why, at whose expense, and what its sender may be told.
struct End<'t> {
    reason: Reason,
    charged: &'t Port,
    complaint: Option<Complaint>,
}

impl Router {
    /// The router of worker number `worker`, counted from 0, which must be its only user: it writes that worker's
    /// counters.
    pub fn new(worker: usize) -> Self {
        Self {
            worker,
            buckets: Buckets::default(),
        }
    }

    /// Judges one frame from the port `from` and counts it if it ends here. A frame that is forwarded to another vassal,
    /// or waits for it to wake, has lost one of its time to live; all others are unchanged.
    ///
    /// `now` is the time of the worker's wake-up. An answer that the sender has no right to at `now` is not asked
    /// for: the verdict is `Drop`. A frame from a port that is gone is dropped without being counted.
    #[inline]
    pub fn forward(&mut self, tables: &Tables, from: PortId, frame: &mut [u8], now: Instant) -> Verdict {
        let Some(sender) = tables.port(from) else {
            return Verdict::Drop(Reason::NoRoute);
        };
        match judge(tables, sender, frame, now) {
            Ok(receiver) if receiver.wakefulness != Wakefulness::Awake => Verdict::Wake(receiver.id),
            Ok(receiver) => Verdict::Forward(receiver.id),
            Err(end) => self.end(tables, from, &end, now),
        }
    }

    /// Writes the ICMP error that [`Verdict::Answer`] asks for, as a frame for the port that `frame` came from, and gives
    /// its length; `None` where a rate limit or a standard asks for silence.
    pub fn answer(
        &mut self,
        tables: &Tables,
        from: PortId,
        frame: &[u8],
        complaint: Complaint,
        now: Instant,
        out: &mut [u8; ANSWER],
    ) -> Option<usize> {
        let sender = tables.port(from)?;
        let packet = Packet::parse(frame).ok()?;
        if tables.routes.is_group(packet.source()) || tables.routes.is_group(packet.destination()) {
            return None;
        }
        let speaker = match sender.role {
            Role::Uplink => packet.destination(),
            Role::Vassal { .. } => tables.routes.gateway(packet.source())?,
        };
        let length = icmp::answer(&packet, frame, complaint, speaker, out)?;
        self.buckets.fit(tables.ports.len());
        self.buckets.take(from, now).then_some(length)
    }

    /// Counts a forwarded frame that was written; `bytes` is the length of its IP packet, without the virtio header.
    #[inline]
    pub fn delivered(&mut self, tables: &Tables, from: PortId, to: PortId, bytes: usize) {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        if let Some(block) = tables.port(from).and_then(|port| port.counters.of(self.worker)) {
            block.transmitted(bytes);
        }
        if let Some(block) = tables.port(to).and_then(|port| port.counters.of(self.worker)) {
            block.received(bytes);
        }
    }

    /// Counts an answer that was written to the port `to`; `bytes` is the length of its IP packet.
    #[inline]
    pub fn answered(&mut self, tables: &Tables, to: PortId, bytes: usize) {
        if let Some(block) = tables.port(to).and_then(|port| port.counters.of(self.worker)) {
            block.received(u64::try_from(bytes).unwrap_or(u64::MAX));
        }
    }

    /// Counts a frame that was [`delivered`](Self::delivered) in pieces, because the kernel would not cut it.
    #[cold]
    pub fn segmented(&mut self, tables: &Tables, to: PortId) {
        if let Some(block) = tables.port(to).and_then(|port| port.counters.of(self.worker)) {
            block.segmented();
        }
    }

    /// Counts a forwarded frame that could not be written, at the expense of `to`.
    #[inline]
    pub fn undeliverable(&mut self, tables: &Tables, to: PortId, reason: Reason) {
        if let Some(port) = tables.port(to) {
            self.count(port, reason);
        }
    }

    #[cold]
    fn end(&mut self, tables: &Tables, from: PortId, end: &End<'_>, now: Instant) -> Verdict {
        self.count(end.charged, end.reason);
        self.buckets.fit(tables.ports.len());
        match end.complaint {
            Some(complaint) if self.buckets.may(from, now) => Verdict::Answer(complaint),
            Some(_) | None => Verdict::Drop(end.reason),
        }
    }

    #[inline]
    fn count(&self, port: &Port, reason: Reason) {
        if let Some(block) = port.counters.of(self.worker) {
            block.dropped(reason);
        }
    }
}

/// The way of a packet.
#[inline]
fn judge<'t>(
    tables: &'t Tables,
    sender: &'t Port,
    bytes: &mut [u8],
    now: Instant,
) -> Result<&'t Port, End<'t>> {
    let mut frame = Frame::parse(bytes).map_err(|_| sender.ends(Reason::Malformed))?;
    let packet = frame.packet();
    is_for_one_host(tables, sender, packet)?;
    is_not_spoofed(tables, sender, packet)?;
    may_leave(tables, sender, packet)?;
    leaves_in_time(sender, packet, now)?;
    let receiver = find(tables, sender, packet)?;
    may_enter(tables, sender, receiver, packet)?;
    fits(receiver, packet)?;
    enters_in_time(receiver, packet, now)?;
    if sender.is_vassal() && receiver.is_vassal() {
        hops(sender, &mut frame)?;
    }
    Ok(receiver)
}

/// Before the pin: a kernel that has just got a tun solicits routers from an address of its own making, and that
/// is no spoofing.
#[inline]
fn is_for_one_host<'t>(tables: &Tables, sender: &'t Port, packet: &Packet) -> Result<(), End<'t>> {
    let to = packet.destination();
    if tables.routes.is_group(to) {
        return Err(sender.ends(Reason::Multicast));
    }
    if to.is_nowhere() {
        return Err(sender.ends(Reason::Malformed));
    }
    Ok(())
}

/// A vassal speaks from its own addresses; the host from any that is a single host's and no vassal's.
#[inline]
fn is_not_spoofed<'t>(tables: &Tables, sender: &'t Port, packet: &Packet) -> Result<(), End<'t>> {
    let holder = tables.routes.holder(packet.source());
    let honest = match sender.role {
        Role::Vassal { .. } => holder == Some(sender.id.index),
        Role::Uplink => {
            let source = packet.source();
            holder.is_none() && !tables.routes.is_group(source) && !source.is_nowhere()
        }
    };
    if honest {
        Ok(())
    } else {
        Err(sender.ends(Reason::Spoofed))
    }
}

#[inline]
fn may_leave<'t>(tables: &Tables, sender: &'t Port, packet: &Packet) -> Result<(), End<'t>> {
    match &sender.role {
        Role::Uplink => Ok(()),
        Role::Vassal { out, .. } => {
            passes(&tables.policy.out, sender, packet)?;
            passes(out, sender, packet)
        }
    }
}

#[inline]
fn leaves_in_time<'t>(sender: &'t Port, packet: &Packet, now: Instant) -> Result<(), End<'t>> {
    match &sender.role {
        Role::Vassal {
            limits: Limiters {
                out: Some(limiter), ..
            },
            ..
        } => is_admitted(limiter, sender, packet, now),
        Role::Vassal { .. } | Role::Uplink => Ok(()),
    }
}

#[inline]
fn find<'t>(tables: &'t Tables, sender: &'t Port, packet: &Packet) -> Result<&'t Port, End<'t>> {
    let to = packet.destination();
    let nobody = || sender.ends(Reason::NoRoute);
    let unreachable = || sender.complains(Reason::NoRoute, Complaint::HostUnreachable);
    match tables.routes.place(to) {
        Place::Held(slot) if slot == sender.id.index => Err(nobody()),
        Place::Held(slot) => tables.slot(slot).ok_or_else(nobody),
        Place::Unheld => Err(unreachable()),
        Place::Gateway | Place::Outside if !sender.is_vassal() || to.is_link_local() => Err(nobody()),
        Place::Gateway | Place::Outside => tables
            .uplink
            .and_then(|uplink| tables.port(uplink))
            .ok_or_else(unreachable),
    }
}

#[inline]
fn may_enter<'t>(
    tables: &Tables,
    sender: &'t Port,
    receiver: &'t Port,
    packet: &Packet,
) -> Result<(), End<'t>> {
    match &receiver.role {
        Role::Uplink => Ok(()),
        Role::Vassal { .. } if tables.policy.isolate && sender.is_vassal() => {
            Err(sender.ends(Reason::Denied))
        }
        Role::Vassal { in_, .. } => {
            passes(&tables.policy.in_, receiver, packet)?;
            passes(in_, receiver, packet)
        }
    }
}

/// An IPv4 packet that may be cut goes whole: a tun takes it, and nothing behind it is a link that is too short.
#[inline]
fn fits<'t>(receiver: &'t Port, packet: &Packet) -> Result<(), End<'t>> {
    if packet.segment() > usize::from(receiver.mtu) && packet.is_uncuttable() {
        return Err(receiver.complains(Reason::TooBig, Complaint::TooBig { mtu: receiver.mtu }));
    }
    Ok(())
}

#[inline]
fn enters_in_time<'t>(receiver: &'t Port, packet: &Packet, now: Instant) -> Result<(), End<'t>> {
    match &receiver.role {
        Role::Vassal {
            limits: Limiters {
                in_: Some(limiter), ..
            },
            ..
        } => is_admitted(limiter, receiver, packet, now),
        Role::Vassal { .. } | Role::Uplink => Ok(()),
    }
}

/// Out of line: most ports have no limit.
#[inline(never)]
fn is_admitted<'t>(
    limiter: &Limiter,
    charged: &'t Port,
    packet: &Packet,
    now: Instant,
) -> Result<(), End<'t>> {
    if limiter.admits(packet.on_the_wire(), now) {
        Ok(())
    } else {
        Err(charged.ends(Reason::OverLimit))
    }
}

/// Between vassals the router is a hop, as the host's kernel was in uWSGI's router. Over the uplink it is none: the
/// kernel there counts what it forwards, ends what has no time left, and must receive what is its own whatever time it
/// has left, which only it can tell apart (RFC 1812 4.2.2.9).
#[inline]
fn hops<'t>(sender: &'t Port, frame: &mut Frame<'_>) -> Result<(), End<'t>> {
    if frame.packet().ttl() <= 1 {
        return Err(sender.complains(Reason::TtlExpired, Complaint::TimeExceeded));
    }
    frame.decrement_ttl();
    Ok(())
}

/// Holds `packet` against one chain, at the expense of `charged`.
#[inline]
fn passes<'t>(chain: &Filter, charged: &'t Port, packet: &Packet) -> Result<(), End<'t>> {
    match chain.judge(packet) {
        Action::Allow => Ok(()),
        Action::Deny => Err(charged.ends(Reason::Denied)),
        Action::Reject => Err(charged.complains(Reason::Denied, Complaint::Prohibited)),
    }
}

impl Port {
    #[inline]
    fn is_vassal(&self) -> bool {
        match self.role {
            Role::Vassal { .. } => true,
            Role::Uplink => false,
        }
    }

    /// A packet ends in silence at this port's expense.
    #[inline]
    fn ends(&self, reason: Reason) -> End<'_> {
        End {
            reason,
            charged: self,
            complaint: None,
        }
    }

    /// A packet ends at this port's expense, and its sender is to be told.
    #[inline]
    fn complains(&self, reason: Reason, complaint: Complaint) -> End<'_> {
        End {
            reason,
            charged: self,
            complaint: Some(complaint),
        }
    }
}
