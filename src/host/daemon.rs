//! The emperor's process: one loop that waits, tells the pure rooms what happened, and does what they say.
//!
//! Everything here runs on one thread and one tokio runtime; births are tasks of it, packets are not its
//! business. The loop's arms are the whole list of what can happen to an emperor.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::{Semaphore, mpsc};

use crate::config::{Name, Problem, Settings};
use crate::emperor::addresses::{AddressBook, Remembered};
use crate::emperor::patience::Patience;
use crate::emperor::state::{Fault, Life};
use crate::emperor::{Emperor, Event, Word};
use crate::router::{Fabric, GlobalPolicy, PortId, Traffic};

use super::dialogue::{Probing, Spoken};
use super::error::HostError;
use super::facts::Facts;
use super::life::{BIRTHS_AT_ONCE, Handle, Herald, News};
use super::logs::{Logs, Screen};
use super::rootless::Station;
use super::selftest;
use super::signals::{Signals, Wanted};
use super::spawn::Cradle;
use super::state::StateFiles;
use super::uplink::Uplink;
use super::watch::Watch;
use super::workers::{DeviceLost, Workers};

/// A life and what the daemon holds of it.
pub(super) struct Alive {
    pub(super) name: Name,
    pub(super) handle: Arc<Handle>,
    pub(super) spoken: Spoken,
    pub(super) probe: Option<Probing>,
    pub(super) pid: u32,
    pub(super) netns: u64,
    pub(super) port: Option<PortId>,
}

/// The emperor's process.
pub struct Daemon {
    pub(super) settings: Settings,
    pub(super) facts: Facts,
    pub(super) emperor: Emperor,
    pub(super) watch: Watch,
    pub(super) problems: BTreeMap<PathBuf, Vec<Problem>>,
    pub(super) lives: BTreeMap<Life, Alive>,
    pub(super) totals: BTreeMap<Name, Traffic>,
    pub(super) fabric: Fabric,
    pub(super) workers: Workers,
    pub(super) uplink: Uplink,
    pub(super) logs: Logs,
    pub(super) state: StateFiles,
    pub(super) remembered: Remembered,
    pub(super) cradle: Arc<Cradle>,
    pub(super) turn: Arc<Semaphore>,
    pub(super) herald: Herald,
    news: mpsc::UnboundedReceiver<(Name, Life, News)>,
    lost: mpsc::UnboundedReceiver<DeviceLost>,
    signals: Signals,
    patience: Patience,
    stopping: bool,
}

impl Daemon {
    /// Takes the lock, starts the router and the uplink. Nothing is left behind if any of it fails.
    pub async fn start(mut settings: Settings, station: Station, screen: Screen) -> Result<Self, HostError> {
        // A writer that waits for a lease of ours makes the kernel tell us so.
        super::signals::ignore_lease_breaks()?;
        let signals = Signals::listen()?;
        let state = StateFiles::open(&settings.run_directory, &settings.state_directory)?;
        let remembered = state.remembered()?;
        let (herald, news) = mpsc::unbounded_channel();
        let (lost_sender, lost) = mpsc::unbounded_channel();
        let count = settings.router.workers.map_or_else(default_workers, usize::from);
        let policy = GlobalPolicy {
            out: settings.firewall_out.clone(),
            in_: settings.firewall_in.clone(),
            isolate: settings.router.isolate,
        };
        settings.router.offload = selftest::decide(settings.router.offload).await?;
        let mut fabric = Fabric::new(&settings.router.addresses, policy, count);
        let mut workers = Workers::start(count, settings.router.engine, fabric.tables(), &lost_sender)?;
        let uplink = Uplink::start(&settings, station, &mut fabric, &mut workers).await?;
        let book = AddressBook::new(remembered.clone());
        Ok(Self {
            facts: Facts {
                identities: station.identities(),
            },
            emperor: Emperor::new(settings.router.addresses.clone(), book),
            watch: Watch::new(settings.vassals.clone()),
            problems: BTreeMap::new(),
            lives: BTreeMap::new(),
            totals: BTreeMap::new(),
            fabric,
            workers,
            uplink,
            logs: Logs::start(settings.log_directory.clone(), screen)?,
            state,
            remembered,
            cradle: Arc::new(Cradle::new()?),
            turn: Arc::new(Semaphore::new(BIRTHS_AT_ONCE)),
            herald,
            news,
            lost,
            signals,
            patience: Patience::default(),
            stopping: false,
            settings,
        })
    }

    /// Reigns until a signal says stop and the last vassal is gone.
    pub async fn reign(mut self) -> Result<(), HostError> {
        self.look();
        let (vassals, problems) = (self.emperor.vassals().len(), self.problems.len());
        tracing::info!(vassals, problems, "emperor ready");
        while !self.emperor.is_done() {
            let due = self.emperor.deadline().map(|due| self.patience.until(due));
            let wake = [due, self.watch.deadline()].into_iter().flatten().min();
            let changed = self.watch.changed();
            tokio::select! {
                Some((name, life, news)) = self.news.recv() => self.hear(name, life, news),
                Some(lost) = self.lost.recv() => self.device_lost(lost),
                () = changed => self.look(),
                () = sleep_until(wake) => self.deadline(),
                wanted = self.signals.next() => self.obey(wanted),
            }
        }
        self.uplink.stop()?;
        tracing::info!("emperor stopped");
        Ok(())
    }

    /// Tells the emperor, and does what it says.
    pub(super) fn tell(&mut self, event: Event) {
        let mut todo = Vec::new();
        self.emperor.handle(event, Instant::now(), chance(), &mut todo);
        for action in todo {
            self.perform(action);
        }
        self.remember();
    }

    fn deadline(&mut self) {
        let now = Instant::now();
        let due = self.emperor.deadline();
        if due.is_some_and(|due| self.patience.is_over(due, now)) {
            self.tell(Event::Deadline);
        }
        if self.watch.deadline().is_some_and(|at| at <= now) {
            self.look();
        }
    }

    fn obey(&mut self, wanted: Wanted) {
        match wanted {
            Wanted::Stop if self.stopping => {
                tracing::warn!("asked again to stop: killing what is left");
                self.tell(Event::Hurry);
            }
            Wanted::Stop => {
                tracing::info!(vassals = self.lives.len(), "stopping");
                self.stopping = true;
                self.tell(Event::StopAll);
            }
            Wanted::Look => self.look(),
            Wanted::Reload => {
                self.look();
                self.tell(Event::Reload);
            }
            Wanted::TryNow => self.tell(Event::TryNow),
            Wanted::Status => self.log_status(),
        }
    }

    /// Reads what changed in the directories; a reign that ends looks no more.
    fn look(&mut self) {
        if !self.stopping {
            self.deploy();
        }
    }

    fn device_lost(&mut self, lost: DeviceLost) {
        let errno = lost.errno.desc();
        if lost.port == self.uplink.port() {
            let device = &self.settings.router.device;
            tracing::error!(
                device,
                errno,
                "the uplink was taken away: vassals are cut off from the host until a restart"
            );
        }
        let life = self.lives.iter().find(|(_, alive)| alive.port == Some(lost.port));
        let Some((&life, alive)) = life else { return };
        tracing::debug!(name = %alive.name, errno, "its tun ends");
        let name = alive.name.clone();
        let word = Word::Fault(Fault::DeviceLost);
        self.tell(Event::Says { name, life, word });
    }

    fn remember(&mut self) {
        let book = self.emperor.book().remembered();
        if *book == self.remembered {
            return;
        }
        match self.state.remember(book) {
            Ok(()) => self.remembered = book.clone(),
            Err(error) => tracing::error!("{error}; addresses may change after a restart"),
        }
    }

    /// Traffic of a vassal over all its lives.
    pub(super) fn traffic_of(&self, name: &Name) -> Traffic {
        let mut sum = self.totals.get(name).cloned().unwrap_or_default();
        let ports = self
            .lives
            .values()
            .filter(|alive| alive.name == *name)
            .filter_map(|alive| alive.port);
        for port in ports {
            if let Some(traffic) = self.fabric.traffic(port) {
                sum.add(&traffic);
            }
        }
        sum
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

/// A random number; std's hasher keys are random.
fn chance() -> u64 {
    RandomState::new().build_hasher().finish()
}

fn default_workers() -> usize {
    std::thread::available_parallelism()
        .map_or(1, usize::from)
        .min(64)
}
