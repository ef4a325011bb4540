//! Looks after the interface of a vassal that may change it: one with CAP_NET_ADMIN.
//!
//! Such a vassal can set its interface down, take its addresses away or delete it. It was given that right, so nothing is set
//! back; the operator is told, once a change, and no other vassal is concerned: the router knows whose
//! addresses they are. An interface that is deleted ends the vassal (see [`workers`](super::workers)).
//! The kernel's events only say that it is worth a look, and looks are some time apart, the more so after many of them: a
//! vassal that changes its network all the time costs the emperor next to nothing and does not fill its log.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, NetlinkAddr, bind, recv};
use tokio::task::JoinHandle;

use crate::config::{Definition, Name};
use crate::sys::readiness::readable;

use super::daemon::Daemon;
use super::error::{Doing, HostError};
use super::link::{self, Seen};
use super::netns;
use crate::emperor::state::Life;

/// `CAP_NET_ADMIN` of capabilities(7).
const NET_ADMIN: u8 = 12;
/// `RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR` of linux/rtnetlink.h.
const GROUPS: u32 = 0x1 | 0x10 | 0x100;
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(500);
/// The same after many of them in a row.
const LONG_PAUSE: Duration = Duration::from_secs(30);
/// So many are many.
const MANY: u32 = 15;

/// A task that looks; dropped, it looks no more.
pub(super) struct Vigil(JoinHandle<()>);

impl Drop for Vigil {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// How the interface should be.
struct Interface {
    name: Name,
    device: String,
    mtu: u32,
    addresses: BTreeSet<IpAddr>,
}

impl Daemon {
    /// Looks after the interface of a life from here on, if that can change it.
    pub(super) fn keep_vigil(&mut self, life: Life) {
        let Some(alive) = self.lives.get_mut(&life) else {
            return;
        };
        if let Some(pidfd) = alive.handle.pidfd().filter(|_| can_change(&alive.under)) {
            let interface = Interface {
                name: alive.name.clone(),
                device: alive.under.network.device.clone(),
                mtu: alive.under.network.mtu.into(),
                addresses: alive.addresses.iter().map(IpNet::addr).collect(),
            };
            alive.vigil = Some(Vigil(tokio::spawn(watch(interface, pidfd))));
        }
    }
}

fn can_change(definition: &Definition) -> bool {
    definition
        .capabilities
        .iter()
        .any(|capability| capability.0 == NET_ADMIN)
}

async fn watch(interface: Interface, pidfd: Arc<OwnedFd>) {
    let name = interface.name.clone();
    if let Err(error) = look_on(&interface, &pidfd).await {
        tracing::warn!(%name, "{error}; it is not seen whether the vassal changes its interface");
    }
}

/// Looks at every event, until the life is over or the kernel refuses.
async fn look_on(interface: &Interface, pidfd: &Arc<OwnedFd>) -> Result<(), HostError> {
    let name = interface.name.as_str();
    let on = name.to_owned();
    let (events, questions) = netns::inside(pidfd.as_fd(), name, move || {
        let events = link::route_socket(&on)?;
        bind(events.as_raw_fd(), &NetlinkAddr::new(0, GROUPS))
            .map_err(|errno| HostError::new(Doing::OpenNetlink, &on, errno))?;
        Ok((events, link::route_socket(&on)?))
    })
    .await?;
    let failed = |error: &std::io::Error| HostError::from_io(Doing::OpenNetlink, name, error);
    let mut events = readable(Arc::new(events)).map_err(|error| failed(&error))?;
    let mut known = BTreeSet::new();
    let mut in_a_row = 0;
    loop {
        let socket = questions.try_clone().map_err(|error| failed(&error))?;
        let seen = link::look(socket, &interface.device).await?;
        let found = interface.differences(seen.as_ref());
        for change in found.difference(&known) {
            tracing::warn!(%name, "from inside, {change}");
        }
        for change in known.difference(&found) {
            tracing::info!(%name, "no longer so: {change}");
        }
        known = found;
        let begun = Instant::now();
        let mut guard = events.readable_mut().await.map_err(|error| failed(&error))?;
        in_a_row = if begun.elapsed() < LONG_PAUSE {
            in_a_row + 1
        } else {
            0
        };
        drain(guard.get_inner());
        guard.clear_ready();
        tokio::time::sleep(if in_a_row < MANY { PAUSE } else { LONG_PAUSE }).await;
        // What came meanwhile is seen now.
        drain(events.get_ref());
    }
}

/// Takes the events away; what they say is looked up. Too many of them are an error, and an event.
fn drain(events: &OwnedFd) {
    let mut event = [0; 64];
    loop {
        match recv(
            events.as_raw_fd(),
            &mut event,
            MsgFlags::MSG_TRUNC | MsgFlags::MSG_DONTWAIT,
        ) {
            Ok(_) | Err(Errno::ENOBUFS | Errno::EINTR) => {}
            Err(_) => return,
        }
    }
}

impl Interface {
    /// What is not as it should be, in words.
    fn differences(&self, seen: Option<&Seen>) -> BTreeSet<String> {
        let device = &self.device;
        let Some(seen) = seen else {
            return BTreeSet::from([format!("{device} was deleted, renamed or moved away")]);
        };
        let mut all = BTreeSet::new();
        if !seen.up {
            all.insert(format!("{device} was set down: nothing reaches the vassal"));
        }
        if seen.mtu != self.mtu {
            all.insert(format!("the MTU of {device} was changed to {}", seen.mtu));
        }
        for address in self.addresses.difference(&seen.addresses) {
            all.insert(format!("{address} was taken away from {device}"));
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_change_has_its_sentence() {
        let interface = Interface {
            name: Name::new("web").unwrap(),
            device: "tun0".to_owned(),
            mtu: 1500,
            addresses: ["10.107.0.2", "fd00:107::2"]
                .map(|text| text.parse().unwrap())
                .into(),
        };
        let whole = Seen {
            up: true,
            mtu: 1500,
            addresses: ["10.107.0.2", "fd00:107::2", "10.0.0.1"]
                .map(|text| text.parse().unwrap())
                .into(),
        };
        assert!(
            interface.differences(Some(&whole)).is_empty(),
            "more than it should have is its own affair"
        );
        assert_eq!(interface.differences(None).len(), 1);
        let bare = Seen {
            up: false,
            mtu: 1400,
            addresses: BTreeSet::new(),
        };
        assert_eq!(interface.differences(Some(&bare)).len(), 4);
    }
}
