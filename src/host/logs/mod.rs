//! Where vassals' output goes: files with rotation, the terminal behind the vassal's name, or the journal.
//!
//! A vassal writes into a pipe. A thread of its own takes what is there and hands it to the vassal's `Sink`, and others
//! write the files; so neither a flood of output nor a disk that hangs ever delays the emperor, nor one vassal's disk
//! another vassal: see `writing`. No buffer is kept for a vassal
//! that is silent, and one that writes more than others can only fill its pipe and wait. Files get the bytes
//! as they came; on a terminal every control character is shown as an escape, so that a vassal cannot move
//! the operator's cursor or recolour his screen. What nobody takes is dropped and counted: see `sink`.
//!
//! The pipe outlives the emperor: it is a FIFO in the run directory, one for each life, which the vassal holds
//! open for reading too. So a vassal whose emperor has died is not killed by SIGPIPE; what it writes waits in
//! the FIFO for the next emperor, and when that is full the vassal waits. Bytes are written to the file before
//! they are taken out of the FIFO (`tee(2)`), so a `kill -9` loses none of them and may at worst repeat the
//! chunk that was being written; only one that hung then is lost. Only what goes to the screen is cut into lines, and an unfinished line on its
//! way there is lost.

mod fifo;
mod hands;
mod journal;
mod logfile;
mod losses;
mod opening;
mod outlets;
mod pumping;
mod rotating;
mod sink;
pub mod stderr;
mod writing;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::unistd::pipe2;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::{JoinSet, LocalSet};
use tokio::time::timeout;

use crate::config::{Definition, Name};

use self::fifo::{Desk, Fifo};
use self::hands::Hands;
use self::losses::Dropped;
use self::opening::Openers;
pub use self::opening::Opening;
use self::outlets::Outlets;
use self::pumping::{Ways, pump, pump_hook};
use self::sink::Sink;
use self::writing::Writing;
use super::error::{Doing, HostError};
use super::pulse::Pulse;

/// How long the emperor waits until the thread stands still, which it does between two chunks.
const PAUSED_WITHIN: Duration = Duration::from_secs(1);
/// How long it waits at its end for what is still to be written.
const WRITTEN_WITHIN: Duration = Duration::from_secs(5);

/// Every vassal's output.
pub struct Logs {
    directory: PathBuf,
    screen: Screen,
    pulse: Arc<Pulse>,
    dropped: BTreeMap<Name, Dropped>,
    openers: Openers,
    /// How many sinks were made: one that is opened late is none the newer for it.
    made: u64,
    orders: Option<UnboundedSender<Order>>,
    /// Closed when the thread has ended.
    ended: Receiver<()>,
}

/// What the thread is told.
enum Order {
    /// Read this FIFO until its last writer is gone.
    Read(Name, Sink, Fifo),
    /// Read this pipe of one of the vassal's hooks; where nothing else of the vassal is read, to this sink, if there is one.
    Hook(Name, &'static str, OwnedFd, Option<Sink>),
    /// Write there from here on.
    Update(Name, Sink),
    /// The vassal is gone.
    Forget(Name),
    /// Stand still: say whether a disk lets you, and go on when told to.
    Pause(Sender<bool>, Receiver<()>),
    /// End at once; what is in the FIFOs is for another emperor.
    Leave,
}

/// How lines look on standard error.
#[derive(Debug, Clone, Copy)]
pub struct Screen {
    /// As JSON objects, one a line.
    pub json: bool,
    /// Standard error is a terminal: `file` is shown there as well.
    pub terminal: bool,
    /// Names in colour.
    pub colour: bool,
}

impl Screen {
    /// Looks at standard error and at `NO_COLOR`.
    pub fn detect(json: bool) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let colour = terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self {
            json,
            terminal,
            colour,
        }
    }
}

impl Logs {
    /// Log files lie in `directory`, which is made when the first is written. What is dropped stirs `pulse`.
    pub fn start(directory: PathBuf, screen: Screen, pulse: Arc<Pulse>) -> Result<Self, HostError> {
        let failed = |e: &std::io::Error| HostError::from_io(Doing::StartWorker, "the logs", e);
        let (orders, received) = unbounded_channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|e| failed(&e))?;
        let desk = Desk::new().map_err(|errno| failed(&errno.into()))?;
        let hands = Hands::new().map_err(|e| failed(&e))?;
        let (ends, ended) = channel::<()>();
        let work = move || {
            LocalSet::new().block_on(&runtime, keep(received, screen, desk, hands));
            drop(ends);
        };
        std::thread::Builder::new()
            .name("logs".to_owned())
            .spawn(work)
            .map_err(|e| failed(&e))?;
        Ok(Self {
            directory,
            screen,
            pulse,
            dropped: BTreeMap::new(),
            openers: Openers::new(),
            made: 0,
            orders: Some(orders),
            ended,
        })
    }

    /// Makes the FIFO of one life at `path`. What comes back is the vassal's end, and what is to be completed before the
    /// command runs: then it is read.
    pub fn open(&mut self, definition: &Definition, path: &Path) -> Result<(OwnedFd, Opening), HostError> {
        let fifo = Fifo::make(path)?;
        let theirs = fifo.end_of_vassal(definition)?;
        Ok((theirs, self.opening(definition, Some(fifo))))
    }

    /// Makes the pipe of one hook of a vassal, which is read as soon as its output is; its lines stand behind `hook MOMENT: `.
    pub fn open_hook(&self, name: &Name, moment: &'static str) -> Result<OwnedFd, HostError> {
        let (ours, theirs) = pipe_of_hook(name)?;
        self.order(Order::Hook(name.clone(), moment, ours, None));
        Ok(theirs)
    }

    /// The same for a vassal of which this may be the last output: it is read in any case.
    pub fn open_last_hook(
        &mut self,
        definition: &Definition,
        moment: &'static str,
    ) -> Result<OwnedFd, HostError> {
        let (ours, theirs) = pipe_of_hook(&definition.name)?;
        let sink = self.sink(definition);
        self.order(Order::Hook(definition.name.clone(), moment, ours, Some(sink)));
        Ok(theirs)
    }

    /// Goes on reading the FIFO of a life that began under another emperor. Where its output cannot go now, it goes
    /// later: it is read in any case, because the vassal would stand still when its pipe is full.
    pub fn adopt(&mut self, definition: &Definition, path: &Path) -> Result<(), HostError> {
        let fifo = Fifo::open(path)?;
        let sink = self.sink(definition);
        self.order(Order::Read(definition.name.clone(), sink, fifo));
        Ok(())
    }

    /// What is to be completed so that the `log` keys of the newest definition apply. Until then, and if it fails, output
    /// goes where it went.
    #[must_use]
    pub fn update(&mut self, definition: &Definition) -> Opening {
        self.opening(definition, None)
    }

    fn opening(&mut self, definition: &Definition, fifo: Option<Fifo>) -> Opening {
        Opening {
            name: definition.name.clone(),
            sink: self.sink(definition),
            fifo,
            openers: self.openers.clone(),
            orders: self.orders.as_ref().map(UnboundedSender::downgrade),
        }
    }

    /// The vassal is gone. What is still in its pipe is written all the same.
    pub fn forget(&mut self, name: &Name) {
        self.dropped.remove(name);
        self.order(Order::Forget(name.clone()));
    }

    /// Whether a file is being opened.
    pub fn are_opening(&self) -> bool {
        self.openers.are_busy()
    }

    /// Stands still until the answer is dropped: nothing is read that is not written. Absent if a disk keeps
    /// a thread from it.
    pub fn pause(&self) -> Option<Pause> {
        if self.are_opening() {
            return None;
        }
        let ((paused, is_paused), (go_on, wait)) = (channel(), channel());
        self.order(Order::Pause(paused, wait));
        match is_paused.recv_timeout(PAUSED_WITHIN) {
            // That the thread has ended is as good.
            Ok(true) | Err(RecvTimeoutError::Disconnected) => Some(Pause(go_on)),
            Ok(false) | Err(RecvTimeoutError::Timeout) => None,
        }
    }

    /// Waits until every line is written, or a disk has had its time. All vassals must be gone, and with them all
    /// writers.
    pub fn finish(mut self) {
        self.join();
    }

    fn join(&mut self) {
        if self.orders.take().is_some()
            && self.ended.recv_timeout(WRITTEN_WITHIN) == Err(RecvTimeoutError::Timeout)
        {
            let directory = self.directory.display();
            tracing::error!(%directory, "output of vassals is not written: the disk does not answer");
        }
    }

    /// Bytes of a vassal's output that were dropped, in all its lives.
    pub fn dropped(&self, name: &Name) -> u64 {
        self.dropped.get(name).map_or(0, Dropped::get)
    }

    /// So many were under an earlier emperor.
    pub fn resume(&mut self, name: &Name, bytes: u64) {
        self.counter(name).resume(bytes);
    }

    fn sink(&mut self, definition: &Definition) -> Sink {
        let dropped = self.counter(&definition.name);
        self.made += 1;
        Sink::new(definition, self.made, &self.directory, self.screen, &dropped)
    }

    fn counter(&mut self, name: &Name) -> Dropped {
        let dropped = self.dropped.entry(name.clone());
        let dropped = dropped.or_insert_with(|| Dropped::new(0, self.pulse.clone()));
        dropped.clone()
    }

    fn order(&self, order: Order) {
        if let Some(orders) = &self.orders {
            // The thread ends only after this sender.
            let _ = orders.send(order);
        }
    }
}

impl Drop for Logs {
    /// Ends without waiting for the writers, who go on under another emperor.
    fn drop(&mut self) {
        self.order(Order::Leave);
        self.join();
    }
}

/// Our end, which never waits, and the hook's.
fn pipe_of_hook(name: &Name) -> Result<(OwnedFd, OwnedFd), HostError> {
    let failed = |errno| HostError::new(Doing::OpenLog, name.as_str(), errno);
    let (ours, theirs) = pipe2(OFlag::O_CLOEXEC).map_err(failed)?;
    fcntl(&ours, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).map_err(failed)?;
    Ok((ours, theirs))
}

/// While this lives, the logs stand still.
pub struct Pause(#[allow(dead_code, reason = "its end is the message")] Sender<()>);

/// The thread: one task a pipe, until the emperor ends and the last pipe is empty.
async fn keep(mut orders: UnboundedReceiver<Order>, screen: Screen, desk: Desk, hands: Hands) {
    let writing = Rc::new(Writing::new(hands));
    let mut tasks = Tasks {
        ways: Rc::new(Ways {
            desk,
            outlets: Outlets::new(screen),
            writing: writing.clone(),
        }),
        sinks: BTreeMap::new(),
        early: BTreeMap::new(),
        pumps: JoinSet::new(),
    };
    while let Some(order) = orders.recv().await {
        match order {
            Order::Read(name, sink, fifo) => tasks.read(name, sink, fifo),
            Order::Hook(name, moment, pipe, sink) => tasks.hook(name, moment, pipe, sink),
            Order::Update(name, sink) => {
                if let Some(shared) = tasks.sinks.get(&name) {
                    shared.borrow_mut().become_like(sink);
                }
            }
            Order::Forget(name) => {
                tasks.sinks.remove(&name);
                tasks.early.remove(&name);
            }
            Order::Pause(paused, go_on) => {
                // Every pump is a task of this thread, and so stands between two chunks.
                let still = timeout(PAUSED_WITHIN, writing.still()).await;
                let stands = still.is_ok() && !writing.hangs();
                if paused.send(stands).is_ok() && stands {
                    let _ = go_on.recv();
                }
            }
            Order::Leave => {
                // Neither is a chunk torn nor will it be there twice, if the disk answers.
                let _ = timeout(PAUSED_WITHIN, writing.still()).await;
                return;
            }
        }
        while tasks.pumps.try_join_next().is_some() {}
    }
    while tasks.pumps.join_next().await.is_some() {}
    writing.all_back().await;
}

/// What the thread does at one time.
struct Tasks {
    ways: Rc<Ways>,
    sinks: BTreeMap<Name, Rc<RefCell<Sink>>>,
    /// Hooks of a vassal whose output is not read yet.
    early: BTreeMap<Name, Vec<(&'static str, OwnedFd)>>,
    pumps: JoinSet<()>,
}

impl Tasks {
    fn read(&mut self, name: Name, sink: Sink, fifo: Fifo) {
        let shared = match self.sinks.get(&name) {
            Some(shared) => {
                shared.borrow_mut().become_like(sink);
                shared.clone()
            }
            None => self
                .sinks
                .entry(name.clone())
                .or_insert(Rc::new(RefCell::new(sink)))
                .clone(),
        };
        for (moment, pipe) in self.early.remove(&name).unwrap_or_default() {
            let ways = self.ways.clone();
            self.pumps
                .spawn_local(pump_hook(moment, pipe, shared.clone(), ways));
        }
        self.pumps.spawn_local(pump(fifo, shared, self.ways.clone()));
    }

    fn hook(&mut self, name: Name, moment: &'static str, pipe: OwnedFd, sink: Option<Sink>) {
        if let (Some(sink), false) = (sink, self.sinks.contains_key(&name)) {
            self.sinks.insert(name.clone(), Rc::new(RefCell::new(sink)));
        }
        match self.sinks.get(&name) {
            Some(shared) => {
                let (shared, ways) = (shared.clone(), self.ways.clone());
                self.pumps.spawn_local(pump_hook(moment, pipe, shared, ways));
            }
            None => self.early.entry(name).or_default().push((moment, pipe)),
        }
    }
}
