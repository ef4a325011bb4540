//! Super-frames that a hostile vassal may send, cut into the packets that they stand for.

use std::cell::RefCell;

use mini_emperor::packet::vnet::VnetHeader;
use mini_emperor::packet::{MAX_FRAME, Packet, Pieces};

use super::frames::{self, A, A6, B, B6};
use crate::packets::{self, Sample};

/// FIN and PSH, which only the last segment may have, and CWR, which only the first may.
const LAST_ONLY: u8 = 0x09;
const FIRST_ONLY: u8 = 0x80;
/// Longest payload that leaves room for every header below.
const MOST_DATA: usize = 65_000;

thread_local! {
    static PIECE: RefCell<Vec<u8>> = RefCell::new(vec![0; MAX_FRAME]);
}

/// A whole super-frame: byte 0 chooses family, protocol, congestion marks and what stands between the headers; then come
/// the size of a segment, the length of the payload, TCP's flags and sequence number, and a pattern for the payload.
pub fn pieces(input: &[u8]) {
    let [kind, s0, s1, l0, l1, flags, q0, q1, q2, q3, pattern @ ..] = input else {
        return;
    };
    let size = u16::from_be_bytes([*s0, *s1]);
    let length = usize::from(u16::from_be_bytes([*l0, *l1])).min(MOST_DATA);
    let (from, to) = if kind & 1 == 0 { (A, B) } else { (A6, B6) };
    let mut sample = if kind & 2 == 0 {
        Sample::super_tcp(from, to, length, size)
    } else {
        Sample::super_udp(from, to, length, size)
    };
    let header = sample.payload.len() - length;
    for (byte, filler) in sample.payload[header..].iter_mut().zip(pattern.iter().cycle()) {
        *byte = *filler;
    }
    if kind & 2 == 0 {
        sample.payload[4..8].copy_from_slice(&[*q0, *q1, *q2, *q3]);
        sample.payload[13] = *flags;
        // Up to ten words of TCP options, taken from the payload.
        sample.payload[12] = (5 + (kind >> 4) % 11) << 4;
    }
    if kind & 4 != 0 {
        sample.vnet[1] |= 0x80;
    }
    if kind & 8 != 0 {
        sample = between(sample);
    }
    frames::packet(&sample.frame());
}

/// Eight bytes between the network's header and the transport's.
fn between(mut sample: Sample) -> Sample {
    sample.vnet[6] += 8;
    if sample.source.is_ipv4() {
        sample.options(&[1; 8])
    } else {
        sample.extension(60, &[0, 1, 4, 0, 0, 0, 0])
    }
}

/// The pieces are plain packets of the same flow, none longer than said, and together they are the whole.
pub(super) fn cut(packet: &Packet, frame: &[u8]) {
    let begin = 10 + packet.payload() + transport_header(packet, frame);
    let mut pieces = Pieces::of(frame).unwrap();
    let (said, mut count, mut joined) = (pieces.count(), 0, Vec::<u8>::new());
    PIECE.with_borrow_mut(|out| {
        while let Some(length) = pieces.next_into(out) {
            let piece = &out[..length];
            let parsed = Packet::parse(piece).expect("a piece is a packet");
            assert_eq!(parsed.vnet(), &VnetHeader::PLAIN);
            assert!(parsed.length() <= packet.segment());
            let flow = |packet: &Packet| (packet.source(), packet.destination(), packet.protocol());
            assert_eq!(flow(&parsed), flow(packet));
            assert_eq!(
                (parsed.port(), parsed.ttl(), parsed.payload()),
                (packet.port(), packet.ttl(), packet.payload())
            );
            if packet.vnet().segmentation.is_some() {
                let last = count + 1 == said;
                assert!(last || parsed.length() == packet.segment());
                finished(packet, piece);
                numbered(packet, frame, piece, (count, joined.len(), last));
            }
            joined.extend(&piece[begin..]);
            count += 1;
        }
    });
    assert_eq!(count, said);
    // Without segments only the checksum is finished, wherever it is asked for.
    if packet.vnet().segmentation.is_some() || packet.vnet().checksum.is_none() {
        assert_eq!(joined, frame[begin..]);
    } else {
        assert_eq!(joined.len(), frame.len() - begin);
    }
}

/// Length of the transport header of a super-frame; 0 of others.
fn transport_header(packet: &Packet, frame: &[u8]) -> usize {
    match (packet.vnet().segmentation, packet.protocol()) {
        (None, _) => 0,
        (Some(_), packets::TCP) => usize::from(frame[10 + packet.payload() + 12] >> 4) * 4,
        (Some(_), _) => 8,
    }
}

/// Both checksums of a piece are right.
fn finished(packet: &Packet, piece: &[u8]) {
    assert!(packets::header_is_right(piece));
    let message = &piece[10 + packet.payload()..];
    let (from, to) = (packet.source().into(), packet.destination().into());
    let pseudo = packets::pseudo_header(from, to, packet.protocol(), message.len());
    assert_eq!(packets::checksum(&[&pseudo[..], message].concat()), 0);
}

/// A piece has the numbers and flags of its place: how many are before it, how many bytes, and whether it is the last.
fn numbered(packet: &Packet, frame: &[u8], piece: &[u8], (count, bytes, last): (usize, usize, bool)) {
    let word = |bytes: &[u8], at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
    if piece[10] >> 4 == 4 {
        let id = usize::from(word(frame, 14)) + count;
        assert_eq!(usize::from(word(piece, 14)), id & 0xffff);
    }
    let transport = 10 + packet.payload();
    if packet.protocol() == packets::UDP {
        assert_eq!(usize::from(word(piece, transport + 4)), piece.len() - transport);
        return;
    }
    let sequence = |bytes: &[u8]| u32::from_be_bytes(*bytes[transport + 4..].first_chunk().unwrap());
    let moved = u32::try_from(bytes).unwrap();
    assert_eq!(sequence(piece), sequence(frame).wrapping_add(moved));
    let lost = if last { 0 } else { LAST_ONLY } | if count == 0 { 0 } else { FIRST_ONLY };
    assert_eq!(piece[transport + 13], frame[transport + 13] & !lost);
}
