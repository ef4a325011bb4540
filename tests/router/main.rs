//! One packet in; its verdict and every counter of every port out.

mod answers;
mod chains;
mod holders;
mod limits;
#[path = "../packets/mod.rs"]
mod packets;
mod sleep;
#[path = "../world/mod.rs"]
mod world;

use mini_emperor::router::{Complaint, Reason};

use packets::{Sample, ip};
use world::{World, rules, source_of};

const FAMILIES: [[&str; 6]; 2] = [
    // a, b, gateway, nobody, outside, a group
    [
        "10.107.0.2",
        "10.107.0.3",
        "10.107.0.1",
        "10.107.0.77",
        "192.0.2.9",
        "224.0.0.251",
    ],
    [
        "fd00:107::2",
        "fd00:107::3",
        "fd00:107::1",
        "fd00:107::77",
        "2001:db8::9",
        "ff02::fb",
    ],
];

#[test]
fn vassals_the_gateway_and_the_world_reach_each_other() {
    let mut world = World::open();
    for [a, b, gateway, _, outside, _] in FAMILIES {
        for sample in [
            Sample::udp(a, b, 53, 100),
            Sample::tcp(a, b, 80, 0),
            Sample::ping(a, b),
        ] {
            world.passes("a", "b", &sample);
        }
        world.passes("a", "host", &Sample::udp(a, gateway, 53, 1));
        world.passes("a", "host", &Sample::udp(a, outside, 53, 1));
        world.passes("host", "a", &Sample::udp(gateway, a, 53, 1));
        world.passes("host", "a", &Sample::udp(outside, a, 53, 1));
    }
}

#[test]
fn a_super_frame_crosses_whole_and_counts_once() {
    let mut world = World::open();
    for [a, b, _, _, outside, _] in FAMILIES {
        for sample in [
            Sample::super_tcp(a, b, 60_000, 1428),
            Sample::super_udp(a, b, 60_000, 1400),
        ] {
            world.passes("a", "b", &sample);
        }
        world.passes("a", "host", &Sample::super_tcp(a, outside, 60_000, 1428));
        world.passes("host", "a", &Sample::super_tcp(outside, a, 60_000, 1428));
    }
}

#[test]
fn a_spoofed_source_is_dropped() {
    let mut world = World::open();
    for [a, b, gateway, nobody, outside, group] in FAMILIES {
        for source in [b, gateway, nobody, outside, group] {
            world.ends("a", &Sample::udp(source, b, 53, 1), "a", Reason::Spoofed);
            world.ends("a", &Sample::udp(source, gateway, 53, 1), "a", Reason::Spoofed);
            world.ends("a", &Sample::udp(source, nobody, 53, 1), "a", Reason::Spoofed);
        }
        // The world outside cannot speak in a vassal's name.
        world.ends("host", &Sample::udp(b, a, 53, 1), "host", Reason::Spoofed);
        world.ends("host", &Sample::udp(group, a, 53, 1), "host", Reason::Spoofed);
    }
    for source in ["0.0.0.0", "127.0.0.1", "255.255.255.255", "10.107.0.255"] {
        world.ends(
            "a",
            &Sample::udp(source, "10.107.0.3", 53, 1),
            "a",
            Reason::Spoofed,
        );
        world.ends(
            "host",
            &Sample::udp(source, "10.107.0.3", 53, 1),
            "host",
            Reason::Spoofed,
        );
    }
    world.ends(
        "a",
        &Sample::udp("fe80::1", "fd00:107::3", 53, 1),
        "a",
        Reason::Spoofed,
    );
}

#[test]
fn a_family_that_a_vassal_has_no_address_of_is_spoofed() {
    let mut world = World::open();
    world.attach("four", &["10.107.0.4"]);
    world.ends(
        "four",
        &Sample::ping("fd00:107::4", "fd00:107::2"),
        "four",
        Reason::Spoofed,
    );
    world.attach("six", &["fd00:107::6"]);
    world.ends(
        "six",
        &Sample::ping("10.107.0.6", "10.107.0.2"),
        "six",
        Reason::Spoofed,
    );
}

#[test]
fn what_a_fresh_kernel_says_first_is_multicast_and_not_spoofing() {
    let mut world = World::open();
    let router_solicitation = Sample::icmp("fe80::1", "ff02::2", 58, 133);
    let report = Sample::icmp("::", "ff02::16", 58, 143).extension(0, &[0, 5, 2, 0, 0, 1, 0]);
    for sample in [
        router_solicitation,
        report,
        Sample::udp("0.0.0.0", "255.255.255.255", 67, 1),
    ] {
        world.ends("a", &sample, "a", Reason::Multicast);
        world.ends("host", &sample, "host", Reason::Multicast);
    }
}

#[test]
fn groups_and_broadcasts_are_dropped_both_ways() {
    let mut world = World::open();
    for to in [
        "224.0.0.1",
        "239.1.2.3",
        "255.255.255.255",
        "10.107.0.0",
        "10.107.0.255",
    ] {
        world.ends("a", &Sample::udp("10.107.0.2", to, 53, 1), "a", Reason::Multicast);
        world.ends(
            "host",
            &Sample::udp("10.107.0.1", to, 53, 1),
            "host",
            Reason::Multicast,
        );
    }
    world.ends(
        "a",
        &Sample::udp("fd00:107::2", "ff05::1", 53, 1),
        "a",
        Reason::Multicast,
    );
    for (from, to) in [
        ("10.107.0.2", "0.0.0.0"),
        ("10.107.0.2", "127.0.0.1"),
        ("fd00:107::2", "::1"),
    ] {
        world.ends("a", &Sample::udp(from, to, 53, 1), "a", Reason::Malformed);
    }
}

#[test]
fn an_address_that_nobody_holds_is_unreachable() {
    let mut world = World::open();
    for [a, _, gateway, nobody, outside, _] in FAMILIES {
        let complaint = Complaint::HostUnreachable;
        let answer = world.is_told(
            "a",
            &Sample::udp(a, nobody, 53, 9),
            "a",
            Reason::NoRoute,
            complaint,
        );
        assert_eq!(source_of(&answer), ip(gateway), "a vassal hears the gateway");
        let answer = world.is_told(
            "host",
            &Sample::udp(outside, nobody, 53, 9),
            "host",
            Reason::NoRoute,
            complaint,
        );
        assert_eq!(
            source_of(&answer),
            ip(nobody),
            "a kernel takes nothing from its own address"
        );
        // Only inside the subnet, and never about itself.
        world.ends(
            "host",
            &Sample::udp(gateway, outside, 53, 9),
            "host",
            Reason::NoRoute,
        );
        world.ends(
            "host",
            &Sample::udp(outside, gateway, 53, 9),
            "host",
            Reason::NoRoute,
        );
        world.ends("a", &Sample::udp(a, a, 53, 9), "a", Reason::NoRoute);
    }
    world.ends("a", &Sample::ping("fd00:107::2", "fe80::1"), "a", Reason::NoRoute);
}

#[test]
fn without_an_uplink_the_world_is_unreachable() {
    let mut world = World::open();
    world.detach("host");
    for [a, b, gateway, _, outside, _] in FAMILIES {
        for to in [gateway, outside] {
            let sample = Sample::udp(a, to, 53, 9);
            world.is_told("a", &sample, "a", Reason::NoRoute, Complaint::HostUnreachable);
        }
        world.passes("a", "b", &Sample::udp(a, b, 53, 9));
    }
}

#[test]
fn malformed_frames_are_charged_to_their_sender() {
    let mut world = World::open();
    let mut sample = Sample::udp("10.107.0.2", "10.107.0.3", 53, 9);
    sample.vnet[0] = 0x80;
    world.ends("a", &sample, "a", Reason::Malformed);
    world.ends("host", &sample, "host", Reason::Malformed);
}

#[test]
fn a_packet_dies_between_vassals_when_its_time_is_over() {
    let mut world = World::open();
    for [a, b, gateway, _, outside, _] in FAMILIES {
        for ttl in [0, 1] {
            let sample = Sample::udp(a, b, 53, 9).ttl(ttl);
            let answer = world.is_told("a", &sample, "a", Reason::TtlExpired, Complaint::TimeExceeded);
            assert_eq!(source_of(&answer), ip(gateway));
            // The host counts its own hop, and a packet to itself is not to be judged by its time (RFC 1812 4.2.2.9).
            world.passes("a", "host", &Sample::udp(a, outside, 53, 9).ttl(ttl));
            world.passes("host", "a", &Sample::udp(outside, a, 53, 9).ttl(ttl));
        }
        world.passes("a", "b", &Sample::udp(a, b, 53, 9).ttl(2));
        world.passes("a", "b", &Sample::udp(a, b, 53, 9).ttl(255));
    }
}

#[test]
fn a_packet_that_must_not_be_cut_has_to_fit() {
    let mut world = World::open();
    let small = ["10.107.0.9", "fd00:107::9"];
    world.attach_with("small", &small, 1280, rules(&[]), rules(&[]));
    let complaint = Complaint::TooBig { mtu: 1280 };
    for ([a, _, gateway, _, outside, _], to) in FAMILIES.into_iter().zip(small) {
        let header = if a.contains(':') { 40 } else { 20 };
        let fits = Sample::udp(a, to, 53, 1280 - header - 8).dont_fragment();
        let long = Sample::udp(a, to, 53, 1280 - header - 7).dont_fragment();
        world.passes("a", "small", &fits);
        let answer = world.is_told("a", &long, "small", Reason::TooBig, complaint);
        assert_eq!(source_of(&answer), ip(gateway));

        let size = u16::try_from(1280 - header - 20).unwrap();
        world.passes("a", "small", &Sample::super_tcp(a, to, 9000, size));
        let long = Sample::super_tcp(a, to, 9000, size + 1);
        world.is_told("a", &long, "small", Reason::TooBig, complaint);
        let long = Sample::super_udp(a, to, 9000, size + 13);
        world.is_told("a", &long, "small", Reason::TooBig, complaint);

        let long = Sample::super_tcp(outside, to, 9000, size + 1);
        let answer = world.is_told("host", &long, "small", Reason::TooBig, complaint);
        assert_eq!(source_of(&answer), ip(to));
    }
    // The receiving tun takes what may be cut.
    world.passes("a", "small", &Sample::udp("10.107.0.2", "10.107.0.9", 53, 1400));
}

#[test]
fn a_super_frame_of_one_short_segment_fits() {
    let mut world = World::open();
    world.passes(
        "a",
        "b",
        &Sample::super_tcp("10.107.0.2", "10.107.0.3", 100, 9000),
    );
}

#[test]
fn a_full_queue_is_charged_to_the_receiver() {
    let mut world = World::open();
    let tables = world.fabric.tables();
    world
        .router
        .undeliverable(&tables, world.ports["b"], Reason::QueueFull);
    assert_eq!(
        world
            .fabric
            .traffic(world.ports["b"])
            .unwrap()
            .dropped
            .get(Reason::QueueFull),
        1
    );
    assert_eq!(world.fabric.traffic(world.ports["a"]).unwrap().dropped.total(), 0);
}

#[test]
fn an_answer_counts_for_who_reads_it() {
    let mut world = World::open();
    let tables = world.fabric.tables();
    world.router.answered(&tables, world.ports["a"], 56);
    let traffic = world.fabric.traffic(world.ports["a"]).unwrap();
    assert_eq!((traffic.receive_packets, traffic.receive_bytes), (1, 56));
}
