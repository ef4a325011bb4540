//! Moves what vassals and their hooks say to where it goes: one task a pipe.

use std::cell::RefCell;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use nix::errno::Errno;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::net::unix::pipe;

use super::fifo::{Desk, Fifo};
use super::logfile::Piece;
use super::outlets::{LONGEST_LINE, Outlets};
use super::sink::Sink;
use super::writing::Writing;
use crate::sys::readiness::readable;

/// A vassal's sink, which its lives and its hooks have in common.
type Shared = Rc<RefCell<Sink>>;

/// What all of them use.
pub(super) struct Ways {
    pub(super) desk: Desk,
    pub(super) outlets: Outlets,
    pub(super) writing: Rc<Writing>,
}

/// Moves one life's output until the last writer is gone; then nobody can open the FIFO any more.
pub(super) async fn pump(fifo: Fifo, sink: Shared, ways: Rc<Ways>) {
    let watched = match readable(fifo.reader.clone()) {
        Ok(watched) => watched,
        Err(error) => {
            tracing::error!(fifo = %fifo.path.display(), %error, "output is not read");
            return;
        }
    };
    let mut ready = None;
    loop {
        // A FIFO whose last writer went before it was opened is at its end and never ready: so first a look.
        let copied = match ways.desk.copy(&fifo.reader) {
            Ok(chunk) if chunk.is_empty() => break,
            Ok(chunk) => {
                let length = chunk.len();
                sink.borrow_mut().take(&chunk);
                ways.deliver(&sink, chunk, false).await;
                Desk::take(&fifo.reader, length)
            }
            Err(errno) => Err(errno),
        };
        match copied {
            Ok(()) | Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) => {
                ready
                    .take()
                    .as_mut()
                    .map(tokio::io::unix::AsyncFdReadyGuard::clear_ready);
                let Ok(guard) = watched.readable().await else {
                    break;
                };
                ready = Some(guard);
                continue;
            }
            Err(errno) => {
                tracing::error!(fifo = %fifo.path.display(), errno = errno.desc(), "output cannot be read");
                break;
            }
        }
        tokio::task::yield_now().await;
    }
    sink.borrow_mut().end();
    ways.deliver(&sink, Vec::new(), true).await;
    fifo.remove();
}

impl Ways {
    /// Writes into the file, if there is one, and sends the lines that wait. Between the two nobody else has his turn, so
    /// that what was written can be taken out of its pipe at once.
    async fn deliver(&self, sink: &Shared, bytes: Vec<u8>, alone: bool) {
        if sink.borrow().has_file() {
            // On the heap, because most vassals are silent and wait for nothing but their pipe.
            Box::pin(self.writing.write(sink, Piece { bytes, alone })).await;
        }
        self.send(sink).await;
    }

    /// Sends the lines that wait, or gives them up.
    async fn send(&self, sink: &Shared) {
        loop {
            let stuck = sink.borrow_mut().send(&self.outlets);
            let Some((outlet, until)) = stuck else { return };
            if tokio::time::timeout_at(until.into(), self.outlets.room(outlet))
                .await
                .is_err()
            {
                return sink.borrow_mut().give_up();
            }
        }
    }
}

/// Moves one hook's output, line by line, so that it and the vassal's own cannot tear each other's.
pub(super) async fn pump_hook(moment: &'static str, output: OwnedFd, sink: Shared, ways: Rc<Ways>) {
    let Ok(reader) = pipe::Receiver::from_owned_fd(output) else {
        return;
    };
    let mut lines = BufReader::new(reader).take(0);
    let mut line = Vec::new();
    loop {
        lines.set_limit(LONGEST_LINE as u64);
        line.clear();
        match lines.read_until(b'\n', &mut line).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {
                let line = [b"hook ", moment.as_bytes(), b": ", &line].concat();
                sink.borrow_mut().insert(&line);
                ways.deliver(&sink, line, true).await;
            }
        }
    }
}
