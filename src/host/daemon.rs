//! The emperor's process: one loop that waits, tells the pure rooms what happened, and does what they say.
//!
//! Everything here runs on one thread and one tokio runtime; births are tasks of it, packets are not its
//! business. The loop's arms are the whole list of what can happen to an emperor.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use ipnet::IpNet;
use tokio::sync::{Semaphore, mpsc};

use crate::config::settings::{Offload, OnExit};
use crate::config::{Definition, Name, Problem, Settings};
use crate::emperor::addresses::{AddressBook, Remembered};
use crate::emperor::patience::Patience;
use crate::emperor::state::{Fault, Life};
use crate::emperor::{Emperor, Event, Word};
use crate::router::{Fabric, GlobalPolicy, PortId, Traffic};

use super::birth::BIRTHS_AT_ONCE;
use super::bookkeeping::{Counters, Total, Unwritten};
use super::demand::{self, Demands};
use super::dialogue::{Probing, Spoken};
use super::error::HostError;
use super::facts::Facts;
use super::hooks::Hooks;
use super::life::{Handle, Herald, News, Traces};
use super::limits;
use super::logs::{Logs, Screen};
use super::process;
use super::scouts::Cautious;
use super::selftest;
use super::service::Service;
use super::signals::{Signals, Wanted};
use super::spawn::Cradle;
use super::state::StateFiles;
use super::succession::{Standstill, births_stand_still};
use super::upgrade::{Image, Inherited};
use super::uplink::Uplink;
use super::vigil::Vigil;
use super::watch::Watch;
use super::workers::{Device, DeviceLost, Report, Workers};

/// A life and what the daemon holds of it.
pub(super) struct Alive {
    pub(super) name: Name,
    pub(super) handle: Arc<Handle>,
    /// The definition that it was started from, with whatever was live since.
    pub(super) under: Arc<Definition>,
    /// Bound to it.
    pub(super) addresses: Vec<IpNet>,
    /// Absent until its network is ready.
    pub(super) traces: Option<Traces>,
    /// When the command's first instruction ran.
    pub(super) born: Option<Instant>,
    /// The cgroup of its tree, if it has one.
    pub(super) tree: Option<PathBuf>,
    pub(super) spoken: Spoken,
    pub(super) probe: Option<Probing>,
    pub(super) port: Option<PortId>,
    /// Who looks after its interface, if it can change that.
    pub(super) vigil: Option<Vigil>,
    /// It got as far as its hooks, and its `post_stop` is not yet written down as owed.
    pub(super) owes: bool,
    /// Its `post_start` was called.
    pub(super) started: bool,
    /// Its `pre_stop` was called, by whichever emperor.
    pub(super) pre_stop: bool,
    /// The counters of its port, and bytes of its output that were dropped, as they were written down last.
    pub(super) written: (Traffic, u64),
}

/// The emperor's process.
pub struct Daemon {
    pub(super) settings: Settings,
    pub(super) facts: Cautious,
    pub(super) emperor: Emperor,
    pub(super) watch: Watch,
    pub(super) problems: BTreeMap<PathBuf, Vec<Problem>>,
    pub(super) lives: BTreeMap<Life, Alive>,
    pub(super) totals: BTreeMap<Name, Total>,
    pub(super) fabric: Fabric,
    pub(super) workers: Workers,
    pub(super) uplink: Uplink,
    pub(super) logs: Logs,
    pub(super) state: StateFiles,
    pub(super) remembered: Remembered,
    pub(super) cradle: Arc<Cradle>,
    pub(super) turn: Arc<Semaphore>,
    pub(super) herald: Herald,
    pub(super) news: mpsc::UnboundedReceiver<(Name, Life, News)>,
    pub(super) hooks: Hooks,
    pub(super) demands: Demands,
    reports: mpsc::UnboundedReceiver<Report>,
    pub(super) signals: Signals,
    /// Vassals whose records are old.
    pub(super) stale: BTreeSet<Name>,
    /// What the operator was told cannot be written down.
    pub(super) unwritten: Unwritten,
    pub(super) counters: Counters,
    pub(super) boot: String,
    pub(super) image: Image,
    pub(super) service: Service,
    pub(super) standstill: Option<Standstill>,
    pub(super) report: mpsc::UnboundedSender<Report>,
    patience: Patience,
    /// How this reign ends, once that is wanted.
    pub(super) end: Option<EndOfReign>,
}

/// How a reign ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EndOfReign {
    /// When every vassal has been stopped.
    Stop,
    /// When nothing is under way; the vassals are left to another emperor.
    Leave,
    /// The same, but at once.
    LeaveNow,
}

impl Daemon {
    /// Takes the lock, starts the router and the uplink, and goes on with the vassals of an earlier emperor. Nothing
    /// is left behind if any of it fails, but those and the uplink that they had.
    pub async fn start(
        mut settings: Settings,
        image: Image,
        mut inherited: Inherited,
        screen: Screen,
    ) -> Result<Self, HostError> {
        // A writer that waits for a lease of ours makes the kernel tell us so.
        super::signals::ignore_lease_breaks()?;
        let signals = Signals::listen()?;
        let (run, lock) = (&settings.run_directory, inherited.lock.take());
        let state = StateFiles::open(run, &settings.state_directory, lock)?;
        let remembered = state.remembered()?;
        let ((herald, news), (report, reports)) = (mpsc::unbounded_channel(), mpsc::unbounded_channel());
        settings.router.offload = offload(settings.router.offload, &state).await?;
        let (mut fabric, mut workers) = router(&settings, &report)?;
        let left = (&state, inherited.uplink.take());
        let uplink = Uplink::start(&settings, image.station, left, &mut fabric, &mut workers).await?;
        let (book, pulse) = (AddressBook::new(remembered.clone()), workers.pulse().clone());
        let mut daemon = Self {
            facts: Cautious::new(Facts {
                identities: image.station.identities(),
            }),
            emperor: Emperor::new(settings.router.addresses.clone(), book),
            watch: Watch::new(settings.vassals.clone()).by_owner(settings.run_as_owner),
            problems: BTreeMap::new(),
            lives: BTreeMap::new(),
            totals: BTreeMap::new(),
            fabric,
            workers,
            uplink,
            logs: Logs::start(settings.log_directory.clone(), screen, pulse)?,
            state,
            remembered,
            cradle: Arc::new(Cradle::new(image.nofile)?),
            turn: Arc::new(Semaphore::new(BIRTHS_AT_ONCE)),
            herald,
            hooks: Hooks::new(image.nofile, &settings.run_directory),
            demands: Demands::new(settings.run_directory.join("sockets")),
            news,
            reports,
            signals,
            stale: BTreeSet::new(),
            unwritten: Unwritten::default(),
            counters: Counters::Written,
            boot: process::boot(),
            image,
            service: Service::detect(Instant::now()),
            standstill: None,
            report,
            patience: Patience::default(),
            end: None,
            settings,
        };
        daemon.adopt(&mut inherited).await?;
        Ok(daemon)
    }

    /// Reigns until a signal says stop and the last vassal is gone, or until the vassals are left to another emperor.
    pub async fn reign(mut self) -> Result<(), HostError> {
        self.look();
        self.become_ready()?;
        while !self.is_over() {
            self.turn().await;
        }
        match self.end {
            Some(EndOfReign::Leave | EndOfReign::LeaveNow) => self.leave(),
            Some(EndOfReign::Stop) | None => {
                self.demands.finish(demand::PATIENCE);
                self.uplink.stop()?;
                limits::trees::withdraw();
                self.logs.finish();
            }
        }
        tracing::info!("emperor stopped");
        Ok(())
    }

    /// Also at the end every hook has its time.
    fn is_over(&mut self) -> bool {
        match self.end {
            Some(EndOfReign::LeaveNow) => true,
            Some(EndOfReign::Leave) => self.stands_still(),
            Some(EndOfReign::Stop) | None => {
                self.emperor.is_done() && self.lives.is_empty() && !self.hooks.are_busy()
            }
        }
    }

    /// Waits until something happens, and deals with it.
    async fn turn(&mut self) {
        let now = Instant::now();
        let due = self.emperor.deadline().map(|due| self.patience.until(due));
        let wake = [
            due,
            self.watch.deadline(),
            self.demands.deadline(),
            self.counters.deadline(now),
            self.workers.deadline(),
            self.service.deadline(),
            self.standstill.as_ref().and_then(Standstill::deadline),
        ];
        let wake = wake.into_iter().flatten().min();
        let changed = self.watch.changed();
        let pulse = self.workers.pulse().clone();
        tokio::select! {
            Some((name, life, news)) = self.news.recv() => self.hear(name, life, news),
            Some(report) = self.reports.recv() => match report {
                Report::Lost(lost) => self.device_lost(lost),
                Report::Wanted(port) => self.wanted(port),
                Report::Released(release) => self.workers.released(release),
                Report::Kept(release) => self.workers.kept(release),
            },
            call = self.demands.next() => self.demanded(call),
            () = changed => self.look(),
            () = pulse.stirred() => self.stirred(Instant::now()),
            () = births_stand_still(&mut self.standstill) => {}
            () = self.hooks.one_ended() => {}
            () = sleep_until(wake) => self.deadline(),
            wanted = self.signals.next() => self.obey(wanted),
        }
        if self.end.is_none() && self.stands_still() {
            self.relieve();
        }
        self.show_status();
    }

    /// Tells the emperor, and does what it says; and tells it what of that could not be done.
    pub(super) fn tell(&mut self, event: Event) {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            let mut todo = Vec::new();
            self.record_of_event(&event);
            self.emperor.handle(event, Instant::now(), chance(), &mut todo);
            for action in todo {
                self.record_of_action(&action);
                events.extend(self.perform(action));
            }
        }
        self.remember();
        self.save();
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
        if self.demands.deadline().is_some_and(|at| at <= now) {
            self.look_after_demands();
        }
        self.write_counters(now);
        self.workers.balance(now, Device::work);
        self.service
            .turn(now, self.workers.pulse(), || self.workers.poke());
    }

    fn obey(&mut self, wanted: Wanted) {
        match wanted {
            Wanted::End | Wanted::Stop if self.end == Some(EndOfReign::Stop) => self.hurry(),
            Wanted::End if self.end == Some(EndOfReign::Leave) => {
                tracing::warn!("asked again to end: leaving at once; hooks that still run are killed");
                self.end = Some(EndOfReign::LeaveNow);
            }
            Wanted::End if self.settings.on_exit == OnExit::Keep && !self.emperor.vassals().is_empty() => {
                self.service.stopping();
                self.end = Some(EndOfReign::Leave);
                self.leave_soon();
            }
            Wanted::End | Wanted::Stop => {
                self.service.stopping();
                tracing::info!(vassals = self.lives.len(), "stopping");
                self.end = Some(EndOfReign::Stop);
                self.call_off_upgrade();
                self.tell(Event::StopAll);
            }
            Wanted::Look => self.look(),
            Wanted::Reload => {
                self.service.reloading();
                self.look();
                self.tell(Event::Reload);
                self.service.ready();
            }
            Wanted::Upgrade => self.upgrade(),
            Wanted::TryNow => self.tell(Event::TryNow),
            Wanted::Status => self.log_status(),
        }
    }

    fn hurry(&mut self) {
        if self.lives.is_empty() {
            tracing::warn!("asked again to stop: killing the hooks that still run");
            self.hooks.abort();
        } else {
            tracing::warn!("asked again to stop: killing what is left");
            self.tell(Event::Hurry);
        }
    }

    /// Reads what changed in the directories; a reign that ends looks no more.
    fn look(&mut self) {
        if self.end.is_none() {
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
}

/// The router without a port.
fn router(
    settings: &Settings,
    report: &mpsc::UnboundedSender<Report>,
) -> Result<(Fabric, Workers), HostError> {
    let router = &settings.router;
    let count = router.workers.map_or_else(default_workers, usize::from);
    let policy = GlobalPolicy {
        out: settings.firewall_out.clone(),
        in_: settings.firewall_in.clone(),
        isolate: router.isolate,
    };
    let mut fabric = Fabric::new(&router.addresses, policy, count);
    let workers = Workers::start(count, router.engine, fabric.tables(), report)?;
    Ok((fabric, workers))
}

/// Which offloads to use; the kernel is asked once a boot.
async fn offload(wish: Offload, state: &StateFiles) -> Result<Offload, HostError> {
    if let Some(decided) = state.tested(wish) {
        return Ok(decided);
    }
    let decided = selftest::decide(wish).await?;
    state.record_tested(wish, decided)?;
    Ok(decided)
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

/// A random number; std's hasher keys are random.
pub(super) fn chance() -> u64 {
    RandomState::new().build_hasher().finish()
}

fn default_workers() -> usize {
    std::thread::available_parallelism()
        .map_or(1, usize::from)
        .min(64)
}
