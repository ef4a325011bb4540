//! ICMP errors: what the sender of a packet is told about its end (RFC 792, RFC 1812 4.3, RFC 4443).

use super::checksum::Sum;
use super::vnet::{VNET_HEADER, VnetHeader};
use super::{Address, Packet, ipv4, ipv6};

/// What to tell the sender of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Complaint {
    /// Nobody holds that address.
    HostUnreachable,
    /// A rule forbids it.
    Prohibited,
    /// It has made too many hops.
    TimeExceeded,
    /// It is too long for the receiver and must not be cut.
    TooBig {
        /// The receiver's MTU in bytes.
        mtu: u16,
    },
}

/// Room for the longest answer, in bytes: a virtio header and the shortest MTU of IPv6, rounded up.
pub const ANSWER: usize = 1300;

/// An answer over IPv4 is no longer than this, in bytes (RFC 1812 4.3.2.3).
const LONGEST_V4: usize = 576;
/// An answer over IPv6 is no longer than this, in bytes (RFC 4443 2.4 c).
const LONGEST_V6: usize = 1280;
/// Length of the ICMP header in bytes.
const ICMP_HEADER: usize = 8;

const ICMP_V4: u8 = 1;
const ICMP_V6: u8 = 58;
const TTL: u8 = 64;
/// Precedence "internetwork control" (RFC 1812 4.3.2.5).
const PRECEDENCE: u8 = 0xc0;
/// An answer is never cut, so it needs no identification (RFC 6864).
const DONT_FRAGMENT: [u8; 2] = [0x40, 0];

/// Writes the frame that tells the sender of `packet` about `complaint`, in the name of `speaker`, and gives its
/// length. `frame` is the frame that `packet` was read from.
///
/// `None` where the standards ask for silence (RFC 1122 3.2.2, RFC 4443 2.4 e), or `speaker` is of the other
/// family.
pub fn answer(
    packet: &Packet,
    frame: &[u8],
    complaint: Complaint,
    speaker: Address,
    out: &mut [u8; ANSWER],
) -> Option<usize> {
    let original = frame.get(VNET_HEADER..)?;
    if !deserves_answer(packet, original) {
        return None;
    }
    let (vnet, out) = out.split_first_chunk_mut::<VNET_HEADER>()?;
    *vnet = VnetHeader::PLAIN.emit();
    let length = match (speaker, packet.source()) {
        (Address::V4(speaker), Address::V4(to)) => answer_v4(original, complaint, speaker, to, out)?,
        (Address::V6(speaker), Address::V6(to)) => answer_v6(original, complaint, speaker, to, out)?,
        (Address::V4(_), Address::V6(_)) | (Address::V6(_), Address::V4(_)) => return None,
    };
    Some(VNET_HEADER + length)
}

/// Whether an error about `packet` may be sent at all.
fn deserves_answer(packet: &Packet, original: &[u8]) -> bool {
    let about_one_host = packet.source().is_single_host() && packet.destination().is_single_host();
    about_one_host && !packet.is_later_fragment() && !is_error(packet, original)
}

/// Whether `packet` is itself an ICMP error; one without a readable type counts as such.
fn is_error(packet: &Packet, original: &[u8]) -> bool {
    let kind = original.get(packet.payload()).copied();
    match (packet.source(), packet.protocol()) {
        // Unreachable, source quench, redirect, time exceeded, parameter problem.
        (Address::V4(_), ICMP_V4) => kind.is_none_or(|kind| matches!(kind, 3 | 4 | 5 | 11 | 12)),
        // All below 128 are errors; 137 is redirect.
        (Address::V6(_), ICMP_V6) => kind.is_none_or(|kind| kind < 128 || kind == 137),
        (Address::V4(_) | Address::V6(_), _) => false,
    }
}

fn answer_v4(original: &[u8], complaint: Complaint, from: u32, to: u32, out: &mut [u8]) -> Option<usize> {
    let quoted = original.get(..original.len().min(LONGEST_V4 - ipv4::HEADER - ICMP_HEADER))?;
    let length = u16::try_from(ipv4::HEADER + ICMP_HEADER + quoted.len()).ok()?;
    let (header, icmp) = out
        .get_mut(..usize::from(length))?
        .split_first_chunk_mut::<{ ipv4::HEADER }>()?;
    let (kind, code, rest) = match complaint {
        Complaint::HostUnreachable => (3, 1, 0),
        Complaint::Prohibited => (3, 13, 0),
        Complaint::TimeExceeded => (11, 0, 0),
        Complaint::TooBig { mtu } => (3, 4, u32::from(mtu)),
    };
    write_icmp(icmp, kind, code, rest, quoted, Sum::default())?;

    header.fill(0);
    header[0] = 0x45;
    header[1] = PRECEDENCE;
    [header[2], header[3]] = length.to_be_bytes();
    [header[6], header[7]] = DONT_FRAGMENT;
    header[8] = TTL;
    header[9] = ICMP_V4;
    header[12..16].copy_from_slice(&from.to_be_bytes());
    header[16..20].copy_from_slice(&to.to_be_bytes());
    let checksum = Sum::default().bytes(header).checksum();
    [header[10], header[11]] = checksum.to_be_bytes();
    Some(usize::from(length))
}

fn answer_v6(original: &[u8], complaint: Complaint, from: u128, to: u128, out: &mut [u8]) -> Option<usize> {
    let quoted = original.get(..original.len().min(LONGEST_V6 - ipv6::HEADER - ICMP_HEADER))?;
    let length = u16::try_from(ICMP_HEADER + quoted.len()).ok()?;
    let whole = ipv6::HEADER + usize::from(length);
    let (header, icmp) = out
        .get_mut(..whole)?
        .split_first_chunk_mut::<{ ipv6::HEADER }>()?;
    let (kind, code, rest) = match complaint {
        Complaint::HostUnreachable => (1, 3, 0),
        Complaint::Prohibited => (1, 1, 0),
        Complaint::TimeExceeded => (3, 0, 0),
        Complaint::TooBig { mtu } => (2, 0, u32::from(mtu)),
    };
    let pseudo = Sum::default().pseudo_header(Address::V6(from), Address::V6(to), ICMP_V6, u32::from(length));
    write_icmp(icmp, kind, code, rest, quoted, pseudo)?;

    header.fill(0);
    header[0] = 0x60;
    [header[4], header[5]] = length.to_be_bytes();
    header[6] = ICMP_V6;
    header[7] = TTL;
    header[8..24].copy_from_slice(&from.to_be_bytes());
    header[24..40].copy_from_slice(&to.to_be_bytes());
    Some(whole)
}

/// Writes header and quotation; `rest` is the header's last word (the MTU, or nothing).
fn write_icmp(icmp: &mut [u8], kind: u8, code: u8, rest: u32, quoted: &[u8], sum: Sum) -> Option<()> {
    let [r0, r1, r2, r3] = rest.to_be_bytes();
    let (header, body) = icmp.split_first_chunk_mut::<ICMP_HEADER>()?;
    *header = [kind, code, 0, 0, r0, r1, r2, r3];
    body.get_mut(..quoted.len())?.copy_from_slice(quoted);
    let checksum = sum.bytes(header).bytes(quoted).checksum();
    [header[2], header[3]] = checksum.to_be_bytes();
    Some(())
}
