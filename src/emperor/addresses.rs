//! Which name has which address when its definition says `auto`.
//!
//! A name's address starts from a hash of the name, so that two hosts with the same files agree, and steps
//! on to the next free one where names collide. What was given is remembered (and kept by the host in a
//! file), so that a name gets the same address again whatever files have come and gone in between. The
//! addresses of names that are gone are given away only when nothing else is left.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::config::Name;

/// A remembered address for each name and family, as text in a file: `{"web": ["10.107.0.17"]}`.
pub type Remembered = BTreeMap<String, Vec<IpAddr>>;

/// How many addresses of an IPv6 subnet are tried before it counts as full.
const IPV6_TRIES: u64 = 1 << 17;

/// Gives addresses to names.
#[derive(Debug, Clone, Default)]
pub struct AddressBook {
    remembered: Remembered,
}

impl AddressBook {
    /// Goes on from what an earlier emperor remembered.
    pub fn new(remembered: Remembered) -> Self {
        Self { remembered }
    }

    /// What to remember.
    pub fn remembered(&self) -> &Remembered {
        &self.remembered
    }

    /// One address of each of `subnets` (gateway address and length) for `name`; `taken` says whether
    /// somebody holds an address now. Fails with the subnet that is full.
    pub fn assign(
        &mut self,
        name: &Name,
        subnets: &[IpNet],
        taken: impl Fn(IpAddr) -> bool,
    ) -> Result<Vec<IpNet>, IpNet> {
        let mut given = Vec::with_capacity(subnets.len());
        for subnet in subnets {
            let address = self.find(name, *subnet, &taken).ok_or(subnet.trunc())?;
            given.push((address, subnet.prefix_len()));
        }
        self.remembered.insert(
            name.to_string(),
            given.iter().map(|(address, _)| *address).collect(),
        );
        Ok(given
            .into_iter()
            .filter_map(|(address, length)| IpNet::new(address, length).ok())
            .collect())
    }

    /// `name` has these addresses, whoever gave them.
    pub fn learn(&mut self, name: &Name, addresses: &[IpNet]) {
        let addresses = addresses.iter().map(IpNet::addr).collect();
        self.remembered.insert(name.to_string(), addresses);
    }

    fn find(&self, name: &Name, subnet: IpNet, taken: &impl Fn(IpAddr) -> bool) -> Option<IpAddr> {
        let free = |address: &IpAddr| *address != subnet.addr() && !taken(*address);
        let earlier = self.remembered.get(name.as_str()).and_then(|addresses| {
            addresses
                .iter()
                .find(|address| usable(subnet, **address) && free(address))
                .copied()
        });
        earlier
            .or_else(|| {
                candidates(name, subnet).find(|address| free(address) && !self.promised(name, *address))
            })
            .or_else(|| candidates(name, subnet).find(free))
    }

    fn promised(&self, name: &Name, address: IpAddr) -> bool {
        self.remembered
            .iter()
            .any(|(other, theirs)| other != name.as_str() && theirs.contains(&address))
    }
}

/// Whether a vassal can have `address` in `subnet`: inside, and not the network's or broadcast address.
fn usable(subnet: IpNet, address: IpAddr) -> bool {
    subnet.contains(&address)
        && address != subnet.network()
        && (address.is_ipv6() || address != subnet.broadcast())
}

/// Every address that a vassal can have in `subnet`, from the one that the name's hash points at.
fn candidates(name: &Name, subnet: IpNet) -> Box<dyn Iterator<Item = IpAddr>> {
    let hash = fnv1a(name.as_str().as_bytes());
    match subnet {
        IpNet::V4(subnet) => Box::new(candidates4(hash, subnet).map(IpAddr::V4)),
        IpNet::V6(subnet) => Box::new(candidates6(hash, subnet).map(IpAddr::V6)),
    }
}

fn candidates4(hash: u64, subnet: Ipv4Net) -> impl Iterator<Item = Ipv4Addr> {
    let network = subnet.network().to_bits();
    let hosts = u64::from(subnet.broadcast().to_bits() - network).saturating_sub(1);
    (0..hosts).map(move |step| {
        let offset = 1 + (hash % hosts + step) % hosts;
        Ipv4Addr::from_bits(network + u32::try_from(offset).unwrap_or(u32::MAX))
    })
}

fn candidates6(hash: u64, subnet: Ipv6Net) -> impl Iterator<Item = Ipv6Addr> {
    let network = subnet.network().to_bits();
    let hosts = u64::try_from(subnet.hostmask().to_bits()).unwrap_or(u64::MAX);
    // Thirty-two bits of the hash keep the address short to read.
    let first = (hash >> 32) % hosts.max(1);
    (0..hosts.min(IPV6_TRIES)).map(move |step| {
        let offset = 1 + (u128::from(first) + u128::from(step)) % u128::from(hosts.max(1));
        Ipv6Addr::from_bits(network + offset)
    })
}

/// FNV-1a, 64 bits: stable across versions and machines, which the standard library's hasher is not.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn name(text: &str) -> Name {
        Name::new(text).unwrap()
    }

    fn subnets() -> [IpNet; 2] {
        [
            "10.107.0.1/29".parse().unwrap(),
            "fd00:107::1/64".parse().unwrap(),
        ]
    }

    #[test]
    fn a_name_gets_the_same_addresses_again() {
        let mut book = AddressBook::default();
        let first = book.assign(&name("web"), &subnets(), |_| false).unwrap();
        let mut later = AddressBook::new(book.remembered().clone());
        assert_eq!(later.assign(&name("web"), &subnets(), |_| false).unwrap(), first);
        assert_eq!(first[0].prefix_len(), 29);
        assert_eq!(first[1].prefix_len(), 64);
    }

    #[test]
    fn a_full_subnet_is_said_and_every_address_is_used_before() {
        let subnet = [subnets()[0]];
        let mut book = AddressBook::default();
        let mut held = BTreeSet::new();
        for number in 0..5 {
            let given = book
                .assign(&name(&format!("v{number}")), &subnet, |a| held.contains(&a))
                .unwrap();
            assert!(held.insert(given[0].addr()), "given twice");
        }
        assert!(!held.contains(&subnet[0].addr()), "the gateway was given away");
        let full = book.assign(&name("one-more"), &subnet, |a| held.contains(&a));
        assert_eq!(full, Err("10.107.0.0/29".parse().unwrap()));
    }

    #[test]
    fn the_address_of_a_name_that_is_gone_is_the_last_to_be_given_away() {
        let subnet = [subnets()[0]];
        let mut book = AddressBook::default();
        let gone = book.assign(&name("gone"), &subnet, |_| false).unwrap()[0].addr();
        let mut held = BTreeSet::new();
        for number in 0..4 {
            let given = book
                .assign(&name(&format!("v{number}")), &subnet, |a| held.contains(&a))
                .unwrap();
            assert_ne!(given[0].addr(), gone);
            held.insert(given[0].addr());
        }
        let last = book
            .assign(&name("last"), &subnet, |a| held.contains(&a))
            .unwrap();
        assert_eq!(last[0].addr(), gone);
    }

    #[test]
    fn a_remembered_address_that_somebody_holds_now_is_not_taken_from_him() {
        let subnet = [subnets()[0]];
        let mut book = AddressBook::default();
        let mine = book.assign(&name("web"), &subnet, |_| false).unwrap()[0].addr();
        let other = book
            .assign(&name("web"), &subnet, |address| address == mine)
            .unwrap()[0]
            .addr();
        assert_ne!(mine, other);
    }
}
