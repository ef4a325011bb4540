//! What a super-frame is cut into, whatever it holds.
#![allow(clippy::unwrap_used, reason = "test code")]

mod packets;

use mini_emperor::packet::{MAX_FRAME, Packet, Pieces};
use packets::{Sample, TCP, checksum, header_is_right, pseudo_header};
use proptest::prelude::*;
use proptest::sample::select;

fn pieces(frame: &[u8]) -> Vec<Vec<u8>> {
    let mut out = vec![0xaa; MAX_FRAME];
    let mut pieces = Pieces::of(frame).unwrap();
    std::iter::from_fn(|| pieces.next_into(&mut out).map(|length| out[..length].to_vec())).collect()
}

/// The sample with its checksum field as a kernel leaves it: the pseudo header's sum.
fn unfinished(mut sample: Sample) -> Sample {
    let at = if sample.protocol == TCP { 16 } else { 6 };
    let pseudo = pseudo_header(
        sample.source,
        sample.destination,
        sample.protocol,
        sample.payload.len(),
    );
    sample.payload[at..at + 2].copy_from_slice(&(!checksum(&pseudo)).to_be_bytes());
    sample
}

/// Whether the transport's checksum is right.
fn transport_is_right(frame: &[u8], sample: &Sample) -> bool {
    let header = if sample.source.is_ipv4() { 20 } else { 40 };
    let message = &frame[10 + header..];
    let pseudo = pseudo_header(sample.source, sample.destination, sample.protocol, message.len());
    checksum(&[&pseudo[..], message].concat()) == 0
}

fn ends() -> impl Strategy<Value = (&'static str, &'static str)> {
    select(vec![("10.107.0.2", "10.107.0.3"), ("fd00:107::2", "fd00:107::3")])
}

proptest! {
    #[test]
    fn tcp_is_cut_without_losing_a_byte(
        (from, to) in ends(),
        data in proptest::collection::vec(any::<u8>(), 0..9000),
        size in 8_u16..3000,
        flags in any::<u8>(),
        sequence in any::<u32>(),
    ) {
        let mut sample = Sample::super_tcp(from, to, data.len(), size);
        sample.payload[20..].copy_from_slice(&data);
        sample.payload[13] = flags;
        sample.payload[4..8].copy_from_slice(&sequence.to_be_bytes());
        let sample = unfinished(sample);
        let header = if sample.source.is_ipv4() { 20 } else { 40 };
        let cut = pieces(&sample.frame());
        prop_assert_eq!(cut.len(), data.len().div_ceil(size.into()).max(1));
        prop_assert_eq!(cut.len(), Pieces::of(&sample.frame()).unwrap().count());
        let mut joined: Vec<u8> = Vec::new();
        for (number, piece) in cut.iter().enumerate() {
            let (first, last) = (number == 0, number + 1 == cut.len());
            prop_assert!(header_is_right(piece) && transport_is_right(piece, &sample));
            prop_assert_eq!(&piece[..10], &[0; 10]);
            let judged = Packet::parse(piece).unwrap();
            prop_assert!(judged.length() <= header + 20 + usize::from(size));
            let tcp = &piece[10 + header..];
            let expected = sequence.wrapping_add(u32::try_from(joined.len()).unwrap());
            prop_assert_eq!(u32::from_be_bytes(tcp[4..8].try_into().unwrap()), expected);
            let lost = if last { 0 } else { 0x09 } | if first { 0 } else { 0x80 };
            prop_assert_eq!(tcp[13], flags & !lost);
            if header == 20 {
                let id = u16::from_be_bytes(piece[14..16].try_into().unwrap());
                prop_assert_eq!(id, 0x1234 + u16::try_from(number).unwrap());
            }
            joined.extend(&tcp[20..]);
        }
        prop_assert_eq!(joined, data);
    }

    #[test]
    fn udp_is_cut_into_datagrams(
        (from, to) in ends(),
        data in proptest::collection::vec(any::<u8>(), 1..5000),
        size in 1_u16..2000,
    ) {
        let mut sample = Sample::super_udp(from, to, data.len(), size);
        sample.payload[8..].copy_from_slice(&data);
        let sample = unfinished(sample);
        let header = if sample.source.is_ipv4() { 20 } else { 40 };
        let mut joined: Vec<u8> = Vec::new();
        for piece in pieces(&sample.frame()) {
            prop_assert!(header_is_right(&piece) && transport_is_right(&piece, &sample));
            let udp = &piece[10 + header..];
            prop_assert_eq!(usize::from(u16::from_be_bytes([udp[4], udp[5]])), udp.len());
            prop_assert_ne!(&udp[6..8], &[0, 0], "zero means that there is no checksum");
            joined.extend(&udp[8..]);
        }
        prop_assert_eq!(joined, data);
    }

    #[test]
    fn an_unfinished_checksum_is_finished_and_nothing_else_changes(
        (from, to) in ends(),
        data in proptest::collection::vec(any::<u8>(), 0..1400),
        udp in any::<bool>(),
    ) {
        let whole = if udp { Sample::udp(from, to, 53, data.len()) } else { Sample::tcp(from, to, 80, data.len()) };
        let (mut sample, at) = (whole, if udp { 6 } else { 16 });
        let body = sample.payload.len() - data.len();
        sample.payload[body..].copy_from_slice(&data);
        let mut sample = unfinished(sample);
        let start = if sample.source.is_ipv4() { 20 } else { 40 };
        sample.vnet = [1, 0, 0, 0, 0, 0, start, 0, at, 0];
        let frame = sample.frame();
        let finished = pieces(&frame);
        prop_assert_eq!(finished.len(), 1);
        prop_assert!(transport_is_right(&finished[0], &sample));
        let field = 10 + usize::from(start) + usize::from(at);
        prop_assert_eq!(&finished[0][10..field], &frame[10..field]);
        prop_assert_eq!(&finished[0][field + 2..], &frame[field + 2..]);
    }

    #[test]
    fn no_change_of_a_good_frame_makes_it_panic_or_go_on_for_ever(
        (from, to) in ends(),
        data in 0_usize..3000,
        size in any::<u16>(),
        changes in proptest::collection::vec((0_usize..70, any::<u8>()), 0..4),
        short in 0_usize..4000,
    ) {
        let mut bytes = Sample::super_tcp(from, to, data, size).frame();
        for (at, value) in changes {
            if let Some(byte) = bytes.get_mut(at) {
                *byte = value;
            }
        }
        if bytes.len() > 30 && bytes[10] >> 4 == 4 {
            bytes[20..22].fill(0);
            let header = (usize::from(bytes[10] & 15) * 4).clamp(20, bytes.len() - 10);
            let sum = checksum(&bytes[10..10 + header]);
            bytes[20..22].copy_from_slice(&sum.to_be_bytes());
        }
        let mut out = vec![0; short];
        if let Ok(mut pieces) = Pieces::of(&bytes) {
            let count = pieces.count();
            let written = (0..=count).take_while(|_| pieces.next_into(&mut out).is_some()).count();
            prop_assert!(written <= count, "more pieces than it said");
        }
    }
}

#[test]
fn a_finished_packet_is_its_only_piece() {
    let frame = Sample::tcp("10.107.0.2", "10.107.0.3", 80, 100).frame();
    assert_eq!(pieces(&frame), [frame]);
}
