//! Runs the operator's programs when something happens to a vassal (`hooks`).
//!
//! A hook runs as the emperor and in its namespaces, beside the emperor's own work: nobody but its own vassal
//! ever waits for it, and that no longer than its timeout, when it is killed with all that is left in its process
//! group. The hooks of one vassal run one after the other, over the lives of the vassal too, so that what one
//! `post_stop` takes back is gone before the next `pre_start` makes it anew. A `post_stop` that the end of its emperor cuts
//! short is called again by the next one: see `owed`.

mod facts;
mod owed;

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::process::{Child, Command};
use tokio::sync::Mutex;
use tokio::task::JoinSet;

use crate::config::definition::Hook;
use crate::config::{Definition, Name};

use crate::sys::process::lower_open_files_of;
use crate::sys::readiness::readable;

use super::error::HostError;
use super::init::OURSELVES;
use super::notes::{self, Note};
use super::search::end;

pub use self::facts::Facts;
use self::facts::environment;
use self::owed::Ledger;
pub(super) use self::owed::{Entry, Owed};

/// When a hook runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// The network is ready, the command waits.
    PreStart,
    /// The command runs.
    PostStart,
    /// It is about to be asked to end.
    PreStop,
    /// It has ended.
    PostStop,
}

impl Moment {
    /// Its key in a definition.
    pub fn word(self) -> &'static str {
        match self {
            Self::PreStart => "pre_start",
            Self::PostStart => "post_start",
            Self::PreStop => "pre_stop",
            Self::PostStop => "post_stop",
        }
    }

    /// What a definition wants to be run then.
    pub fn of(self, definition: &Definition) -> Option<&Hook> {
        let hooks = &definition.hooks;
        match self {
            Self::PreStart => hooks.pre_start.as_ref(),
            Self::PostStart => hooks.post_start.as_ref(),
            Self::PreStop => hooks.pre_stop.as_ref(),
            Self::PostStop => hooks.post_stop.as_ref(),
        }
    }
}

/// One at a time.
#[derive(Debug, Clone)]
pub struct Line {
    turn: Arc<Mutex<()>>,
    nofile: Option<u64>,
    /// Says which process runs now, to an emperor that comes after a crash.
    note: PathBuf,
    /// Of all hooks: those that run or wait for their turn.
    calls: Arc<AtomicUsize>,
}

impl Line {
    /// Whether a call has it, or is being prepared.
    fn is_busy(&self) -> bool {
        Arc::strong_count(&self.turn) > 1
    }
}

/// A call counts while this lives.
struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn new(calls: &Arc<AtomicUsize>) -> Self {
        calls.fetch_add(1, Ordering::Relaxed);
        Self(calls.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// All hooks.
pub struct Hooks {
    lines: BTreeMap<Name, Line>,
    /// Those of the lines whose vassal is gone, and whose hooks are not.
    gone: BTreeSet<Name>,
    running: JoinSet<()>,
    nofile: Option<u64>,
    notes: PathBuf,
    ledger: Ledger,
    calls: Arc<AtomicUsize>,
}

impl Hooks {
    /// None runs yet. `nofile` is the soft limit of open descriptors that they get; in the directory `run` it is written
    /// down which of them run, and which are owed.
    pub fn new(nofile: Option<u64>, run: &Path) -> Self {
        Self {
            lines: BTreeMap::new(),
            gone: BTreeSet::new(),
            running: JoinSet::new(),
            nofile,
            notes: run.join("hooks"),
            ledger: Ledger::open(run.join("owed")),
            calls: Arc::default(),
        }
    }

    /// Kills what an earlier emperor left of its hooks: its own run anew, and never two at a time.
    pub async fn end_earlier(&self) {
        for note in std::fs::read_dir(&self.notes).into_iter().flatten().flatten() {
            let path = note.path();
            if let Some((process, pidfd)) =
                notes::read(&path).and_then(|process| Some((process, process.open()?)))
            {
                tracing::warn!(pid = process.pid, hook = %path.display(), "a hook of an earlier emperor is killed");
                i32::try_from(process.pid).into_iter().for_each(kill_group);
                end(&Arc::new(pidfd)).await;
            }
            let _ = std::fs::remove_file(&path);
        }
    }

    /// Writes down that the `post_stop` of a life is to be called, before anything else says that the life is over.
    pub(super) fn owe(&mut self, owed: &Owed) -> Result<Entry, HostError> {
        self.ledger.enter(owed)
    }

    /// The calls that an earlier emperor owed, in their order.
    pub(super) fn owed_by_earlier(&mut self, boot: &str) -> Vec<(Entry, Owed)> {
        self.ledger.take_earlier(boot)
    }

    /// Where the hooks of a vassal queue.
    pub fn line(&mut self, name: &Name) -> Line {
        self.gone.remove(name);
        let (nofile, note) = (self.nofile, self.notes.join(format!("{name}.stat")));
        let line = || Line {
            turn: Arc::default(),
            nofile,
            note,
            calls: self.calls.clone(),
        };
        self.lines.entry(name.clone()).or_insert_with(line).clone()
    }

    /// Runs `call`, whose failure is only logged, then `after`.
    pub fn start(&mut self, mut call: Call, after: impl FnOnce() + Send + 'static) {
        while self.running.try_join_next().is_some() {}
        self.running.spawn(async move {
            let (name, entry) = (call.name.clone(), call.entry.take());
            if let Err(why) = call.run().await {
                tracing::error!(%name, "{why}");
            }
            entry.into_iter().for_each(Entry::strike);
            after();
        });
    }

    /// The vassal is gone; hooks that still run for it go on, and whoever has its name next waits for them.
    pub fn forget(&mut self, name: &Name) {
        self.gone.insert(name.clone());
        let lines = &mut self.lines;
        self.gone.retain(|name| {
            let is_busy = lines.get(name).is_some_and(Line::is_busy);
            if !is_busy {
                lines.remove(name);
            }
            is_busy
        });
    }

    /// Whether one runs or waits for its turn.
    pub fn are_busy(&self) -> bool {
        self.calls.load(Ordering::Relaxed) > 0
    }

    /// Resolves when one of those that were started has ended; never, if none runs.
    pub async fn one_ended(&mut self) {
        if self.running.join_next().await.is_none() {
            std::future::pending().await
        }
    }

    /// Kills those that were started; a `post_stop` among them is owed to its vassal by the next emperor.
    pub fn abort(&mut self) {
        self.running.abort_all();
    }
}

/// One hook, ready to run.
pub struct Call {
    name: Name,
    moment: Moment,
    hook: Hook,
    environment: Vec<(&'static str, String)>,
    output: OwnedFd,
    line: Line,
    only_while: Option<Arc<OwnedFd>>,
    entry: Option<Entry>,
    _counted: Counted,
}

impl Call {
    /// Prepares the hook of `moment`; its output goes to `output`.
    pub fn new(moment: Moment, hook: &Hook, facts: &Facts<'_>, output: OwnedFd, line: Line) -> Self {
        Self {
            name: facts.definition.name.clone(),
            moment,
            hook: hook.clone(),
            environment: environment(moment, facts),
            output,
            _counted: Counted::new(&line.calls),
            line,
            only_while: None,
            entry: None,
        }
    }

    /// It is written down in `entry` until it has ended.
    #[must_use]
    pub(super) fn owed(self, entry: Option<Entry>) -> Self {
        Self { entry, ..self }
    }

    /// The hook is of no use without the process of `pidfd`, and ends with it.
    #[must_use]
    pub fn only_while(self, pidfd: Option<Arc<OwnedFd>>) -> Self {
        Self {
            only_while: pidfd,
            ..self
        }
    }

    /// Runs it to its end, or until its time is up.
    ///
    /// # Errors
    /// The sentence says how it failed. Dropped before its end, the hook is killed.
    pub async fn run(mut self) -> Result<(), String> {
        let Some(pidfd) = self.only_while.take() else {
            return self.carry_out().await;
        };
        let why = format!(
            "hook {}: the vassal's process ended before it",
            self.moment.word()
        );
        // A descriptor has one place in the event queue, and the life's own is taken.
        let ended = pidfd.try_clone().and_then(|pidfd| readable(Arc::new(pidfd)));
        let ended = ended.map_err(|error| format!("hook {}: {error}", self.moment.word()))?;
        tokio::select! {
            result = self.carry_out() => result,
            _ = ended.readable() => Err(why),
        }
    }

    async fn carry_out(self) -> Result<(), String> {
        let _turn = self.line.turn.lock().await;
        let moment = self.moment.word();
        let program = self.hook.command.first().map_or("", String::as_str);
        let failed = |error: std::io::Error| format!("hook {moment} {program}: {error}");
        let errors = self.output.try_clone().map_err(failed)?;
        let mut command = command(&self.hook, self.environment, self.output, errors);
        if let Some(nofile) = self.line.nofile {
            lower_open_files_of(command.as_std_mut(), nofile);
        }
        // It outlives what it names.
        let (note, opened) = Note::of(&self.line.note, command.as_std_mut());
        let mut group = Group(command.spawn().map_err(failed)?);
        let written = group.0.id().map_or(opened, |pid| note.complete(pid));
        if let Err(error) = written {
            tracing::error!(name = %self.name, "{error}; after a crash nobody would end this hook");
        }
        match tokio::time::timeout(self.hook.timeout, group.0.wait()).await {
            Ok(Ok(status)) if status.success() => Ok(()),
            Ok(Ok(status)) => Err(format!("hook {moment} {program}: {status}")),
            Ok(Err(error)) => Err(failed(error)),
            Err(_) => Err(format!(
                "hook {moment} {program} took longer than {:?} and was killed",
                self.hook.timeout
            )),
        }
    }
}

/// A hook and what it started in its process group; dropped, all of it is killed.
struct Group(Child);

impl Drop for Group {
    fn drop(&mut self) {
        // Absent once it was waited for; then its number may be somebody else's.
        if let Some(id) = self.0.id().and_then(|id| i32::try_from(id).ok()) {
            kill_group(id);
        }
    }
}

fn kill_group(id: i32) {
    // ESRCH: nothing is left of it.
    let _ = killpg(Pid::from_raw(id), Signal::SIGKILL);
}

fn command(
    hook: &Hook,
    environment: Vec<(&'static str, String)>,
    output: OwnedFd,
    errors: OwnedFd,
) -> Command {
    let (program, arguments) = hook
        .command
        .split_first()
        .map_or(("", &[][..]), |(p, a)| (p.as_str(), a));
    let mut command = if program == OURSELVES {
        // Wherever it lies.
        Command::new("/proc/self/exe")
    } else {
        Command::new(program)
    };
    command
        .args(arguments)
        .env_clear()
        .envs(environment)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(output)
        .stderr(errors)
        .process_group(0)
        .kill_on_drop(true);
    command
}

#[cfg(test)]
mod tests;
