//! From what the emperor's own file says to what it means.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use ipnet::{IpNet, Ipv4Net};

use super::judge::{self, Bench, section};
use super::judge_network::{chains, mtu};
use super::kinds::{Subnet, Text, WordOr, WordOrOne};
use super::mirror::{self, Emperor, Vassal};
use super::places::Places;
use super::report::Report;
use super::settings::{Defaults, Engine, NatSettings, Offload, OnExit, RouterSettings, Settings};
use super::world::{Identities, World};
use super::written::{Item, Read, Slot, shown};

/// Judges the settings; without a file, `written` is empty.
pub(super) fn settings(
    written: &Emperor,
    path: &Path,
    places: &Places,
    world: &dyn World,
    report: &mut Report,
) -> Settings {
    let home = path.parent().unwrap_or(Path::new(""));
    let router = router(&section(&written.router), world, report);
    let nat = nat(&section(&written.nat), &router, report);
    let (firewall_out, firewall_in) = chains(&section(&written.firewall));
    let defaults = defaults(written, path, &router, world, report);
    let run_as_owner = run_as_owner(written, world, report);
    let own = |slot: &Slot<Text>, default: &Path| match slot.value() {
        Some(text) => home.join(&text.0),
        None => default.to_owned(),
    };
    Settings {
        vassals: vassals(written, home, places, world, report),
        on_exit: written.on_exit.value().copied().unwrap_or(OnExit::Stop),
        firewall_out,
        firewall_in,
        defaults,
        run_as_owner,
        run_directory: own(&written.run_directory, &places.run_directory),
        state_directory: own(&written.state_directory, &places.state_directory),
        log_directory: own(&written.log_directory, &places.log_directory),
        router,
        nat,
    }
}

fn vassals(
    written: &Emperor,
    home: &Path,
    places: &Places,
    world: &dyn World,
    report: &mut Report,
) -> Vec<PathBuf> {
    let Some(list) = written.vassals.value() else {
        return vec![places.vassals.clone()];
    };
    let mut all: Vec<PathBuf> = Vec::new();
    for Item { value, place } in &list.0.items {
        let path = home.join(&value.0);
        if all.contains(&path) {
            report.error(
                *place,
                format!("`vassals` names {} twice", path.display()),
                "once is enough",
            );
        } else if !world.is_directory(&path) {
            let message = format!("`vassals`: {} is no directory", path.display());
            report.warning(*place, message, "create it, or correct the path");
        }
        all.push(path);
    }
    all
}

fn router(written: &mirror::Router, world: &dyn World, report: &mut Report) -> RouterSettings {
    let addresses = match written.address.value() {
        Some(list) => router_addresses(&list.0.items, report),
        None => Vec::new(),
    };
    let addresses = if addresses.is_empty() {
        default_addresses()
    } else {
        addresses
    };
    let workers = match written.workers.value() {
        Some(WordOrOne::This(number)) => u16::try_from(number.0).ok(),
        Some(WordOrOne::Word(_)) | None => None,
    };
    let mut router = RouterSettings {
        device: written
            .device
            .value()
            .map_or_else(|| "emperor0".to_owned(), |device| device.0.clone()),
        addresses,
        mtu: 1500,
        workers,
        engine: written.engine.value().copied().unwrap_or(Engine::Auto),
        offload: written.offload.value().copied().unwrap_or(Offload::Auto),
        isolate: written.isolate.value().copied().unwrap_or(false),
    };
    if let Some(item) = written.mtu.item() {
        let mut bench = Bench {
            report,
            router: &router,
            world,
        };
        if let Some(mtu) = mtu(item, "router.mtu", &router.addresses, &mut bench) {
            router.mtu = mtu;
        }
    }
    router
}

/// 10.107.0.1/24
fn default_addresses() -> Vec<IpNet> {
    Ipv4Net::new([10, 107, 0, 1].into(), 24)
        .map(IpNet::from)
        .into_iter()
        .collect()
}

fn router_addresses(list: &[Item<Subnet>], report: &mut Report) -> Vec<IpNet> {
    let mut all: Vec<IpNet> = Vec::new();
    for Item { value, place } in list {
        let net = value.0;
        if let Some(other) = all
            .iter()
            .find(|other| other.addr().is_ipv4() == net.addr().is_ipv4())
        {
            let message = format!("`router.address`: {net} is of the same family as {other}");
            report.error(
                *place,
                message,
                "the router has at most one IPv4 and one IPv6 address",
            );
            continue;
        }
        if let Err((message, help)) = router_address(net) {
            report.error(*place, format!("`router.address`: {net} {message}"), help);
        }
        all.push(net);
    }
    all
}

/// Whether the router may have the address. `Err` is what is wrong, and the wish.
fn router_address(net: IpNet) -> Result<(), (String, String)> {
    let (shortest, longest) = if net.addr().is_ipv4() { (16, 30) } else { (64, 126) };
    let subnet = net.trunc();
    let wrong = |message: String, help: &str| Err((message, help.to_owned()));
    let private = "take a private one, such as 10.107.0.1/24 or fd00:107::1/64";
    let link_local = match net.addr() {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    };
    let length = net.prefix_len();
    if net.addr().is_loopback() || net.addr().is_multicast() || net.addr().is_unspecified() || link_local {
        wrong("is no address for a subnet of hosts".to_owned(), private)
    } else if length < shortest || length > longest {
        let size = if length < shortest { "large" } else { "small" };
        let help = format!("its prefix length is {shortest} to {longest}");
        wrong(format!("is too {size} a subnet"), &help)
    } else if net.addr() == subnet.network() {
        let first = subnet.hosts().find(|&host| host != subnet.network());
        let help = first.map_or_else(String::new, |first| {
            format!("write a host address: {first}/{length}")
        });
        wrong("is the address of the subnet itself".to_owned(), &help)
    } else if net.addr().is_ipv4() && net.addr() == subnet.broadcast() {
        wrong(
            "is the broadcast address of its subnet".to_owned(),
            "write a host address of it",
        )
    } else {
        Ok(())
    }
}

fn nat(written: &mirror::Nat, router: &RouterSettings, report: &mut Report) -> NatSettings {
    let interfaces = match written.interfaces.value() {
        Some(WordOr::These(list)) => list.items.as_slice(),
        Some(WordOr::Word(_)) | None => &[],
    };
    for Item { value, place } in interfaces {
        if value.0 == router.device {
            let message = format!("`nat.interfaces` names the uplink {} itself", shown(&value.0));
            report.error(*place, message, "name the interfaces that lead out of the host");
        }
    }
    NatSettings {
        masquerade: written.masquerade.value().copied().unwrap_or(true),
        interfaces: interfaces.iter().map(|item| item.value.0.clone()).collect(),
        ip_forward: written.ip_forward.value().copied().unwrap_or(true),
    }
}

/// Judges the defaults as a vassal that need not be complete, so that the vassals' files need not repeat
/// what is wrong with them.
fn defaults(
    written: &Emperor,
    path: &Path,
    router: &RouterSettings,
    world: &dyn World,
    report: &mut Report,
) -> Defaults {
    let mut vassal: Vassal = section(&written.defaults);
    if let Some(network) = vassal.network.value()
        && let Some(Item {
            value: WordOr::These(_),
            place,
        }) = network.address.item()
    {
        let help = "write it into the file of the vassal that shall have it";
        report.error(
            *place,
            "`defaults.network.address` would give every vassal the same address",
            help,
        );
    }
    if let Some(WordOrOne::This(demand)) = vassal.on_demand.value()
        && demand.socket.item().is_some()
    {
        let help = "write it into the file of the vassal that shall have it";
        let message = "`defaults.on_demand.socket` would give every vassal the same socket";
        report.error(demand.socket.place(), message, help);
    }
    let mut bench = Bench {
        report,
        router,
        world,
    };
    // The definition is not complete; only what is wrong with its parts counts here.
    let _ = judge::vassal(&vassal, None, path, &mut bench);
    vassal.forget_places();
    Defaults(vassal)
}

/// Whether owners decide; then nobody else may, and the emperor must be able to become any of them.
fn run_as_owner(written: &Emperor, world: &dyn World, report: &mut Report) -> bool {
    let Some(Item { value: true, place }) = written.run_as_owner.item() else {
        return false;
    };
    if world.identities() != Identities::Any {
        let help = "run it as root, or leave `run_as_owner` out";
        report.error(*place, "`run_as_owner` needs an emperor that is root", help);
    }
    let defaults = section(&written.defaults);
    for (key, place) in [
        ("user", defaults.user.place()),
        ("group", defaults.group.place()),
        ("groups", defaults.groups.place()),
    ] {
        if place.is_some() {
            let message =
                format!("`defaults.{key}` stands beside `run_as_owner`: the owner of a file decides");
            report.error(place, message, "remove one of them");
        }
    }
    true
}
