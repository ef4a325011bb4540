//! What holds for every packet, every chain and every set of addresses.

#![allow(clippy::unwrap_used, reason = "test code")]

mod chains;
#[path = "../packets/mod.rs"]
mod packets;
#[path = "../world/mod.rs"]
mod world;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Instant;

use ipnet::IpNet;
use mini_emperor::config::definition::Bandwidth;
use mini_emperor::config::rule::{Action, Chain};
use mini_emperor::packet::Packet;
use mini_emperor::router::{
    ANSWER, Attachment, Complaint, Fabric, GlobalPolicy, PortId, Reason, Router, Traffic, Verdict,
};
use proptest::prelude::*;
use proptest::sample::select;

use chains::{action, oracle, rule};
use packets::{Sample, ip};
use world::{check_answer, name, source_of};

/// Addresses that meet often: two vassals', the gateway's, nobody's, outside, odd ones.
const V4: [&str; 8] = [
    "10.107.0.2",
    "10.107.0.3",
    "10.107.0.1",
    "10.107.0.77",
    "192.0.2.9",
    "10.107.0.255",
    "224.0.0.1",
    "0.0.0.0",
];
const V6: [&str; 8] = [
    "fd00:107::2",
    "fd00:107::3",
    "fd00:107::1",
    "fd00:107::77",
    "2001:db8::9",
    "fe80::1",
    "ff02::1",
    "::",
];

/// `a`, `b` and the uplink, as in the scenarios.
fn fabric(policy: GlobalPolicy) -> (Fabric, PortId, PortId, PortId) {
    let mut fabric = Fabric::new(&world::GATEWAYS.map(|text| text.parse().unwrap()), policy, 1);
    let uplink = fabric.attach_uplink(1500);
    let [a, b] = [("a", 0), ("b", 1)].map(|(who, at)| attach(&mut fabric, who, vec![ip(V4[at]), ip(V6[at])]));
    (fabric, uplink, a, b)
}

fn attach(fabric: &mut Fabric, who: &str, addresses: Vec<IpAddr>) -> PortId {
    let (out, in_) = (Chain::default(), Chain::default());
    fabric
        .attach(Attachment {
            name: name(who),
            addresses,
            mtu: 1500,
            out,
            in_,
            bandwidth: Bandwidth::default(),
        })
        .unwrap()
}

/// Honest packets of all kinds between those addresses.
fn sample() -> impl Strategy<Value = Sample> {
    let pair = prop_oneof![
        (select(&V4[..]), select(&V4[..])),
        (select(&V6[..]), select(&V6[..]))
    ];
    let kind = prop_oneof![
        (
            select(vec![0_u16, 22, 53, 80, 81, 443, 65_535]),
            0..80_usize,
            0..4_u8
        ),
        (Just(80), Just(5000), 0..4_u8),
    ];
    let fragment = prop_oneof![
        4 => Just(None),
        1 => (select(vec![0_u16, 1, 2, 100]), any::<bool>()).prop_map(Some),
    ];
    (
        pair,
        kind,
        fragment,
        any::<u8>(),
        any::<bool>(),
        0..4_u8,
        any::<u8>(),
    )
        .prop_map(
            |((from, to), (port, data, kind), fragment, ttl, dont_fragment, extra, icmp)| {
                let v6 = from.contains(':');
                let mut sample = match kind {
                    0 => Sample::udp(from, to, port, data),
                    1 => Sample::tcp(from, to, port, data),
                    2 => Sample::icmp(from, to, if v6 { 58 } else { 1 }, icmp),
                    _ => Sample::super_tcp(from, to, data, 536),
                };
                sample.ttl = ttl;
                sample.dont_fragment |= dont_fragment;
                if kind < 3 {
                    sample.fragment = fragment;
                    match (extra, v6) {
                        (1, true) => sample = sample.extension(60, &[0, 1, 4, 0, 0, 0, 0]),
                        (2, true) => sample = sample.extension(43, &[0, 3, 0, 0, 0, 0, 0]),
                        (1, false) => sample = sample.options(&[1, 1, 1, 0]),
                        _ => {}
                    }
                }
                sample
            },
        )
}

/// Frames that are nearly honest: some bytes changed, some cut off or added, perhaps with a right header checksum.
fn hostile() -> impl Strategy<Value = Vec<u8>> {
    let edits = prop::collection::vec((0..90_usize, any::<u8>()), 0..4);
    let nearly = (sample(), edits, any::<bool>(), 0..8_usize, any::<bool>()).prop_map(
        |(sample, edits, cut, by, fix)| {
            let mut frame = sample.frame();
            for (at, value) in edits {
                if let Some(byte) = frame.get_mut(at) {
                    *byte = value;
                }
            }
            if cut {
                frame.truncate(frame.len() - by);
            } else if by > 5 {
                frame.extend(vec![0; by]);
            }
            if fix {
                fix_header(&mut frame);
            }
            frame
        },
    );
    prop_oneof![4 => nearly, 1 => prop::collection::vec(any::<u8>(), 0..120)]
}

/// Makes the IPv4 header's checksum right, if there is a whole header.
fn fix_header(frame: &mut [u8]) {
    let Some(packet) = frame
        .get_mut(10..)
        .filter(|packet| packet.first().is_some_and(|byte| byte >> 4 == 4))
    else {
        return;
    };
    let length = usize::from(packet[0] & 15) * 4;
    if let Some(header) = packet.get_mut(..length).filter(|header| header.len() >= 20) {
        header[10..12].fill(0);
        let sum = packets::checksum(header);
        header[10..12].copy_from_slice(&sum.to_be_bytes());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn no_bytes_make_the_router_panic_and_each_frame_is_counted_once(frame in hostile(), from in 0..3_usize) {
        let (mut fabric, uplink, a, b) = fabric(GlobalPolicy::default());
        let (tables, ports) = (fabric.tables(), [uplink, a, b]);
        let (mut router, now, mut after) = (Router::new(0), Instant::now(), frame.clone());
        let parsed = Packet::parse(&frame);
        let verdict = router.forward(&tables, ports[from], &mut after, now);
        let dropped = |port: &PortId| fabric.traffic(*port).unwrap().dropped.total();
        let counted: u64 = ports.iter().map(dropped).sum();
        match verdict {
            Verdict::Forward(to) => {
                let packet = parsed.unwrap();
                prop_assert_ne!(to, ports[from]);
                prop_assert_eq!(counted, 0);
                prop_assert!(packet.length() == frame.len() - 10 && packet.segment() <= packet.length());
                prop_assert!(packets::header_is_right(&after));
            }
            Verdict::Answer(complaint) => {
                prop_assert_eq!(counted, 1);
                prop_assert_eq!(&after, &frame);
                let mut out = [0xa5; ANSWER];
                router.answer(&tables, ports[from], &frame, complaint, now, &mut out);
            }
            Verdict::Wake(port) => prop_assert!(false, "nobody sleeps here, not even {port:?}"),
            Verdict::Drop(reason) => {
                prop_assert_eq!(counted, 1);
                prop_assert_eq!(&after, &frame);
                if parsed.is_err() {
                    prop_assert_eq!(reason, Reason::Malformed);
                }
            }
        }
    }

    #[test]
    fn no_packet_of_a_vassal_has_another_source(frame in hostile()) {
        let (mut fabric, _, a, _) = fabric(GlobalPolicy::default());
        let mut after = frame.clone();
        if let Verdict::Forward(_) = Router::new(0).forward(&fabric.tables(), a, &mut after, Instant::now()) {
            let source = source_of(&frame);
            prop_assert!(source == ip(V4[0]) || source == ip(V6[0]), "{source}");
        }
    }

    #[test]
    fn no_packet_from_outside_has_a_vassals_source(frame in hostile()) {
        let (mut fabric, uplink, _, _) = fabric(GlobalPolicy::default());
        let mut after = frame.clone();
        if let Verdict::Forward(_) = Router::new(0).forward(&fabric.tables(), uplink, &mut after, Instant::now()) {
            prop_assert!(![V4[0], V4[1], V6[0], V6[1]].map(ip).contains(&source_of(&frame)));
        }
    }

    #[test]
    fn every_hop_keeps_the_header_checksum(sample in sample(), ttl in 2..=255_u8, id in any::<u16>()) {
        let (mut fabric, _, a, b) = fabric(GlobalPolicy::default());
        let v4 = sample.source.is_ipv4();
        let [source, destination] = if v4 { [V4[0], V4[1]] } else { [V6[0], V6[1]] }.map(ip);
        let mut frame = Sample { source, destination, ttl, ..sample }.frame();
        if v4 {
            frame[14..16].copy_from_slice(&id.to_be_bytes());
            fix_header(&mut frame);
        }
        let mut after = frame.clone();
        if Router::new(0).forward(&fabric.tables(), a, &mut after, Instant::now()) == Verdict::Forward(b) {
            prop_assert!(packets::header_is_right(&after));
            frame[if v4 { 18 } else { 17 }] = ttl - 1;
            fix_header(&mut frame);
            prop_assert_eq!(after, frame, "the same as a checksum from scratch");
        }
    }

    #[test]
    fn every_answer_is_a_valid_packet_and_never_about_an_error(
        sample in sample(),
        complaint in select(vec![
            Complaint::HostUnreachable, Complaint::Prohibited, Complaint::TimeExceeded,
            Complaint::TooBig { mtu: 1280 }, Complaint::TooBig { mtu: 65_535 },
        ]),
        from in 0..3_usize,
    ) {
        let (mut fabric, uplink, a, b) = fabric(GlobalPolicy::default());
        let (from, frame) = ([uplink, a, b][from], sample.frame());
        let mut out = [0xa5; ANSWER];
        let answer =
            Router::new(0).answer(&fabric.tables(), from, &frame, complaint, Instant::now(), &mut out);
        if let Some(length) = answer {
            check_answer(&out[..length], &frame, complaint);
            prop_assert!(out[length..].iter().all(|byte| *byte == 0xa5));
            let parsed = Packet::parse(&out[..length]).unwrap();
            prop_assert_eq!(IpAddr::from(parsed.destination()), sample.source);
            prop_assert!(!may_not_be_answered(&sample), "{:?}", sample);
        } else {
            prop_assert!(may_not_be_answered(&sample) || Packet::parse(&frame).is_err(), "{:?}", sample);
        }
    }

    #[test]
    fn a_chain_decides_as_its_rules_read(
        rules in prop::collection::vec(rule(), 0..30),
        default in action(),
        sample in sample(),
    ) {
        let (source, destination) =
            if sample.source.is_ipv4() { (ip(V4[0]), ip(V4[1])) } else { (ip(V6[0]), ip(V6[1])) };
        let sample = Sample { source, destination, ttl: 64, ..sample };
        let chain = Chain { rules, default };
        let expected = oracle(&chain, &sample);
        let (mut fabric, _, a, b) = fabric(GlobalPolicy::default());
        // The same chain at each of the four places decides the same.
        for place in 0..4 {
            let [mut out, mut in_, mut own_out, mut own_in] = [const { None }; 4].map(|none: Option<Chain>| none);
            *[&mut out, &mut in_, &mut own_out, &mut own_in][place] = Some(chain.clone());
            fabric.set_policy(GlobalPolicy {
                out: out.unwrap_or_default(), in_: in_.unwrap_or_default(), isolate: false,
            });
            fabric.replace(a, own_out.unwrap_or_default(), Chain::default());
            fabric.replace(b, Chain::default(), own_in.unwrap_or_default());
            let mut frame = sample.frame();
            let parsed = Packet::parse(&frame);
            let verdict = Router::new(0).forward(&fabric.tables(), a, &mut frame, Instant::now());
            match (parsed, expected) {
                (Err(_), _) => prop_assert_eq!(verdict, Verdict::Drop(Reason::Malformed)),
                (Ok(_), Action::Deny) => prop_assert_eq!(verdict, Verdict::Drop(Reason::Denied)),
                (Ok(_), Action::Reject) => prop_assert_eq!(verdict, Verdict::Answer(Complaint::Prohibited)),
                (Ok(packet), Action::Allow) if packet.segment() <= 1500 || !packet.is_uncuttable() => {
                    prop_assert_eq!(verdict, Verdict::Forward(b));
                }
                (Ok(_), Action::Allow) => {
                    prop_assert_eq!(verdict, Verdict::Answer(Complaint::TooBig { mtu: 1500 }));
                }
            }
        }
    }
}

/// What RFC 1122 3.2.2 and RFC 4443 2.4 (e) ask silence about, read from the sample's description.
fn may_not_be_answered(sample: &Sample) -> bool {
    let odd =
        |address: IpAddr| address.is_multicast() || address.is_unspecified() || address == ip("10.107.0.255");
    let later = sample.fragment.is_some_and(|(units, _)| units > 0);
    let error = match (sample.protocol, sample.payload[0]) {
        (1, kind) => [3, 4, 5, 11, 12].contains(&kind),
        (58, kind) => kind < 128 || kind == 137,
        (_, _) => false,
    };
    odd(sample.source) || odd(sample.destination) || later || error
}

/// Subnets of every kind of table: flat, hashed, tiny.
const SUBNETS: [&str; 6] = [
    "10.107.0.1/24",
    "10.107.0.1/16",
    "10.0.0.1/8",
    "10.107.0.1/30",
    "fd00:107::1/64",
    "fd00::1/16",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn every_address_leads_to_its_holder(
        subnet in select(&SUBNETS[..]),
        steps in prop::collection::vec((any::<bool>(), any::<u64>()), 1..200),
        probes in prop::collection::vec(any::<u64>(), 50),
    ) {
        let net: IpNet = subnet.parse().unwrap();
        let mut fabric = Fabric::new(&[net], GlobalPolicy::default(), 1);
        let uplink = fabric.attach_uplink(1500);
        let mut held = BTreeMap::<IpAddr, PortId>::new();
        for (number, (leave, seed)) in steps.into_iter().enumerate() {
            let address = inside(net, seed);
            if leave && !held.is_empty() {
                let at = usize::try_from(seed % 1000).unwrap() % held.len();
                let (address, port) = held.iter().nth(at).map(|(address, port)| (*address, *port)).unwrap();
                held.remove(&address);
                let remains = fabric.detach(port).map(|remains| remains.traffic());
                prop_assert_eq!(remains, Some(Traffic::default()));
            } else if is_usable(net, address) && !held.contains_key(&address) {
                held.insert(address, attach(&mut fabric, &format!("v{number}"), vec![address]));
            }
        }
        let source = if net.addr().is_ipv4() { "192.0.2.9" } else { "2001:db8::9" };
        let (tables, mut router) = (fabric.tables(), Router::new(0));
        let probes = probes.into_iter().map(|seed| inside(net, seed)).filter(|to| is_usable(net, *to));
        for to in held.keys().copied().chain(probes) {
            let mut frame = Sample::udp(source, &to.to_string(), 53, 1).frame();
            let verdict = router.forward(&tables, uplink, &mut frame, Instant::now());
            let expected = match held.get(&to) {
                Some(port) => Verdict::Forward(*port),
                None => Verdict::Answer(Complaint::HostUnreachable),
            };
            prop_assert_eq!(verdict, expected, "{}", to);
        }
    }
}

/// Some address of `net`, with hosts that are often neighbours.
fn inside(net: IpNet, seed: u64) -> IpAddr {
    let seed = if seed.is_multiple_of(3) { seed } else { seed % 300 };
    match net {
        IpNet::V4(net) => {
            let host = u32::try_from(seed & u64::from(u32::MAX)).unwrap() & net.hostmask().to_bits();
            IpAddr::V4(Ipv4Addr::from_bits(net.network().to_bits() | host))
        }
        IpNet::V6(net) => {
            let host = (u128::from(seed) << 64 | u128::from(seed)) & net.hostmask().to_bits();
            IpAddr::V6(Ipv6Addr::from_bits(net.network().to_bits() | host))
        }
    }
}

fn is_usable(net: IpNet, address: IpAddr) -> bool {
    let reserved = net.addr().is_ipv4() && [net.network(), net.broadcast()].contains(&address);
    net.addr() != address && !reserved
}
