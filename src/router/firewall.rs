//! Firewall chains as the packet path reads them.
//!
//! A chain is compiled once for each family: rules of the other family are gone, `@name` has become that
//! vassal's addresses, and what a rule does not care about has become a mask of zeros, so that a rule is judged
//! without a branch. Rules stand in groups, column by column, so that the compiler compares a group at once.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::config::definition::Name;
use crate::config::rule::{Action, Chain, Endpoint, Protocol, Rule};
use crate::packet::{Address, Packet};

/// Rules that are compared at once.
const GROUP: usize = 8;

const ICMP_V4: u8 = 1;
const ICMP_V6: u8 = 58;

/// A compiled chain.
#[derive(Debug)]
pub(super) struct Filter {
    v4: Box<[Group<1>]>,
    v6: Box<[Group<4>]>,
    default: Action,
}

/// Some rules, column by column; an address has `WORDS` words.
#[derive(Debug)]
#[repr(align(32))]
struct Group<const WORDS: usize> {
    source: [Column; WORDS],
    source_mask: [Column; WORDS],
    destination: [Column; WORDS],
    destination_mask: [Column; WORDS],
    protocol: Column,
    protocol_mask: Column,
    first_port: Column,
    /// Last port minus first.
    port_span: Column,
    action: [Action; GROUP],
}

type Column = [u32; GROUP];

/// What a rule looks at, in the form in which rules are compared.
struct Probe<const WORDS: usize> {
    source: [u32; WORDS],
    destination: [u32; WORDS],
    protocol: u32,
    port: u32,
}

/// The port of a packet without one: in no rule's range.
const NO_PORT: u32 = u32::MAX;

impl Filter {
    /// Compiles `chain`; `addresses` says which addresses a name stands for now.
    pub(super) fn compile<'a>(chain: &Chain, addresses: impl Fn(&Name) -> &'a [IpAddr]) -> Self {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for rule in &chain.rules {
            for source in Side::all(&rule.source, &addresses) {
                for destination in Side::all(&rule.destination, &addresses) {
                    v4.extend(Line::v4(rule, source, destination));
                    v6.extend(Line::v6(rule, source, destination));
                }
            }
        }
        Self {
            v4: v4.chunks(GROUP).map(Group::new).collect(),
            v6: v6.chunks(GROUP).map(Group::new).collect(),
            default: chain.default,
        }
    }

    /// What the chain says about `packet`: the first match, or the default.
    #[inline]
    pub(super) fn judge(&self, packet: &Packet) -> Action {
        let (protocol, port) = (
            u32::from(packet.protocol()),
            packet.port().map_or(NO_PORT, u32::from),
        );
        let found = match (packet.source(), packet.destination()) {
            (Address::V4(source), Address::V4(destination)) => first_match(
                &self.v4,
                &Probe {
                    source: [source],
                    destination: [destination],
                    protocol,
                    port,
                },
            ),
            (Address::V6(source), Address::V6(destination)) => first_match(
                &self.v6,
                &Probe {
                    source: words(source),
                    destination: words(destination),
                    protocol,
                    port,
                },
            ),
            // A packet is of one family.
            (Address::V4(_), Address::V6(_)) | (Address::V6(_), Address::V4(_)) => None,
        };
        found.unwrap_or(self.default)
    }
}

#[inline]
fn first_match<const WORDS: usize>(groups: &[Group<WORDS>], probe: &Probe<WORDS>) -> Option<Action> {
    groups.iter().find_map(|group| group.first_match(probe))
}

impl<const WORDS: usize> Group<WORDS> {
    /// At most `GROUP` lines; the rest of the group matches nothing.
    fn new(lines: &[Line<WORDS>]) -> Self {
        let line = |at: usize| lines.get(at);
        let column = |read: &dyn Fn(&Line<WORDS>) -> u32| std::array::from_fn(|at| line(at).map_or(0, read));
        let columns = |read: &dyn Fn(&Line<WORDS>) -> [u32; WORDS]| {
            std::array::from_fn(|word| column(&|line| read(line)[word]))
        };
        Self {
            source: columns(&|line| line.source.0),
            source_mask: columns(&|line| line.source.1),
            destination: columns(&|line| line.destination.0),
            destination_mask: columns(&|line| line.destination.1),
            // No packet has protocol 256.
            protocol: std::array::from_fn(|at| line(at).map_or(256, |line| line.protocol.0)),
            protocol_mask: std::array::from_fn(|at| line(at).map_or(u32::MAX, |line| line.protocol.1)),
            first_port: column(&|line| line.first_port),
            port_span: column(&|line| line.port_span),
            action: std::array::from_fn(|at| line(at).map_or(Action::Deny, |line| line.action)),
        }
    }

    #[inline]
    fn first_match(&self, probe: &Probe<WORDS>) -> Option<Action> {
        // Every bit that is set says that a rule does not match.
        let differ: [u32; GROUP] = std::array::from_fn(|at| {
            // Below the first port the difference wraps round and is larger than any span.
            let port = u32::from(probe.port.wrapping_sub(self.first_port[at]) > self.port_span[at]);
            let protocol = (self.protocol[at] ^ probe.protocol) & self.protocol_mask[at];
            (0..WORDS).fold(port | protocol, |differ, word| {
                let source = (self.source[word][at] ^ probe.source[word]) & self.source_mask[word][at];
                let destination =
                    (self.destination[word][at] ^ probe.destination[word]) & self.destination_mask[word][at];
                differ | source | destination
            })
        });
        let any = differ.iter().fold(false, |any, differ| any | (*differ == 0));
        if !any {
            return None;
        }
        differ
            .iter()
            .position(|differ| *differ == 0)
            .map(|at| self.action[at])
    }
}

/// One side of a rule with its names resolved.
#[derive(Debug, Clone, Copy)]
enum Side {
    Any,
    Net(IpNet),
}

impl Side {
    fn all<'a>(endpoint: &Endpoint, addresses: &impl Fn(&Name) -> &'a [IpAddr]) -> Vec<Self> {
        match endpoint {
            Endpoint::Any => vec![Self::Any],
            Endpoint::Net(net) => vec![Self::Net(net.trunc())],
            Endpoint::Vassal(name) => addresses(name)
                .iter()
                .map(|address| Self::Net((*address).into()))
                .collect(),
        }
    }

    /// Value and mask for IPv4; `None` if it is of the other family.
    fn v4(self) -> Option<([u32; 1], [u32; 1])> {
        match self {
            Self::Any => Some(([0], [0])),
            Self::Net(IpNet::V4(net)) => Some(([net.addr().to_bits()], [net.netmask().to_bits()])),
            Self::Net(IpNet::V6(_)) => None,
        }
    }

    /// Value and mask for IPv6; `None` if it is of the other family.
    fn v6(self) -> Option<([u32; 4], [u32; 4])> {
        match self {
            Self::Any => Some(([0; 4], [0; 4])),
            Self::Net(IpNet::V6(net)) => Some((words(net.addr().to_bits()), words(net.netmask().to_bits()))),
            Self::Net(IpNet::V4(_)) => None,
        }
    }
}

/// One rule for one pair of prefixes of one family: each pair is a value and the mask of the bits that count.
#[derive(Debug, Clone, Copy)]
struct Line<const WORDS: usize> {
    source: ([u32; WORDS], [u32; WORDS]),
    destination: ([u32; WORDS], [u32; WORDS]),
    protocol: (u32, u32),
    first_port: u32,
    port_span: u32,
    action: Action,
}

impl Line<1> {
    fn v4(rule: &Rule, source: Side, destination: Side) -> Option<Self> {
        Some(Self::new(rule, source.v4()?, destination.v4()?, ICMP_V4))
    }
}

impl Line<4> {
    fn v6(rule: &Rule, source: Side, destination: Side) -> Option<Self> {
        Some(Self::new(rule, source.v6()?, destination.v6()?, ICMP_V6))
    }
}

impl<const WORDS: usize> Line<WORDS> {
    fn new(
        rule: &Rule,
        source: ([u32; WORDS], [u32; WORDS]),
        destination: ([u32; WORDS], [u32; WORDS]),
        icmp: u8,
    ) -> Self {
        let protocol = rule.protocol.map(|protocol| match protocol {
            Protocol::Tcp => 6,
            Protocol::Udp => 17,
            Protocol::Icmp => icmp,
            Protocol::Number(number) => number,
        });
        // Without ports every difference is within the span, also that of a packet without a port.
        let (first_port, port_span) = rule.ports.as_ref().map_or((0, u32::MAX), |ports| {
            (
                u32::from(*ports.start()),
                u32::from(ports.end().saturating_sub(*ports.start())),
            )
        });
        Self {
            source,
            destination,
            protocol: protocol.map_or((0, 0), |number| (u32::from(number), u32::MAX)),
            first_port,
            port_span,
            action: rule.action,
        }
    }
}

#[inline]
fn words(bits: u128) -> [u32; 4] {
    let bytes = bits.to_be_bytes();
    let (words, _) = bytes.as_chunks::<4>();
    std::array::from_fn(|at| u32::from_be_bytes(words[at]))
}

/// The names that `chain` speaks of.
pub(super) fn mentions(chain: &Chain) -> impl Iterator<Item = &Name> {
    chain
        .rules
        .iter()
        .flat_map(|rule| [&rule.source, &rule.destination])
        .filter_map(|endpoint| match endpoint {
            Endpoint::Vassal(name) => Some(name),
            Endpoint::Any | Endpoint::Net(_) => None,
        })
}
