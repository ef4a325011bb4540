//! A second opinion: what must become of a frame, read from the RFCs, slowly, and without the code under test.

use std::net::IpAddr;

use mini_emperor::config::rule::{Action, Chain, Endpoint, Protocol, Rule};
use mini_emperor::router::{Complaint, Reason};

const TCP: u8 = 6;
const UDP: u8 = 17;

/// A frame that is a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    pub source: IpAddr,
    pub destination: IpAddr,
    /// Behind any extension headers.
    pub protocol: u8,
    pub port: Option<u16>,
    pub ttl: u8,
    pub uncuttable: bool,
    pub later: bool,
    /// Length of the longest packet that it stands for.
    pub segment: usize,
    /// Where the upper layer begins.
    pub payload: usize,
    /// First byte of the upper layer.
    pub first: Option<u8>,
}

/// What the IP header says.
struct Network {
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    ttl: u8,
    dont_fragment: bool,
    /// Bytes before this fragment; absent if the packet is whole.
    fragment: Option<usize>,
    payload: usize,
}

/// Reads a frame; `None` if it is malformed.
pub fn read(frame: &[u8]) -> Option<Seen> {
    let (vnet, packet) = frame.split_at_checked(10)?;
    let ip = match packet.first()? >> 4 {
        4 => v4(packet)?,
        6 => v6(packet)?,
        _ => return None,
    };
    let (port, header) = transport(&ip, &packet[ip.payload..])?;
    let super_frame = vnet[1] != 0;
    let segment = vnet_allows(vnet, &ip, header, packet.len())?;
    Some(Seen {
        source: ip.source,
        destination: ip.destination,
        protocol: ip.protocol,
        port,
        ttl: ip.ttl,
        uncuttable: ip.dont_fragment || super_frame,
        later: ip.fragment.is_some_and(|before| before > 0),
        segment,
        payload: ip.payload,
        first: packet.get(ip.payload).copied(),
    })
}

fn word(bytes: &[u8], at: usize) -> usize {
    usize::from(bytes[at]) << 8 | usize::from(bytes[at + 1])
}

/// RFC 791, without source routes (RFC 7126).
fn v4(packet: &[u8]) -> Option<Network> {
    let header = usize::from(packet[0] & 15) * 4;
    if packet.len() < 20 || header < 20 || header > packet.len() || word(packet, 2) != packet.len() {
        return None;
    }
    let mut sum: usize = (0..header).step_by(2).map(|at| word(packet, at)).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    if sum != 0xffff || !options_are_good(&packet[20..header]) {
        return None;
    }
    let flags = word(packet, 6);
    let (before, more) = ((flags & 0x1fff) * 8, flags & 0x2000 != 0);
    Some(Network {
        source: <[u8; 4]>::try_from(&packet[12..16]).ok()?.into(),
        destination: <[u8; 4]>::try_from(&packet[16..20]).ok()?.into(),
        protocol: packet[9],
        ttl: packet[8],
        dont_fragment: flags & 0x4000 != 0,
        fragment: fragment(before, more, packet.len() - header)?,
        payload: header,
    })
}

fn options_are_good(options: &[u8]) -> bool {
    let mut at = 0;
    while at < options.len() {
        let length = options.get(at + 1).map(|length| usize::from(*length));
        match (options[at], length) {
            (0, _) => return true,
            (1, _) => at += 1,
            (131 | 137, _) => return false,
            (_, Some(length)) if length >= 2 && at + length <= options.len() => at += length,
            (_, _) => return false,
        }
    }
    true
}

/// Whether `length` bytes can stand there: `None` if not, else the bytes before them, or nothing for a whole packet.
#[allow(clippy::option_option, reason = "malformed and whole are two things")]
fn fragment(before: usize, more: bool, length: usize) -> Option<Option<usize>> {
    if before == 0 && !more {
        return Some(None);
    }
    let fits = length > 0 && before + length <= 65_535 && (!more || length.is_multiple_of(8));
    fits.then_some(Some(before))
}

/// RFC 8200, without routing header 0 (RFC 5095), with at most eight extension headers.
fn v6(packet: &[u8]) -> Option<Network> {
    if packet.len() < 40 || word(packet, 4) + 40 != packet.len() {
        return None;
    }
    let (mut next, mut at, mut found, mut seen_fragment) = (packet[6], 40, None, false);
    let mut left = 8;
    while [0, 43, 44, 51, 60].contains(&next) && found.is_none_or(|before| before == 0) {
        let header = &packet[at..];
        if left == 0 || header.len() < 8 {
            return None;
        }
        left -= 1;
        let length = match next {
            0 if at != 40 => return None,
            43 if header[2] == 0 => return None,
            44 => {
                if seen_fragment {
                    return None;
                }
                seen_fragment = true;
                found = fragment(word(header, 2) & 0xfff8, header[3] & 1 != 0, header.len() - 8)?;
                8
            }
            51 => (usize::from(header[1]) + 2) * 4,
            _ => (usize::from(header[1]) + 1) * 8,
        };
        if length > header.len() {
            return None;
        }
        (next, at) = (header[0], at + length);
    }
    Some(Network {
        source: <[u8; 16]>::try_from(&packet[8..24]).ok()?.into(),
        destination: <[u8; 16]>::try_from(&packet[24..40]).ok()?.into(),
        protocol: next,
        ttl: packet[7],
        dont_fragment: true,
        fragment: found,
        payload: at,
    })
}

/// The destination port and the length of the TCP or UDP header.
fn transport(ip: &Network, payload: &[u8]) -> Option<(Option<u16>, usize)> {
    if let Some(before) = ip.fragment.filter(|before| *before > 0) {
        // RFC 3128: a TCP fragment that would overwrite the flags.
        return (ip.protocol != TCP || before != 8).then_some((None, 0));
    }
    let (least, length) = match ip.protocol {
        TCP => (20, usize::from(*payload.get(12)? >> 4) * 4),
        UDP => (8, 8),
        _ => return Some((None, 0)),
    };
    if payload.len() < least || length < least || length > payload.len() {
        return None;
    }
    Some((u16::try_from(word(payload, 2)).ok(), length))
}

/// What a kernel takes of `struct virtio_net_hdr` for such a packet; gives the length of the longest segment.
fn vnet_allows(vnet: &[u8], ip: &Network, header: usize, length: usize) -> Option<usize> {
    let little = |at: usize| usize::from(vnet[at]) | usize::from(vnet[at + 1]) << 8;
    let (flags, gso, advice, size) = (vnet[0], vnet[1], little(2), little(4));
    let (start, offset) = (little(6), little(8));
    if flags > 3 || advice > length {
        return None;
    }
    let unfinished = flags & 1 != 0;
    let place = match ip.protocol {
        TCP => offset == 16,
        UDP => offset == 6,
        _ => true,
    };
    if unfinished && !(place && start == ip.payload && start + offset + 2 <= length && ip.fragment.is_none())
    {
        return None;
    }
    let (protocol, v4_too, v6_too, least) = match gso {
        0 => return Some(length),
        1 | 0x81 => (TCP, true, false, 8),
        4 | 0x84 => (TCP, false, true, 8),
        5 => (UDP, true, true, 1),
        _ => return None,
    };
    let family = if ip.source.is_ipv4() { v4_too } else { v6_too };
    let good = unfinished && family && ip.protocol == protocol && size >= least;
    good.then(|| length.min(ip.payload + header + size))
}

/// One attachment of the model.
#[derive(Debug, Clone)]
pub struct Port {
    pub name: &'static str,
    pub addresses: Vec<IpAddr>,
    pub mtu: u16,
    pub out: Chain,
    pub in_: Chain,
}

/// A router of the subnets 10.107.0.1/24 and fd00:107::1/64; the first port is the uplink.
#[derive(Debug, Clone)]
pub struct Model {
    pub ports: Vec<Port>,
    pub out: Chain,
    pub in_: Chain,
    pub isolate: bool,
}

/// What must become of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    Reaches(&'static str),
    /// Ends at somebody's expense; the sender may be told.
    Ends(&'static str, Reason, Option<Complaint>),
}

impl Model {
    /// What becomes of a frame from the port `from`.
    pub fn fate(&self, from: usize, frame: &[u8]) -> Fate {
        match self.judge(from, frame) {
            Ok(to) => Fate::Reaches(self.ports[to].name),
            Err(fate) => fate,
        }
    }

    fn judge(&self, from: usize, frame: &[u8]) -> Result<usize, Fate> {
        let sender = &self.ports[from];
        let ends = |reason| Fate::Ends(sender.name, reason, None);
        let seen = read(frame).ok_or(ends(Reason::Malformed))?;
        if is_group(seen.destination) {
            return Err(ends(Reason::Multicast));
        }
        if is_nowhere(seen.destination) {
            return Err(ends(Reason::Malformed));
        }
        let honest = match (from, self.holder(seen.source)) {
            (0, holder) => holder.is_none() && !is_group(seen.source) && !is_nowhere(seen.source),
            (_, holder) => holder == Some(from),
        };
        if !honest {
            return Err(ends(Reason::Spoofed));
        }
        if from != 0 {
            self.passes(&self.out, sender, &seen)?;
            self.passes(&sender.out, sender, &seen)?;
        }
        let to = self.find(from, &seen)?;
        let receiver = &self.ports[to];
        if to != 0 {
            if self.isolate && from != 0 {
                return Err(ends(Reason::Denied));
            }
            self.passes(&self.in_, receiver, &seen)?;
            self.passes(&receiver.in_, receiver, &seen)?;
        }
        if seen.uncuttable && seen.segment > usize::from(receiver.mtu) {
            let complaint = Complaint::TooBig { mtu: receiver.mtu };
            return Err(Fate::Ends(receiver.name, Reason::TooBig, Some(complaint)));
        }
        if from != 0 && to != 0 && seen.ttl <= 1 {
            return Err(Fate::Ends(
                sender.name,
                Reason::TtlExpired,
                Some(Complaint::TimeExceeded),
            ));
        }
        Ok(to)
    }

    fn holder(&self, address: IpAddr) -> Option<usize> {
        self.ports
            .iter()
            .position(|port| port.addresses.contains(&address))
    }

    fn find(&self, from: usize, seen: &Seen) -> Result<usize, Fate> {
        let sender = &self.ports[from];
        let (to, inside, gateway, local) = match seen.destination {
            IpAddr::V4(to) => (
                IpAddr::V4(to),
                to.octets()[..3] == [10, 107, 0],
                to.octets() == [10, 107, 0, 1],
                false,
            ),
            IpAddr::V6(to) => {
                let words = to.segments();
                (
                    IpAddr::V6(to),
                    words[..4] == [0xfd00, 0x107, 0, 0],
                    words == [0xfd00, 0x107, 0, 0, 0, 0, 0, 1],
                    words[0] & 0xffc0 == 0xfe80,
                )
            }
        };
        match self.holder(to) {
            Some(holder) if holder != from => Ok(holder),
            None if inside && !gateway => Err(Fate::Ends(
                sender.name,
                Reason::NoRoute,
                Some(Complaint::HostUnreachable),
            )),
            None if from != 0 && !local => Ok(0),
            Some(_) | None => Err(Fate::Ends(sender.name, Reason::NoRoute, None)),
        }
    }

    fn passes(&self, chain: &Chain, charged: &Port, seen: &Seen) -> Result<(), Fate> {
        let rule = chain.rules.iter().find(|rule| self.matches(rule, seen));
        match rule.map_or(chain.default, |rule| rule.action) {
            Action::Allow => Ok(()),
            Action::Deny => Err(Fate::Ends(charged.name, Reason::Denied, None)),
            Action::Reject => Err(Fate::Ends(
                charged.name,
                Reason::Denied,
                Some(Complaint::Prohibited),
            )),
        }
    }

    fn matches(&self, rule: &Rule, seen: &Seen) -> bool {
        let side = |endpoint: &Endpoint, address: IpAddr| match endpoint {
            Endpoint::Any => true,
            Endpoint::Net(net) => net.contains(&address),
            Endpoint::Vassal(name) => self
                .ports
                .iter()
                .any(|port| port.name == name.as_str() && port.addresses.contains(&address)),
        };
        let protocol = rule.protocol.is_none_or(|protocol| match protocol {
            Protocol::Tcp => seen.protocol == TCP,
            Protocol::Udp => seen.protocol == UDP,
            Protocol::Icmp => seen.protocol == if seen.source.is_ipv4() { 1 } else { 58 },
            Protocol::Number(number) => seen.protocol == number,
        });
        let port = rule
            .ports
            .as_ref()
            .is_none_or(|ports| seen.port.is_some_and(|port| ports.contains(&port)));
        side(&rule.source, seen.source) && side(&rule.destination, seen.destination) && protocol && port
    }
}

/// More than one host: a group, a broadcast address, the first or last of the subnet.
pub fn is_group(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            let [a, b, c, d] = address.octets();
            let edge = [a, b, c] == [10, 107, 0] && [0, 255].contains(&d);
            address.is_multicast() || address.is_broadcast() || edge
        }
        IpAddr::V6(address) => address.is_multicast(),
    }
}

/// Never on a wire.
pub fn is_nowhere(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => [0, 127].contains(&address.octets()[0]),
        IpAddr::V6(address) => address.is_unspecified() || address.is_loopback(),
    }
}

/// Whether its sender may be told anything at all (RFC 1122 3.2.2, RFC 4443 2.4 e).
pub fn deserves_answer(seen: &Seen) -> bool {
    let one = |address| !is_group(address) && !is_nowhere(address);
    let error = match (seen.source.is_ipv4(), seen.protocol) {
        (true, 1) => seen.first.is_none_or(|kind| [3, 4, 5, 11, 12].contains(&kind)),
        (false, 58) => seen.first.is_none_or(|kind| kind < 128 || kind == 137),
        (_, _) => false,
    };
    one(seen.source) && one(seen.destination) && !seen.later && !error
}
