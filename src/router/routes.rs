//! Who holds which address, found in constant time.
//!
//! An IPv4 subnet up to a /16 is a flat table. A wider one, and IPv6, is a hash table whose *longest search* is bounded
//! when it is built: if some address would stand further than [`REACH`] places from where it belongs, the table
//! is built again with another multiplier, then with more room. So the cost of a lookup depends neither on
//! how many vassals there are nor on which addresses somebody chose.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use crate::packet::Address;

/// No address stands further than this from where it belongs.
const REACH: usize = 8;
/// So many multipliers are tried before the table grows, and so often it may grow.
const ATTEMPTS: u64 = 16;
const GROWTHS: u32 = 4;
/// The slot that nobody has.
const NOBODY: u32 = u32::MAX;
/// Wider IPv4 subnets are hashed.
const WIDEST_FLAT: u8 = 16;

/// The subnet of one family with its holders, as the packet path reads it.
#[derive(Debug, Clone)]
pub(super) struct Subnet<Bits> {
    network: Bits,
    mask: Bits,
    gateway: Bits,
    /// An IPv4 subnet of at least four addresses: its first and last are nobody's (RFC 3021 exempts the /31).
    broadcast: bool,
    holders: Holders,
}

#[derive(Debug, Clone)]
enum Holders {
    /// By the address's distance from the network address.
    Flat(Arc<[u32]>),
    Hashed(Arc<Hashed>),
}

/// Where packets go, as the packet path reads it.
#[derive(Debug, Clone, Default)]
pub(super) struct Routes {
    v4: Option<Subnet<u32>>,
    v6: Option<Subnet<u128>>,
}

/// What the router knows about an address of one host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// The port in that slot holds it.
    Held(u32),
    /// In the subnet, and nobody's.
    Unheld,
    /// The gateway's own.
    Gateway,
    /// Beyond the subnet.
    Outside,
}

impl Routes {
    /// The gateway's address of the family of `like`.
    pub(super) fn gateway(&self, like: Address) -> Option<Address> {
        match like {
            Address::V4(_) => self.v4.as_ref().map(|subnet| Address::V4(subnet.gateway)),
            Address::V6(_) => self.v6.as_ref().map(|subnet| Address::V6(subnet.gateway)),
        }
    }

    /// Whether `address` means more than one host: a group, or the first or last address of the subnet.
    #[inline]
    pub(super) fn is_group(&self, address: Address) -> bool {
        address.is_group()
            || match (address, &self.v4) {
                (Address::V4(bits), Some(subnet)) => subnet.is_broadcast(bits),
                (Address::V4(_), None) | (Address::V6(_), _) => false,
            }
    }

    /// The slot of the port that holds `address`.
    #[inline]
    pub(super) fn holder(&self, address: Address) -> Option<u32> {
        match address {
            Address::V4(bits) => self.v4.as_ref()?.holder(bits),
            Address::V6(bits) => self.v6.as_ref()?.holder(bits),
        }
    }

    /// What the router knows about `address`.
    #[inline]
    pub(super) fn place(&self, address: Address) -> Place {
        if let Some(slot) = self.holder(address) {
            return Place::Held(slot);
        }
        let (inside, gateway) = match address {
            Address::V4(bits) => self
                .v4
                .as_ref()
                .map_or((false, false), |net| (net.contains(bits), net.gateway == bits)),
            Address::V6(bits) => self.v6.as_ref().map_or((false, false), |net| {
                ((bits & net.mask) == net.network, net.gateway == bits)
            }),
        };
        match (inside, gateway) {
            (_, true) => Place::Gateway,
            (true, false) => Place::Unheld,
            (false, false) => Place::Outside,
        }
    }
}

impl Subnet<u32> {
    #[inline]
    fn contains(&self, bits: u32) -> bool {
        (bits & self.mask) == self.network
    }

    #[inline]
    fn is_broadcast(&self, bits: u32) -> bool {
        let host = bits & !self.mask;
        self.broadcast && self.contains(bits) && (host == 0 || host == !self.mask)
    }

    #[inline]
    fn holder(&self, bits: u32) -> Option<u32> {
        match &self.holders {
            Holders::Flat(slots) => {
                let slot = *slots.get(bits.wrapping_sub(self.network) as usize)?;
                (slot != NOBODY).then_some(slot)
            }
            Holders::Hashed(table) => table.find(u128::from(bits)),
        }
    }
}

impl Subnet<u128> {
    #[inline]
    fn holder(&self, bits: u128) -> Option<u32> {
        match &self.holders {
            Holders::Flat(_) => None,
            Holders::Hashed(table) => table.find(bits),
        }
    }
}

/// A hash table of bounded search.
#[derive(Debug)]
pub(super) struct Hashed {
    multiplier: u64,
    /// One less than the number of places where a search may begin, a power of two.
    mask: u64,
    /// A search looks at this many places; [`REACH`], unless no multiplier was good enough.
    reach: usize,
    /// Address and slot; `reach` more than the mask says, so that no search wraps round.
    places: Box<[(u128, u32)]>,
}

impl Hashed {
    fn build(entries: &BTreeMap<u128, u32>) -> Self {
        let wide = (entries.len() * 4).next_power_of_two().max(4);
        for growth in 0..GROWTHS {
            for seed in 1..=ATTEMPTS {
                if let Some(table) = Self::try_build(entries, wide << growth, seed, REACH) {
                    return table;
                }
            }
        }
        // Not to be expected of any choice of addresses. Slow is better than wrong.
        let reach = entries.len();
        Self::try_build(entries, wide, 1, reach).unwrap_or(Self {
            multiplier: 1,
            mask: 0,
            reach,
            places: entries.iter().map(|(address, slot)| (*address, *slot)).collect(),
        })
    }

    fn try_build(entries: &BTreeMap<u128, u32>, wide: usize, seed: u64, reach: usize) -> Option<Self> {
        let mut table = Self {
            // Odd, with its bits spread (the constant is 2^64 / golden ratio).
            multiplier: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
            mask: u64::try_from(wide).ok()?.checked_sub(1)?,
            reach,
            places: vec![(0, NOBODY); wide + reach].into_boxed_slice(),
        };
        for (address, slot) in entries {
            let home = table.home(*address);
            let places = table.places.get_mut(home..home + reach)?;
            *places.iter_mut().find(|(_, slot)| *slot == NOBODY)? = (*address, *slot);
        }
        Some(table)
    }

    #[inline]
    fn find(&self, address: u128) -> Option<u32> {
        let home = self.home(address);
        let places = self.places.get(home..home + self.reach)?;
        for (held, slot) in places {
            if *slot == NOBODY {
                return None;
            }
            if *held == address {
                return Some(*slot);
            }
        }
        None
    }

    /// Where a search for `address` begins.
    #[inline]
    fn home(&self, address: u128) -> usize {
        let (high, low) = halves(address);
        let mixed =
            u128::from(low ^ self.multiplier) * u128::from(high.rotate_left(32) ^ !self.multiplier | 1);
        let (high, low) = halves(mixed);
        let mixed = u128::from(high ^ low) * u128::from(self.multiplier);
        let (high, low) = halves(mixed);
        usize::try_from((high ^ low) & self.mask).unwrap_or(0)
    }
}

#[inline]
fn halves(bits: u128) -> (u64, u64) {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = bits.to_be_bytes();
    (
        u64::from_be_bytes([a, b, c, d, e, f, g, h]),
        u64::from_be_bytes([i, j, k, l, m, n, o, p]),
    )
}

/// Who holds which address, as the control plane keeps it.
#[derive(Debug, Clone, Default)]
pub(super) struct Book {
    v4: Option<(ipnet::Ipv4Net, BTreeMap<u128, u32>)>,
    v6: Option<(ipnet::Ipv6Net, BTreeMap<u128, u32>)>,
    /// What the packet path last got of each family; taken away by a change.
    compiled: (Option<Subnet<u32>>, Option<Subnet<u128>>),
}

impl Book {
    /// At most one subnet of each family, each with the gateway's address in it; a second one is ignored.
    pub(super) fn new(subnets: &[IpNet]) -> Self {
        let mut book = Self::default();
        for subnet in subnets {
            match subnet {
                IpNet::V4(net) => drop(book.v4.get_or_insert((*net, BTreeMap::new()))),
                IpNet::V6(net) => drop(book.v6.get_or_insert((*net, BTreeMap::new()))),
            }
        }
        book
    }

    /// Whether a vassal can hold `address` at all: in a subnet, not the gateway's, and of one host.
    pub(super) fn is_usable(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(address) => self.v4.as_ref().is_some_and(|(net, _)| {
                let reserved = net.prefix_len() < 31 && [net.network(), net.broadcast()].contains(&address);
                net.contains(&address) && net.addr() != address && !reserved
            }),
            IpAddr::V6(address) => self
                .v6
                .as_ref()
                .is_some_and(|(net, _)| net.contains(&address) && net.addr() != address),
        }
    }

    /// The slot that holds `address`.
    pub(super) fn holder(&self, address: IpAddr) -> Option<u32> {
        let (map, bits) = match address {
            IpAddr::V4(address) => (&self.v4.as_ref()?.1, u128::from(address.to_bits())),
            IpAddr::V6(address) => (&self.v6.as_ref()?.1, address.to_bits()),
        };
        map.get(&bits).copied()
    }

    /// Gives `address` to `slot`, or to nobody.
    pub(super) fn set(&mut self, address: IpAddr, slot: Option<u32>) {
        let (map, bits) = match address {
            IpAddr::V4(address) => {
                self.compiled.0 = None;
                (
                    self.v4.as_mut().map(|(_, map)| map),
                    u128::from(address.to_bits()),
                )
            }
            IpAddr::V6(address) => {
                self.compiled.1 = None;
                (self.v6.as_mut().map(|(_, map)| map), address.to_bits())
            }
        };
        match (map, slot) {
            (Some(map), Some(slot)) => drop(map.insert(bits, slot)),
            (Some(map), None) => drop(map.remove(&bits)),
            (None, _) => {}
        }
    }

    /// The book as the packet path reads it; a family that has not changed is shared.
    pub(super) fn compile(&mut self) -> Routes {
        if self.compiled.0.is_none() {
            self.compiled.0 = self.v4.as_ref().map(|(net, map)| compile_v4(*net, map));
        }
        if self.compiled.1.is_none() {
            self.compiled.1 = self.v6.as_ref().map(|(net, map)| compile_v6(*net, map));
        }
        Routes {
            v4: self.compiled.0.clone(),
            v6: self.compiled.1.clone(),
        }
    }
}

fn compile_v4(net: ipnet::Ipv4Net, map: &BTreeMap<u128, u32>) -> Subnet<u32> {
    let network = net.network().to_bits();
    let holders = if net.prefix_len() >= WIDEST_FLAT {
        let mut slots = vec![NOBODY; 1 << (32 - net.prefix_len())];
        for (address, slot) in map {
            let place = usize::try_from(*address - u128::from(network)).ok();
            if let Some(place) = place.and_then(|place| slots.get_mut(place)) {
                *place = *slot;
            }
        }
        Holders::Flat(slots.into())
    } else {
        Holders::Hashed(Arc::new(Hashed::build(map)))
    };
    Subnet {
        network,
        mask: net.netmask().to_bits(),
        gateway: net.addr().to_bits(),
        broadcast: net.prefix_len() < 31,
        holders,
    }
}

fn compile_v6(net: ipnet::Ipv6Net, map: &BTreeMap<u128, u32>) -> Subnet<u128> {
    Subnet {
        network: net.network().to_bits(),
        mask: net.netmask().to_bits(),
        gateway: net.addr().to_bits(),
        broadcast: false,
        holders: Holders::Hashed(Arc::new(Hashed::build(map))),
    }
}
