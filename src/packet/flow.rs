//! Which packets belong together, seen from their receiver.

use super::frame::Packet;
use super::transport::{TCP, UDP};
use super::{Address, VNET_HEADER};

/// The flags of a TCP header that a connection's first segment has: SYN alone of SYN, RST and ACK.
const SYN: u8 = 0x02;
const SYN_RST_ACK: u8 = 0x16;
/// Where the flags are in a TCP header.
const FLAGS: usize = 13;

/// Sender, protocol and ports of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flow {
    source: Address,
    protocol: u8,
    /// Source and destination port; later fragments and other protocols have none.
    ports: Option<(u16, u16)>,
}

impl Flow {
    /// That of `packet`, which was parsed from `frame`.
    pub fn of(packet: &Packet, frame: &[u8]) -> Self {
        let source_port = transport(packet, frame).and_then(|header| header.first_chunk::<2>());
        Self {
            source: packet.source(),
            protocol: packet.protocol(),
            ports: source_port
                .zip(packet.port())
                .map(|(source, destination)| (u16::from_be_bytes(*source), destination)),
        }
    }
}

/// Whether `packet`, which was parsed from `frame`, opens a TCP connection.
pub fn opens_connection(packet: &Packet, frame: &[u8]) -> bool {
    let flags = transport(packet, frame).and_then(|header| header.get(FLAGS));
    packet.protocol() == TCP && flags.is_some_and(|flags| flags & SYN_RST_ACK == SYN)
}

/// The transport header and what follows, of a packet that has one with ports.
fn transport<'f>(packet: &Packet, frame: &'f [u8]) -> Option<&'f [u8]> {
    let ported = [TCP, UDP].contains(&packet.protocol()) && packet.port().is_some();
    frame.get(VNET_HEADER + packet.payload()..).filter(|_| ported)
}
