//! What one packet costs in our own code: `Router::forward` and `Router::delivered`, without any I/O.
//!
//! The packets walk through all vassals out of order, so that ports and routes are not all in the nearest cache, and
//! pass every rule without a match: the dearest way through. Titles: vassals / rules / family / size.

#[path = "../packets/mod.rs"]
mod packets;
mod scene;

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main};
use mini_emperor::config::rule::Chain;
use mini_emperor::router::{Router, Verdict};
use scene::{Maker, PAIRS, address_rules, fabric, frames, large, port_rules, small, vassal};

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
    let kinds: [(_, _, Maker); 4] = [
        ("v4/small", false, small),
        ("v6/small", true, small),
        ("v4/super", false, large),
        ("v6/super", true, large),
    ];
    for (kind, v6, sample) in kinds {
        let fresh = frames(&ports, sample, v6);
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
            port = fabric.attach(vassal(0)).expect("a free address");
            fabric.tables()
        });
    });
}

criterion_group!(benches, forward, attach);
criterion_main!(benches);
