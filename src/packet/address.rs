//! An address as the packet path compares it: one integer of its family.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An IPv4 or IPv6 address in host byte order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Address {
    /// IPv4.
    V4(u32),
    /// IPv6.
    V6(u128),
}

impl Address {
    /// An IPv4 multicast address or 255.255.255.255, or an IPv6 multicast address.
    #[inline]
    pub fn is_group(self) -> bool {
        match self {
            Self::V4(bits) => bits >> 28 == 0xe || bits == u32::MAX,
            Self::V6(bits) => bits >> 120 == 0xff,
        }
    }

    /// Never seen on a wire: `0.0.0.0/8`, `127.0.0.0/8`, `::`, `::1`.
    #[inline]
    pub fn is_nowhere(self) -> bool {
        match self {
            Self::V4(bits) => matches!(bits >> 24, 0 | 127),
            Self::V6(bits) => bits <= 1,
        }
    }

    /// An IPv6 address that must not leave its link, `fe80::/10` (RFC 4291 2.5.6). IPv4's 169.254.0.0/16 is not
    /// meant: clouds serve their metadata there, beyond a router.
    #[inline]
    pub fn is_link_local(self) -> bool {
        match self {
            Self::V4(_) => false,
            Self::V6(bits) => bits >> 118 == 0xfe80 >> 6,
        }
    }

    /// Whether it can be the address of one host.
    #[inline]
    pub fn is_single_host(self) -> bool {
        !self.is_group() && !self.is_nowhere()
    }
}

impl From<IpAddr> for Address {
    fn from(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => Self::V4(address.to_bits()),
            IpAddr::V6(address) => Self::V6(address.to_bits()),
        }
    }
}

impl From<Address> for IpAddr {
    fn from(address: Address) -> Self {
        match address {
            Address::V4(bits) => Self::V4(Ipv4Addr::from_bits(bits)),
            Address::V6(bits) => Self::V6(Ipv6Addr::from_bits(bits)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Address {
        text.parse::<IpAddr>().unwrap().into()
    }

    #[test]
    fn classes_end_where_the_standards_say() {
        for text in [
            "224.0.0.0",
            "239.255.255.255",
            "255.255.255.255",
            "ff00::",
            "ff02::1",
        ] {
            assert!(
                address(text).is_group() && !address(text).is_single_host(),
                "{text}"
            );
        }
        for text in ["0.0.0.0", "0.1.2.3", "127.0.0.1", "127.255.255.255", "::", "::1"] {
            assert!(
                address(text).is_nowhere() && !address(text).is_single_host(),
                "{text}"
            );
        }
        for text in [
            "1.0.0.0",
            "126.255.255.255",
            "128.0.0.0",
            "223.255.255.255",
            "240.0.0.1",
            "::2",
            "fe80::1",
        ] {
            assert!(address(text).is_single_host(), "{text}");
        }
        assert!(address("fe80::1").is_link_local() && address("febf::1").is_link_local());
        assert!(!address("fec0::1").is_link_local() && !address("fe7f::1").is_link_local());
        assert!(!address("169.254.169.254").is_link_local());
    }

    #[test]
    fn an_address_survives_the_way_there_and_back() {
        for text in ["10.107.0.2", "fd00:107::2"] {
            assert_eq!(IpAddr::from(address(text)).to_string(), text);
        }
    }
}
