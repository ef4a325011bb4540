//! Bytes that a hostile vassal may send, through a whole router.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use mini_emperor::config::rule::{Action, Chain};
use mini_emperor::packet::Packet;
use mini_emperor::router::{Complaint, GlobalPolicy, PortId, Reason, Traffic, Verdict};

use super::frames::{A, A6, B, B6, hop_by_hand};
use super::model::{self, Fate, Model, Port};
use crate::packets::{self, ip};
use crate::world::{World, chain, check_answer, rules};

/// A small fabric, the same in the model's words.
struct Arena {
    model: Model,
    world: World,
    /// By the model's order; the last is a port that is gone.
    ports: Vec<PortId>,
}

thread_local! {
    /// By the byte that chooses the rules.
    static ARENAS: RefCell<BTreeMap<u8, Arena>> = const { RefCell::new(BTreeMap::new()) };
}

impl Arena {
    /// `rules` has one bit for each chain, one for `isolate` and one for `default: deny`.
    fn new(which: u8) -> Self {
        let default = if which & 32 == 0 {
            Action::Allow
        } else {
            Action::Deny
        };
        let some = |bit: u8, rules: &[&str]| match which & bit {
            0 => Chain::default(),
            _ => chain(rules, default),
        };
        let port = |name, addresses: &[&str], mtu| Port {
            name,
            addresses: addresses.iter().map(|text| ip(text)).collect(),
            mtu,
            out: Chain::default(),
            in_: Chain::default(),
        };
        let mut ports = vec![
            port("host", &[], 1500),
            port("a", &[A, A6], 9000),
            port("b", &[B, B6], 1280),
            port("four", &["10.107.0.4"], 576),
        ];
        ports[1].out = some(4, &["allow any any tcp", "reject any @b udp 53", "allow @a"]);
        ports[2].in_ = some(
            8,
            &["allow @a any udp 53-80", "deny any any udp", "reject any @b 132"],
        );
        let model = Model {
            ports,
            out: some(
                1,
                &[
                    "deny any any tcp 22",
                    "reject any 192.0.2.0/24 udp 1-1023",
                    "allow",
                ],
            ),
            in_: some(2, &["reject @b any icmp", "deny any fd00:107::/64 0", "allow @a"]),
            isolate: which & 16 != 0,
        };
        Self::of(model)
    }

    fn of(model: Model) -> Self {
        let mut world = World::new(GlobalPolicy {
            out: model.out.clone(),
            in_: model.in_.clone(),
            isolate: model.isolate,
        });
        let gone = world.attach_with("gone", &["10.107.0.9"], 1500, rules(&["deny"]), Chain::default());
        world.detach("gone");
        let mut ports = vec![world.ports["host"]];
        for port in &model.ports[1..] {
            let addresses: Vec<_> = port.addresses.iter().map(IpAddr::to_string).collect();
            let addresses: Vec<_> = addresses.iter().map(String::as_str).collect();
            let (out, in_) = (port.out.clone(), port.in_.clone());
            ports.push(world.attach_with(port.name, &addresses, port.mtu, out, in_));
        }
        ports.push(gone);
        Self { model, world, ports }
    }

    fn traffic(&self) -> Vec<Traffic> {
        let known = &self.ports[..self.model.ports.len()];
        known
            .iter()
            .map(|port| self.world.fabric.traffic(*port).unwrap())
            .collect()
    }

    fn place(&self, name: &str) -> usize {
        self.model
            .ports
            .iter()
            .position(|port| port.name == name)
            .unwrap()
    }
}

/// One frame through the whole router: byte 0 says from which port, and whether lengths and header checksum are made
/// right before; byte 1 chooses the rules.
pub fn forward(input: &[u8]) {
    let [from, which, frame @ ..] = input else {
        return;
    };
    let mut frame = frame.to_vec();
    if from & 0x80 != 0 {
        mend(&mut frame);
    }
    ARENAS.with_borrow_mut(|arenas| {
        let arena = arenas.entry(which & 63).or_insert_with(|| Arena::new(*which));
        pass(arena, usize::from(from & 0x7f) % arena.ports.len(), &mut frame);
    });
}

/// Makes the lengths and the header checksum right, as far as there is a header.
pub fn mend(frame: &mut [u8]) {
    let Some(packet) = frame.get_mut(10..).filter(|packet| packet.len() >= 20) else {
        return;
    };
    let length = packet.len();
    if packet[0] >> 4 == 4 {
        let [hi, lo] = u16::try_from(length).unwrap_or_default().to_be_bytes();
        packet[2..4].copy_from_slice(&[hi, lo]);
        let header = usize::from(packet[0] & 15) * 4;
        if (20..=length).contains(&header) {
            packet[10..12].fill(0);
            let sum = packets::checksum(&packet[..header]);
            packet[10..12].copy_from_slice(&sum.to_be_bytes());
        }
    } else if packet[0] >> 4 == 6 && length >= 40 {
        let [hi, lo] = u16::try_from(length - 40).unwrap_or_default().to_be_bytes();
        packet[4..6].copy_from_slice(&[hi, lo]);
    }
}

/// The router and the model agree about verdict, counters and bytes.
fn pass(arena: &mut Arena, from: usize, frame: &mut [u8]) {
    // A second for each frame: nobody's answers are limited here.
    arena.world.now += Duration::from_secs(1);
    let (tables, port, now) = (arena.world.fabric.tables(), arena.ports[from], arena.world.now);
    let (original, mut expected) = (frame.to_vec(), arena.traffic());
    let verdict = arena.world.router.forward(&tables, port, frame, now);
    if from == arena.model.ports.len() {
        assert_eq!(verdict, Verdict::Drop(Reason::NoRoute));
        assert_eq!((arena.traffic(), frame), (expected, &mut original.clone()[..]));
        return;
    }
    let bytes = u64::try_from(frame.len().saturating_sub(10)).unwrap();
    match arena.model.fate(from, &original) {
        Fate::Reaches(to) => {
            let to = arena.place(to);
            assert_eq!(verdict, Verdict::Forward(arena.ports[to]));
            assert_eq!(
                arena.traffic(),
                expected,
                "nothing is counted before it is written"
            );
            arrived(&original, frame, from != 0 && to != 0);
            arena
                .world
                .router
                .delivered(&tables, port, arena.ports[to], frame.len() - 10);
            expected[from].transmit_packets += 1;
            expected[from].transmit_bytes += bytes;
            expected[to].receive_packets += 1;
            expected[to].receive_bytes += bytes;
        }
        Fate::Ends(charged, reason, complaint) => {
            assert_eq!(verdict, complaint.map_or(Verdict::Drop(reason), Verdict::Answer));
            assert_eq!(frame, original, "a packet that ends is not changed");
            let dropped = &mut expected[arena
                .model
                .ports
                .iter()
                .position(|port| port.name == charged)
                .unwrap()]
            .dropped;
            dropped.set(reason, dropped.get(reason) + 1);
            if let Some(complaint) = complaint {
                told(arena, from, &original, complaint, now);
            }
        }
    }
    assert_eq!(arena.traffic(), expected);
}

/// What is forwarded is still the packet that was judged.
fn arrived(original: &[u8], frame: &[u8], hop: bool) {
    let before = Packet::parse(original).unwrap();
    let after = Packet::parse(frame).expect("a forwarded frame parses again");
    assert_eq!(after.ttl(), before.ttl() - u8::from(hop));
    let by_hand = if hop {
        hop_by_hand(original, after.ttl())
    } else {
        original.to_vec()
    };
    assert_eq!(frame, by_hand);
}

/// The sender hears of it, unless the standards ask for silence.
fn told(arena: &mut Arena, from: usize, frame: &[u8], complaint: Complaint, now: Instant) {
    let seen = model::read(frame).unwrap();
    let answer = arena.world.answer(arena.model.ports[from].name, frame, complaint);
    assert_eq!(
        answer.is_some(),
        model::deserves_answer(&seen),
        "{seen:?} at {now:?}"
    );
    let Some(answer) = answer else { return };
    check_answer(&answer, frame, complaint);
    let speaker = match (from, seen.source) {
        (0, _) => seen.destination,
        (_, IpAddr::V4(_)) => ip("10.107.0.1"),
        (_, IpAddr::V6(_)) => ip("fd00:107::1"),
    };
    assert_eq!(model::read(&answer).unwrap().source, speaker);
}
