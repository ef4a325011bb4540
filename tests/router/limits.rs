//! Bandwidth: what is over a limit ends.

use std::time::Duration;

use mini_emperor::config::definition::{Bandwidth, Rate};
use mini_emperor::config::rule::Chain;
use mini_emperor::router::Reason;

use crate::packets::Sample;
use crate::world::World;

/// So many bytes a second, and a burst.
fn rate(bytes: u64, burst: u64) -> Option<Rate> {
    Some(Rate { bytes, burst })
}

#[test]
fn what_is_over_a_limit_ends_at_the_expense_of_whose_limit_it_is() {
    let mut world = World::open();
    world.attach("c", &["10.107.0.4", "fd00:107::4"]);
    let out = Bandwidth {
        out: rate(10_000, 2_000),
        in_: None,
    };
    let in_ = Bandwidth {
        out: None,
        in_: rate(10_000, 2_000),
    };
    assert!(world.fabric.limit(world.ports["a"], out));
    assert!(world.fabric.limit(world.ports["b"], in_));
    let to = |from, to| Sample::udp(from, to, 53, 972);
    let (a_c, c_b, a_b) = (
        to("10.107.0.2", "10.107.0.4"),
        to("fd00:107::4", "fd00:107::3"),
        to("10.107.0.2", "10.107.0.3"),
    );
    // Both families are one account; 1,000 and 1,020 bytes.
    world.passes("a", "c", &a_c);
    world.passes("a", "c", &to("fd00:107::2", "fd00:107::4"));
    world.ends("a", &a_c, "a", Reason::OverLimit);
    world.ends("a", &to("10.107.0.2", "10.107.0.1"), "a", Reason::OverLimit);
    world.passes("c", "b", &c_b);
    world.passes("host", "b", &to("192.0.2.9", "10.107.0.3"));
    world.ends("c", &c_b, "b", Reason::OverLimit);
    world.ends("host", &to("192.0.2.9", "10.107.0.3"), "b", Reason::OverLimit);
    // The other directions, and others, have no limit.
    for _ in 0..10 {
        world.passes("c", "a", &to("10.107.0.4", "10.107.0.2"));
        world.passes("b", "c", &to("10.107.0.3", "10.107.0.4"));
    }
    world.now += Duration::from_millis(3);
    world.passes("a", "c", &a_c);
    // The sender's limit comes before the receiver's.
    world.ends("a", &a_b, "a", Reason::OverLimit);
}

#[test]
fn a_super_frame_is_charged_the_headers_of_all_its_segments() {
    // 1,000 bytes of payload in each of 60 segments, which have headers of 40 and 60 bytes: TCP over either family.
    for (from, to, wire) in [
        ("10.107.0.2", "10.107.0.3", 62_400_u64),
        ("fd00:107::2", "fd00:107::3", 63_600),
    ] {
        let frame = Sample::super_tcp(from, to, 60_000, 1_000);
        for (wait, reason) in [(wire - 1_500 - 1, Some(Reason::OverLimit)), (wire - 1_500, None)] {
            let mut world = World::open();
            // A byte a microsecond, and a bucket that is smaller than the frame.
            let limit = Bandwidth {
                out: rate(1_000_000, 1_500),
                in_: None,
            };
            world.fabric.limit(world.ports["a"], limit);
            world.passes("a", "b", &frame);
            world.now += Duration::from_micros(wait) + Duration::from_nanos(500);
            match reason {
                Some(reason) => world.ends("a", &frame, "a", reason),
                None => drop(world.passes("a", "b", &frame)),
            }
        }
    }
}

#[test]
fn a_limit_that_is_changed_holds_at_once_and_one_that_stays_keeps_its_account() {
    let mut world = World::open();
    let sample = Sample::udp("10.107.0.2", "10.107.0.3", 53, 972);
    let limit = Bandwidth {
        out: rate(10_000, 1_500),
        in_: None,
    };
    let port = world.ports["a"];
    assert!(world.fabric.limit(port, limit));
    world.passes("a", "b", &sample);
    world.passes("a", "b", &sample);
    world.ends("a", &sample, "a", Reason::OverLimit);
    // Other rules, the same limit; a limit for the other direction.
    assert!(world.fabric.replace(port, Chain::default(), Chain::default()));
    assert!(world.fabric.limit(port, limit));
    world.ends("a", &sample, "a", Reason::OverLimit);
    let both = Bandwidth {
        in_: rate(1_000, 1_500),
        ..limit
    };
    assert!(world.fabric.limit(port, both));
    world.ends("a", &sample, "a", Reason::OverLimit);
    assert!(world.fabric.limit(port, Bandwidth::default()));
    for _ in 0..10 {
        world.passes("a", "b", &sample);
    }
    assert!(!world.fabric.limit(world.ports["host"], limit));
    let gone = world.detach("b");
    assert!(!world.fabric.limit(gone, limit));
}
