//! The frames of the self-test.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::packet::checksum::Sum;
use crate::packet::vnet::{Kind, Segmentation, Unfinished, VnetHeader};
use crate::packet::{Address, VNET_HEADER};

/// The addresses of the link that frames go in by (RFC 5737, RFC 3849).
pub(super) const INPUT: [&str; 2] = ["192.0.2.1/24", "2001:db8:0:2::1/64"];
/// Of the link that takes them whole.
pub(super) const WHOLE: [&str; 2] = ["198.51.100.1/24", "2001:db8:0:3::1/64"];
/// Of the link that takes them cut.
pub(super) const CUT: [&str; 2] = ["203.0.113.1/24", "2001:db8:0:4::1/64"];

const TCP: u8 = 6;
const UDP: u8 = 17;
/// Nobody else sends to this port here.
const PORT: u16 = 40_107;
/// Bytes of payload in a segment.
const SEGMENT: u16 = 1000;

/// One kind of frame.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    v6: bool,
    protocol: u8,
    /// Bytes of payload.
    data: usize,
    /// Whether it asks for segmentation; else only for its checksum.
    segmented: bool,
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let protocol = if self.protocol == TCP { "TCP" } else { "UDP" };
        let family = if self.v6 { "IPv6" } else { "IPv4" };
        write!(f, "{protocol} over {family}, {} bytes", self.data)?;
        if self.segmented {
            write!(f, " to be cut into {SEGMENT}")?;
        }
        Ok(())
    }
}

/// Every shape; those of UDP and of IPv6 only where the kernel has them.
pub(super) fn all(uso: bool, v6: bool) -> Vec<Shape> {
    let size = usize::from(SEGMENT);
    let mut shapes = Vec::new();
    for v6 in [false, true].into_iter().filter(|wanted| v6 || !wanted) {
        for protocol in [TCP, UDP] {
            // Equal tail, short tail, a tail of one byte, one segment, less than one, many; then no segmentation.
            let cuts = [
                4 * size,
                4 * size + 300,
                3 * size + 1,
                size,
                size - 1,
                60 * size + 7,
            ];
            let segmented = cuts.map(|data| (data, true));
            for (data, segmented) in segmented.into_iter().chain([(700, false)]) {
                if !segmented || protocol == TCP || uso {
                    shapes.push(Shape {
                        v6,
                        protocol,
                        data,
                        segmented,
                    });
                }
            }
        }
    }
    shapes
}

/// Whether a frame is of a shape, and not the kernel's own.
pub(super) fn is_ours(frame: &[u8]) -> bool {
    let port = |at: usize| frame.get(VNET_HEADER + at..)?.first_chunk::<2>().copied();
    [port(22), port(42)].contains(&Some(PORT.to_be_bytes()))
}

impl Shape {
    /// The frame, for the link that takes frames whole or the one that takes them cut.
    pub(super) fn frame(&self, whole: bool) -> Vec<u8> {
        let (from, to) = self.addresses(whole);
        let header = self.transport_length();
        let length = header + self.data;
        let mut packet = self.network_header(from, to, length);
        let start = packet.len();
        packet.extend(self.transport_header(length));
        packet.extend((0..self.data).map(|at| u8::try_from(at % 251).unwrap_or(0)));
        let offset: u16 = if self.protocol == TCP { 16 } else { 6 };
        let pseudo = Sum::default().pseudo_header(
            Address::from(from),
            Address::from(to),
            self.protocol,
            u32::try_from(length).unwrap_or(0),
        );
        // The field holds the pseudo header's sum, not its complement.
        put(&mut packet, start + usize::from(offset), pseudo.fold());
        let kind = match (self.protocol, self.v6) {
            (TCP, false) => Kind::TcpV4,
            (TCP, true) => Kind::TcpV6,
            (_, _) => Kind::Udp,
        };
        let vnet = VnetHeader {
            checksum: Some(Unfinished {
                start: u16::try_from(start).unwrap_or(0),
                offset,
            }),
            segmentation: self.segmented.then_some(Segmentation {
                kind,
                size: SEGMENT,
                ecn: false,
            }),
            header_length: u16::try_from(start + header).unwrap_or(0),
            verified: false,
        };
        [&vnet.emit()[..], &packet].concat()
    }

    /// Bytes of the transport's header. What is one segment only has no options: the kernel believes that a TCP header is
    /// 20 bytes when it decides whether there is anything to cut (`virtio_net_hdr_to_skb`, Linux 6.18), and then cannot
    /// cut it. No kernel makes such frames of its own.
    fn transport_length(&self) -> usize {
        match self.protocol {
            TCP if self.data > usize::from(SEGMENT) => 32,
            TCP => 20,
            _ => 8,
        }
    }

    fn addresses(&self, whole: bool) -> (IpAddr, IpAddr) {
        let subnet = if whole { 3 } else { 4 };
        if self.v6 {
            let address = |subnet| Ipv6Addr::new(0x2001, 0xdb8, 0, subnet, 0, 0, 0, 2).into();
            (address(2), address(subnet))
        } else {
            let to = if whole {
                Ipv4Addr::new(198, 51, 100, 2)
            } else {
                Ipv4Addr::new(203, 0, 113, 2)
            };
            (Ipv4Addr::new(192, 0, 2, 2).into(), to.into())
        }
    }

    fn network_header(&self, from: IpAddr, to: IpAddr, length: usize) -> Vec<u8> {
        match (from, to) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                let mut header = vec![0x45, 0, 0, 0, 0x10, 0x7f, 0x40, 0, 64, self.protocol, 0, 0];
                header.extend(from.octets());
                header.extend(to.octets());
                put(&mut header, 2, u16::try_from(20 + length).unwrap_or(0));
                let sum = Sum::default().bytes(&header).checksum();
                put(&mut header, 10, sum);
                header
            }
            (_, _) => {
                let mut header = vec![0x60, 0, 0, 0, 0, 0, self.protocol, 64];
                for address in [from, to] {
                    if let IpAddr::V6(address) = address {
                        header.extend(address.octets());
                    }
                }
                put(&mut header, 4, u16::try_from(length).unwrap_or(0));
                header
            }
        }
    }

    fn transport_header(&self, length: usize) -> Vec<u8> {
        let mut header = PORT.to_be_bytes().repeat(2);
        if self.protocol == TCP {
            let words = u8::try_from(self.transport_length() / 4).unwrap_or(5);
            // Sequence number near its end, acknowledgement, length, FIN, PSH and ACK, window, checksum, urgent.
            header.extend([
                0xff,
                0xff,
                0xff,
                0x00,
                0,
                0,
                0,
                1,
                words << 4,
                0x19,
                0x10,
                0,
                0,
                0,
                0,
                0,
            ]);
            if words > 5 {
                // Two bytes of nothing and a timestamp (RFC 7323), as real streams have.
                header.extend([1, 1, 8, 10, 0, 0, 0, 7, 0, 0, 0, 9]);
            }
        } else {
            header.extend(u16::try_from(length).unwrap_or(0).to_be_bytes());
            header.extend([0, 0]);
        }
        header
    }
}

fn put(bytes: &mut [u8], at: usize, value: u16) {
    if let Some(field) = bytes.get_mut(at..).and_then(<[u8]>::first_chunk_mut::<2>) {
        *field = value.to_be_bytes();
    }
}
