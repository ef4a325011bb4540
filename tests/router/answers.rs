//! What is answered, and how often.

use std::time::Duration;

use mini_emperor::router::{Complaint, Reason, Router, Verdict};

use crate::packets::Sample;
use crate::world::World;

#[test]
fn nobody_is_answered_more_often_than_the_limit() {
    let mut world = World::open();
    let sample = Sample::udp("10.107.0.2", "10.107.0.77", 53, 1);
    for _ in 0..50 {
        world.is_told("a", &sample, "a", Reason::NoRoute, Complaint::HostUnreachable);
    }
    world.ends("a", &sample, "a", Reason::NoRoute);
    assert_eq!(
        world.answer("a", &sample.frame(), Complaint::HostUnreachable),
        None
    );
    let other = Sample::udp("10.107.0.3", "10.107.0.77", 53, 1);
    world.is_told("b", &other, "b", Reason::NoRoute, Complaint::HostUnreachable);
    world.now += Duration::from_millis(10);
    world.is_told("a", &sample, "a", Reason::NoRoute, Complaint::HostUnreachable);
    world.ends("a", &sample, "a", Reason::NoRoute);
}

#[test]
fn errors_groups_and_later_fragments_are_never_answered() {
    let mut world = World::open();
    let v4 = [3, 4, 5, 11, 12].map(|kind| Sample::icmp("10.107.0.2", "10.107.0.77", 1, kind));
    let v6 = [1, 2, 3, 4, 127, 137].map(|kind| Sample::icmp("fd00:107::2", "fd00:107::77", 58, kind));
    let others = [
        Sample::udp("10.107.0.2", "224.0.0.1", 53, 1),
        Sample::udp("10.107.0.2", "10.107.0.255", 53, 1),
        Sample::udp("0.0.0.0", "10.107.0.77", 53, 1),
        Sample::udp("10.107.0.2", "10.107.0.77", 53, 24).fragment(2, false),
        Sample::udp("fd00:107::2", "fd00:107::77", 53, 24).fragment(2, false),
        Sample::udp("fd00:107::2", "ff02::1", 53, 1),
    ];
    for sample in v4.iter().chain(&v6).chain(&others) {
        let answer = world.answer("a", &sample.frame(), Complaint::HostUnreachable);
        assert_eq!(answer, None, "{sample:?}");
    }
    for sample in [
        Sample::ping("10.107.0.2", "10.107.0.77"),
        Sample::ping("fd00:107::2", "fd00:107::77"),
    ] {
        assert!(
            world
                .answer("a", &sample.frame(), Complaint::HostUnreachable)
                .is_some(),
            "{sample:?}"
        );
    }
}

#[test]
fn a_worker_that_was_not_announced_counts_nothing_and_harms_nothing() {
    let mut world = World::open();
    let tables = world.fabric.tables();
    let mut stranger = Router::new(2);
    let mut frame = Sample::udp("10.107.0.9", "10.107.0.3", 53, 1).frame();
    let verdict = stranger.forward(&tables, world.ports["a"], &mut frame, world.now);
    assert_eq!(verdict, Verdict::Drop(Reason::Spoofed));
    assert_eq!(world.fabric.traffic(world.ports["a"]).unwrap().dropped.total(), 0);
}
