//! One frame as it came out of a tun: a virtio header, then one IP packet that may stand for many.

use super::ipv4::{self, Fragment};
use super::transport;
use super::vnet::{VNET_HEADER, VnetHeader};
use super::{Address, Malformed, checksum, ipv6};

/// The longest frame in bytes: a virtio header and the longest IP packet.
pub const MAX_FRAME: usize = VNET_HEADER + 65_535;

/// Everything a router asks about a packet; whoever holds one need not check a length again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet {
    source: Address,
    destination: Address,
    protocol: u8,
    port: Option<u16>,
    ttl: u8,
    dont_fragment: bool,
    fragment: Fragment,
    vnet: VnetHeader,
    length: usize,
    segment: usize,
    payload: usize,
}

impl Packet {
    /// Judges a whole frame.
    ///
    /// # Errors
    /// The first thing that keeps the bytes from being a packet.
    #[inline]
    pub fn parse(frame: &[u8]) -> Result<Self, Malformed> {
        let (vnet, packet) = frame.split_first_chunk::<VNET_HEADER>().ok_or(Malformed::Short)?;
        let vnet = VnetHeader::parse(vnet)?;
        let network = match packet.first().ok_or(Malformed::Short)? >> 4 {
            4 => ipv4::parse(packet)?,
            6 => ipv6::parse(packet)?,
            _ => return Err(Malformed::Version),
        };
        let transport = transport::parse(&network, packet)?;
        let segment = vnet.check(&network, &transport, packet.len())?;
        Ok(Self {
            source: network.source,
            destination: network.destination,
            protocol: network.protocol,
            port: transport.port,
            ttl: network.ttl,
            dont_fragment: network.dont_fragment,
            fragment: network.fragment,
            vnet,
            length: packet.len(),
            segment,
            payload: network.payload,
        })
    }

    /// Where it comes from.
    #[inline]
    pub fn source(&self) -> Address {
        self.source
    }

    /// Where it goes.
    #[inline]
    pub fn destination(&self) -> Address {
        self.destination
    }

    /// Upper-layer protocol by IANA's number, behind any IPv6 extension headers.
    #[inline]
    pub fn protocol(&self) -> u8 {
        self.protocol
    }

    /// Destination port of TCP or UDP; later fragments and other protocols have none.
    #[inline]
    pub fn port(&self) -> Option<u16> {
        self.port
    }

    /// Time to live, or hop limit.
    #[inline]
    pub fn ttl(&self) -> u8 {
        self.ttl
    }

    /// Length in bytes, from the IP header on.
    #[inline]
    pub fn length(&self) -> usize {
        self.length
    }

    /// Length in bytes of the longest packet that the frame stands for.
    #[inline]
    pub fn segment(&self) -> usize {
        self.segment
    }

    /// Bytes that it takes on a wire, from the IP header on: each segment of a super-frame has headers of its own.
    pub fn on_the_wire(&self) -> usize {
        let cut = self.vnet.segmentation.filter(|_| self.segment < self.length);
        let Some(size) = cut.map(|segmentation| usize::from(segmentation.size)) else {
            return self.length;
        };
        let headers = self.segment.saturating_sub(size);
        let segments = self.length.saturating_sub(headers).div_ceil(size.max(1));
        self.length + segments.saturating_sub(1) * headers
    }

    /// Whether it must not be cut on its way: IPv6, IPv4's "don't fragment", and every super-frame, since
    /// its segments are cut by transport and not by IP.
    #[inline]
    pub fn is_uncuttable(&self) -> bool {
        self.dont_fragment || self.vnet.segmentation.is_some()
    }

    /// Whether it is a fragment other than the first.
    #[inline]
    pub fn is_later_fragment(&self) -> bool {
        matches!(self.fragment, Fragment::Later(_))
    }

    /// What its sender left for the receiver to do.
    #[inline]
    pub fn vnet(&self) -> &VnetHeader {
        &self.vnet
    }

    /// Where the upper layer begins, in bytes from the IP header.
    #[inline]
    pub fn payload(&self) -> usize {
        self.payload
    }
}

/// A judged frame whose bytes can still be changed.
#[derive(Debug)]
pub struct Frame<'a> {
    bytes: &'a mut [u8],
    packet: Packet,
}

impl<'a> Frame<'a> {
    /// Judges a whole frame.
    ///
    /// # Errors
    /// The first thing that keeps the bytes from being a packet.
    #[inline]
    pub fn parse(bytes: &'a mut [u8]) -> Result<Self, Malformed> {
        let packet = Packet::parse(bytes)?;
        Ok(Self { bytes, packet })
    }

    /// What the frame holds.
    #[inline]
    pub fn packet(&self) -> &Packet {
        &self.packet
    }

    /// Takes one from the time to live or hop limit, and keeps the IPv4 header checksum right. A packet that
    /// has none left stays as it is.
    #[inline]
    pub fn decrement_ttl(&mut self) {
        let Some((_, packet)) = self.bytes.split_first_chunk_mut::<VNET_HEADER>() else {
            return;
        };
        let Some(header) = packet.first_chunk_mut::<{ ipv4::HEADER }>() else {
            return;
        };
        let ttl = self.packet.ttl.saturating_sub(1);
        match self.packet.source {
            Address::V4(_) => {
                let old = u16::from_be_bytes([header[8], header[9]]);
                header[8] = ttl;
                let new = u16::from_be_bytes([header[8], header[9]]);
                let sum = checksum::replace(u16::from_be_bytes([header[10], header[11]]), old, new);
                [header[10], header[11]] = sum.to_be_bytes();
            }
            Address::V6(_) => header[7] = ttl,
        }
        self.packet.ttl = ttl;
    }
}
