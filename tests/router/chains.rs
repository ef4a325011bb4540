//! Which packets the rules let through.

use mini_emperor::config::rule::Action;
use mini_emperor::router::{Complaint, GlobalPolicy, Reason};

use super::FAMILIES;
use crate::packets::Sample;
use crate::world::{World, chain, rules};

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
