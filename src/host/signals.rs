//! The signals that an emperor obeys.

use nix::libc;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::sys::process::ignore_signal;

use super::error::{Doing, HostError};

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// TERM, INT: end, and do with the vassals what `on_exit` says.
    End,
    /// QUIT: stop all vassals and end. Again: at once.
    Stop,
    /// WINCH: look at the directories now.
    Look,
    /// HUP: the same, and have every vassal reload.
    Reload,
    /// URG: forget every back-off and try now.
    TryNow,
    /// USR1: the status into the log.
    Status,
    /// USR2: become another binary.
    Upgrade,
}

/// Signals as they arrive.
pub struct Signals([(Signal, Wanted); 8]);

impl Signals {
    /// From here on these signals come to [`Signals::next`] instead of ending the process.
    pub fn listen() -> Result<Self, HostError> {
        let on = |kind: SignalKind, wanted| match signal(kind) {
            Ok(stream) => Ok((stream, wanted)),
            Err(error) => Err(HostError::from_io(Doing::ListenForSignals, "the emperor", &error)),
        };
        let signals = Self([
            on(SignalKind::terminate(), Wanted::End)?,
            on(SignalKind::interrupt(), Wanted::End)?,
            on(SignalKind::quit(), Wanted::Stop)?,
            on(SignalKind::hangup(), Wanted::Reload)?,
            on(SignalKind::window_change(), Wanted::Look)?,
            on(SignalKind::from_raw(libc::SIGURG), Wanted::TryNow)?,
            on(SignalKind::user_defined1(), Wanted::Status)?,
            on(SignalKind::user_defined2(), Wanted::Upgrade)?,
        ]);
        // An image of ours that became this one has blocked them, so that none was lost in between.
        super::upgrade::unblock_signals();
        Ok(signals)
    }

    /// The next one.
    pub async fn next(&mut self) -> Wanted {
        std::future::poll_fn(|context| {
            for (stream, wanted) in &mut self.0 {
                if stream.poll_recv(context).is_ready() {
                    return std::task::Poll::Ready(*wanted);
                }
            }
            std::task::Poll::Pending
        })
        .await
    }
}

/// SIGIO says that somebody waits for a lease of ours (`fcntl(2)`); we hold none for longer than a moment.
pub fn ignore_lease_breaks() -> Result<(), HostError> {
    ignore_signal(libc::SIGIO).map_err(|errno| HostError::new(Doing::ListenForSignals, "the emperor", errno))
}
