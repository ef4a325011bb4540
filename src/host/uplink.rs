//! The way out: the tun in the host's namespace that carries the gateway address, NAT and forwarding.

use std::sync::Arc;

use ipnet::IpNet;
use tokio::task::JoinHandle;

use crate::config::Settings;
use crate::router::{Fabric, PortId};

use super::error::HostError;
use super::forwarding;
use super::life::QUEUE_LENGTH;
use super::link::{self, LinkPlan};
use super::nat::{Nat, NatPlan};
use super::rootless::Station;
use super::tun::{self, Offloads};
use super::workers::{Device, Workers};

/// The uplink of a running emperor. Dropped, its nftables table is gone; its tun goes with the router's port.
pub struct Uplink {
    port: PortId,
    offloads: Offloads,
    nat: Option<Arc<Nat>>,
    guard: Option<JoinHandle<()>>,
}

impl Uplink {
    /// Opens the tun, attaches it to the router, and sets up NAT and forwarding where `station` allows.
    pub async fn start(
        settings: &Settings,
        station: Station,
        fabric: &mut Fabric,
        workers: &mut Workers,
    ) -> Result<Self, HostError> {
        let router = &settings.router;
        let tun = tun::open(&router.device, router.offload, false)?;
        let offloads = tun.offloads;
        let plan = LinkPlan {
            device: router.device.clone(),
            addresses: router.addresses.clone(),
            mtu: router.mtu,
            queue_length: QUEUE_LENGTH,
            gateways: Vec::new(),
            loopback: station != Station::Root,
        };
        link::configure(link::route_socket(&router.device)?, &plan).await?;
        let port = fabric.attach_uplink(router.mtu);
        workers.attach(fabric.tables(), Device::new(port, tun.fd, offloads));
        let nat = if station == Station::Root {
            way_out(settings)?
        } else {
            None
        };
        let addresses: Vec<_> = router.addresses.iter().map(IpNet::to_string).collect();
        let (device, addresses) = (&router.device, addresses.join(" "));
        tracing::info!(device, addresses, offload = %offloads, engine = %workers.engine(), "uplink up");
        let nat = nat.map(Arc::new);
        let guard = nat.clone().map(|nat| tokio::spawn(guard(nat)));
        Ok(Self {
            port,
            offloads,
            nat,
            guard,
        })
    }

    /// The router's port of it.
    pub fn port(&self) -> PortId {
        self.port
    }

    /// Which offloads the kernel took.
    pub fn offload(&self) -> Offloads {
        self.offloads
    }

    /// Removes the nftables table and stops watching it.
    pub fn stop(&mut self) -> Result<(), HostError> {
        if let Some(guard) = self.guard.take() {
            guard.abort();
        }
        self.nat.take().map_or(Ok(()), |nat| nat.remove())
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

fn way_out(settings: &Settings) -> Result<Option<Nat>, HostError> {
    let router = &settings.router;
    if settings.nat.ip_forward {
        let has = |family: fn(&IpNet) -> bool| router.addresses.iter().any(family);
        let v4 = has(|net| matches!(net, IpNet::V4(_)));
        let v6 = has(|net| matches!(net, IpNet::V6(_)));
        for change in forwarding::enable(v4, v6)? {
            tracing::info!("{change}");
        }
    }
    if !settings.nat.masquerade {
        return Ok(None);
    }
    let plan = NatPlan {
        table: format!("mini-emperor-{}", router.device),
        uplink: router.device.clone(),
        subnets: router.addresses.iter().map(IpNet::trunc).collect(),
        interfaces: settings.nat.interfaces.clone(),
    };
    Nat::install(plan).map(Some)
}
