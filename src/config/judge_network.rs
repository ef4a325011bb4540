//! A vassal's addresses, gateways and chains against the router's subnets.

use std::net::IpAddr;

use ipnet::IpNet;

use super::definition::{Addresses, Network};
use super::judge::{Bench, section};
use super::judge_limits::bandwidth;
use super::kinds::{Address, List, WordOr};
use super::mirror::{self, Mtu};
use super::problem::Place;
use super::rule::{Action, Chain, Rule};
use super::written::{Item, Slot};

/// What every link with IPv6 must take whole (RFC 8200).
const LEAST_IPV6_MTU: u16 = 1280;

/// Judges `network`.
pub(super) fn network(written: &mirror::Network, bench: &mut Bench<'_>) -> Network {
    let address = addresses(written, bench);
    let nets = match &address {
        Addresses::Auto => bench.router.addresses.clone(),
        Addresses::Fixed(nets) => nets.clone(),
    };
    let gateways = gateways(written, &nets, bench);
    let mtu = written
        .mtu
        .item()
        .and_then(|item| mtu(item, "network.mtu", &nets, bench));
    let (firewall_out, firewall_in) = chains(&section(&written.firewall));
    let bandwidth = bandwidth(&section(&written.bandwidth), bench);
    Network {
        address,
        device: written
            .device
            .value()
            .map_or_else(|| "tun0".to_owned(), |device| device.0.clone()),
        gateways,
        mtu: mtu.unwrap_or(bench.router.mtu),
        firewall_out,
        firewall_in,
        bandwidth,
    }
}

/// Both chains of a `firewall` map.
pub(super) fn chains(written: &mirror::Firewall) -> (Chain, Chain) {
    let default = written.default.value().map_or(Action::Allow, |default| default.0);
    let chain = |slot: &Slot<List<Rule>>| Chain {
        rules: slot
            .value()
            .map(|list| list.items.iter().map(|item| item.value.clone()).collect())
            .unwrap_or_default(),
        default,
    };
    (chain(&written.out), chain(&written.r#in))
}

/// Judges an MTU for a link with these addresses.
pub(super) fn mtu(item: &Item<Mtu>, key: &str, nets: &[IpNet], bench: &mut Bench<'_>) -> Option<u16> {
    let mtu = u16::try_from(item.value.0).ok()?;
    if mtu < LEAST_IPV6_MTU && nets.iter().any(|net| net.addr().is_ipv6()) {
        let help = format!("a link with IPv6 needs {LEAST_IPV6_MTU} at least");
        bench.error(item.place, format!("`{key}` is {mtu}"), help);
        return None;
    }
    Some(mtu)
}

fn addresses(written: &mirror::Network, bench: &mut Bench<'_>) -> Addresses {
    let items = match written.address.value() {
        Some(WordOr::These(list)) => &list.items,
        Some(WordOr::Word(_)) | None => return Addresses::Auto,
    };
    let mut nets: Vec<IpNet> = Vec::new();
    for item in items {
        let shown = &item.value;
        if let Some(other) = nets.iter().find(|net| same_family(net.addr(), shown.address)) {
            let help = "a vassal has at most one IPv4 and one IPv6 address";
            let message = format!(
                "`network.address`: {shown} is of the same family as {}",
                other.addr()
            );
            bench.error(item.place, message, help);
        } else if let Some(net) = address(item, bench) {
            nets.push(net);
        }
    }
    Addresses::Fixed(nets)
}

/// One fixed address against the router's subnet of its family.
fn address(item: &Item<Address>, bench: &mut Bench<'_>) -> Option<IpNet> {
    let Item { value, place } = item;
    let Some(subnet) = bench
        .router
        .addresses
        .iter()
        .find(|net| same_family(net.addr(), value.address))
        .copied()
    else {
        no_family(value.address, "network.address", *place, bench);
        return None;
    };
    let key = "network.address";
    usable(value.address, subnet, key, *place, bench)?;
    if bench
        .router
        .addresses
        .iter()
        .any(|router| router.addr() == value.address)
    {
        let message = format!("`{key}`: {} is the gateway's own address", value.address);
        bench.error(
            *place,
            message,
            "choose another, or remove the key to get a free one",
        );
        return None;
    }
    let length = value.length.unwrap_or(subnet.prefix_len());
    if length < subnet.prefix_len() {
        let message = format!(
            "`{key}`: {value} is wider than the router's subnet {}",
            subnet.trunc()
        );
        bench.error(*place, message, format!("write {}", value.address));
        return None;
    }
    IpNet::new(value.address, length).ok()
}

fn same_family(a: IpAddr, b: IpAddr) -> bool {
    a.is_ipv4() == b.is_ipv4()
}

fn no_family(address: IpAddr, key: &str, place: Option<Place>, bench: &mut Bench<'_>) {
    let family = if address.is_ipv4() { "IPv4" } else { "IPv6" };
    let message = format!("`{key}`: the router has no {family} address, so {address} cannot be reached");
    bench.error(
        place,
        message,
        format!("add an {family} address to `router.address` in the settings"),
    );
}

/// Whether a host may have the address within the subnet.
fn usable(
    address: IpAddr,
    subnet: IpNet,
    key: &str,
    place: Option<Place>,
    bench: &mut Bench<'_>,
) -> Option<()> {
    let net = subnet.trunc();
    let message = if !net.contains(&address) {
        format!("`{key}`: {address} is outside of the router's subnet {net}")
    } else if address == net.network() {
        format!("`{key}`: {address} is the address of the subnet {net} itself")
    } else if address.is_ipv4() && address == net.broadcast() {
        format!("`{key}`: {address} is the broadcast address of {net}")
    } else {
        return Some(());
    };
    let routers = &bench.router.addresses;
    let free = |host: &IpAddr| *host != net.network() && routers.iter().all(|router| router.addr() != *host);
    let example = net
        .hosts()
        .take(4)
        .find(free)
        .map(|host| format!(", such as {host}"))
        .unwrap_or_default();
    let help = format!("choose a host address of it{example}, or remove the key for the default");
    bench.error(place, message, help);
    None
}

fn gateways(written: &mirror::Network, nets: &[IpNet], bench: &mut Bench<'_>) -> Vec<IpAddr> {
    let items = match &written.gateway {
        Slot::Bad => return Vec::new(),
        Slot::Given(Item {
            value: WordOr::Word(_),
            ..
        }) => return Vec::new(),
        Slot::Given(Item {
            value: WordOr::These(list),
            ..
        }) => &list.items,
        Slot::Absent => return default_gateways(written, nets, bench),
    };
    let is_whole = match written.address.value() {
        Some(WordOr::These(list)) => list.whole && list.items.len() == nets.len(),
        Some(WordOr::Word(_)) => true,
        None => false,
    };
    let mut all: Vec<IpAddr> = Vec::new();
    for Item { value, place } in items {
        let key = "network.gateway";
        if all.iter().any(|other| same_family(*other, *value)) {
            let message = format!("`{key}`: {value} is the second gateway of its family");
            bench.error(*place, message, "write at most one IPv4 and one IPv6 gateway");
            continue;
        }
        all.push(*value);
        let Some(own) = nets.iter().find(|net| same_family(net.addr(), *value)) else {
            // If an address was refused, it may have been of that family.
            if written.address.is_absent() || is_whole {
                let message = format!("`{key}`: the vassal has no address of the family of {value}");
                bench.error(*place, message, "remove it, or add an address");
            }
            continue;
        };
        if usable(*value, *own, key, *place, bench).is_some()
            && matches!(written.address.value(), Some(WordOr::These(_)))
            && own.addr() == *value
        {
            let message = format!("`{key}`: {value} is the vassal's own address");
            bench.error(*place, message, "remove it: the default is the router's address");
        }
    }
    all
}

/// The router's addresses of the families that the vassal has.
fn default_gateways(written: &mirror::Network, nets: &[IpNet], bench: &mut Bench<'_>) -> Vec<IpAddr> {
    let mut all = Vec::new();
    for net in nets {
        let router = bench
            .router
            .addresses
            .iter()
            .find(|router| same_family(router.addr(), net.addr()));
        let Some(gateway) = router.map(IpNet::addr) else {
            continue;
        };
        if !net.contains(&gateway) {
            let message = format!("`network.address`: the gateway {gateway} is not within {net}");
            let help = format!("write {}, or `gateway: none`", net.addr());
            bench.error(written.address.place(), message, help);
        }
        all.push(gateway);
    }
    all
}
