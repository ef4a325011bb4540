//! What one packet costs in our own code: `Router::forward` and `Router::delivered`, without any I/O.
//!
//! The packet walks through random vassals, so that ports and routes are not all in the nearest cache, and passes
//! every rule without a match: the dearest way through.

#[path = "../packets/mod.rs"]
mod packets;

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Instant;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use mini_emperor::config::definition::Name;
use mini_emperor::config::rule::{Action, Chain, Endpoint, Protocol, Rule};
use mini_emperor::router::{Attachment, Fabric, GlobalPolicy, PortId, Router, Verdict};
use packets::Sample;

/// Frames between different pairs that take turns.
const PAIRS: usize = 256;

fn main_address(at: usize, v6: bool) -> IpAddr {
    let host = u16::try_from(at + 2).unwrap_or(2);
    if v6 {
        Ipv6Addr::new(0xfd00, 0x107, 0, 0, 0, 0, 0, host).into()
    } else {
        Ipv4Addr::from_bits(0x0a6b_0000 + u32::from(host)).into()
    }
}

/// Rules of both families that look at everything and match nothing.
fn rules(count: usize) -> Chain {
    let rule = |at: usize| Rule {
        action: Action::Deny,
        source: match at % 3 {
            0 => Endpoint::Any,
            1 => Endpoint::Net("10.107.0.0/16".parse().expect("a prefix")),
            _ => Endpoint::Net("fd00:107::/64".parse().expect("a prefix")),
        },
        destination: Endpoint::Any,
        protocol: Some(Protocol::Udp),
        ports: u16::try_from(10_000 + at).ok().map(|port| port..=port),
    };
    // Rules of one family only are compiled away for the other: twice two thirds make up for it.
    Chain {
        rules: (0..count * 3 / 2).map(rule).collect(),
        default: Action::Allow,
    }
}

fn fabric(vassals: usize, rule_count: usize) -> (Fabric, Vec<PortId>) {
    let subnets = ["10.107.0.1/16", "fd00:107::1/64"].map(|text| text.parse().expect("a prefix"));
    let policy = GlobalPolicy {
        out: rules(rule_count),
        ..GlobalPolicy::default()
    };
    let mut fabric = Fabric::new(&subnets, policy, 1);
    fabric.attach_uplink(1500);
    let ports = (0..vassals)
        .map(|at| {
            let vassal = Attachment {
                name: Name::new(&format!("vassal{at}")).expect("a name"),
                addresses: vec![main_address(at, false), main_address(at, true)],
                mtu: 1500,
                out: Chain::default(),
                in_: Chain::default(),
            };
            fabric.attach(vassal).expect("a free address")
        })
        .collect();
    (fabric, ports)
}

/// Frames between vassals; a lone vassal speaks with the host.
fn frames(ports: &[PortId], v6: bool, big: bool) -> Vec<(PortId, Vec<u8>)> {
    let gateway = if v6 { "fd00:107::1" } else { "10.107.0.1" };
    (0..PAIRS)
        .map(|at| {
            // A step that is prime to the number of vassals visits all of them out of order.
            let (from, to) = (at * 389 % ports.len(), (at * 389 + 181) % ports.len());
            let source = main_address(from, v6).to_string();
            let destination = if from == to {
                gateway.to_owned()
            } else {
                main_address(to, v6).to_string()
            };
            let sample = if big {
                Sample::super_tcp(&source, &destination, 60_000, 1400)
            } else {
                Sample::udp(&source, &destination, 53, 64)
            };
            (ports[from], sample.ttl(255).frame())
        })
        .collect()
}

fn forward(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("forward");
    group.throughput(Throughput::Elements(1));
    group.sample_size(20);
    group.warm_up_time(std::time::Duration::from_millis(300));
    group.measurement_time(std::time::Duration::from_millis(700));
    for vassals in [1, 1000] {
        for rule_count in [0, 10, 100, 1000] {
            let (mut fabric, ports) = fabric(vassals, rule_count);
            let tables = fabric.tables();
            for (v6, big) in [(false, false), (true, false), (false, true), (true, true)] {
                let fresh = frames(&ports, v6, big);
                let mut frames = fresh.clone();
                let (mut router, now, mut turn) = (Router::new(0), Instant::now(), 0);
                let family = if v6 { "v6" } else { "v4" };
                let size = if big { "super" } else { "small" };
                group.bench_function(format!("{vassals}/{rule_count}/{family}/{size}"), |bencher| {
                    bencher.iter(|| {
                        turn = (turn + 1) % PAIRS;
                        let (from, frame) = &mut frames[turn];
                        // The headers as they were: each round costs a hop. The same few bytes each time.
                        frame[10..50].copy_from_slice(&fresh[turn].1[10..50]);
                        let verdict = router.forward(&tables, *from, black_box(frame), now);
                        match verdict {
                            Verdict::Forward(to) => router.delivered(&tables, *from, to, frame.len() - 10),
                            Verdict::Answer(_) | Verdict::Drop(_) => panic!("{verdict:?}"),
                        }
                    });
                });
            }
        }
    }
    group.finish();
}

/// The control plane's part: one more vassal on top of many, to the finished tables.
fn attach(criterion: &mut Criterion) {
    let (mut fabric, ports) = fabric(1000, 100);
    let mut port = ports[0];
    fabric.tables();
    criterion.bench_function("attach the 1000th vassal", |bencher| {
        bencher.iter(|| {
            fabric.detach(port);
            let vassal = Attachment {
                name: Name::new("vassal0").expect("a name"),
                addresses: vec![main_address(0, false), main_address(0, true)],
                mtu: 1500,
                out: Chain::default(),
                in_: Chain::default(),
            };
            port = fabric.attach(vassal).expect("a free address");
            fabric.tables()
        });
    });
}

criterion_group!(benches, forward, attach);
criterion_main!(benches);
