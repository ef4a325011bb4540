//! What the daemon knows and holds of a life, whichever emperor it was born under.

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use nix::errno::Errno;
use nix::libc;
use tokio::sync::{mpsc, oneshot};

use crate::config::Name;
use crate::config::definition::{Farewell, Limits};
use crate::emperor::state::{End, Life};
use crate::sys::process::send_signal;

use super::channel;
use super::ears::Heard;
use super::error::HostError;
use super::limits::{Cages, Changes};
use super::process::{self, Process};
use super::strays;
use super::tun::Tun;

/// What a task tells the daemon about its life.
pub enum News {
    /// Its network is ready; the answer opens the gate (`Ok`) or refuses.
    Prepared {
        /// The router's end.
        tun: Tun,
        /// What is to be known of it.
        traces: Traces,
        /// `Ok` once the port is attached.
        answer: oneshot::Sender<Result<(), String>>,
    },
    /// The command's first instruction runs.
    Born {
        /// Process id.
        pid: u32,
    },
    /// It said something.
    Heard(Vec<Heard>),
    /// Its `pre_stop` has ended, so it can be asked to end like this.
    Ask(Farewell),
    /// Its limits could not be changed.
    LimitsRefused {
        /// Why.
        error: HostError,
        /// Those that hold.
        old: Limits,
        /// Those that do not.
        new: Limits,
    },
    /// The `log` keys of its newest definition do not apply, for this reason.
    LogRefused(HostError),
    /// It is over and reaped.
    Ended(End),
}

/// Where the daemon hears news.
pub type Herald = mpsc::UnboundedSender<(Name, Life, News)>;

/// What the daemon holds of a life: the power to speak to it and to end it.
#[derive(Default)]
pub struct Handle {
    pub(super) pidfd: OnceLock<Arc<OwnedFd>>,
    main: Mutex<Option<Arc<OwnedFd>>>,
    pub(super) channel: OnceLock<Arc<OwnedFd>>,
    doomed: AtomicBool,
    cages: Mutex<Cages>,
    pub(super) changes: Changes,
}

impl Handle {
    /// Sends a signal to the main process; nothing if there is none any more.
    pub fn signal(&self, signal: i32) {
        // Whoever cannot be asked to end is killed when its time is over.
        let _ = self.try_signal(signal);
    }

    /// The same, where it matters.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn try_signal(&self, signal: i32) -> Result<(), Errno> {
        let main = self.main();
        match main
            .as_ref()
            .or(self.pidfd.get())
            .map(|pidfd| send_signal(pidfd, signal))
        {
            // It has ended by itself, which is heard of.
            None | Some(Err(Errno::ESRCH)) => Ok(()),
            Some(sent) => sent,
        }
    }

    /// From here on, this process is the main one; absent = the first.
    pub fn follow(&self, main: Option<Arc<OwnedFd>>) {
        *self.main.lock().unwrap_or_else(PoisonError::into_inner) = main;
    }

    /// Whether another process than the first is the main one.
    pub fn has_other(&self) -> bool {
        self.main().is_some()
    }

    /// Which process is the main one, if it is not the first and has not ended.
    pub fn other(&self) -> Option<Process> {
        process::of(self.main()?)
    }

    fn main(&self) -> Option<Arc<OwnedFd>> {
        self.main.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The first process, once there is one.
    pub fn pidfd(&self) -> Option<Arc<OwnedFd>> {
        self.pidfd.get().cloned()
    }

    /// The hold on a process that exists: the first, its main process if that is another one, its control socket.
    pub fn of(pidfd: Arc<OwnedFd>, main: Option<Arc<OwnedFd>>, channel: Option<Arc<OwnedFd>>) -> Self {
        let handle = Self::default();
        let _ = handle.pidfd.set(pidfd);
        handle.follow(main);
        if let Some(channel) = channel {
            let _ = handle.channel.set(channel);
        }
        handle
    }

    /// Whether there was a process, and it has ended.
    pub fn has_ended(&self) -> bool {
        self.pidfd.get().is_some_and(process::has_ended)
    }

    /// Whether there is a control socket.
    pub fn has_channel(&self) -> bool {
        self.channel.get().is_some()
    }

    /// Speaks on the control socket.
    ///
    /// # Errors
    /// `ENOTCONN` if there is none, or as [`channel::tell`].
    pub fn tell(&self, command: channel::Command) -> Result<(), Errno> {
        let channel = self.channel.get().ok_or(Errno::ENOTCONN)?;
        channel::tell(channel, command)
    }

    /// The cgroups of its limits.
    pub fn cages(&self) -> Cages {
        self.cages.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// These are the cgroups of its limits from here on.
    pub fn enclose(&self, cages: Cages) {
        *self.cages.lock().unwrap_or_else(PoisonError::into_inner) = cages;
    }

    /// Kills the process, also one that is not yet born.
    pub fn doom(&self) {
        self.doomed.store(true, Ordering::Relaxed);
        for pidfd in self.main().iter().chain(self.pidfd.get()) {
            let _ = send_signal(pidfd, libc::SIGKILL);
        }
    }

    pub(super) fn is_doomed(&self) -> bool {
        self.doomed.load(Ordering::Relaxed)
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // What is still in it is the vassal's.
        if let Some(channel) = self.channel.take() {
            strays::abandon(channel);
        }
    }
}

/// By what a process and its network are found again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Traces {
    /// The first process of its tree.
    pub process: Process,
    /// Inode of its network namespace.
    pub netns: u64,
    /// Index of the tun inside.
    pub index: u32,
}
