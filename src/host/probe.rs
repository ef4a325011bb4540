//! Whether a port of a vassal can be connected to, tried from inside its network namespace.
//!
//! The sockets are made there by a borrowed thread and used from here: the router and its firewall have no part in
//! it, so a vassal is ready as it says itself, whoever may reach it.

use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use tokio::net::TcpSocket;

use crate::config::Name;

use super::error::{Doing, HostError};
use super::netns;

/// The first pause between two tries; it doubles with each.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
/// The pause never grows beyond this.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// A try takes no longer: the vassal's own kernel answers at once, or it never will.
const PATIENCE: Duration = Duration::from_secs(1);

/// What is tried.
pub struct Probe {
    /// A process of the vassal.
    pub pidfd: Arc<OwnedFd>,
    /// Whose.
    pub name: Name,
    /// Any of these will do.
    pub targets: Vec<SocketAddr>,
}

impl Probe {
    /// Tries until one of the targets accepts a connection.
    pub async fn succeed(self) {
        let mut pause = FIRST_PAUSE;
        loop {
            match self.once().await {
                Ok(true) => return,
                Ok(false) => {}
                // The vassal is ending, or this process is short of threads or descriptors for a while.
                Err(error) => tracing::debug!(name = %self.name, "{error}"),
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn once(&self) -> Result<bool, HostError> {
        let (on, targets) = (self.name.to_string(), self.targets.clone());
        let sockets = netns::inside(self.pidfd.as_fd(), self.name.as_str(), move || {
            targets
                .into_iter()
                .map(|target| open(&on, target))
                .collect::<Result<Vec<_>, _>>()
        });
        for (target, socket) in sockets.await? {
            let socket = TcpSocket::from_std_stream(TcpStream::from(socket));
            if let Ok(Ok(_connection)) = tokio::time::timeout(PATIENCE, socket.connect(target)).await {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

fn open(on: &str, target: SocketAddr) -> Result<(SocketAddr, OwnedFd), HostError> {
    let family = if target.is_ipv4() {
        AddressFamily::Inet
    } else {
        AddressFamily::Inet6
    };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(family, SockType::Stream, flags, None);
    let socket = socket.map_err(|errno| HostError::new(Doing::Probe, on, errno))?;
    Ok((target, socket))
}
