//! Where a life is heard: the sockets over which a vassal speaks to its emperor.
//!
//! Most vassals have none. After each handful there is a pause, so that whatever a vassal sends, it takes a bounded
//! part of the emperor's time; a sender that is faster waits for its full socket.

use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::unix::{AsyncFd, AsyncFdReadyMutGuard};

use crate::config::Definition;
use crate::sys::readiness::readable;

use super::channel::{self, Byte};
use super::error::HostError;
use super::notify::{self, Said, Speakers};
use super::strays::{self, Strays};

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
    ///
    /// # Errors
    /// If we lack the means for more descriptors.
    pub fn regain(
        definition: &Definition,
        pidfd: impl AsFd,
        channel: Option<RawFd>,
    ) -> Result<Self, HostError> {
        let on = definition.name.as_str();
        let notify = definition.has_notify().then(|| notify::open(on));
        let channel = channel.map(|number| channel::regain(on, pidfd, number));
        Ok(Self {
            notify: notify.map_or(Ok(None), or_unheard)?,
            channel: channel.map_or(Ok(None), or_unheard)?.map(Arc::new),
        })
    }
}

fn or_unheard(socket: Result<OwnedFd, HostError>) -> Result<Option<OwnedFd>, HostError> {
    match socket {
        Ok(socket) => Ok(Some(socket)),
        Err(error) if error.is_shortage() => Err(error),
        Err(error) => {
            tracing::error!("{error}; the vassal is not heard");
            Ok(None)
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
    strays: Strays,
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
            strays: Strays::new(),
            tired: false,
        })))
    }

    /// The next handful; never comes if there is nothing. Can be dropped while it waits.
    pub async fn next(&mut self) -> Vec<Heard> {
        if self.tired {
            tokio::time::sleep(PAUSE).await;
            strays::close(std::mem::take(&mut self.strays)).await;
            self.tired = false;
        }
        let Self {
            notify,
            channel,
            speakers,
            strays,
            ..
        } = self;
        let (mut said, mut bytes) = (Vec::new(), Vec::new());
        tokio::select! {
            socket = awaken(notify.as_mut()) => {
                socket.drain(|fd| notify::take(fd, speakers, &mut said, strays));
            }
            socket = awaken(channel.as_mut()) => socket.drain(|fd| channel::take(fd, &mut bytes, strays)),
        }
        self.tired = true;
        all(said, bytes)
    }

    /// What is there at the end of a life.
    pub fn last(mut self) -> Vec<Heard> {
        let (mut said, mut bytes) = (Vec::new(), Vec::new());
        let notify = self.notify.take().map(AsyncFd::into_inner);
        let channel = self.channel.take().map(AsyncFd::into_inner);
        if let Some(notify) = &notify {
            notify::take(notify, &self.speakers, &mut said, &mut self.strays);
        }
        if let Some(channel) = &channel {
            channel::take(channel, &mut bytes, &mut self.strays);
        }
        strays::abandon((notify, channel, self.strays));
        all(said, bytes)
    }
}

fn all(said: Vec<Said>, bytes: Vec<Byte>) -> Vec<Heard> {
    let bytes = bytes.into_iter().map(Heard::Byte);
    said.into_iter().map(Heard::Said).chain(bytes).collect()
}

/// A socket that has something.
struct Awake<'a> {
    guard: AsyncFdReadyMutGuard<'a, Arc<OwnedFd>>,
}

impl Awake<'_> {
    /// Takes once; `take` says whether there may be more.
    fn drain(mut self, take: impl FnOnce(&OwnedFd) -> bool) {
        if !take(self.guard.get_inner()) {
            self.guard.clear_ready();
        }
    }
}

async fn awaken(socket: Option<&mut AsyncFd<Arc<OwnedFd>>>) -> Awake<'_> {
    if let Some(socket) = socket
        && let Ok(guard) = socket.readable_mut().await
    {
        return Awake { guard };
    }
    // There is none, or the event queue is gone and there is nothing more to come.
    std::future::pending().await
}
