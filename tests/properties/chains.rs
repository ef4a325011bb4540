//! Rules at random, and what they mean.

use std::net::IpAddr;

use ipnet::IpNet;
use mini_emperor::config::rule::{Action, Chain, Endpoint, Protocol, Rule};
use proptest::prelude::*;
use proptest::sample::select;

use super::{V4, V6};
use crate::packets::{Sample, ip};
use crate::world::name;

pub(super) fn action() -> impl Strategy<Value = Action> {
    select(vec![Action::Allow, Action::Deny, Action::Reject])
}

fn endpoint() -> impl Strategy<Value = Endpoint> {
    let nets = "10.107.0.2/32 10.107.0.0/24 10.0.0.0/8 0.0.0.0/0 10.107.0.3/31 192.0.2.0/24 \
                fd00:107::2/128 fd00:107::/64 fd00::/8 ::/0 fd00:107::3/127 2001:db8::/32";
    let nets: Vec<IpNet> = nets.split_whitespace().map(|net| net.parse().unwrap()).collect();
    prop_oneof![
        2 => Just(Endpoint::Any),
        4 => select(nets).prop_map(Endpoint::Net),
        2 => select(vec!["a", "b", "nobody"]).prop_map(|who| Endpoint::Vassal(name(who))),
    ]
}

pub(super) fn rule() -> impl Strategy<Value = Rule> {
    let numbers = [6, 58, 1, 0].map(Protocol::Number);
    let protocols = [Protocol::Tcp, Protocol::Udp, Protocol::Icmp]
        .into_iter()
        .chain(numbers);
    let protocols: Vec<_> = protocols.map(Some).chain([None, None]).collect();
    let ports = [
        (80, 80),
        (0, 65_535),
        (53, 80),
        (81, 443),
        (65_535, 65_535),
        (81, 80),
    ];
    let ports: Vec<_> = ports
        .map(|(first, last)| Some(first..=last))
        .into_iter()
        .chain([None, None])
        .collect();
    (action(), endpoint(), endpoint(), select(protocols), select(ports)).prop_map(
        |(action, source, destination, protocol, ports)| Rule {
            action,
            source,
            destination,
            protocol,
            ports,
        },
    )
}

/// Reads the rules as the operator does, and the packet as it was described.
pub(super) fn oracle(chain: &Chain, sample: &Sample) -> Action {
    let side = |endpoint: &Endpoint, address: IpAddr| match endpoint {
        Endpoint::Any => true,
        Endpoint::Net(net) => net.contains(&address),
        Endpoint::Vassal(who) => match who.as_str() {
            "a" => [V4[0], V6[0]].map(ip).contains(&address),
            "b" => [V4[1], V6[1]].map(ip).contains(&address),
            _ => false,
        },
    };
    let later = sample.fragment.is_some_and(|(units, _)| units > 0);
    let port = (!later && [6, 17].contains(&sample.protocol))
        .then(|| u16::from_be_bytes([sample.payload[2], sample.payload[3]]));
    let icmp = if sample.source.is_ipv4() { 1 } else { 58 };
    let matches = |rule: &&Rule| {
        side(&rule.source, sample.source)
            && side(&rule.destination, sample.destination)
            && rule.protocol.is_none_or(|protocol| match protocol {
                Protocol::Tcp => sample.protocol == 6,
                Protocol::Udp => sample.protocol == 17,
                Protocol::Icmp => sample.protocol == icmp,
                Protocol::Number(number) => sample.protocol == number,
            })
            && rule
                .ports
                .as_ref()
                .is_none_or(|ports| port.is_some_and(|port| ports.contains(&port)))
    };
    chain
        .rules
        .iter()
        .find(matches)
        .map_or(chain.default, |rule| rule.action)
}
