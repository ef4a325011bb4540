//! Whether a client came since it was last looked, whoever accepted him.
//!
//! Where no io_uring is granted, one whom the vassal accepts before the emperor is awake may go unseen.

use std::collections::BTreeSet;
use std::io::Error;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::errno::Errno;

use crate::sys::arrivals::Arrivals as Ring;

use super::post::{Post, Socket};

/// Looks out for the next client of one socket.
pub(super) enum Eye {
    /// The poll of this number.
    Poll(u64),
    /// A task that tells.
    Task(Arc<AtomicBool>),
}

/// All that is looked out for.
pub(super) enum Arrivals {
    /// Nothing yet.
    Unused,
    /// By a ring; with the polls that ended and were not asked for.
    Ring(Box<Ring>, BTreeSet<u64>),
    /// By tasks.
    Refused,
}

impl Arrivals {
    /// Looks out for the next client of a post, or one who waits there.
    pub(super) fn look_out(&mut self, post: &mut Post) -> Result<Eye, Error> {
        if let Self::Unused = self {
            *self = match Ring::new() {
                Ok(ring) => Self::Ring(Box::new(ring), BTreeSet::new()),
                Err(errno) => self.refused(errno),
            };
        }
        if let (Self::Ring(ring, _), Socket::Open { listener, .. }) = (&mut *self, &post.socket) {
            match ring.watch(listener.fd.as_fd()) {
                Ok(number) => return Ok(Eye::Poll(number)),
                Err(errno) => *self = self.refused(errno),
            }
        }
        let came = Arc::new(AtomicBool::new(false));
        let flag = came.clone();
        post.look_out(move || flag.store(true, Ordering::Relaxed))?;
        Ok(Eye::Task(came))
    }

    /// Whether a client came; then this eye has done its work.
    pub(super) fn has_seen(&mut self, eye: &Eye) -> bool {
        let number = match eye {
            Eye::Poll(number) => number,
            Eye::Task(came) => return came.load(Ordering::Relaxed),
        };
        let Self::Ring(ring, ended) = self else {
            // It ended with its ring, and nobody knows.
            return true;
        };
        match ring.ended() {
            Ok(more) => {
                ended.extend(more);
                ended.remove(number)
            }
            Err(errno) => {
                *self = self.refused(errno);
                true
            }
        }
    }

    /// An eye is closed. From here on it keeps no socket open.
    pub(super) fn close(&mut self, eye: Eye) {
        let (Eye::Poll(number), Self::Ring(ring, ended)) = (eye, &mut *self) else {
            return;
        };
        match ring.forget(number).and_then(|()| ring.ended()) {
            Ok(more) => {
                ended.extend(more);
                ended.remove(&number);
            }
            Err(errno) => *self = self.refused(errno),
        }
    }

    fn refused(&self, errno: Errno) -> Self {
        tracing::debug!(%errno, "without io_uring not every client of a vassal on demand is seen");
        Self::Refused
    }
}
