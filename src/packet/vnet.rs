//! The virtio header in front of every packet of a tun: what the sender left for the receiver to do.
//!
//! A tun opened with `IFF_VNET_HDR` puts `struct virtio_net_hdr` (`linux/virtio_net.h`, little-endian by
//! `TUNSETVNETLE`) in front of each packet. The sender's kernel fills it in, but a vassal with `CAP_NET_RAW` can
//! dictate it (`PACKET_VNET_HDR`), and whatever it says is handed on to another vassal's kernel.

use super::Malformed;
use super::ipv4::{Fragment, Network};
use super::transport::{TCP, Transport, UDP};

/// Length of the virtio header in bytes (`TUNSETVNETHDRSZ`).
pub const VNET_HEADER: usize = 10;

const NEEDS_CSUM: u8 = 1;
const DATA_VALID: u8 = 2;
const GSO_NONE: u8 = 0;
const GSO_TCPV4: u8 = 1;
const GSO_TCPV6: u8 = 4;
const GSO_UDP_L4: u8 = 5;
const GSO_ECN: u8 = 0x80;

/// `TCP_MIN_GSO_SIZE` of `net/tcp.h`: no kernel cuts TCP finer.
const TCP_MIN_SEGMENT: u16 = 8;

/// What the sender of a frame left for the receiver to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VnetHeader {
    /// Where the unfinished checksum is; absent = it is finished, or already found right.
    pub checksum: Option<Unfinished>,
    /// How the packet is to be cut; absent = not at all.
    pub segmentation: Option<Segmentation>,
    /// How many bytes of the packet are worth reading first: advice that the kernel bounds all the same.
    pub header_length: u16,
    /// The sender's kernel has already found the checksum right.
    pub verified: bool,
}

/// A checksum field that holds the pseudo header's sum only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unfinished {
    /// Where the summed bytes begin, in bytes from the IP header.
    pub start: u16,
    /// Where the field is, in bytes from `start`.
    pub offset: u16,
}

/// A packet that stands for many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segmentation {
    /// What is cut.
    pub kind: Kind,
    /// Bytes of transport payload in each segment; never 0.
    pub size: u16,
    /// The TCP segments carry congestion marks (`VIRTIO_NET_HDR_GSO_ECN`).
    pub ecn: bool,
}

/// What a segmentation cuts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// TCP over IPv4.
    TcpV4,
    /// TCP over IPv6.
    TcpV6,
    /// UDP datagrams of equal length over either (`VIRTIO_NET_HDR_GSO_UDP_L4`).
    Udp,
}

impl VnetHeader {
    /// A whole packet with finished checksums.
    pub const PLAIN: Self = Self {
        checksum: None,
        segmentation: None,
        header_length: 0,
        verified: false,
    };

    /// Reads the header by itself; `check` holds it against its packet.
    #[inline]
    pub fn parse(bytes: &[u8; VNET_HEADER]) -> Result<Self, Malformed> {
        let [flags, gso, h0, h1, s0, s1, c0, c1, o0, o1] = *bytes;
        if flags & !(NEEDS_CSUM | DATA_VALID) != 0 {
            return Err(Malformed::Vnet);
        }
        let unfinished = Unfinished {
            start: u16::from_le_bytes([c0, c1]),
            offset: u16::from_le_bytes([o0, o1]),
        };
        Ok(Self {
            checksum: (flags & NEEDS_CSUM != 0).then_some(unfinished),
            segmentation: Segmentation::parse(gso, u16::from_le_bytes([s0, s1]))?,
            header_length: u16::from_le_bytes([h0, h1]),
            verified: flags & DATA_VALID != 0,
        })
    }

    /// Whether a frame leaves its receiver nothing to do; so does one without a header that can be read.
    #[inline]
    pub fn is_plain(frame: &[u8]) -> bool {
        let [flags, gso, ..] = frame else { return true };
        flags & NEEDS_CSUM == 0 && *gso == GSO_NONE
    }

    /// Writes the header; `parse` of it gives `self`.
    pub fn emit(&self) -> [u8; VNET_HEADER] {
        let flags = if self.checksum.is_some() { NEEDS_CSUM } else { 0 };
        let verified = if self.verified { DATA_VALID } else { 0 };
        let (gso, size) = self.segmentation.map_or((GSO_NONE, 0), Segmentation::emit);
        let unfinished = self.checksum.unwrap_or(Unfinished { start: 0, offset: 0 });
        let [h0, h1] = self.header_length.to_le_bytes();
        let [s0, s1] = size.to_le_bytes();
        let [c0, c1] = unfinished.start.to_le_bytes();
        let [o0, o1] = unfinished.offset.to_le_bytes();
        [flags | verified, gso, h0, h1, s0, s1, c0, c1, o0, o1]
    }

    /// Holds the header against the packet of `length` bytes that follows it, and says how long the longest
    /// packet is that the frame stands for.
    #[inline]
    pub(super) fn check(
        &self,
        network: &Network,
        transport: &Transport,
        length: usize,
    ) -> Result<usize, Malformed> {
        if usize::from(self.header_length) > length {
            return Err(Malformed::Vnet);
        }
        if let Some(unfinished) = self.checksum {
            unfinished.check(network, length)?;
        }
        match self.segmentation {
            None => Ok(length),
            Some(_) if self.checksum.is_none() => Err(Malformed::Segmentation),
            Some(segmentation) => segmentation.check(network, transport, length),
        }
    }
}

impl Unfinished {
    fn check(self, network: &Network, length: usize) -> Result<(), Malformed> {
        let field = usize::from(self.start) + usize::from(self.offset);
        let expected = match network.protocol {
            TCP => self.offset == 16,
            UDP => self.offset == 6,
            _ => true,
        };
        let whole = network.fragment == Fragment::Whole;
        let fits = usize::from(self.start) == network.payload && field + 2 <= length;
        if whole && expected && fits {
            Ok(())
        } else {
            Err(Malformed::Checksum)
        }
    }
}

impl Segmentation {
    #[inline]
    fn parse(gso: u8, size: u16) -> Result<Option<Self>, Malformed> {
        let ecn = gso & GSO_ECN != 0;
        let (kind, least) = match gso & !GSO_ECN {
            GSO_NONE if !ecn => return Ok(None),
            GSO_TCPV4 => (Kind::TcpV4, TCP_MIN_SEGMENT),
            GSO_TCPV6 => (Kind::TcpV6, TCP_MIN_SEGMENT),
            GSO_UDP_L4 if !ecn => (Kind::Udp, 1),
            _ => return Err(Malformed::Segmentation),
        };
        if size < least {
            return Err(Malformed::Segmentation);
        }
        Ok(Some(Self { kind, size, ecn }))
    }

    fn emit(self) -> (u8, u16) {
        let kind = match self.kind {
            Kind::TcpV4 => GSO_TCPV4,
            Kind::TcpV6 => GSO_TCPV6,
            Kind::Udp => GSO_UDP_L4,
        };
        (kind | if self.ecn { GSO_ECN } else { 0 }, self.size)
    }

    #[inline]
    fn check(self, network: &Network, transport: &Transport, length: usize) -> Result<usize, Malformed> {
        let fits = match self.kind {
            Kind::TcpV4 => network.protocol == TCP && network.is_v4(),
            Kind::TcpV6 => network.protocol == TCP && !network.is_v4(),
            Kind::Udp => network.protocol == UDP,
        };
        if !fits {
            return Err(Malformed::Segmentation);
        }
        Ok(length.min(network.payload + transport.header_length + usize::from(self.size)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_header_survives_the_way_there_and_back() {
        let tcp = VnetHeader {
            checksum: Some(Unfinished {
                start: 40,
                offset: 16,
            }),
            segmentation: Some(Segmentation {
                kind: Kind::TcpV6,
                size: 1440,
                ecn: true,
            }),
            header_length: 60,
            verified: false,
        };
        let udp = VnetHeader {
            checksum: Some(Unfinished { start: 20, offset: 6 }),
            segmentation: Some(Segmentation {
                kind: Kind::Udp,
                size: 1,
                ecn: false,
            }),
            ..tcp
        };
        let verified = VnetHeader {
            verified: true,
            ..VnetHeader::PLAIN
        };
        for header in [VnetHeader::PLAIN, verified, tcp, udp] {
            assert_eq!(VnetHeader::parse(&header.emit()), Ok(header));
        }
        assert_eq!(VnetHeader::PLAIN.emit(), [0; VNET_HEADER]);
    }

    #[test]
    fn unknown_flags_are_malformed() {
        for flags in 4..=u8::MAX {
            assert_eq!(
                VnetHeader::parse(&[flags, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
                Err(Malformed::Vnet)
            );
        }
    }

    #[test]
    fn only_known_segmentations_of_a_sane_size_are_taken() {
        for gso in 0..=u8::MAX {
            let known = matches!(gso, 0 | 1 | 4 | 5 | 0x81 | 0x84);
            let parsed = VnetHeader::parse(&[1, gso, 0, 0, 0xb4, 5, 20, 0, 16, 0]);
            assert_eq!(parsed.is_ok(), known, "{gso:#x}");
            let zero = VnetHeader::parse(&[1, gso, 0, 0, 0, 0, 20, 0, 16, 0]);
            assert_eq!(zero.is_ok(), gso == 0, "{gso:#x} of size 0");
        }
        assert_eq!(
            VnetHeader::parse(&[1, 1, 0, 0, 7, 0, 20, 0, 16, 0]),
            Err(Malformed::Segmentation)
        );
    }
}
