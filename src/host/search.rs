//! Finds what a record names: its process, its tun, the sockets over which it speaks. Changes nothing that goes on.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use nix::errno::Errno;
use nix::libc;

use crate::config::definition::Addresses;
use crate::config::settings::Offload;
use crate::emperor::state::Fault;
use crate::sys::process::send_signal;
use crate::sys::readiness::readable;

use super::ears::Sockets;
use super::error::{Doing, HostError};
use super::init;
use super::netns;
use super::process::{self, Process};
use super::record::{Kept, LifeRecord, Record};
use super::spawn;
use super::tree::Tree;
use super::tun::{self, Tun, when_free};

/// How long a process may take from its gate to its command.
const BIRTH: Duration = Duration::from_secs(5);
/// How often it is looked whether it has.
const LOOK: Duration = Duration::from_millis(1);

/// What was found of a vassal.
pub(super) struct Found {
    pub(super) record: Record,
    pub(super) life: Option<(LifeRecord, Remnant)>,
}

/// What was found of a life.
pub(super) enum Remnant {
    /// It ended, and whoever reaped it knows how.
    Nothing,
    /// It ended, and waits to be reaped.
    Ended(Arc<OwnedFd>),
    /// It goes on; its tun and sockets, or why it cannot be left to go on.
    Alive(Arc<OwnedFd>, Result<(Tun, Sockets), Fault>),
}

/// Looks for what a record names.
///
/// # Errors
/// If we lack the means to look, or to go on with what is there.
pub(super) async fn find(
    record: Record,
    inherited: Option<OwnedFd>,
    offload: Offload,
    subnets: &[IpNet],
) -> Result<Found, HostError> {
    let (body, left) = match &record.kept {
        Kept::Alive(body) => (
            Some((**body).clone()),
            Some((body.tree.clone(), body.cages.clone())),
        ),
        Kept::Unborn { tree, cages, .. } => (None, Some((tree.clone(), cages.clone()))),
        Kept::Waiting { .. } | Kept::Idle | Kept::Down { .. } => (None, None),
    };
    let life = match body {
        Some(body) => look_for(&record, &body, inherited, offload, subnets)
            .await
            .inspect_err(|_| tracing::error!(name = %record.name, "cannot go on with this vassal; it is left as it is"))?
            .map(|remnant| (body, remnant)),
        None => None,
    };
    let is_whole = matches!(life, Some((_, Remnant::Alive(..) | Remnant::Ended(_))));
    if let Some((tree, cages)) = left.filter(|_| !is_whole) {
        if let Some(tree) = tree {
            Tree::adopt(tree).fell().await;
        }
        cages.remove().await;
    }
    Ok(Found { record, life })
}

/// Looks for one life; `None` if its command was never reached.
async fn look_for(
    record: &Record,
    body: &LifeRecord,
    inherited: Option<OwnedFd>,
    offload: Offload,
    subnets: &[IpNet],
) -> Result<Option<Remnant>, HostError> {
    let Some(pidfd) = body.process.find()?.map(Arc::new) else {
        return Ok(body.born.map(|_| Remnant::Nothing));
    };
    // Its gate may have opened or not.
    if body.born.is_none() && !is_born(body.process, &pidfd).await {
        return Ok(None);
    }
    if process::has_ended(&pidfd) {
        return Ok(Some(Remnant::Ended(pidfd)));
    }
    if !fits(record, subnets) {
        return Ok(Some(Remnant::Alive(pidfd, Err(Fault::Displaced))));
    }
    let found = match inherited {
        Some(fd) => inherit(record, body, &pidfd, fd, offload).await,
        None => attach(record, body, &pidfd, offload).await,
    };
    Ok(Some(match found {
        Err(_) if process::has_ended(&pidfd) => Remnant::Ended(pidfd),
        Err(error) if is_ours(&error) => return Err(error),
        Err(error) => {
            tracing::error!(name = %record.name, "{error}");
            Remnant::Alive(pidfd, Err(Fault::DeviceLost))
        }
        Ok(found) => Remnant::Alive(pidfd, Ok(found)),
    }))
}

/// Whether it is for us that a tun cannot be had, and not for what became of it: nobody is ended for that. What a vassal
/// can bring about inside its namespace is never ours.
fn is_ours(error: &HostError) -> bool {
    error.is_shortage()
        || matches!(error.doing, Doing::OpenTunDevice | Doing::IdentifyNamespace)
        || error.doing == Doing::EnterNamespace && error.errno != Errno::ESRCH
}

/// Whether addresses that were given by `auto` are such as this router would give. Whether it routes to them is
/// asked of the router.
fn fits(record: &Record, subnets: &[IpNet]) -> bool {
    record.under.network.address != Addresses::Auto
        || record.addresses.len() == subnets.len()
            && record.addresses.iter().all(|address| {
                subnets
                    .iter()
                    .any(|subnet| subnet.trunc() == address.trunc() && subnet.addr() != address.addr())
            })
}

/// Opens the tun of a life, if it is the one that was made for it, and the sockets over which it speaks.
async fn attach(
    record: &Record,
    body: &LifeRecord,
    pidfd: &Arc<OwnedFd>,
    offload: Offload,
) -> Result<(Tun, Sockets), HostError> {
    when_free(|| {
        let (device, netns, index) = (record.device.clone(), body.netns, body.index);
        let changed = HostError::new(Doing::AttachTun, &device, Errno::ENODEV).within(record.name.as_str());
        let sockets = sockets(record, body, pidfd);
        netns::inside(pidfd.as_fd(), record.name.as_str(), move || {
            if netns::inode(netns::current()?)? != netns {
                return Err(changed);
            }
            Ok((tun::adopt(&device, index, offload)?, sockets()?))
        })
    })
    .await
}

/// The same with a tun that is open; most vassals have no socket, and their namespace need not be entered.
async fn inherit(
    record: &Record,
    body: &LifeRecord,
    pidfd: &Arc<OwnedFd>,
    tun: OwnedFd,
    offload: Offload,
) -> Result<(Tun, Sockets), HostError> {
    let tun = tun::inherit(tun, offload)?;
    if !record.under.has_notify() && body.channel.is_none() {
        return Ok((tun, Sockets::default()));
    }
    let sockets = sockets(record, body, pidfd);
    let sockets = netns::inside(pidfd.as_fd(), record.name.as_str(), sockets).await?;
    Ok((tun, sockets))
}

fn sockets(
    record: &Record,
    body: &LifeRecord,
    pidfd: &Arc<OwnedFd>,
) -> impl FnOnce() -> Result<Sockets, HostError> + Send + use<> {
    let (definition, pidfd, channel) = (record.under.clone(), pidfd.clone(), body.channel);
    move || Sockets::regain(&definition, &*pidfd, channel)
}

/// Whether the command of a process was reached. Its emperor has died, so its gate opens no more: it has opened, or
/// the process ends in a moment.
async fn is_born(process: Process, pidfd: &Arc<OwnedFd>) -> bool {
    let end_of_wait = Instant::now() + BIRTH;
    while Instant::now() < end_of_wait && !process::has_ended(pidfd) {
        if !init::is_before_command(process.pid) && !process::has_ended(pidfd) {
            return true;
        }
        tokio::time::sleep(LOOK).await;
    }
    end(pidfd).await;
    false
}

/// Kills a process of an earlier emperor and waits until it has ended.
///
/// One in the midst of a system call that cannot be interrupted ends when it can, and runs nothing more of its own: it is
/// waited for in the background then.
pub(super) async fn end(pidfd: &Arc<OwnedFd>) {
    // ESRCH: it has.
    let _ = send_signal(pidfd, libc::SIGKILL);
    let Ok(watched) = readable(pidfd.clone()) else {
        return;
    };
    let pidfd = pidfd.clone();
    let over = tokio::spawn(async move {
        if watched.readable().await.is_ok() {
            // It is a child of ours if we were its emperor, before an exec.
            let _ = spawn::reap(&pidfd);
        }
    });
    let _ = tokio::time::timeout(BIRTH, over).await;
}
