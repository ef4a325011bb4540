//! What the host room does to links, namespaces and the firewall, read back from the kernel.
#![allow(
    clippy::unwrap_used,
    clippy::unwrap_in_result,
    clippy::wildcard_enum_match_arm,
    reason = "a test that cannot look has failed"
)]

#[path = "../namespace/mod.rs"]
mod namespace;
mod places;

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use futures_util::TryStreamExt;
use ipnet::IpNet;
use mini_emperor::config::settings::Offload;
use mini_emperor::host::link::{LinkPlan, configure, route_socket};
use mini_emperor::host::{Doing, HostError, tun};
use namespace::alone_async;
use netlink_packet_route::address::AddressAttribute;
use netlink_packet_route::link::{LinkAttribute, LinkFlags};
use netlink_packet_route::route::{RouteAddress, RouteAttribute};
use nix::errno::Errno;
use rtnetlink::{Handle, RouteMessageBuilder};

/// A link as the kernel shows it.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    up: bool,
    mtu: u32,
    queue_length: u32,
    addresses: BTreeSet<String>,
    gateways: BTreeSet<String>,
    loopback_up: bool,
}

async fn look(device: &str) -> Seen {
    let (connection, handle, _) = rtnetlink::new_connection().unwrap();
    tokio::spawn(connection);
    let link = handle
        .link()
        .get()
        .match_name(device)
        .execute()
        .try_next()
        .await
        .unwrap()
        .unwrap();
    let mut seen = Seen {
        up: link.header.flags.contains(LinkFlags::Up),
        mtu: 0,
        queue_length: 0,
        addresses: addresses(&handle, link.header.index).await,
        gateways: gateways(&handle).await,
        loopback_up: false,
    };
    for attribute in &link.attributes {
        if let LinkAttribute::Mtu(mtu) = attribute {
            seen.mtu = *mtu;
        }
        if let LinkAttribute::TxQueueLen(length) = attribute {
            seen.queue_length = *length;
        }
    }
    let lo = handle
        .link()
        .get()
        .match_index(1)
        .execute()
        .try_next()
        .await
        .unwrap()
        .unwrap();
    seen.loopback_up = lo.header.flags.contains(LinkFlags::Up);
    seen
}

/// Addresses of one link, each with its prefix length.
async fn addresses(handle: &Handle, index: u32) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut addresses = handle.address().get().set_link_index_filter(index).execute();
    while let Some(address) = addresses.try_next().await.unwrap() {
        for attribute in &address.attributes {
            if let AddressAttribute::Address(ip) = attribute {
                found.insert(format!("{ip}/{}", address.header.prefix_len));
            }
        }
    }
    found
}

/// Gateways of the default routes of both families.
async fn gateways(handle: &Handle) -> BTreeSet<String> {
    let wishes = [
        RouteMessageBuilder::<Ipv4Addr>::new().build(),
        RouteMessageBuilder::<Ipv6Addr>::new().build(),
    ];
    let mut found = BTreeSet::new();
    for wish in wishes {
        let mut routes = handle.route().get(wish).execute();
        while let Some(route) = routes.try_next().await.unwrap() {
            for attribute in route.attributes {
                match attribute {
                    RouteAttribute::Gateway(RouteAddress::Inet(ip))
                        if route.header.destination_prefix_length == 0 =>
                    {
                        found.insert(ip.to_string());
                    }
                    RouteAttribute::Gateway(RouteAddress::Inet6(ip))
                        if route.header.destination_prefix_length == 0 =>
                    {
                        found.insert(ip.to_string());
                    }
                    _ => {}
                }
            }
        }
    }
    found
}

fn plan(addresses: &[&str], gateways: &[&str]) -> LinkPlan {
    LinkPlan {
        device: "tun0".to_owned(),
        addresses: addresses
            .iter()
            .map(|text| text.parse::<IpNet>().unwrap())
            .collect(),
        mtu: 1400,
        queue_length: 777,
        gateways: gateways
            .iter()
            .map(|text| text.parse::<IpAddr>().unwrap())
            .collect(),
        loopback: true,
    }
}

fn set_of(words: &[&str]) -> BTreeSet<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// Makes `tun0` in a new namespace, performs the plan and reads everything back.
fn configured(plan: LinkPlan) -> Result<Seen, HostError> {
    alone_async(|| async move {
        let _tun = tun::open(&plan.device, Offload::Auto, false).unwrap();
        configure(route_socket("web").unwrap(), &plan).await?;
        Ok(look(&plan.device).await)
    })
}

fn expected(addresses: &[&str], gateways: &[&str]) -> Seen {
    Seen {
        up: true,
        mtu: 1400,
        queue_length: 777,
        addresses: set_of(addresses),
        gateways: set_of(gateways),
        loopback_up: true,
    }
}

#[test]
#[ignore = "needs a network namespace: run integration/run"]
fn an_ipv4_link_gets_everything_that_its_plan_says() {
    let seen = configured(plan(&["10.107.0.2/24"], &["10.107.0.1"])).unwrap();
    assert_eq!(seen, expected(&["10.107.0.2/24"], &["10.107.0.1"]));
}

#[test]
#[ignore = "needs a network namespace: run integration/run"]
fn an_ipv6_link_gets_its_address_and_no_other() {
    let seen = configured(plan(&["fd00:107::2/64"], &["fd00:107::1"])).unwrap();
    assert_eq!(seen, expected(&["fd00:107::2/64"], &["fd00:107::1"]));
}

#[test]
#[ignore = "needs a network namespace: run integration/run"]
fn a_link_gets_both_families() {
    let addresses = ["10.107.0.2/24", "fd00:107::2/64"];
    let seen = configured(plan(&addresses, &["10.107.0.1", "fd00:107::1"])).unwrap();
    assert_eq!(seen, expected(&addresses, &["10.107.0.1", "fd00:107::1"]));
}

#[test]
#[ignore = "needs a network namespace: run integration/run"]
fn a_link_without_loopback_leaves_lo_alone() {
    let seen = configured(LinkPlan {
        loopback: false,
        ..plan(&["10.107.0.2/24"], &[])
    })
    .unwrap();
    assert!(!seen.loopback_up, "{seen:?}");
    assert!(seen.gateways.is_empty(), "{seen:?}");
}

#[test]
#[ignore = "needs a network namespace: run integration/run"]
fn an_mtu_below_ipv6_still_makes_an_ipv4_link() {
    let seen = configured(LinkPlan {
        mtu: 1000,
        ..plan(&["10.107.0.2/24"], &["10.107.0.1"])
    })
    .unwrap();
    assert_eq!(
        seen,
        Seen {
            mtu: 1000,
            ..expected(&["10.107.0.2/24"], &["10.107.0.1"])
        }
    );
}

#[test]
#[ignore = "needs a network namespace: run integration/run"]
fn a_refusal_names_the_thing_that_was_refused() {
    let error = configured(plan(&["10.107.0.2/24"], &["192.0.2.1"])).unwrap_err();
    assert_eq!(
        error,
        HostError::new(
            Doing::AddRoute,
            "default via 192.0.2.1 on tun0",
            Errno::ENETUNREACH
        )
    );
    assert!(
        error.to_string().contains("the gateway must lie in the subnet"),
        "{error}"
    );
    let error = configured(plan(&["fd00:107::2/64"], &["fd00:108::1"])).unwrap_err();
    assert_eq!(
        error,
        HostError::new(
            Doing::AddRoute,
            "default via fd00:108::1 on tun0",
            Errno::EHOSTUNREACH
        )
    );
    let error = configured(plan(&["10.107.0.2/24", "10.107.0.2/24"], &[])).unwrap_err();
    assert_eq!(
        error,
        HostError::new(Doing::AddAddress, "10.107.0.2/24 on tun0", Errno::EEXIST)
    );
    let error = configured(LinkPlan {
        mtu: 20,
        ..plan(&["10.107.0.2/24"], &[])
    })
    .unwrap_err();
    assert_eq!(error, HostError::new(Doing::SetMtu, "20 on tun0", Errno::EINVAL));
}

#[test]
#[ignore = "needs a network namespace: run integration/run"]
fn a_missing_link_is_named() {
    let error = alone_async(|| async {
        configure(route_socket("web").unwrap(), &plan(&["10.107.0.2/24"], &[]))
            .await
            .unwrap_err()
    });
    assert_eq!(error, HostError::new(Doing::FindLink, "tun0", Errno::ENODEV));
}

#[test]
#[ignore = "needs a network namespace: run integration/run"]
fn a_finished_configuration_keeps_no_socket() {
    alone_async(|| async {
        let _tun = tun::open("tun0", Offload::Auto, false).unwrap();
        configure(route_socket("web").unwrap(), &plan(&["10.107.0.2/24"], &[]))
            .await
            .unwrap();
        assert_eq!(bound_route_sockets(), 0);
        let mut control = netlink_sys::Socket::new(netlink_sys::protocols::NETLINK_ROUTE).unwrap();
        control.bind_auto().unwrap();
        assert_eq!(bound_route_sockets(), 1);
    });
}

/// Number of route sockets in this thread's namespace that have an address; the kernel's own has the address 0.
fn bound_route_sockets() -> usize {
    let table = std::fs::read_to_string("/proc/thread-self/net/netlink").unwrap();
    let is_bound = |line: &&str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        words[1] == "0" && words[2] != "0"
    };
    table.lines().skip(1).filter(is_bound).count()
}
