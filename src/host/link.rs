//! Gives a link its addresses, MTU and routes, over a netlink socket that was opened inside its namespace.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::OwnedFd;

use futures_util::TryStreamExt;
use ipnet::IpNet;
use netlink_packet_route::address::AddressHeaderFlags;
use netlink_packet_route::link::{AfSpecInet6, AfSpecUnspec, In6AddrGenMode, LinkAttribute, LinkMessage};
use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, socket};
use rtnetlink::{Handle, LinkUnspec, RouteMessageBuilder};

use super::error::{Doing, HostError};
use crate::sys::netlink::tokio_socket;

/// The kernel gives this index to `lo` in every namespace (`LOOPBACK_IFINDEX`).
const LOOPBACK: u32 = 1;

/// What a link is to become.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkPlan {
    /// Name of the link; it exists.
    pub device: String,
    /// Its addresses, each with the length of its subnet's prefix.
    pub addresses: Vec<IpNet>,
    /// Its MTU in bytes.
    pub mtu: u16,
    /// Packets that the kernel holds for a slow reader.
    pub queue_length: u32,
    /// Gateways of the default routes, at most one of each family.
    pub gateways: Vec<IpAddr>,
    /// Also set up `lo`.
    pub loopback: bool,
}

/// Opens a route socket in the calling thread's network namespace; `on` names the owner in errors.
///
/// # Errors
/// If the kernel refuses one.
pub fn route_socket(on: &str) -> Result<OwnedFd, HostError> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    socket(
        AddressFamily::Netlink,
        SockType::Raw,
        flags,
        SockProtocol::NetlinkRoute,
    )
    .map_err(|errno| HostError::new(Doing::OpenNetlink, on, errno))
}

/// Performs `plan` in the namespace that `socket` was opened in. Not idempotent: an address that is there is `EEXIST`.
/// [`repair`] is.
///
/// # Errors
/// At the first refusal, with the device, address or route that it is about. What was done before stays; a link that
/// is not fully configured is of no use, so the caller removes it (by closing its tun).
pub async fn configure(socket: OwnedFd, plan: &LinkPlan) -> Result<(), HostError> {
    connected(socket, plan, |result| result).await
}

/// Performs `plan` on a link on which much of it, or all, was done before.
///
/// # Errors
/// As [`configure`].
pub async fn repair(socket: OwnedFd, plan: &LinkPlan) -> Result<(), HostError> {
    let is_there = |result| match result {
        Err(HostError {
            errno: Errno::EEXIST, ..
        }) => Ok(()),
        result => result,
    };
    connected(socket, plan, is_there).await
}

/// What is made of the answer to an addition.
type Judge = fn(Result<(), HostError>) -> Result<(), HostError>;

async fn connected(socket: OwnedFd, plan: &LinkPlan, judge: Judge) -> Result<(), HostError> {
    // The connection lives in this task, not in one of its own: rtnetlink's ends only on a message after its handle
    // is dropped, so a spawned one would keep the socket, and the namespace with it, for ever.
    let (connection, handle, _unsolicited) = rtnetlink::from_socket(tokio_socket(socket));
    tokio::select! {
        biased;
        result = perform(&handle, plan, judge) => result,
        () = connection => Err(HostError::new(Doing::OpenNetlink, &plan.device, Errno::EPIPE)),
    }
}

/// The order matters: IPv6 is told to be silent before the link is up, and routes need a link that is up.
async fn perform(handle: &Handle, plan: &LinkPlan, judge: Judge) -> Result<(), HostError> {
    let device = plan.device.as_str();
    if plan.loopback {
        set(
            handle,
            LinkUnspec::new_with_index(LOOPBACK).up().build(),
            Doing::LinkUp,
            "lo",
        )
        .await?;
    }
    let index = index_of(handle, device).await?;
    let sizes = LinkUnspec::new_with_index(index)
        .mtu(plan.mtu.into())
        .txqueuelen(plan.queue_length)
        .build();
    set(handle, sizes, Doing::SetMtu, &format!("{} on {device}", plan.mtu)).await?;
    silence_ipv6(handle, index, device).await?;
    for address in &plan.addresses {
        judge(add_address(handle, index, device, *address).await)?;
    }
    set(
        handle,
        LinkUnspec::new_with_index(index).up().build(),
        Doing::LinkUp,
        device,
    )
    .await?;
    for gateway in &plan.gateways {
        judge(add_default_route(handle, index, device, *gateway).await)?;
    }
    Ok(())
}

/// One RTM_SETLINK.
async fn set(handle: &Handle, message: LinkMessage, doing: Doing, on: &str) -> Result<(), HostError> {
    handle
        .link()
        .set(message)
        .execute()
        .await
        .map_err(|error| refusal(doing, on, &error))
}

/// The kernel's number of the link `device`.
async fn index_of(handle: &Handle, device: &str) -> Result<u32, HostError> {
    let mut links = handle.link().get().match_name(device).execute();
    match links.try_next().await {
        Ok(Some(link)) => Ok(link.header.index),
        Ok(None) => Err(HostError::new(Doing::FindLink, device, Errno::ENODEV)),
        Err(error) => Err(refusal(Doing::FindLink, device, &error)),
    }
}

/// No link-local address, hence no router solicitation and no multicast report: a pinned port would drop them all.
async fn silence_ipv6(handle: &Handle, index: u32, device: &str) -> Result<(), HostError> {
    let mode = AfSpecInet6::AddrGenMode(In6AddrGenMode::None);
    let message = LinkUnspec::new_with_index(index)
        .append_extra_attribute(LinkAttribute::AfSpecUnspec(vec![AfSpecUnspec::Inet6(vec![mode])]))
        .build();
    match set(handle, message, Doing::SilenceIpv6, device).await {
        // Without IPv6, in the kernel or on a link below its minimum MTU, there is nothing to silence.
        Err(error) if matches!(error.errno, Errno::EAFNOSUPPORT | Errno::ENOENT) => Ok(()),
        result => result,
    }
}

/// Adds `address` without asking the link whether somebody else has it: the router knows.
async fn add_address(handle: &Handle, index: u32, device: &str, address: IpNet) -> Result<(), HostError> {
    let mut request = handle.address().add(index, address.addr(), address.prefix_len());
    if matches!(address, IpNet::V6(_)) {
        request.message_mut().header.flags |= AddressHeaderFlags::Nodad;
    }
    let on = || format!("{address} on {device}");
    request
        .execute()
        .await
        .map_err(|error| refusal(Doing::AddAddress, &on(), &error))
}

/// Everything that no other route takes goes to `gateway`.
async fn add_default_route(
    handle: &Handle,
    index: u32,
    device: &str,
    gateway: IpAddr,
) -> Result<(), HostError> {
    let message = match gateway {
        IpAddr::V4(gateway) => RouteMessageBuilder::<Ipv4Addr>::new()
            .gateway(gateway)
            .output_interface(index)
            .build(),
        IpAddr::V6(gateway) => RouteMessageBuilder::<Ipv6Addr>::new()
            .gateway(gateway)
            .output_interface(index)
            .build(),
    };
    let on = || format!("default via {gateway} on {device}");
    handle
        .route()
        .add(message)
        .execute()
        .await
        .map_err(|error| refusal(Doing::AddRoute, &on(), &error))
}

/// What rtnetlink reports, in our words; an answer that is no errno counts as `EPROTO`.
fn refusal(doing: Doing, on: &str, error: &rtnetlink::Error) -> HostError {
    if let rtnetlink::Error::NetlinkError(message) = error {
        HostError::from_io(doing, on, &message.to_io())
    } else {
        HostError::new(doing, on, Errno::EPROTO)
    }
}
