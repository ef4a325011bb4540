//! What the router's benchmarks work on: many vassals, rules that match nothing, and packets between far apart pairs.

#![allow(dead_code, unreachable_pub, reason = "each benchmark takes what it needs")]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use mini_emperor::config::definition::{Bandwidth, Name};
use mini_emperor::config::rule::{Action, Chain, Endpoint, Protocol, Rule};
use mini_emperor::router::{Attachment, Fabric, GlobalPolicy, PortId};

use crate::packets::Sample;

/// Makes a packet from one address to another.
pub type Maker = fn(&str, &str) -> Sample;

/// Frames between different pairs that take turns.
pub const PAIRS: usize = 256;

/// The address of the vassal with that number.
pub fn address_of(at: usize, v6: bool) -> IpAddr {
    let host = u16::try_from(at + 2).unwrap_or(2);
    if v6 {
        Ipv6Addr::new(0xfd00, 0x107, 0, 0, 0, 0, 0, host).into()
    } else {
        Ipv4Addr::from_bits(0x0a6b_0000 + u32::from(host)).into()
    }
}

/// Rules that match nothing: they differ from every packet in the port.
pub fn port_rules(count: usize) -> Chain {
    chain(count, |at| Rule {
        action: Action::Deny,
        source: Endpoint::Any,
        destination: Endpoint::Any,
        protocol: Some(Protocol::Udp),
        ports: u16::try_from(10_000 + at).ok().map(|port| port..=port),
    })
}

/// Rules that match nothing: they differ from every packet in the address only. So many for each family.
pub fn address_rules(count: usize) -> Chain {
    chain(2 * count, |at| Rule {
        action: Action::Deny,
        source: Endpoint::Any,
        destination: Endpoint::Net(address_of(20_000 + at, at % 2 == 0).into()),
        protocol: None,
        ports: None,
    })
}

fn chain(count: usize, rule: impl Fn(usize) -> Rule) -> Chain {
    Chain {
        rules: (0..count).map(rule).collect(),
        default: Action::Allow,
    }
}

/// A vassal with the addresses of that number and no rules of its own.
pub fn vassal(at: usize) -> Attachment {
    Attachment {
        name: Name::new(&format!("vassal{at}")).expect("a name"),
        addresses: vec![address_of(at, false), address_of(at, true)],
        mtu: 1500,
        out: Chain::default(),
        in_: Chain::default(),
        bandwidth: Bandwidth::default(),
    }
}

/// A router with so many vassals behind one chain, and their ports.
pub fn fabric(vassals: usize, out: Chain) -> (Fabric, Vec<PortId>) {
    let subnets = ["10.107.0.1/16", "fd00:107::1/64"].map(|text| text.parse().expect("a prefix"));
    let policy = GlobalPolicy {
        out,
        ..GlobalPolicy::default()
    };
    let mut fabric = Fabric::new(&subnets, policy, 1);
    fabric.attach_uplink(1500);
    let ports = (0..vassals)
        .map(|at| fabric.attach(vassal(at)).expect("a free address"))
        .collect();
    (fabric, ports)
}

/// Frames between vassals; a lone vassal speaks with the host.
pub fn frames(ports: &[PortId], sample: Maker, v6: bool) -> Vec<(PortId, Vec<u8>)> {
    let gateway = if v6 { "fd00:107::1" } else { "10.107.0.1" };
    (0..PAIRS)
        .map(|at| {
            // A step that is prime to the number of vassals visits all of them out of order.
            let (from, to) = (at * 389 % ports.len(), (at * 389 + 181) % ports.len());
            let source = address_of(from, v6).to_string();
            let destination = if from == to {
                gateway.to_owned()
            } else {
                address_of(to, v6).to_string()
            };
            (ports[from], sample(&source, &destination).ttl(255).frame())
        })
        .collect()
}

/// A datagram of 64 bytes.
pub fn small(source: &str, destination: &str) -> Sample {
    Sample::udp(source, destination, 53, 64)
}

/// As much TCP as one frame can carry.
pub fn large(source: &str, destination: &str) -> Sample {
    Sample::super_tcp(source, destination, 60_000, 1400)
}
