//! Does in software what a frame's virtio header leaves to its receiver: cuts a super-frame into the packets that it
//! stands for, and finishes their checksums. For receivers whose kernel will not. (Accurate ECN keeps CWR in every segment,
//! but a virtio header cannot say so.)
//!
//! The pieces are those that the kernel would make (`tcp_gso_segment`, `__udp_gso_segment` and `inet_gso_segment` of
//! Linux): all but the last of one size, IPv4 identifications counting up, FIN and PSH only in the last segment,
//! CWR only in the first.

use super::checksum::Sum;
use super::transport::{TCP, UDP};
use super::vnet::{VNET_HEADER, VnetHeader};
use super::{Malformed, Packet, ipv6};

const UDP_HEADER: usize = 8;
/// Offset of the flags in a TCP header, in bytes.
const TCP_FLAGS: usize = 13;
const FIN_AND_PSH: u8 = 0x09;
const CWR: u8 = 0x80;

/// The packets that one frame stands for, in their order.
#[derive(Debug)]
pub struct Pieces<'a> {
    bytes: &'a [u8],
    packet: Packet,
    /// Where the payload of the transport begins, from the IP header.
    data: usize,
    /// Bytes of payload in each piece but the last.
    size: usize,
    /// Bytes of payload already handed out; absent once all are.
    at: Option<usize>,
    number: u16,
}

impl<'a> Pieces<'a> {
    /// The pieces of a whole frame.
    ///
    /// # Errors
    /// If the bytes are no packet.
    pub fn of(frame: &'a [u8]) -> Result<Self, Malformed> {
        let packet = Packet::parse(frame)?;
        let bytes = frame.get(VNET_HEADER..).ok_or(Malformed::Short)?;
        let (data, size) = match packet.vnet().segmentation {
            Some(segmentation) => {
                let header = match packet.protocol() {
                    TCP => {
                        usize::from(bytes.get(packet.payload() + 12).ok_or(Malformed::Transport)? >> 4) * 4
                    }
                    _ => UDP_HEADER,
                };
                (packet.payload() + header, usize::from(segmentation.size))
            }
            None => (bytes.len(), bytes.len()),
        };
        Ok(Self {
            bytes,
            packet,
            data,
            size,
            at: Some(0),
            number: 0,
        })
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.bytes
            .len()
            .saturating_sub(self.data)
            .div_ceil(self.size.max(1))
            .max(1)
    }

    /// Writes the next piece into `out` as a frame that leaves nothing undone, and gives its length in bytes. `None` after
    /// the last one, or if `out` is too short: [`MAX_FRAME`](super::MAX_FRAME) never is.
    pub fn next_into(&mut self, out: &mut [u8]) -> Option<usize> {
        let at = self.at?;
        let header = self.bytes.get(..self.data)?;
        let rest = self.bytes.get(self.data + at..)?;
        let data = rest.get(..self.size).unwrap_or(rest);
        let last = data.len() == rest.len();
        let length = VNET_HEADER + header.len() + data.len();
        let (vnet, piece) = out.get_mut(..length)?.split_first_chunk_mut::<VNET_HEADER>()?;
        *vnet = VnetHeader::PLAIN.emit();
        let (to_header, to_data) = piece.split_at_mut(header.len());
        to_header.copy_from_slice(header);
        to_data.copy_from_slice(data);
        if self.packet.vnet().segmentation.is_some() {
            self.renumber(piece, at, last)?;
        }
        self.finish_checksum(piece)?;
        self.number = self.number.wrapping_add(1);
        self.at = (!last).then_some(at + data.len());
        Some(length)
    }

    /// Makes the copied headers those of the piece whose payload begins `at`.
    fn renumber(&self, piece: &mut [u8], at: usize, last: bool) -> Option<()> {
        let length = piece.len();
        match *piece.first()? >> 4 {
            4 => {
                put(piece, 2, length)?;
                let id = get(piece, 4)?.wrapping_add(self.number);
                put(piece, 4, id.into())?;
                put(piece, 10, 0)?;
                let header = piece.get(..usize::from(*piece.first()? & 0x0f) * 4)?;
                let sum = Sum::default().bytes(header).checksum();
                put(piece, 10, sum.into())?;
            }
            _ => put(piece, 4, length - ipv6::HEADER)?,
        }
        let start = self.packet.payload();
        if self.packet.protocol() == UDP {
            return put(piece, start + 4, length - start);
        }
        let sequence = piece.get_mut(start + 4..)?.first_chunk_mut::<4>()?;
        let moved = u32::from_be_bytes(*sequence).wrapping_add(u32::try_from(at).ok()?);
        *sequence = moved.to_be_bytes();
        let flags = piece.get_mut(start + TCP_FLAGS)?;
        if !last {
            *flags &= !FIN_AND_PSH;
        }
        if self.number > 0 {
            *flags &= !CWR;
        }
        Some(())
    }

    /// Finishes the transport's checksum if the sender has not.
    fn finish_checksum(&self, piece: &mut [u8]) -> Option<()> {
        let Some(unfinished) = self.packet.vnet().checksum else {
            return Some(());
        };
        let start = usize::from(unfinished.start);
        let field = start + usize::from(unfinished.offset);
        let sum = if self.packet.vnet().segmentation.is_some() {
            // The sum in the field is that of the whole frame's pseudo header.
            put(piece, field, 0)?;
            let length = u32::try_from(piece.len() - start).ok()?;
            let (from, to) = (self.packet.source(), self.packet.destination());
            Sum::default().pseudo_header(from, to, self.packet.protocol(), length)
        } else {
            Sum::default()
        };
        let checksum = sum.bytes(piece.get(start..)?).checksum();
        // Zero would say "none" in UDP (RFC 768), and means the same elsewhere.
        let checksum = if checksum == 0 { u16::MAX } else { checksum };
        put(piece, field, checksum.into())
    }
}

fn get(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(*bytes.get(at..)?.first_chunk::<2>()?))
}

fn put(bytes: &mut [u8], at: usize, value: usize) -> Option<()> {
    let field = bytes.get_mut(at..)?.first_chunk_mut::<2>()?;
    *field = u16::try_from(value).ok()?.to_be_bytes();
    Some(())
}
