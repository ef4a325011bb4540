//! A vassal that the first packet wakes.

use mini_emperor::config::definition::Bandwidth;
use mini_emperor::config::rule::{Action, Chain};
use mini_emperor::router::{AttachError, Attachment, Complaint, Reason, Wakefulness};

use super::FAMILIES;
use crate::packets::{Sample, ip};
use crate::world::{World, chain, name, rules};

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
