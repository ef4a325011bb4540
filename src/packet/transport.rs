//! The little of TCP and UDP that a router looks at: ports, and where the payload begins.

use super::Malformed;
use super::ipv4::{Fragment, Network};

/// IANA's number of TCP.
pub(super) const TCP: u8 = 6;
/// IANA's number of UDP.
pub(super) const UDP: u8 = 17;

const TCP_HEADER: usize = 20;
const UDP_HEADER: usize = 8;

/// What the transport layer says about a packet.
#[derive(Debug, Clone, Copy)]
pub(super) struct Transport {
    /// Destination port of TCP or UDP; other protocols and later fragments have none.
    pub(super) port: Option<u16>,
    /// Length of the TCP or UDP header in bytes; 0 for others.
    pub(super) header_length: usize,
}

/// Reads the transport header of a packet, or of its first fragment.
#[inline]
pub(super) fn parse(network: &Network, packet: &[u8]) -> Result<Transport, Malformed> {
    const NONE: Transport = Transport {
        port: None,
        header_length: 0,
    };
    let payload = packet.get(network.payload..).unwrap_or_default();
    let short = match network.fragment {
        Fragment::Whole => Malformed::Transport,
        Fragment::First => Malformed::Fragment,
        // It would overwrite the flags of the header in the first fragment (RFC 3128).
        Fragment::Later(1) if network.protocol == TCP => return Err(Malformed::Fragment),
        Fragment::Later(_) => return Ok(NONE),
    };
    match network.protocol {
        TCP => {
            let header = payload.first_chunk::<TCP_HEADER>().ok_or(short)?;
            let header_length = usize::from(header[12] >> 4) * 4;
            if header_length < TCP_HEADER || header_length > payload.len() {
                return Err(short);
            }
            Ok(Transport {
                port: Some(u16::from_be_bytes([header[2], header[3]])),
                header_length,
            })
        }
        UDP => {
            let header = payload.first_chunk::<UDP_HEADER>().ok_or(short)?;
            Ok(Transport {
                port: Some(u16::from_be_bytes([header[2], header[3]])),
                header_length: UDP_HEADER,
            })
        }
        _ => Ok(NONE),
    }
}
