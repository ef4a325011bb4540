//! Where a life is heard: the sockets over which a vassal speaks to its emperor.
//!
//! Most vassals have none. After each handful there is a pause, so that whatever a vassal sends, it takes a bounded
//! part of the emperor's time; a sender that is faster waits for its full socket.

use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::unix::AsyncFd;

use crate::config::Definition;
use crate::sys::readiness::readable;

use super::channel::{self, Byte};
use super::error::HostError;
use super::notify::{self, Said, Speakers};

/// Between two handfuls.
const PAUSE: Duration = Duration::from_millis(5);

/// The sockets of one life, of which the vassal's ends are not ours.
#[derive(Debug, Default)]
pub struct Sockets {
    /// For `sd_notify(3)`.
    pub notify: Option<OwnedFd>,
    /// Our end of the control socket.
    pub channel: Option<Arc<OwnedFd>>,
}

impl Sockets {
    /// Makes what `definition` asks for in the network namespace that the calling thread is in; with it comes
    /// the vassal's end of the control socket.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn open(definition: &Definition) -> Result<(Self, Option<OwnedFd>), HostError> {
        let on = definition.name.as_str();
        let notify = definition.has_notify().then(|| notify::open(on)).transpose()?;
        let pair = definition.has_channel().then(|| channel::open(on)).transpose()?;
        let (ours, theirs) = pair.unzip();
        let channel = ours.map(Arc::new);
        Ok((Self { notify, channel }, theirs))
    }
}

impl Sockets {
    /// Makes them anew for a process that began under another emperor, in its network namespace, which the calling
    /// thread is in. `channel` is the number of the control socket in that process, if it was given one. What
    /// cannot be had again is left out: the vassal goes on and is not heard.
    pub fn regain(definition: &Definition, pidfd: impl AsFd, channel: Option<RawFd>) -> Self {
        let on = definition.name.as_str();
        let said = |error: &HostError| tracing::error!("{error}; the vassal is not heard");
        let notify = definition.has_notify().then(|| notify::open(on).inspect_err(said));
        let channel = channel.map(|number| channel::regain(on, pidfd, number).inspect_err(said));
        Self {
            notify: notify.and_then(Result::ok),
            channel: channel.and_then(Result::ok).map(Arc::new),
        }
    }
}

/// Something that was heard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// By `sd_notify(3)`.
    Said(Said),
    /// On the control socket.
    Byte(Byte),
}

/// The sockets of one life, watched.
pub struct Ears {
    notify: Option<AsyncFd<Arc<OwnedFd>>>,
    channel: Option<AsyncFd<Arc<OwnedFd>>>,
    speakers: Speakers,
    tired: bool,
}

impl Ears {
    /// Watches `sockets`; `None` if there is nothing to hear.
    ///
    /// # Errors
    /// If there is no room in the event queue.
    pub fn new(sockets: Sockets, speakers: Speakers) -> std::io::Result<Option<Box<Self>>> {
        let Sockets { notify, channel } = sockets;
        if notify.is_none() && channel.is_none() {
            return Ok(None);
        }
        Ok(Some(Box::new(Self {
            notify: notify.map(|fd| readable(Arc::new(fd))).transpose()?,
            channel: channel.map(readable).transpose()?,
            speakers,
            tired: false,
        })))
    }

    /// The next handful; never comes if there is nothing. Can be dropped while it waits.
    pub async fn next(&mut self) -> Vec<Heard> {
        if self.tired {
            tokio::time::sleep(PAUSE).await;
            self.tired = false;
        }
        let heard = tokio::select! {
            heard = next_said(self.notify.as_ref(), &self.speakers) => heard,
            heard = next_bytes(self.channel.as_ref()) => heard,
        };
        self.tired = true;
        heard
    }

    /// What is there at the end of a life.
    pub fn last(&self) -> Vec<Heard> {
        let (mut said, mut bytes) = (Vec::new(), Vec::new());
        if let Some(notify) = &self.notify {
            notify::take(notify.get_ref(), &self.speakers, &mut said);
        }
        if let Some(channel) = &self.channel {
            channel::take(channel.get_ref(), &mut bytes);
        }
        let bytes = bytes.into_iter().map(Heard::Byte);
        said.into_iter().map(Heard::Said).chain(bytes).collect()
    }
}

async fn next_said(socket: Option<&AsyncFd<Arc<OwnedFd>>>, speakers: &Speakers) -> Vec<Heard> {
    let mut said = Vec::new();
    take(socket, |fd| notify::take(fd, speakers, &mut said)).await;
    said.into_iter().map(Heard::Said).collect()
}

async fn next_bytes(socket: Option<&AsyncFd<Arc<OwnedFd>>>) -> Vec<Heard> {
    let mut bytes = Vec::new();
    take(socket, |fd| channel::take(fd, &mut bytes)).await;
    bytes.into_iter().map(Heard::Byte).collect()
}

/// Takes once, as soon as there is something.
async fn take(socket: Option<&AsyncFd<Arc<OwnedFd>>>, take: impl FnOnce(&OwnedFd) -> bool) {
    let Some(socket) = socket else {
        return std::future::pending().await;
    };
    match socket.readable().await {
        Ok(mut guard) => {
            if !take(socket.get_ref()) {
                guard.clear_ready();
            }
        }
        // The event queue is gone: there is nothing more to come.
        Err(_) => std::future::pending().await,
    }
}
