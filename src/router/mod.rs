//! Where a packet goes. Never reads a clock, a file or a socket.
//!
//! Two sides that share nothing but [`Tables`]:
//!
//! - [`Fabric`] belongs to the control plane. It knows who is attached with which addresses and rules, and
//!   compiles that into `Tables`, which never change and are swapped in whole.
//! - [`Router`] belongs to one worker. [`Router::forward`] reads like the way of a packet and ends in one
//!   [`Verdict`].
//!
//! # Whose counter
//!
//! A drop is charged to the port whose policy ended the packet: everything up to and including the lookup, and the
//! time to live, to the sender; its own `in` chain, the global one, its MTU, its bandwidth `in` and its full queue to the receiver. An
//! answered packet is dropped and counted too. Counters are from the vassal's viewpoint: `receive` is towards
//! it, `transmit` from it; bytes are IP bytes, and a super-frame is one packet, as in the kernel's own counters of
//! a tun.
//!
//! # In whose name
//!
//! An ICMP answer to a vassal comes from the gateway's address. One to the uplink comes from the address that
//! the packet was for: the gateway's is the host's own, and a kernel takes no packet from itself.

mod buckets;
mod counters;
mod fabric;
mod firewall;
mod forward;
mod limiter;
mod routes;
mod slots;
mod tables;

pub use crate::packet::{Complaint, MAX_FRAME, VNET_HEADER};
pub use counters::{Dropped, Remains, Traffic};
pub use fabric::{AttachError, Attachment, Fabric, GlobalPolicy};
pub use forward::{ANSWER, Router};
pub use tables::{Port, Tables, Wakefulness};

/// One attachment to the router. A slot that is used again has another generation, so that a stale id names
/// nobody instead of somebody else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortId {
    /// The slot.
    pub index: u32,
    /// How often the slot had been used before.
    pub generation: u32,
}

impl PortId {
    /// As the 64 bits that epoll and io_uring hand back with an event.
    #[inline]
    pub fn to_token(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.index)
    }

    /// Undoes [`to_token`](Self::to_token).
    #[inline]
    pub fn from_token(token: u64) -> Self {
        let [g0, g1, g2, g3, i0, i1, i2, i3] = token.to_be_bytes();
        Self {
            index: u32::from_be_bytes([i0, i1, i2, i3]),
            generation: u32::from_be_bytes([g0, g1, g2, g3]),
        }
    }

    /// The slot as an index.
    #[inline]
    fn slot(self) -> usize {
        self.index as usize
    }
}

/// What becomes of one frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is written to that port.
    Forward(PortId),
    /// It is for that port, whose vassal is not awake: it waits, if it can, and one that sleeps is to be woken.
    Wake(PortId),
    /// It ends, has been counted, and its sender is to be told: see [`Router::answer`].
    Answer(Complaint),
    /// It ends and has been counted.
    Drop(Reason),
}

/// Why a packet ended. Each reason is a counter of each port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// Its source is not an address of the port that it came from.
    Spoofed,
    /// A rule, a chain's default, or `isolate`.
    Denied,
    /// No packet, or a packet that no honest kernel sends.
    Malformed,
    /// Nobody has its destination.
    NoRoute,
    /// It is for more than one host.
    Multicast,
    /// More than the sender's or the receiver's bandwidth.
    OverLimit,
    /// The receiver does not read fast enough.
    QueueFull,
    /// It has made too many hops.
    TtlExpired,
    /// It is longer than the receiver's MTU and must not be cut.
    TooBig,
}

impl Reason {
    /// All reasons, in the order in which they are shown.
    pub const ALL: [Self; 9] = [
        Self::Spoofed,
        Self::Denied,
        Self::Malformed,
        Self::NoRoute,
        Self::Multicast,
        Self::OverLimit,
        Self::QueueFull,
        Self::TtlExpired,
        Self::TooBig,
    ];

    /// Its name in `status`, metrics and logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Spoofed => "spoofed",
            Self::Denied => "denied",
            Self::Malformed => "malformed",
            Self::NoRoute => "no_route",
            Self::Multicast => "multicast",
            Self::OverLimit => "over_limit",
            Self::QueueFull => "queue_full",
            Self::TtlExpired => "ttl_expired",
            Self::TooBig => "too_big",
        }
    }

    /// Its place in [`ALL`](Self::ALL).
    #[inline]
    fn place(self) -> usize {
        self as usize
    }
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_stands_at_its_place() {
        for (place, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason.place(), place, "{reason}");
        }
    }

    #[test]
    fn a_port_survives_the_way_through_a_token() {
        let port = PortId {
            index: 0x0102_0304,
            generation: 0x0506_0708,
        };
        assert_eq!(port.to_token(), 0x0506_0708_0102_0304);
        assert_eq!(PortId::from_token(port.to_token()), port);
    }
}
