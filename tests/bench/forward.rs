//! What one packet costs in our own code: `Router::forward` and `Router::delivered`, without any I/O.
//!
//! The packets walk through all vassals out of order, so that ports and routes are not all in the nearest cache, and
//! pass every rule without a match: the dearest way through. Titles: vassals / rules / family / size.

#[path = "../packets/mod.rs"]
mod packets;

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main};
use mini_emperor::config::definition::Name;
use mini_emperor::config::rule::{Action, Chain, Endpoint, Protocol, Rule};
use mini_emperor::router::{Attachment, Fabric, GlobalPolicy, PortId, Router, Verdict};
use packets::Sample;

/// Frames between different pairs that take turns.
const PAIRS: usize = 256;

fn address_of(at: usize, v6: bool) -> IpAddr {
    let host = u16::try_from(at + 2).unwrap_or(2);
    if v6 {
        Ipv6Addr::new(0xfd00, 0x107, 0, 0, 0, 0, 0, host).into()
    } else {
        Ipv4Addr::from_bits(0x0a6b_0000 + u32::from(host)).into()
    }
}

/// Rules that match nothing: they differ from every packet in the port.
fn port_rules(count: usize) -> Chain {
    chain(count, |at| Rule {
        action: Action::Deny,
        source: Endpoint::Any,
        destination: Endpoint::Any,
        protocol: Some(Protocol::Udp),
        ports: u16::try_from(10_000 + at).ok().map(|port| port..=port),
    })
}

/// Rules that match nothing: they differ from every packet in the address only. So many for each family.
fn address_rules(count: usize) -> Chain {
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

fn fabric(vassals: usize, out: Chain) -> (Fabric, Vec<PortId>) {
    let subnets = ["10.107.0.1/16", "fd00:107::1/64"].map(|text| text.parse().expect("a prefix"));
    let policy = GlobalPolicy {
        out,
        ..GlobalPolicy::default()
    };
    let mut fabric = Fabric::new(&subnets, policy, 1);
    fabric.attach_uplink(1500);
    let ports = (0..vassals)
        .map(|at| {
            let vassal = Attachment {
                name: Name::new(&format!("vassal{at}")).expect("a name"),
                addresses: vec![address_of(at, false), address_of(at, true)],
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
            let source = address_of(from, v6).to_string();
            let destination = if from == to {
                gateway.to_owned()
            } else {
                address_of(to, v6).to_string()
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
    group.warm_up_time(Duration::from_millis(300));
    group.measurement_time(Duration::from_millis(700));
    for vassals in [1, 1000] {
        for rules in [0, 10, 100, 1000] {
            measure(
                &mut group,
                &format!("{vassals}/{rules}"),
                vassals,
                port_rules(rules),
            );
        }
        measure(
            &mut group,
            &format!("{vassals}/100 addresses"),
            vassals,
            address_rules(100),
        );
    }
    group.finish();
}

/// Both families, small packets and super-frames.
fn measure(group: &mut BenchmarkGroup<'_, WallTime>, title: &str, vassals: usize, rules: Chain) {
    let (mut fabric, ports) = fabric(vassals, rules);
    let tables = fabric.tables();
    for (kind, v6, big) in [
        ("v4/small", false, false),
        ("v6/small", true, false),
        ("v4/super", false, true),
        ("v6/super", true, true),
    ] {
        let fresh = frames(&ports, v6, big);
        let mut frames = fresh.clone();
        let (mut router, now, mut turn) = (Router::new(0), Instant::now(), 0);
        group.bench_function(format!("{title}/{kind}"), |bencher| {
            bencher.iter(|| {
                turn = (turn + 1) % PAIRS;
                let (from, frame) = &mut frames[turn];
                // The header as it was: each round costs a hop.
                frame[10..30].copy_from_slice(&fresh[turn].1[10..30]);
                match router.forward(&tables, *from, black_box(frame), now) {
                    Verdict::Forward(to) => router.delivered(&tables, *from, to, frame.len() - 10),
                    verdict @ (Verdict::Wake(_) | Verdict::Answer(_) | Verdict::Drop(_)) => {
                        panic!("{verdict:?}")
                    }
                }
            });
        });
    }
}

/// The control plane's part: one more vassal on top of many, to the finished tables.
fn attach(criterion: &mut Criterion) {
    let (mut fabric, ports) = fabric(1000, port_rules(100));
    let mut port = ports[0];
    fabric.tables();
    criterion.bench_function("attach the 1000th vassal", |bencher| {
        bencher.iter(|| {
            fabric.detach(port);
            let vassal = Attachment {
                name: Name::new("vassal0").expect("a name"),
                addresses: vec![address_of(0, false), address_of(0, true)],
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
