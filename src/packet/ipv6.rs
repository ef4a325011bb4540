//! The IPv6 header and its chain of extension headers (RFC 8200), read once and trusted afterwards.

use super::ipv4::{Fragment, Network};
use super::{Address, Malformed};

/// Length of the fixed header in bytes.
pub(super) const HEADER: usize = 40;

/// A longer chain has no honest use (RFC 8504 5.3 lets a node limit it).
const MAX_EXTENSIONS: usize = 8;

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
const DESTINATION: u8 = 60;

/// Reads the header of `packet`, whose first byte says version 6.
#[inline]
pub(super) fn parse(packet: &[u8]) -> Result<Network, Malformed> {
    let header = packet.first_chunk::<HEADER>().ok_or(Malformed::Short)?;
    // A jumbogram states 0 here and so is refused too.
    if usize::from(u16::from_be_bytes([header[4], header[5]])) + HEADER != packet.len() {
        return Err(Malformed::Length);
    }
    let mut chain = Chain {
        protocol: header[6],
        payload: HEADER,
        fragment: Fragment::Whole,
    };
    if is_extension(chain.protocol) {
        chain = walk(packet, chain)?;
    }
    let mut addresses = [0_u8; 32];
    addresses.copy_from_slice(&header[8..HEADER]);
    let (halves, _) = addresses.as_chunks::<16>();
    Ok(Network {
        source: Address::V6(u128::from_be_bytes(halves[0])),
        destination: Address::V6(u128::from_be_bytes(halves[1])),
        protocol: chain.protocol,
        ttl: header[7],
        dont_fragment: true,
        fragment: chain.fragment,
        payload: chain.payload,
    })
}

/// How far the chain has been read.
#[derive(Clone, Copy)]
struct Chain {
    /// The next header's number.
    protocol: u8,
    /// Where it begins.
    payload: usize,
    fragment: Fragment,
}

#[inline]
fn is_extension(protocol: u8) -> bool {
    matches!(
        protocol,
        HOP_BY_HOP | ROUTING | FRAGMENT | AUTHENTICATION | DESTINATION
    )
}

/// Walks the chain up to the upper layer, or up to a later fragment's bytes.
#[cold]
fn walk(packet: &[u8], mut chain: Chain) -> Result<Chain, Malformed> {
    let mut fragmented = false;
    for _ in 0..MAX_EXTENSIONS {
        let rest = packet.get(chain.payload..).unwrap_or_default();
        let head = rest.first_chunk::<8>().ok_or(Malformed::Extension)?;
        let length = match chain.protocol {
            // Only directly behind the fixed header (RFC 8200 4.1).
            HOP_BY_HOP if chain.payload != HEADER => return Err(Malformed::Extension),
            ROUTING if head[2] == 0 => return Err(Malformed::SourceRoute),
            FRAGMENT if fragmented => return Err(Malformed::Extension),
            FRAGMENT => {
                fragmented = true;
                let field = u16::from_be_bytes([head[2], head[3]]);
                chain.fragment = Fragment::parse(field >> 3, field & 1 != 0, rest.len() - 8)?;
                8
            }
            AUTHENTICATION => (usize::from(head[1]) + 2) * 4,
            _ => (usize::from(head[1]) + 1) * 8,
        };
        if length > rest.len() {
            return Err(Malformed::Extension);
        }
        chain.protocol = head[0];
        chain.payload += length;
        if matches!(chain.fragment, Fragment::Later(_)) || !is_extension(chain.protocol) {
            return Ok(chain);
        }
    }
    Err(Malformed::Extension)
}
