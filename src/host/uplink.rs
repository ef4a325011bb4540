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
use crate::router::{Fabric, PortId, Traffic};

use super::error::HostError;
use super::forwarding;
use super::life::QUEUE_LENGTH;
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
        let (tun, record, adopted) = open(settings, station, state, inherited).await?;
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
            match install_nat(settings)?.map(Arc::new) {
                Some(nat) => {
                    uplink.guard = Some(tokio::spawn(guard(nat.clone())));
                    uplink.nat = Some(nat);
                }
                None if adopted => nat::remove_left(&table_of(&router.device))?,
                None => {}
            }
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

/// The tun, its record, and whether it is an earlier emperor's.
async fn open(
    settings: &Settings,
    station: Station,
    state: &StateFiles,
    inherited: Option<OwnedFd>,
) -> Result<(Tun, UplinkRecord, bool), HostError> {
    let router = &settings.router;
    let plan = LinkPlan {
        device: router.device.clone(),
        addresses: router.addresses.clone(),
        mtu: router.mtu,
        queue_length: QUEUE_LENGTH,
        gateways: Vec::new(),
        loopback: station != Station::Root,
    };
    if let Some(left) = state.uplink().filter(|left| left.interface.is_here()) {
        let device = left.interface.device.as_str();
        let tun = match inherited {
            Some(fd) => Some(tun::inherit(fd, router.offload)?),
            None => match tun::when_free(|| async { tun::adopt(device, router.offload) }).await {
                // An emperor that was killed at the end of its reign takes it along, and may do so just now.
                Err(error) if error.errno == Errno::ENODEV => None,
                adopted => Some(adopted?),
            },
        };
        let Some(tun) = tun else {
            return make(settings, state, &plan).await;
        };
        if Interface::wanted(settings, left.interface.index)? == left.interface {
            link::repair(link::route_socket(device)?, &plan).await?;
            return Ok((tun, left, true));
        }
        // Its address is another now, or its name; then its table has another name too.
        tun::set_persistent(&tun.fd, false)?;
        if device != router.device && station == Station::Root {
            nat::remove_left(&table_of(device))?;
        }
    }
    make(settings, state, &plan).await
}

/// A new uplink.
async fn make(
    settings: &Settings,
    state: &StateFiles,
    plan: &LinkPlan,
) -> Result<(Tun, UplinkRecord, bool), HostError> {
    let router = &settings.router;
    let tun = tun::open(&router.device, router.offload, false)?;
    link::configure(link::route_socket(&router.device)?, plan).await?;
    let record = UplinkRecord {
        interface: Interface::wanted(settings, tun::index(&router.device)?)?,
        traffic: Traffic::default(),
    };
    // In this order: an interface that no record knows must not stay.
    state.record_uplink(&record)?;
    tun::set_persistent(&tun.fd, true)?;
    Ok((tun, record, false))
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

    /// Whether that very interface is in our namespace.
    fn is_here(&self) -> bool {
        self.boot == process::boot()
            && netns::current()
                .and_then(netns::inode)
                .is_ok_and(|inode| inode == self.netns)
            && tun::index(&self.device).is_ok_and(|index| index == self.index)
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
