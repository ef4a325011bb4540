//! Frames for tests, written out byte by byte from the RFCs and without the code under test.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "test code; each test takes what it needs"
)]

use std::net::IpAddr;

pub const TCP: u8 = 6;
pub const UDP: u8 = 17;

/// A frame in the making.
#[derive(Debug, Clone)]
pub struct Sample {
    pub vnet: [u8; 10],
    pub source: IpAddr,
    pub destination: IpAddr,
    /// The number in the last header of the chain.
    pub protocol: u8,
    pub ttl: u8,
    pub dont_fragment: bool,
    /// Offset in units of eight bytes, and whether more follow.
    pub fragment: Option<(u16, bool)>,
    /// IPv4 options (a multiple of four bytes).
    pub options: Vec<u8>,
    /// IPv6 extension headers before the fragment header: number and everything behind the next-header byte.
    pub extensions: Vec<(u8, Vec<u8>)>,
    /// Upper layer.
    pub payload: Vec<u8>,
}

pub fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

impl Sample {
    pub fn new(source: &str, destination: &str, protocol: u8, payload: Vec<u8>) -> Self {
        Self {
            vnet: [0; 10],
            source: ip(source),
            destination: ip(destination),
            protocol,
            ttl: 64,
            dont_fragment: false,
            fragment: None,
            options: Vec::new(),
            extensions: Vec::new(),
            payload,
        }
    }

    /// A UDP datagram from port 4000 with `data` bytes of payload.
    pub fn udp(source: &str, destination: &str, port: u16, data: usize) -> Self {
        let mut payload = vec![0x5a; 8 + data];
        payload[..2].copy_from_slice(&4000_u16.to_be_bytes());
        payload[2..4].copy_from_slice(&port.to_be_bytes());
        payload[4..6].copy_from_slice(&u16::try_from(8 + data).unwrap().to_be_bytes());
        payload[6..8].fill(0);
        let mut sample = Self::new(source, destination, UDP, payload);
        sample.finish_checksum(6);
        sample
    }

    /// A TCP segment from port 4000 with `data` bytes of payload.
    pub fn tcp(source: &str, destination: &str, port: u16, data: usize) -> Self {
        let mut payload = vec![0; 20 + data];
        payload[..2].copy_from_slice(&4000_u16.to_be_bytes());
        payload[2..4].copy_from_slice(&port.to_be_bytes());
        payload[12] = 0x50;
        payload[13] = 0x10;
        let mut sample = Self::new(source, destination, TCP, payload);
        sample.finish_checksum(16);
        sample
    }

    /// An echo request.
    pub fn ping(source: &str, destination: &str) -> Self {
        let (protocol, kind) = if ip(source).is_ipv4() { (1, 8) } else { (58, 128) };
        Self::icmp(source, destination, protocol, kind)
    }

    /// An ICMP message of that type, with eight bytes of body.
    pub fn icmp(source: &str, destination: &str, protocol: u8, kind: u8) -> Self {
        let mut sample = Self::new(
            source,
            destination,
            protocol,
            vec![kind, 0, 0, 0, 0, 1, 0, 1, 1, 2, 3, 4],
        );
        sample.finish_checksum(2);
        sample
    }

    /// TCP of `data` bytes that is to be cut into segments of `size`.
    pub fn super_tcp(source: &str, destination: &str, data: usize, size: u16) -> Self {
        let sample = Self::tcp(source, destination, 80, data);
        let kind = if sample.source.is_ipv4() { 1 } else { 4 };
        let dont_fragment = sample.source.is_ipv4();
        Self {
            dont_fragment,
            ..sample
        }
        .gso(kind, size, 16)
    }

    /// UDP of `data` bytes that is to be cut into datagrams of `size`.
    pub fn super_udp(source: &str, destination: &str, data: usize, size: u16) -> Self {
        Self::udp(source, destination, 53, data).gso(5, size, 6)
    }

    /// Asks for segmentation and a checksum, as a kernel does.
    pub fn gso(mut self, kind: u8, size: u16, checksum_offset: u16) -> Self {
        let start: u16 = if self.source.is_ipv4() { 20 } else { 40 };
        let [s0, s1] = size.to_le_bytes();
        let [c0, c1] = start.to_le_bytes();
        let [o0, o1] = checksum_offset.to_le_bytes();
        self.vnet = [1, kind, 0, 0, s0, s1, c0, c1, o0, o1];
        self
    }

    pub fn ttl(mut self, ttl: u8) -> Self {
        self.ttl = ttl;
        self
    }

    pub fn dont_fragment(mut self) -> Self {
        self.dont_fragment = true;
        self
    }

    pub fn fragment(mut self, units: u16, more: bool) -> Self {
        self.fragment = Some((units, more));
        self
    }

    pub fn extension(mut self, number: u8, rest: &[u8]) -> Self {
        self.extensions.push((number, rest.to_vec()));
        self
    }

    pub fn options(mut self, options: &[u8]) -> Self {
        self.options = options.to_vec();
        self
    }

    /// Length of the IP packet.
    pub fn length(&self) -> u64 {
        u64::try_from(self.frame().len() - 10).unwrap()
    }

    /// The frame: virtio header and packet.
    pub fn frame(&self) -> Vec<u8> {
        let packet = match (self.source, self.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => self.v4(source.octets(), destination.octets()),
            (IpAddr::V6(source), IpAddr::V6(destination)) => self.v6(source.octets(), destination.octets()),
            (source, destination) => panic!("{source} and {destination} are of two families"),
        };
        [&self.vnet[..], &packet].concat()
    }

    fn v4(&self, source: [u8; 4], destination: [u8; 4]) -> Vec<u8> {
        let header = 20 + self.options.len();
        let length = u16::try_from(header + self.payload.len()).unwrap();
        let (units, more) = self.fragment.unwrap_or((0, false));
        let flags = units | if more { 0x2000 } else { 0 } | if self.dont_fragment { 0x4000 } else { 0 };
        let mut bytes = vec![0x40 | u8::try_from(header / 4).unwrap(), 0];
        bytes.extend(length.to_be_bytes());
        bytes.extend([0x12, 0x34]);
        bytes.extend(flags.to_be_bytes());
        bytes.extend([self.ttl, self.protocol, 0, 0]);
        bytes.extend(source);
        bytes.extend(destination);
        bytes.extend(&self.options);
        let sum = checksum(&bytes);
        bytes[10..12].copy_from_slice(&sum.to_be_bytes());
        bytes.extend(&self.payload);
        bytes
    }

    fn v6(&self, source: [u8; 16], destination: [u8; 16]) -> Vec<u8> {
        let mut chain = self.extensions.clone();
        if let Some((units, more)) = self.fragment {
            let [hi, lo] = (units << 3 | u16::from(more)).to_be_bytes();
            chain.push((44, vec![0, hi, lo, 0, 0, 0x12, 0x34]));
        }
        let mut body = Vec::new();
        for (at, (_, rest)) in chain.iter().enumerate() {
            body.push(chain.get(at + 1).map_or(self.protocol, |(number, _)| *number));
            body.extend(rest);
        }
        body.extend(&self.payload);
        let mut bytes = vec![0x60, 0, 0, 0];
        bytes.extend(u16::try_from(body.len()).unwrap().to_be_bytes());
        bytes.push(chain.first().map_or(self.protocol, |(number, _)| *number));
        bytes.push(self.ttl);
        bytes.extend(source);
        bytes.extend(destination);
        bytes.extend(body);
        bytes
    }

    fn finish_checksum(&mut self, at: usize) {
        let pseudo = match self.protocol {
            1 => Vec::new(),
            _ => pseudo_header(self.source, self.destination, self.protocol, self.payload.len()),
        };
        let sum = checksum(&[&pseudo[..], &self.payload].concat());
        self.payload[at..at + 2].copy_from_slice(&sum.to_be_bytes());
    }
}

/// The pseudo header in front of an upper-layer message.
pub fn pseudo_header(source: IpAddr, destination: IpAddr, protocol: u8, length: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    for address in [source, destination] {
        match address {
            IpAddr::V4(address) => bytes.extend(address.octets()),
            IpAddr::V6(address) => bytes.extend(address.octets()),
        }
    }
    bytes.extend(u32::try_from(length).unwrap().to_be_bytes());
    bytes.extend([0, 0, 0, protocol]);
    bytes
}

/// RFC 1071, word by word.
pub fn checksum(bytes: &[u8]) -> u16 {
    let mut sum = 0_u32;
    for pair in bytes.chunks(2) {
        sum += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap()
}

/// Whether the IPv4 header's checksum is right; true for IPv6.
pub fn header_is_right(frame: &[u8]) -> bool {
    let packet = &frame[10..];
    packet[0] >> 4 == 6 || checksum(&packet[..usize::from(packet[0] & 15) * 4]) == 0
}
