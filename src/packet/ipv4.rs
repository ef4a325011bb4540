//! The IPv4 header (RFC 791), read once and trusted afterwards.

use super::checksum::Sum;
use super::{Address, Malformed};

/// What the network layer says about a packet, of either family.
#[derive(Debug, Clone, Copy)]
pub(super) struct Network {
    pub(super) source: Address,
    pub(super) destination: Address,
    /// Upper-layer protocol, behind any extension headers.
    pub(super) protocol: u8,
    /// Time to live, or hop limit.
    pub(super) ttl: u8,
    /// No router may cut it; always so for IPv6.
    pub(super) dont_fragment: bool,
    pub(super) fragment: Fragment,
    /// Where the upper layer begins, in bytes from the IP header; never beyond the packet.
    pub(super) payload: usize,
}

impl Network {
    #[inline]
    pub(super) fn is_v4(&self) -> bool {
        matches!(self.source, Address::V4(_))
    }
}

/// Which part of a packet this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fragment {
    /// All of it.
    Whole,
    /// The first of several: it has the transport header.
    First,
    /// A later one, this many units of eight bytes behind the first byte.
    Later(u16),
}

impl Fragment {
    /// Judges the fragment field of either family; `payload` is what follows it in this fragment, in bytes.
    #[inline]
    pub(super) fn parse(units: u16, more: bool, payload: usize) -> Result<Self, Malformed> {
        if units == 0 && !more {
            return Ok(Self::Whole);
        }
        // Only the last may end off the raster, and none beyond the longest packet (RFC 791 3.2, RFC 8200 4.5).
        if payload == 0 || (more && !payload.is_multiple_of(8)) || usize::from(units) * 8 + payload > 65_535 {
            return Err(Malformed::Fragment);
        }
        Ok(if units == 0 {
            Self::First
        } else {
            Self::Later(units)
        })
    }
}

/// The shortest header in bytes.
pub(super) const HEADER: usize = 20;

const DONT_FRAGMENT: u16 = 0x4000;
const MORE_FRAGMENTS: u16 = 0x2000;
const OFFSET: u16 = 0x1fff;

const OPTION_END: u8 = 0;
const OPTION_NOTHING: u8 = 1;
const OPTION_LOOSE_ROUTE: u8 = 131;
const OPTION_STRICT_ROUTE: u8 = 137;

/// Reads the header of `packet`, whose first byte says version 4.
#[inline]
pub(super) fn parse(packet: &[u8]) -> Result<Network, Malformed> {
    let header = packet.first_chunk::<HEADER>().ok_or(Malformed::Short)?;
    let payload = usize::from(header[0] & 0x0f) * 4;
    if payload < HEADER || payload > packet.len() {
        return Err(Malformed::HeaderLength);
    }
    if usize::from(u16::from_be_bytes([header[2], header[3]])) != packet.len() {
        return Err(Malformed::Length);
    }
    let options = packet.get(HEADER..payload).unwrap_or_default();
    if Sum::default().bytes(header).bytes(options).fold() != 0xffff {
        return Err(Malformed::HeaderChecksum);
    }
    if !options.is_empty() {
        check_options(options)?;
    }
    let flags = u16::from_be_bytes([header[6], header[7]]);
    Ok(Network {
        source: Address::V4(u32::from_be_bytes([
            header[12], header[13], header[14], header[15],
        ])),
        destination: Address::V4(u32::from_be_bytes([
            header[16], header[17], header[18], header[19],
        ])),
        protocol: header[9],
        ttl: header[8],
        dont_fragment: flags & DONT_FRAGMENT != 0,
        fragment: Fragment::parse(
            flags & OFFSET,
            flags & MORE_FRAGMENTS != 0,
            packet.len() - payload,
        )?,
        payload,
    })
}

/// Walks the options; a source route would let a packet pass the rules about where it really goes.
#[cold]
fn check_options(mut options: &[u8]) -> Result<(), Malformed> {
    while let [kind, rest @ ..] = options {
        options = match (*kind, rest) {
            (OPTION_END, _) => return Ok(()),
            (OPTION_NOTHING, _) => rest,
            (OPTION_LOOSE_ROUTE | OPTION_STRICT_ROUTE, _) => return Err(Malformed::SourceRoute),
            (_, [length, ..]) if *length >= 2 => {
                options.get(usize::from(*length)..).ok_or(Malformed::Option)?
            }
            (_, _) => return Err(Malformed::Option),
        };
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_walked_to_their_end_and_no_further() {
        assert_eq!(check_options(&[1, 1, 148, 4, 0, 0, 0, 0]), Ok(()));
        assert_eq!(
            check_options(&[0, 131, 3, 4]),
            Ok(()),
            "what follows the end is padding"
        );
        assert_eq!(
            check_options(&[148, 5, 0, 0]),
            Err(Malformed::Option),
            "beyond the header"
        );
        assert_eq!(
            check_options(&[148, 1, 0, 0]),
            Err(Malformed::Option),
            "shorter than itself"
        );
        assert_eq!(
            check_options(&[1, 1, 1, 148]),
            Err(Malformed::Option),
            "no length"
        );
        assert_eq!(check_options(&[1, 131, 3, 4]), Err(Malformed::SourceRoute));
        assert_eq!(check_options(&[137, 3, 4, 0]), Err(Malformed::SourceRoute));
    }

    #[test]
    fn a_fragment_lies_on_the_raster_and_within_the_longest_packet() {
        assert_eq!(Fragment::parse(0, false, 0), Ok(Fragment::Whole));
        assert_eq!(Fragment::parse(0, true, 8), Ok(Fragment::First));
        assert_eq!(Fragment::parse(3, false, 5), Ok(Fragment::Later(3)));
        assert_eq!(Fragment::parse(3, true, 5), Err(Malformed::Fragment));
        assert_eq!(Fragment::parse(3, false, 0), Err(Malformed::Fragment));
        assert_eq!(Fragment::parse(8191, false, 7), Ok(Fragment::Later(8191)));
        assert_eq!(Fragment::parse(8191, false, 8), Err(Malformed::Fragment));
    }
}
