//! Whose an address and a port are.

use mini_emperor::config::definition::Bandwidth;
use mini_emperor::router::{AttachError, Attachment, Complaint, PortId, Reason, Verdict};

use super::FAMILIES;
use crate::packets::{Sample, ip};
use crate::world::{World, name, rules};

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
    let last = world.fabric.detach(old).unwrap().traffic();
    assert_eq!(last.transmit_packets, 1);
    assert!(world.fabric.detach(old).is_none());
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
fn what_is_counted_for_a_port_after_it_was_taken_away_is_not_lost() {
    let mut world = World::open();
    // As a worker has them that is in the midst of a burst.
    let held = world.fabric.tables();
    let (a, b) = (world.ports["a"], world.ports["b"]);
    let remains = world.fabric.detach(b).unwrap();
    world.fabric.tables();
    let mut frame = Sample::udp("10.107.0.2", "10.107.0.3", 53, 1).frame();
    let verdict = world.router.forward(&held, a, &mut frame, world.now);
    assert_eq!(verdict, Verdict::Forward(b));
    assert_eq!(remains.traffic().transmit_packets, 0, "not sent yet");
    world.router.undeliverable(&held, b, Reason::QueueFull);
    assert_eq!(remains.traffic().dropped.total(), 1);
    assert!(!remains.are_final());
    drop(held);
    assert!(remains.are_final());
    assert_eq!(remains.traffic().dropped.total(), 1);
}
