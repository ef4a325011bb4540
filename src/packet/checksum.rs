//! The Internet checksum: the one's complement of the one's complement sum of 16-bit words (RFC 1071).

use super::Address;

/// A running one's complement sum.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sum(u64);

impl Sum {
    /// Adds `bytes` as big-endian words. Only the last piece of a message may have an odd length.
    #[inline]
    #[must_use]
    pub fn bytes(self, bytes: &[u8]) -> Self {
        // Words of 32 bits: 2^32 of them fit into the sum, and folding takes 32 bits to 16 as it does carries.
        let (words, rest) = bytes.as_chunks::<4>();
        let sum = words
            .iter()
            .fold(self.0, |sum, word| sum + u64::from(u32::from_be_bytes(*word)));
        let mut last = [0; 4];
        for (to, from) in last.iter_mut().zip(rest) {
            *to = *from;
        }
        Self(sum + u64::from(u32::from_be_bytes(last)))
    }

    /// Adds the pseudo header of an upper-layer message of `length` bytes (RFC 9293 3.1, RFC 8200 8.1).
    #[must_use]
    pub fn pseudo_header(self, source: Address, destination: Address, protocol: u8, length: u32) -> Self {
        let rest = Self(self.0 + u64::from(length) + u64::from(protocol));
        rest.address(source).address(destination)
    }

    /// The sum in 16 bits; `0xffff` over a message that contains its own right checksum.
    #[inline]
    pub fn fold(self) -> u16 {
        let mut sum = self.0;
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        u16::try_from(sum).unwrap_or(u16::MAX)
    }

    /// The checksum to write into the message.
    #[inline]
    pub fn checksum(self) -> u16 {
        !self.fold()
    }

    fn address(self, address: Address) -> Self {
        match address {
            Address::V4(bits) => self.bytes(&bits.to_be_bytes()),
            Address::V6(bits) => self.bytes(&bits.to_be_bytes()),
        }
    }
}

/// `checksum` after the word `old` of the message became `new`, without reading the rest (RFC 1624, equation 3).
#[inline]
pub fn replace(checksum: u16, old: u16, new: u16) -> u16 {
    !Sum(u64::from(!checksum) + u64::from(!old) + u64::from(new)).fold()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_rfc_1071_adds_up() {
        let sum = Sum::default().bytes(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]);
        assert_eq!(sum.fold(), 0xddf2);
    }

    #[test]
    fn an_odd_last_byte_counts_as_the_high_half_of_a_word() {
        assert_eq!(Sum::default().bytes(&[0x12, 0x34, 0x56]).fold(), 0x1234 + 0x5600);
    }

    #[test]
    fn the_example_of_rfc_1624_updates_to_zero() {
        assert_eq!(replace(0xdd2f, 0x5555, 0x3285), 0x0000);
    }
}
