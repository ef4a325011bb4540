//! The frames, each with what must become of it.
#![allow(clippy::too_many_lines, reason = "lists")]

use mini_emperor::packet::Malformed;
use mini_emperor::router::{Complaint, Reason};

use super::Fate::{Bad, Ends, ReachesB, Told};
use super::{A, A6, B, B6, Case, NOBODY, NOBODY6, cut, edited, super_tcp, tcp, tcp6, udp, udp6, with_vnet};
use crate::packets::Sample;

pub(super) fn ip_cases() -> Vec<Case> {
    let long = [udp().frame(), vec![0; 4]].concat();
    let long6 = [udp6().frame(), vec![0; 4]].concat();
    let mut wrong_sum = udp().frame();
    wrong_sum[20] ^= 1;
    vec![
        ("empty", vec![], Bad(Malformed::Short)),
        ("vnet-cut", vec![0; 9], Bad(Malformed::Short)),
        ("vnet-only", vec![0; 10], Bad(Malformed::Short)),
        ("version-0", edited(&udp(), &[(0, 0x05)]), Bad(Malformed::Version)),
        ("version-5", edited(&udp(), &[(0, 0x55)]), Bad(Malformed::Version)),
        (
            "version-15",
            edited(&udp(), &[(0, 0xf5)]),
            Bad(Malformed::Version),
        ),
        ("v4-cut", cut(&udp(), 10 + 19), Bad(Malformed::Short)),
        (
            "v4-header-length-4",
            edited(&udp(), &[(0, 0x44)]),
            Bad(Malformed::HeaderLength),
        ),
        (
            "v4-header-beyond-packet",
            cut(&udp().options(&[1; 40]), 10 + 40),
            Bad(Malformed::HeaderLength),
        ),
        (
            "v4-total-length-too-long",
            edited(&udp(), &[(2, 0xff)]),
            Bad(Malformed::Length),
        ),
        (
            "v4-total-length-too-short",
            edited(&udp(), &[(3, 20)]),
            Bad(Malformed::Length),
        ),
        ("v4-trailing-bytes", long, Bad(Malformed::Length)),
        (
            "v4-wrong-header-checksum",
            wrong_sum,
            Bad(Malformed::HeaderChecksum),
        ),
        (
            "v4-loose-source-route",
            udp().options(&[131, 7, 4, 192, 0, 2, 9, 0]).frame(),
            Bad(Malformed::SourceRoute),
        ),
        (
            "v4-strict-source-route",
            udp().options(&[1, 137, 3, 4]).frame(),
            Bad(Malformed::SourceRoute),
        ),
        (
            "v4-option-beyond-header",
            udp().options(&[7, 39, 4, 0]).frame(),
            Bad(Malformed::Option),
        ),
        (
            "v4-option-of-length-0",
            udp().options(&[7, 0, 4, 0]).frame(),
            Bad(Malformed::Option),
        ),
        (
            "v4-record-route",
            udp().options(&[7, 7, 8, 0, 0, 0, 0, 0]).frame(),
            ReachesB,
        ),
        ("v6-cut", cut(&udp6(), 10 + 39), Bad(Malformed::Short)),
        (
            "v6-payload-too-long",
            edited(&udp6(), &[(4, 0xff)]),
            Bad(Malformed::Length),
        ),
        (
            "v6-payload-length-0",
            edited(&udp6(), &[(4, 0), (5, 0)]),
            Bad(Malformed::Length),
        ),
        ("v6-trailing-bytes", long6, Bad(Malformed::Length)),
    ]
}

pub(super) fn extension_cases() -> Vec<Case> {
    let pad = [0, 1, 4, 0, 0, 0, 0];
    let many = |count: usize| (0..count).fold(tcp6(), |sample, _| sample.extension(60, &pad));
    let jumbo = udp6().extension(0, &[0, 0xc2, 4, 0, 1, 0, 0]);
    let mut twice = tcp6().extension(44, &[0, 0, 0, 0, 0, 0, 1]);
    twice.fragment = Some((0, false));
    vec![
        ("v6-eight-extensions", many(8).frame(), ReachesB),
        ("v6-nine-extensions", many(9).frame(), Bad(Malformed::Extension)),
        (
            "v6-routing-type-0",
            tcp6().extension(43, &[0, 0, 0, 0, 0, 0, 0]).frame(),
            Bad(Malformed::SourceRoute),
        ),
        (
            "v6-routing-type-0-behind-options",
            tcp6()
                .extension(60, &pad)
                .extension(43, &[0, 0, 1, 0, 0, 0, 0])
                .frame(),
            Bad(Malformed::SourceRoute),
        ),
        (
            "v6-routing-type-4",
            tcp6().extension(43, &[0, 4, 0, 0, 0, 0, 0]).frame(),
            ReachesB,
        ),
        (
            "v6-hop-by-hop-second",
            tcp6().extension(60, &pad).extension(0, &pad).frame(),
            Bad(Malformed::Extension),
        ),
        (
            "v6-extension-beyond-packet",
            tcp6().extension(60, &[200, 1, 4, 0, 0, 0, 0]).frame(),
            Bad(Malformed::Extension),
        ),
        (
            "v6-extension-cut",
            Sample::new(A6, B6, 60, vec![6, 0, 1]).frame(),
            Bad(Malformed::Extension),
        ),
        (
            "v6-authentication",
            tcp6().extension(51, &[1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1]).frame(),
            ReachesB,
        ),
        ("v6-jumbo-option-on-short-packet", jumbo.frame(), ReachesB),
        (
            "v6-two-fragment-headers",
            twice.frame(),
            Bad(Malformed::Extension),
        ),
        (
            "v6-chain-ends-in-nothing",
            Sample::new(A6, B6, 59, vec![]).frame(),
            ReachesB,
        ),
    ]
}

pub(super) fn fragment_cases() -> Vec<Case> {
    let piece = |from, to, data| Sample::new(from, to, 6, vec![0x50; data]);
    vec![
        (
            "v4-tiny-first-fragment",
            piece(A, B, 8).fragment(0, true).frame(),
            Bad(Malformed::Fragment),
        ),
        (
            "v6-tiny-first-fragment",
            piece(A6, B6, 8).fragment(0, true).frame(),
            Bad(Malformed::Fragment),
        ),
        (
            "v4-tcp-fragment-at-8",
            piece(A, B, 16).fragment(1, false).frame(),
            Bad(Malformed::Fragment),
        ),
        (
            "v6-tcp-fragment-at-8",
            piece(A6, B6, 16).fragment(1, false).frame(),
            Bad(Malformed::Fragment),
        ),
        (
            "v4-ping-of-death",
            piece(A, B, 80).fragment(0x1fff, false).frame(),
            Bad(Malformed::Fragment),
        ),
        (
            "v6-ping-of-death",
            piece(A6, B6, 80).fragment(0x1fff, false).frame(),
            Bad(Malformed::Fragment),
        ),
        (
            "v4-fragment-off-the-raster",
            piece(A, B, 15).fragment(4, true).frame(),
            Bad(Malformed::Fragment),
        ),
        (
            "v4-fragment-of-nothing",
            piece(A, B, 0).fragment(4, false).frame(),
            Bad(Malformed::Fragment),
        ),
        (
            "v4-later-fragment",
            piece(A, B, 16).fragment(4, true).frame(),
            ReachesB,
        ),
        (
            "v6-later-fragment",
            piece(A6, B6, 16).fragment(4, true).frame(),
            ReachesB,
        ),
        ("v6-atomic-fragment", tcp6().fragment(0, false).frame(), ReachesB),
        (
            "v4-later-fragment-to-nobody",
            piece(A, NOBODY, 16).fragment(4, true).frame(),
            Told(Complaint::HostUnreachable),
        ),
    ]
}

pub(super) fn transport_cases() -> Vec<Case> {
    let bytes = |from, to, protocol, length| Sample::new(from, to, protocol, vec![0x50; length]).frame();
    let offset = |byte| {
        let mut sample = tcp();
        sample.payload[12] = byte;
        sample.frame()
    };
    vec![
        ("v4-tcp-cut", bytes(A, B, 6, 19), Bad(Malformed::Transport)),
        ("v6-tcp-cut", bytes(A6, B6, 6, 19), Bad(Malformed::Transport)),
        ("v4-udp-cut", bytes(A, B, 17, 7), Bad(Malformed::Transport)),
        ("v4-udp-empty", bytes(A, B, 17, 0), Bad(Malformed::Transport)),
        ("v4-tcp-header-length-4", offset(0x40), Bad(Malformed::Transport)),
        (
            "v4-tcp-header-beyond-packet",
            offset(0xf0),
            Bad(Malformed::Transport),
        ),
        ("v4-sctp-without-a-byte", bytes(A, B, 132, 0), ReachesB),
        ("v4-icmp-without-a-byte", bytes(A, B, 1, 0), ReachesB),
        (
            "v4-icmp-error-to-nobody",
            Sample::icmp(A, NOBODY, 1, 3).frame(),
            Told(Complaint::HostUnreachable),
        ),
        (
            "v6-icmp-error-to-nobody",
            Sample::icmp(A6, NOBODY6, 58, 1).frame(),
            Told(Complaint::HostUnreachable),
        ),
        (
            "v4-spoofed",
            Sample::udp(B, A, 53, 1).frame(),
            Ends(Reason::Spoofed),
        ),
        (
            "v6-spoofed",
            Sample::udp(B6, A6, 53, 1).frame(),
            Ends(Reason::Spoofed),
        ),
        ("v4-land", Sample::tcp(A, A, 80, 0).frame(), Ends(Reason::NoRoute)),
        (
            "v4-to-this-network",
            Sample::udp(A, "0.0.0.0", 53, 1).frame(),
            Ends(Reason::Malformed),
        ),
        (
            "v6-router-solicitation",
            Sample::icmp("fe80::1", "ff02::2", 58, 133).frame(),
            Ends(Reason::Multicast),
        ),
    ]
}

pub(super) fn vnet_cases() -> Vec<Case> {
    let small = Sample::super_tcp(A, B, 9000, 7);
    let mut fragment = super_tcp();
    fragment.fragment = Some((0, true));
    fragment.payload.truncate(9000);
    vec![
        (
            "vnet-unknown-flag",
            with_vnet(&udp(), &[(0, 4)]),
            Bad(Malformed::Vnet),
        ),
        (
            "vnet-header-length-beyond-packet",
            with_vnet(&udp(), &[(3, 0xff)]),
            Bad(Malformed::Vnet),
        ),
        (
            "vnet-checked-by-the-sender",
            with_vnet(&udp(), &[(0, 2)]),
            ReachesB,
        ),
        (
            "vnet-checksum-in-the-address",
            with_vnet(&udp(), &[(0, 1), (6, 12)]),
            Bad(Malformed::Checksum),
        ),
        (
            "vnet-checksum-of-nothing",
            with_vnet(&udp(), &[(0, 1)]),
            Bad(Malformed::Checksum),
        ),
        (
            "vnet-checksum-beyond-packet",
            with_vnet(&udp(), &[(0, 1), (6, 20), (8, 0xff), (9, 0xff)]),
            Bad(Malformed::Checksum),
        ),
        (
            "vnet-tcp-checksum-in-the-ports",
            with_vnet(&tcp(), &[(0, 1), (6, 20), (8, 0)]),
            Bad(Malformed::Checksum),
        ),
        (
            "vnet-tcp-checksum",
            with_vnet(&tcp(), &[(0, 1), (6, 20), (8, 16)]),
            ReachesB,
        ),
        (
            "vnet-segments-of-a-fragment",
            fragment.frame(),
            Bad(Malformed::Checksum),
        ),
        (
            "vnet-unknown-segmentation",
            with_vnet(&super_tcp(), &[(1, 3)]),
            Bad(Malformed::Segmentation),
        ),
        (
            "vnet-udp-fragmentation",
            with_vnet(&super_tcp(), &[(1, 0x83)]),
            Bad(Malformed::Segmentation),
        ),
        (
            "vnet-ecn-without-segments",
            with_vnet(&udp(), &[(1, 0x80)]),
            Bad(Malformed::Segmentation),
        ),
        (
            "vnet-segments-of-0",
            with_vnet(&super_tcp(), &[(4, 0), (5, 0)]),
            Bad(Malformed::Segmentation),
        ),
        ("vnet-segments-of-7", small.frame(), Bad(Malformed::Segmentation)),
        (
            "vnet-segments-without-checksum",
            with_vnet(&super_tcp(), &[(0, 0)]),
            Bad(Malformed::Segmentation),
        ),
        (
            "vnet-v6-segments-of-v4",
            with_vnet(&super_tcp(), &[(1, 4)]),
            Bad(Malformed::Segmentation),
        ),
        (
            "vnet-udp-segments-of-tcp",
            with_vnet(&super_tcp(), &[(1, 5)]),
            Bad(Malformed::Segmentation),
        ),
        ("vnet-super-tcp", super_tcp().frame(), ReachesB),
        (
            "vnet-super-tcp-ecn",
            with_vnet(&super_tcp(), &[(1, 0x81)]),
            ReachesB,
        ),
        (
            "vnet-segment-too-big",
            Sample::super_tcp(A6, B6, 9000, 1441).frame(),
            Told(Complaint::TooBig { mtu: 1500 }),
        ),
    ]
}
