//! Where the emperor waits for clients of one vassal.

use std::sync::Arc;

use tokio::task::JoinHandle;

use crate::config::definition::Trigger;
use crate::host::error::HostError;
use crate::sys::readiness::readable;

use super::listen::{Listener, Maker};

/// Where the emperor waits for clients of one vassal.
pub(super) struct Post {
    pub(super) trigger: Trigger,
    pub(super) maker: Maker,
    /// Of the last socket that was asked for.
    pub(super) number: u64,
    pub(super) socket: Socket,
}

pub(super) enum Socket {
    /// Being made.
    Opening,
    /// There.
    Open {
        listener: Listener,
        /// Looks out for the next client; absent while nobody does.
        lookout: Option<Lookout>,
    },
    /// It could not be made; whoever is to wait here next tries again.
    Failed(HostError),
}

/// A task that ends when a client comes. Dropped, it looks no more.
pub(super) struct Lookout(JoinHandle<()>);

impl Drop for Lookout {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Post {
    /// A post whose socket is there, or yet to be asked for.
    pub(super) fn new(trigger: &Trigger, maker: Maker, listener: Option<Listener>) -> Self {
        let open = |listener| Socket::Open {
            listener,
            lookout: None,
        };
        Self {
            trigger: trigger.clone(),
            maker,
            number: 0,
            socket: listener.map_or(Socket::Opening, open),
        }
    }

    /// Its socket is there, or could not be made.
    pub(super) fn opened(&mut self, opened: Result<Listener, HostError>) -> Result<(), HostError> {
        let listener = opened.inspect_err(|error| self.socket = Socket::Failed(error.clone()))?;
        self.socket = Socket::Open {
            listener,
            lookout: None,
        };
        Ok(())
    }

    /// Its socket, which nobody waits at any more.
    pub(super) fn give_up(self) -> Option<Listener> {
        match self.socket {
            Socket::Open { listener, .. } => Some(listener),
            Socket::Opening | Socket::Failed(_) => None,
        }
    }

    /// Does `then` when a client comes; the one before is not waited for any more.
    pub(super) fn look_out(&mut self, then: impl FnOnce() + Send + 'static) -> Result<(), std::io::Error> {
        let Socket::Open { listener, lookout } = &mut self.socket else {
            return Ok(());
        };
        *lookout = None;
        // A copy: a descriptor has one place in the event queue, and an aborted task may still hold its own.
        let watched = readable(Arc::new(listener.fd.try_clone()?))?;
        *lookout = Some(Lookout(tokio::spawn(async move {
            if watched.readable().await.is_ok() {
                then();
            }
        })));
        Ok(())
    }
}
