//! Bytes that a hostile vassal may send, read by the parser.

use std::net::IpAddr;

use mini_emperor::packet::vnet::VnetHeader;
use mini_emperor::packet::{Frame, Packet, icmp};
use mini_emperor::router::{ANSWER, Complaint};

use super::model::{self, Seen};
use super::pieces::cut;
use crate::packets::{self, Sample, ip};
use crate::world::check_answer;

pub(super) const A: &str = "10.107.0.2";
pub(super) const A6: &str = "fd00:107::2";
pub(super) const B: &str = "10.107.0.3";
pub(super) const B6: &str = "fd00:107::3";

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
    cut(&packet, frame);
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
pub(super) fn hop_by_hand(frame: &[u8], ttl: u8) -> Vec<u8> {
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
