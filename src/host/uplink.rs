//! The way out: the tun in the host's namespace that carries the gateway address, NAT and forwarding.
//!
//! The tun is persistent while the emperor runs. One that died leaves it behind with its address and route, so
//! that the host's connections to vassals wait instead of failing, and the next emperor attaches to it. The
//! nftables table stays too and is replaced in one step. Both go with a clean end.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use ipnet::IpNet;
use nix::errno::Errno;
use serde::{Deserialize, Serialize};
use tokio::task::JoinHandle;

use crate::config::Settings;
use crate::config::settings::Offload;
use crate::router::{Fabric, PortId, Traffic};

use super::birth::QUEUE_LENGTH;
use super::error::HostError;
use super::forwarding;
use super::link::{self, LinkPlan};
use super::nat::{self, Nat, NatPlan};
use super::netns;
use super::process;
use super::rootless::Station;
use super::state::StateFiles;
use super::tun::{self, Offloads, Tun};
use super::workers::{Device, Workers};

/// The uplink of a running emperor. Dropped, its nftables table and its tun are gone, unless it was [left](Self::leave).
pub struct Uplink {
    port: PortId,
    offloads: Offloads,
    device: Arc<Device>,
    record: UplinkRecord,
    nat: Option<Arc<Nat>>,
    guard: Option<JoinHandle<()>>,
    left: bool,
}

/// What the next emperor needs to go on with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UplinkRecord {
    interface: Interface,
    traffic: Traffic,
}

/// Which interface it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Interface {
    boot: String,
    netns: u64,
    device: String,
    index: u32,
    addresses: Vec<IpNet>,
    mtu: u16,
}

impl Uplink {
    /// Opens the tun or attaches to that of an earlier emperor, attaches it to the router, and sets up NAT and
    /// forwarding where `station` allows.
    pub async fn start(
        settings: &Settings,
        station: Station,
        (state, inherited): (&StateFiles, Option<OwnedFd>),
        fabric: &mut Fabric,
        workers: &mut Workers,
    ) -> Result<Self, HostError> {
        let router = &settings.router;
        if station == Station::Root {
            switch_on_forwarding(settings)?;
        }
        let left = state.uplink().filter(|left| left.interface.is_ours());
        if let Some(left) = left.as_ref().filter(|_| station == Station::Root) {
            // In this order: its table is known by the record, which the next uplink replaces.
            let device = &left.interface.device;
            if !settings.nat.masquerade || *device != router.device {
                nat::remove_left(&table_of(device))?;
            }
        }
        let opened = open(settings, station, left, (state, inherited)).await?;
        let Opened { tun, record, adopted } = opened;
        let offloads = tun.offloads;
        let port = fabric.attach_uplink(router.mtu);
        let device = workers.attach(fabric.tables(), Device::new(port, tun.fd, offloads));
        let mut uplink = Self {
            port,
            offloads,
            device,
            record,
            nat: None,
            guard: None,
            left: false,
        };
        if station == Station::Root {
            uplink.nat = install_nat(settings)?.map(Arc::new);
            uplink.guard = uplink.nat.clone().map(|nat| tokio::spawn(guard(nat)));
        }
        let addresses: Vec<_> = router.addresses.iter().map(IpNet::to_string).collect();
        let (device, addresses) = (&router.device, addresses.join(" "));
        tracing::info!(device, addresses, offload = %offloads, engine = %workers.engine(), adopted, "uplink up");
        Ok(uplink)
    }

    /// The router's port of it.
    pub fn port(&self) -> PortId {
        self.port
    }

    /// Which offloads the kernel took.
    pub fn offload(&self) -> Offloads {
        self.offloads
    }

    /// Removes the nftables table and stops watching it; the tun goes with its last descriptor.
    pub fn stop(&mut self) -> Result<(), HostError> {
        if let Some(guard) = self.guard.take() {
            guard.abort();
        }
        if !self.left {
            tun::set_persistent(&self.device.tun, false)?;
        }
        match self.nat.take() {
            Some(nat) if !self.left => nat.remove(),
            Some(_) | None => Ok(()),
        }
    }

    /// Its open tun.
    pub fn tun(&self) -> &OwnedFd {
        &self.device.tun
    }

    /// What it moved and lost under earlier emperors.
    pub fn earlier(&self) -> Traffic {
        self.record.traffic
    }

    /// Writes down what it has moved and lost.
    pub fn record(&self, state: &StateFiles, traffic: Traffic) -> Result<(), HostError> {
        state.record_uplink(&UplinkRecord {
            traffic,
            ..self.record.clone()
        })
    }

    /// Leaves all of it in place, for another emperor.
    pub fn leave(&mut self) {
        self.left = true;
    }
}

impl Drop for Uplink {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            tracing::error!("{error}");
        }
    }
}

/// Keeps the nftables table in place; ends only if the kernel refuses for good.
async fn guard(nat: Arc<Nat>) {
    let error = nat.guard(|repair| tracing::warn!("{repair}")).await;
    tracing::error!("{error}; NAT is not watched any more");
}

/// The interface of an uplink that is open.
struct Opened {
    tun: Tun,
    record: UplinkRecord,
    /// It is an earlier emperor's.
    adopted: bool,
}

/// Opens it as `settings` want it; `left` is the record of an earlier emperor's in this namespace.
async fn open(
    settings: &Settings,
    station: Station,
    left: Option<UplinkRecord>,
    (state, inherited): (&StateFiles, Option<OwnedFd>),
) -> Result<Opened, HostError> {
    let router = &settings.router;
    let plan = LinkPlan {
        device: router.device.clone(),
        addresses: router.addresses.clone(),
        mtu: router.mtu,
        queue_length: QUEUE_LENGTH,
        gateways: Vec::new(),
        loopback: station != Station::Root,
    };
    let tun = match (&left, inherited) {
        (Some(left), inherited) => attach(&left.interface, router.offload, inherited).await?,
        (None, Some(fd)) => {
            // Ours, but nobody knows any more how it was set up.
            tun::set_persistent(&fd, false)?;
            None
        }
        (None, None) => None,
    };
    let Some((left, tun)) = left.zip(tun) else {
        return make(settings, state, &plan).await;
    };
    if Interface::wanted(settings, left.interface.index)? == left.interface {
        link::repair(link::route_socket(&router.device)?, &plan).await?;
        let (record, adopted) = (left, true);
        return Ok(Opened { tun, record, adopted });
    }
    // Its address is another now, or its name.
    tun::set_persistent(&tun.fd, false)?;
    drop(tun);
    make(settings, state, &plan).await
}

/// The tun of an earlier emperor, unless it is gone.
async fn attach(
    interface: &Interface,
    offload: Offload,
    inherited: Option<OwnedFd>,
) -> Result<Option<Tun>, HostError> {
    let (device, index) = (interface.device.as_str(), interface.index);
    if let Some(fd) = inherited {
        // Somebody may have taken it away since that emperor looked last; then its descriptor is of no use.
        return Ok(tun::inherit(fd, offload)
            .ok()
            .filter(|_| tun::index(device) == Ok(index)));
    }
    match tun::when_free(|| async { tun::adopt(device, index, offload) }).await {
        // An emperor that was killed at the end of its reign takes it along, and may do so just now.
        Err(error) if error.errno == Errno::ENODEV => Ok(None),
        adopted => adopted.map(Some),
    }
}

/// A new uplink.
async fn make(settings: &Settings, state: &StateFiles, plan: &LinkPlan) -> Result<Opened, HostError> {
    let router = &settings.router;
    let device = router.device.as_str();
    let tun = match tun::open(device, router.offload, false) {
        Err(error) if error.errno == Errno::EBUSY => {
            tracing::info!(device, "waiting for an interface of that name to go");
            tun::when_free(|| async { tun::open(device, router.offload, false) }).await?
        }
        opened => opened?,
    };
    link::configure(link::route_socket(device)?, plan).await?;
    let record = UplinkRecord {
        interface: Interface::wanted(settings, tun::index(device)?)?,
        traffic: Traffic::default(),
    };
    // In this order: an interface that no record knows must not stay.
    state.record_uplink(&record)?;
    tun::set_persistent(&tun.fd, true)?;
    let adopted = false;
    Ok(Opened { tun, record, adopted })
}

impl Interface {
    /// The one that the settings ask for, if it has this index.
    fn wanted(settings: &Settings, index: u32) -> Result<Self, HostError> {
        Ok(Self {
            boot: process::boot(),
            netns: netns::inode(netns::current()?)?,
            device: settings.router.device.clone(),
            index,
            addresses: settings.router.addresses.clone(),
            mtu: settings.router.mtu,
        })
    }

    /// Whether it was made in our namespace.
    fn is_ours(&self) -> bool {
        let here = || netns::current().and_then(netns::inode);
        self.boot == process::boot() && here().is_ok_and(|inode| inode == self.netns)
    }
}

fn table_of(device: &str) -> String {
    format!("mini-emperor-{device}")
}

/// Before the uplink exists, which must not listen to router advertisements.
fn switch_on_forwarding(settings: &Settings) -> Result<(), HostError> {
    if settings.nat.ip_forward {
        let has = |family: fn(&IpNet) -> bool| settings.router.addresses.iter().any(family);
        let v4 = has(|net| matches!(net, IpNet::V4(_)));
        let v6 = has(|net| matches!(net, IpNet::V6(_)));
        for change in forwarding::enable(v4, v6)? {
            tracing::info!("{change}");
        }
    }
    Ok(())
}

fn install_nat(settings: &Settings) -> Result<Option<Nat>, HostError> {
    let router = &settings.router;
    if !settings.nat.masquerade {
        return Ok(None);
    }
    let plan = NatPlan {
        table: table_of(&router.device),
        uplink: router.device.clone(),
        subnets: router.addresses.iter().map(IpNet::trunc).collect(),
        interfaces: settings.nat.interfaces.clone(),
    };
    Nat::install(plan).map(Some)
}
