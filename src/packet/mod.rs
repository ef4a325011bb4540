//! What bytes mean. Never reads a clock, a file or a socket.
//!
//! Everything that comes out of a tun is hostile input. [`Frame::parse`] is the only door: it looks at every
//! field that a later step relies on, once, and what it hands out is trusted from then on. Decisions that
//! the standards leave open, in one place:
//!
//! - The bytes of a frame end where its IP packet ends. A tun has no padding, so trailing bytes are malformed
//!   and not cut.
//! - An IPv4 header checksum is verified (RFC 1812 5.2.2); it is twenty bytes.
//! - IPv4 source routes and IPv6 routing header 0 are malformed: they would carry a packet past the rules
//!   about its destination (RFC 7126, RFC 5095).
//! - A first fragment that hides the transport header, or a TCP fragment that could overwrite one, is
//!   malformed (RFC 1858, RFC 3128, RFC 7112).
//! - A frame may leave its checksum and its cutting to the receiver (virtio header) only as a kernel does:
//!   with the checksum of the transport header, and never in a fragment.

pub mod address;
pub mod checksum;
pub mod flow;
mod frame;
pub mod icmp;
mod ipv4;
mod ipv6;
pub mod pieces;
mod transport;
pub mod vnet;

pub use address::Address;
pub use flow::{Flow, opens_connection};
pub use frame::{Frame, MAX_FRAME, Packet};
pub use icmp::Complaint;
pub use pieces::Pieces;
pub use vnet::VNET_HEADER;

/// Why bytes are no packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Malformed {
    /// Shorter than the fixed part of its headers.
    #[error("shorter than its headers")]
    Short,
    /// Neither IPv4 nor IPv6.
    #[error("neither IPv4 nor IPv6")]
    Version,
    /// An IPv4 header length below 20 bytes or beyond the packet.
    #[error("header length out of bounds")]
    HeaderLength,
    /// The length that the packet states is not the length that it has.
    #[error("stated length differs from the real one")]
    Length,
    /// The IPv4 header checksum is wrong.
    #[error("wrong header checksum")]
    HeaderChecksum,
    /// An IPv4 option is cut off.
    #[error("option out of bounds")]
    Option,
    /// An IPv4 source route or an IPv6 routing header of type 0.
    #[error("source route")]
    SourceRoute,
    /// An IPv6 extension header is cut off, out of place, or one too many.
    #[error("extension headers out of bounds")]
    Extension,
    /// A fragment that cannot be a part of any packet, or that hides its transport header.
    #[error("impossible fragment")]
    Fragment,
    /// A TCP or UDP header is cut off or contradicts itself.
    #[error("transport header out of bounds")]
    Transport,
    /// Unknown flags in the virtio header, or a header length beyond the packet.
    #[error("impossible virtio header")]
    Vnet,
    /// The virtio header asks for a checksum elsewhere than in the transport header.
    #[error("impossible checksum request")]
    Checksum,
    /// The virtio header asks for a cutting that does not fit the packet.
    #[error("impossible segmentation request")]
    Segmentation,
}
