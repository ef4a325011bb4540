//! Firewall chains as the packet path reads them.
//!
//! A chain is compiled once for each family: rules of the other family are gone, `@name` has become that
//! vassal's addresses, and what a rule does not care about has become a mask of zeros, so that a rule is judged
//! without a branch. Rules stand in groups of eight, column by column, so that the compiler compares a group at
//! once; a group whose ports and protocols all differ costs about as much as one rule.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::config::definition::Name;
use crate::config::rule::{Action, Chain, Endpoint, Protocol, Rule};
use crate::packet::{Address, Packet};

/// Rules that are compared at once.
const GROUP: usize = 8;

const ICMP_V4: u8 = 1;
const ICMP_V6: u8 = 58;

/// Set in a packet that has a port; a rule about ports asks for it.
const HAS_PORT: u16 = 0x100;
/// What a packet never has and an unused place in a group asks for.
const NOTHING: u16 = 0x200;

/// A compiled chain.
#[derive(Debug)]
pub(super) struct Filter {
    v4: Box<[Group<1>]>,
    v6: Box<[Group<4>]>,
    default: Action,
}

/// Some rules, column by column; an address has `WORDS` words.
#[derive(Debug)]
#[repr(align(16))]
struct Group<const WORDS: usize> {
    upper: Column<u16>,
    upper_mask: Column<u16>,
    first_port: Column<u16>,
    /// Last port minus first.
    port_span: Column<u16>,
    destination: [Column<u32>; WORDS],
    destination_mask: [Column<u32>; WORDS],
    source: [Column<u32>; WORDS],
    source_mask: [Column<u32>; WORDS],
    action: [Action; GROUP],
}

type Column<Word> = [Word; GROUP];

/// What a rule looks at, in the form in which rules are compared.
struct Probe<const WORDS: usize> {
    source: [u32; WORDS],
    destination: [u32; WORDS],
    upper: Upper,
}

/// What a rule looks at above the network layer.
#[derive(Clone, Copy)]
struct Upper {
    /// The protocol's number, and `HAS_PORT`.
    kind: u16,
    /// Any number for a packet without a port: `HAS_PORT` says so.
    port: u16,
}

impl Upper {
    #[inline]
    fn of(packet: &Packet) -> Self {
        let protocol = u16::from(packet.protocol());
        match packet.port() {
            Some(port) => Self {
                kind: protocol | HAS_PORT,
                port,
            },
            None => Self {
                kind: protocol,
                port: 0,
            },
        }
    }
}

impl Filter {
    /// Compiles `chain`; `addresses` says which addresses each name stands for.
    pub(super) fn compile<'a>(chain: &Chain, addresses: impl Fn(&Name) -> &'a [IpAddr]) -> Self {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        let is_possible = |rule: &&Rule| rule.ports.as_ref().is_none_or(|ports| !ports.is_empty());
        for rule in chain.rules.iter().filter(is_possible) {
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
        let found = match (packet.source(), packet.destination()) {
            (Address::V4(source), Address::V4(destination)) => first_match(&self.v4, || Probe {
                source: [source],
                destination: [destination],
                upper: Upper::of(packet),
            }),
            (Address::V6(source), Address::V6(destination)) => first_match(&self.v6, || Probe {
                source: words(source),
                destination: words(destination),
                upper: Upper::of(packet),
            }),
            // A packet is of one family.
            (Address::V4(_), Address::V6(_)) | (Address::V6(_), Address::V4(_)) => None,
        };
        found.unwrap_or(self.default)
    }
}

#[inline]
fn first_match<const WORDS: usize>(
    groups: &[Group<WORDS>],
    probe: impl FnOnce() -> Probe<WORDS>,
) -> Option<Action> {
    if groups.is_empty() {
        return None;
    }
    let probe = probe();
    groups.iter().find_map(|group| group.first_match(&probe))
}

impl<const WORDS: usize> Group<WORDS> {
    /// At most `GROUP` lines; the rest of the group matches nothing.
    fn new(lines: &[Line<WORDS>]) -> Self {
        let unused = Line::unused();
        let line = |at: usize| lines.get(at).unwrap_or(&unused);
        let upper = |read: &dyn Fn(&Line<WORDS>) -> u16| std::array::from_fn(|at| read(line(at)));
        let address = |read: &dyn Fn(&Line<WORDS>) -> [u32; WORDS]| {
            std::array::from_fn(|word| std::array::from_fn(|at| read(line(at))[word]))
        };
        Self {
            upper: upper(&|line| line.upper.0),
            upper_mask: upper(&|line| line.upper.1),
            first_port: upper(&|line| line.first_port),
            port_span: upper(&|line| line.port_span),
            destination: address(&|line| line.destination.0),
            destination_mask: address(&|line| line.destination.1),
            source: address(&|line| line.source.0),
            source_mask: address(&|line| line.source.1),
            action: std::array::from_fn(|at| line(at).action),
        }
    }

    /// In each column every bit that is set says that a rule does not match.
    #[inline]
    fn first_match(&self, probe: &Probe<WORDS>) -> Option<Action> {
        let upper: Column<u16> = std::array::from_fn(|at| {
            // Below the first port the difference wraps round and is larger than the span.
            let past = probe.upper.port.wrapping_sub(self.first_port[at]);
            let port = past.saturating_sub(self.port_span[at]);
            ((self.upper[at] ^ probe.upper.kind) & self.upper_mask[at]) | port
        });
        if !upper.iter().fold(false, |any, differ| any | (*differ == 0)) {
            return None;
        }
        let destination = differ(&self.destination, &self.destination_mask, &probe.destination);
        let source = differ(&self.source, &self.source_mask, &probe.source);
        let all: Column<u32> = std::array::from_fn(|at| destination[at] | source[at] | u32::from(upper[at]));
        if !all.iter().fold(false, |any, differ| any | (*differ == 0)) {
            return None;
        }
        all.iter()
            .position(|differ| *differ == 0)
            .map(|at| self.action[at])
    }
}

/// In which bits an address differs from each rule's.
#[inline]
fn differ<const WORDS: usize>(
    value: &[Column<u32>; WORDS],
    mask: &[Column<u32>; WORDS],
    probe: &[u32; WORDS],
) -> Column<u32> {
    std::array::from_fn(|at| {
        (0..WORDS).fold(0, |differ, word| {
            differ | ((value[word][at] ^ probe[word]) & mask[word][at])
        })
    })
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
    /// The protocol's number, and `HAS_PORT`.
    upper: (u16, u16),
    first_port: u16,
    port_span: u16,
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
        let (number, mask) = protocol.map_or((0, 0), |number| (u16::from(number), 0xff));
        let has_port = if rule.ports.is_some() { HAS_PORT } else { 0 };
        let (first_port, last_port) = rule.ports.clone().unwrap_or(0..=u16::MAX).into_inner();
        Self {
            source,
            destination,
            upper: (number | has_port, mask | has_port),
            first_port,
            port_span: last_port.saturating_sub(first_port),
            action: rule.action,
        }
    }

    /// Matches no packet.
    fn unused() -> Self {
        Self {
            source: ([0; WORDS], [0; WORDS]),
            destination: ([0; WORDS], [0; WORDS]),
            upper: (NOTHING, NOTHING),
            first_port: 0,
            port_span: u16::MAX,
            action: Action::Deny,
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
