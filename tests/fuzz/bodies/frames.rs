//! Bytes that a hostile vassal may send.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use mini_emperor::config::rule::{Action, Chain};
use mini_emperor::packet::vnet::VnetHeader;
use mini_emperor::packet::{Frame, Packet, icmp};
use mini_emperor::router::{ANSWER, Complaint, GlobalPolicy, PortId, Reason, Traffic, Verdict};

use super::model::{self, Fate, Model, Port, Seen};
use crate::packets::{self, Sample, ip};
use crate::world::{World, chain, check_answer, rules};

const A: &str = "10.107.0.2";
const A6: &str = "fd00:107::2";
const B: &str = "10.107.0.3";
const B6: &str = "fd00:107::3";

/// What the parser found out, in the model's words.
fn seen(packet: &Packet, frame: &[u8]) -> Seen {
    Seen {
        source: packet.source().into(),
        destination: packet.destination().into(),
        protocol: packet.protocol(),
        port: packet.port(),
        ttl: packet.ttl(),
        uncuttable: packet.is_uncuttable(),
        later: packet.is_later_fragment(),
        segment: packet.segment(),
        payload: packet.payload(),
        first: frame[10..].get(packet.payload()).copied(),
    }
}

/// The parser and the model agree about every field.
pub fn packet(frame: &[u8]) {
    let parsed = Packet::parse(frame);
    assert_eq!(parsed.ok().map(|packet| seen(&packet, frame)), model::read(frame));
    let Ok(packet) = parsed else { return };
    assert_eq!(packet.length(), frame.len() - 10);
    assert!(packet.segment() <= packet.length() && packet.payload() <= packet.length());
    one_hop(frame);
    answers(&packet, frame);
}

/// A hop changes the time to live and the header checksum, and nothing else.
fn one_hop(original: &[u8]) {
    let mut bytes = original.to_vec();
    let mut frame = Frame::parse(&mut bytes).unwrap();
    let ttl = frame.packet().ttl().saturating_sub(1);
    frame.decrement_ttl();
    assert_eq!(frame.packet().ttl(), ttl);
    assert_eq!(hop_by_hand(original, ttl), bytes);
    assert_eq!(Packet::parse(&bytes).unwrap().ttl(), ttl);
}

/// `frame` with that time to live and a header checksum from scratch.
fn hop_by_hand(frame: &[u8], ttl: u8) -> Vec<u8> {
    let mut bytes = frame.to_vec();
    if bytes[10] >> 4 == 4 {
        bytes[18] = ttl;
        let end = 10 + usize::from(bytes[10] & 15) * 4;
        bytes[20..22].fill(0);
        let sum = packets::checksum(&bytes[10..end]);
        bytes[20..22].copy_from_slice(&sum.to_be_bytes());
        // Of the two zeros of one's complement a hop may keep the other one (RFC 1624 3).
        if sum == 0 && frame[20..22] == [0xff, 0xff] {
            bytes[20..22].fill(0xff);
        }
    } else {
        bytes[17] = ttl;
    }
    bytes
}

/// Every answer is a packet to the sender, and nothing is ever said about an answer.
fn answers(packet: &Packet, frame: &[u8]) {
    let complaints = [
        Complaint::HostUnreachable,
        Complaint::Prohibited,
        Complaint::TimeExceeded,
        Complaint::TooBig { mtu: 1280 },
    ];
    let speaker = if packet.source() == ip_of_family(packet, A, A6).into() {
        ip_of_family(packet, B, B6)
    } else {
        ip_of_family(packet, A, A6)
    };
    for complaint in complaints {
        let mut out = [0xa5; ANSWER];
        let Some(length) = icmp::answer(packet, frame, complaint, speaker.into(), &mut out) else {
            continue;
        };
        let answer = &out[..length];
        assert!(out[length..].iter().all(|byte| *byte == 0xa5));
        check_answer(answer, frame, complaint);
        let again = Packet::parse(answer).unwrap();
        assert_eq!(again.destination(), packet.source());
        assert_eq!(
            icmp::answer(&again, answer, complaint, packet.source(), &mut [0; ANSWER]),
            None
        );
    }
}

fn ip_of_family(packet: &Packet, v4: &str, v6: &str) -> IpAddr {
    ip(if IpAddr::from(packet.source()).is_ipv4() {
        v4
    } else {
        v6
    })
}

/// Any virtio header before honest packets of all kinds: byte 0 chooses the packet, ten bytes are the header.
pub fn vnet(input: &[u8]) {
    let Some((which, header)) = input.split_first().and_then(|(which, rest)| {
        let header: [u8; 10] = *rest.first_chunk()?;
        Some((usize::from(*which), header))
    }) else {
        return;
    };
    if let Ok(read) = VnetHeader::parse(&header) {
        assert_eq!(VnetHeader::parse(&read.emit()), Ok(read));
        // What is left out is what nobody reads: advice about a checksum or a segment that is not asked for.
        let mut plain = header;
        if read.checksum.is_none() {
            plain[6..10].fill(0);
        }
        if read.segmentation.is_none() {
            plain[4..6].fill(0);
        }
        assert_eq!(read.emit(), plain);
    }
    BODIES.with(|bodies| {
        let mut frame = bodies[which % bodies.len()].clone();
        frame[..10].copy_from_slice(&header);
        packet(&frame);
    });
}

thread_local! {
    static BODIES: Vec<Vec<u8>> = bodies();
}

/// Honest packets of all kinds.
fn bodies() -> Vec<Vec<u8>> {
    let pad = [0, 1, 4, 0, 0, 0, 0];
    [
        Sample::tcp(A, B, 80, 300),
        Sample::tcp(A6, B6, 80, 300),
        Sample::udp(A, B, 53, 300),
        Sample::udp(A6, B6, 53, 300),
        Sample::ping(A, B),
        Sample::tcp(A, B, 80, 0),
        Sample::udp(A, B, 53, 0),
        Sample::tcp(A, B, 80, 500).options(&[1; 40]),
        Sample::tcp(A6, B6, 80, 500).extension(60, &pad),
        Sample::tcp(A, B, 80, 44).fragment(0, true),
        Sample::tcp(A, B, 80, 60).fragment(4, true),
        Sample::udp(A6, B6, 53, 64).fragment(0, false),
        Sample::new(A, B, 132, vec![0; 12]),
        Sample::new(A6, B6, 59, vec![]),
    ]
    .iter()
    .map(Sample::frame)
    .collect()
}

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
