//! One packet in; its verdict and every counter of every port out.

mod packets;
mod world;

use std::time::Duration;

use mini_emperor::config::definition::{Bandwidth, Rate};
use mini_emperor::config::rule::{Action, Chain};
use mini_emperor::router::{
    AttachError, Attachment, Complaint, GlobalPolicy, PortId, Reason, Router, Verdict, Wakefulness,
};

use packets::{Sample, ip};
use world::{World, chain, name, rules, source_of};

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
            // The host counts its own hop.
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

#[test]
fn chains_are_walked_in_their_order() {
    // Each of the four chains says something else, so that the answer tells which one spoke first.
    let policy = |out: &[&str], in_: &[&str]| GlobalPolicy {
        out: rules(out),
        in_: rules(in_),
        isolate: false,
    };
    let mut world = World::open();
    for [a, b, _, _, outside, _] in FAMILIES {
        let (sample, port) = (Sample::udp(a, b, 53, 1), world.ports["a"]);
        let receiver = world.ports["b"];
        world.fabric.set_policy(policy(&["reject"], &["deny"]));
        world.fabric.replace(port, rules(&["deny"]), rules(&[]));
        world.fabric.replace(receiver, rules(&[]), rules(&["reject"]));
        world.is_told("a", &sample, "a", Reason::Denied, Complaint::Prohibited);
        world.fabric.set_policy(policy(&[], &["reject"]));
        world.ends("a", &sample, "a", Reason::Denied);
        world.fabric.replace(port, rules(&[]), rules(&[]));
        world.is_told("a", &sample, "b", Reason::Denied, Complaint::Prohibited);
        world.fabric.set_policy(policy(&[], &[]));
        world.is_told("a", &sample, "b", Reason::Denied, Complaint::Prohibited);
        // To the host only `out`, from the host only `in`.
        world.passes("b", "host", &Sample::udp(b, outside, 53, 1));
        world.is_told(
            "host",
            &Sample::udp(outside, b, 53, 1),
            "b",
            Reason::Denied,
            Complaint::Prohibited,
        );
        world.fabric.replace(receiver, rules(&["deny"]), rules(&[]));
        world.ends("b", &Sample::udp(b, outside, 53, 1), "b", Reason::Denied);
        world.passes("host", "b", &Sample::udp(outside, b, 53, 1));
    }
}

#[test]
fn the_eight_rules_of_uwsgi_mean_the_same_here() {
    let net = "10.107.0.0/24";
    let text = |rule: &str| rule.replace("NET", net);
    let lines = |rules: [&str; 4]| rules.map(text);
    let out = lines([
        "allow NET 10.107.0.1",
        "deny NET NET",
        "allow NET 0.0.0.0",
        "deny",
    ]);
    let in_ = lines([
        "allow 10.107.0.1 NET",
        "deny NET NET",
        "allow 0.0.0.0 NET",
        "deny",
    ]);
    let mut world = World::new(GlobalPolicy {
        out: rules(&out.each_ref().map(String::as_str)),
        in_: rules(&in_.each_ref().map(String::as_str)),
        isolate: false,
    });
    world.attach("a", &["10.107.0.2", "fd00:107::2"]);
    world.attach("b", &["10.107.0.3", "fd00:107::3"]);
    world.passes("a", "host", &Sample::ping("10.107.0.2", "10.107.0.1"));
    world.passes("host", "a", &Sample::ping("10.107.0.1", "10.107.0.2"));
    world.ends(
        "a",
        &Sample::ping("10.107.0.2", "10.107.0.3"),
        "a",
        Reason::Denied,
    );
    world.passes("a", "host", &Sample::ping("10.107.0.2", "8.8.8.8"));
    world.passes("host", "a", &Sample::ping("8.8.8.8", "10.107.0.2"));
    // The closing `deny` means both families.
    world.ends(
        "a",
        &Sample::ping("fd00:107::2", "fd00:107::1"),
        "a",
        Reason::Denied,
    );
    world.ends(
        "host",
        &Sample::ping("fd00:107::1", "fd00:107::2"),
        "a",
        Reason::Denied,
    );
}

#[test]
fn a_default_of_deny_lets_only_the_allowed_ports_in() {
    let mut world = World::open();
    let closed = chain(&["allow any any tcp 80-81", "allow any any icmp"], Action::Deny);
    world.fabric.replace(world.ports["b"], rules(&[]), closed);
    for [a, b, ..] in FAMILIES {
        for port in [80, 81] {
            world.passes("a", "b", &Sample::tcp(a, b, port, 1));
        }
        for port in [0, 79, 82, 65_535] {
            world.ends("a", &Sample::tcp(a, b, port, 1), "b", Reason::Denied);
        }
        world.ends("a", &Sample::udp(a, b, 80, 1), "b", Reason::Denied);
        world.passes("a", "b", &Sample::ping(a, b));
        // What hides its port is not let in as one.
        let mut later = Sample::tcp(a, b, 80, 60);
        later.fragment = Some((9, false));
        world.ends("a", &later, "b", Reason::Denied);
        if a.contains(':') {
            let hidden = Sample::tcp(a, b, 22, 1).extension(60, &[0, 1, 4, 0, 0, 0, 0]);
            world.ends("a", &hidden, "b", Reason::Denied);
            let open = Sample::tcp(a, b, 80, 1).extension(60, &[0, 1, 4, 0, 0, 0, 0]);
            world.passes("a", "b", &open);
        }
    }
}

#[test]
fn a_name_in_a_rule_follows_that_vassal() {
    let mut world = World::open();
    let only_db = chain(&["allow @db any"], Action::Deny);
    world.fabric.replace(world.ports["b"], rules(&[]), only_db);
    let to_b = |from: &str| {
        Sample::ping(
            from,
            if from.contains(':') {
                "fd00:107::3"
            } else {
                "10.107.0.3"
            },
        )
    };
    world.ends("a", &to_b("10.107.0.2"), "b", Reason::Denied);
    world.attach("db", &["10.107.0.9", "fd00:107::9"]);
    world.passes("db", "b", &to_b("10.107.0.9"));
    world.passes("db", "b", &to_b("fd00:107::9"));
    world.ends("a", &to_b("10.107.0.2"), "b", Reason::Denied);
    // Somebody else gets the address: the rule does not mean him.
    world.detach("db");
    world.attach("thief", &["10.107.0.9", "fd00:107::9"]);
    world.ends("thief", &to_b("10.107.0.9"), "b", Reason::Denied);
    world.attach("db", &["10.107.0.10"]);
    world.passes("db", "b", &to_b("10.107.0.10"));
    world.ends("thief", &to_b("fd00:107::9"), "b", Reason::Denied);
}

#[test]
fn a_name_in_a_global_rule_follows_that_vassal() {
    let mut world = World::open();
    world.fabric.set_policy(GlobalPolicy {
        out: rules(&["deny any @db"]),
        ..GlobalPolicy::default()
    });
    for address in ["10.107.0.10", "10.107.0.11"] {
        let port = world.attach("db", &[address]);
        world.ends("a", &Sample::ping("10.107.0.2", address), "a", Reason::Denied);
        world.passes("a", "b", &Sample::ping("10.107.0.2", "10.107.0.3"));
        world.fabric.detach(port);
        world.ports.remove("db");
    }
}

#[test]
fn isolated_vassals_reach_only_the_host() {
    let mut world = World::open();
    world.fabric.set_policy(GlobalPolicy {
        isolate: true,
        ..GlobalPolicy::default()
    });
    for [a, b, gateway, _, outside, _] in FAMILIES {
        world.ends("a", &Sample::udp(a, b, 53, 1), "a", Reason::Denied);
        world.passes("a", "host", &Sample::udp(a, gateway, 53, 1));
        world.passes("host", "a", &Sample::udp(outside, a, 53, 1));
    }
}

#[test]
fn an_address_belongs_to_one_vassal() {
    let mut world = World::open();
    let before = world.fabric.tables();
    let mut claim = |who: &str, address: &str| {
        let vassal = Attachment {
            name: name(who),
            addresses: vec![ip("10.107.0.50"), ip(address)],
            mtu: 1500,
            out: rules(&[]),
            in_: rules(&[]),
            bandwidth: Bandwidth::default(),
        };
        world.fabric.attach(vassal).unwrap_err()
    };
    for address in ["10.107.0.2", "fd00:107::2"] {
        let error = AttachError::Held {
            address: ip(address),
            by: name("a"),
        };
        assert_eq!(claim("c", address), error);
        assert_eq!(error.to_string(), format!("{address} is held by a"));
    }
    for address in [
        "10.108.0.2",
        "10.107.0.1",
        "10.107.0.0",
        "10.107.0.255",
        "fd00:107::1",
        "fd00:108::2",
        "::",
    ] {
        assert_eq!(
            claim("c", address),
            AttachError::Unusable { address: ip(address) }
        );
    }
    assert_eq!(
        claim("a", "10.107.0.9"),
        AttachError::Attached { name: name("a") }
    );
    let unchanged = world.fabric.tables();
    assert!(
        std::sync::Arc::ptr_eq(&before, &unchanged),
        "a refusal changes nothing"
    );
}

#[test]
fn whoever_takes_over_a_slot_is_somebody_else() {
    let mut world = World::open();
    let sample = Sample::udp("10.107.0.2", "10.107.0.3", 53, 1);
    world.passes("a", "b", &sample);
    let stale_tables = world.fabric.tables();
    let old = world.ports["a"];
    let last = world.fabric.detach(old).unwrap();
    assert_eq!(last.transmit_packets, 1);
    assert_eq!(world.fabric.detach(old), None);
    assert_eq!(world.fabric.traffic(old), None);
    assert!(!world.fabric.replace(old, rules(&[]), rules(&[])));

    let new = world.attach("a", &["10.107.0.2", "fd00:107::2"]);
    assert_eq!((new.index, new.generation), (old.index, old.generation + 1));
    assert_eq!(world.fabric.traffic(new).unwrap().transmit_packets, 0);
    world.passes("a", "b", &sample);

    // A worker that holds an old id, or old tables, harms nobody.
    let (tables, mut frame) = (world.fabric.tables(), sample.frame());
    let drop = Verdict::Drop(Reason::NoRoute);
    assert_eq!(world.router.forward(&tables, old, &mut frame, world.now), drop);
    assert_eq!(
        world.router.forward(&stale_tables, new, &mut frame, world.now),
        drop
    );
    let nowhere = PortId {
        index: 4711,
        generation: 0,
    };
    assert_eq!(
        world.router.forward(&tables, nowhere, &mut frame, world.now),
        drop
    );
    world.router.delivered(&tables, old, nowhere, 9);
    world.router.undeliverable(&tables, old, Reason::QueueFull);
    assert_eq!(world.fabric.traffic(new).unwrap().dropped.total(), 0);
    assert_eq!(world.fabric.traffic(new).unwrap().transmit_packets, 1);
}

#[test]
fn a_detached_vassal_is_gone_at_once() {
    let mut world = World::open();
    let attached = world.fabric.vassals();
    world.detach("b");
    assert_eq!(world.fabric.vassals(), attached - 1);
    for [a, b, ..] in FAMILIES {
        let sample = Sample::udp(a, b, 53, 1);
        world.is_told("a", &sample, "a", Reason::NoRoute, Complaint::HostUnreachable);
    }
}

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

#[test]
fn a_vassal_that_sleeps_is_woken_by_what_may_enter_it() {
    let mut world = World::open();
    let deny = chain(&["allow any any tcp 80"], Action::Deny);
    world.attach_sleeper("s", &["10.107.0.9", "fd00:107::9"], deny);
    for (family, s) in FAMILIES.iter().zip(["10.107.0.9", "fd00:107::9"]) {
        let [a, _, gateway, _, outside, _] = *family;
        for (who, from) in [("a", a), ("host", gateway), ("host", outside)] {
            world.wakes(who, "s", &Sample::tcp(from, s, 80, 0));
            world.ends(who, &Sample::tcp(from, s, 81, 0), "s", Reason::Denied);
        }
        world.ends("a", &Sample::tcp(s, gateway, 80, 0), "a", Reason::Spoofed);
    }
    // As a vassal has: whoever is at the end of his hops wakes nobody.
    let mut last = Sample::tcp("10.107.0.2", "10.107.0.9", 80, 0);
    last.ttl = 1;
    world.is_told("a", &last, "a", Reason::TtlExpired, Complaint::TimeExceeded);
}

#[test]
fn a_vassal_that_wakes_has_its_addresses_without_a_moment_between() {
    let mut world = World::open();
    let sample = Sample::tcp("10.107.0.2", "10.107.0.9", 80, 0);
    let asleep = world.attach_sleeper("s", &["10.107.0.9"], Chain::default());
    world.wakes("a", "s", &sample);
    let other = Attachment {
        name: name("t"),
        addresses: vec![ip("10.107.0.9")],
        mtu: 1500,
        out: Chain::default(),
        in_: Chain::default(),
        bandwidth: Bandwidth::default(),
    };
    assert_eq!(
        world.fabric.attach_as(other.clone(), Wakefulness::Asleep),
        Err(AttachError::Held {
            address: ip("10.107.0.9"),
            by: name("s")
        })
    );
    assert!(world.fabric.replace(asleep, Chain::default(), rules(&["deny"])));
    world.ends("a", &sample, "s", Reason::Denied);
    assert_eq!(world.detach("s"), asleep);
    let rising = Attachment {
        name: name("s"),
        ..other
    };
    let awake = world.fabric.attach_as(rising, Wakefulness::Rising).unwrap();
    world.ports.insert("s".to_owned(), awake);
    assert_ne!(awake, asleep);
    world.wakes("a", "s", &sample);
    world.passes("s", "a", &Sample::tcp("10.107.0.9", "10.107.0.2", 5432, 0));
    assert!(world.fabric.wake(awake) && !world.fabric.wake(asleep));
    world.passes("a", "s", &sample);
    assert_eq!(world.detach("s"), awake);
    world.attach_sleeper("s", &["10.107.0.9"], Chain::default());
    world.wakes("a", "s", &sample);
}

#[test]
fn rules_about_a_vassal_follow_it_into_its_sleep() {
    let mut world = World::open();
    world.attach_with(
        "guarded",
        &["10.107.0.5"],
        1500,
        Chain::default(),
        rules(&["deny @s", "allow"]),
    );
    world.attach_sleeper("s", &["10.107.0.9"], rules(&["deny @a"]));
    world.ends(
        "a",
        &Sample::ping("10.107.0.2", "10.107.0.9"),
        "s",
        Reason::Denied,
    );
    world.wakes("b", "s", &Sample::ping("10.107.0.3", "10.107.0.9"));
}

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
