//! `mini-emperor upgrade`: puts this binary in the place of the running emperor.

use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;
use nix::fcntl::{Flock, FlockArg};

use super::complain;
use super::run::settings_of;
use crate::config::Settings;
use crate::host::process::{self, Process};
use crate::host::upgrade::{self, Ready, Request};

/// How often the answer is looked for.
const LOOK: Duration = Duration::from_millis(10);

/// What `upgrade` was asked for.
#[derive(Debug, Args)]
pub struct Upgrade {
    /// The settings of the running emperor [default: /etc/mini-emperor/emperor.yaml if it exists]
    #[arg(long, value_name = "FILE", env = "MINI_EMPEROR_CONFIG")]
    config: Option<PathBuf>,
    /// How long the new emperor may take to be ready
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    timeout: u64,
}

/// Asks for it and waits for the outcome.
pub fn run(wish: &Upgrade) -> ExitCode {
    let Some(settings) = settings_of(wish.config.as_deref()) else {
        return ExitCode::FAILURE;
    };
    match put_in_place(&settings, Duration::from_secs(wish.timeout)) {
        Ok(ready) => {
            let text = format!(
                "emperor {} is {} {} now\n",
                ready.pid,
                ready.binary.display(),
                ready.version
            );
            // Nobody may be listening any more; the upgrade is done all the same.
            let _ = anstream::stdout().write_all(text.as_bytes());
            ExitCode::SUCCESS
        }
        Err(why) => complain::fatal(&why),
    }
}

fn put_in_place(settings: &Settings, limit: Duration) -> Result<Ready, String> {
    let run = settings.run_directory.as_path();
    let (before, pidfd) = running(run)?;
    let binary = own_binary()?;
    let request = Request {
        binary,
        refused: None,
    };
    // Said here as well, where the operator is.
    request.open()?;
    request.write(run).map_err(|error| error.to_string())?;
    upgrade::ask(&pidfd).map_err(|errno| format!("asking the emperor: {}", errno.desc()))?;
    let answer = wait(run, &before, &pidfd, limit);
    // Whatever the outcome, nothing is asked any more.
    let _ = std::fs::remove_file(Request::path(run));
    answer
}

/// The emperor that holds the run directory and is ready.
fn running(run: &Path) -> Result<(Ready, OwnedFd), String> {
    let path = run.join("lock");
    let nobody = || format!("no emperor runs on {}", run.display());
    let lock = std::fs::File::open(&path).map_err(|_| nobody())?;
    let about = lock.metadata().map_err(|_| nobody())?;
    if Flock::lock(lock, FlockArg::LockSharedNonblock).is_ok() {
        return Err(nobody());
    }
    let ready = Ready::read(run).ok_or("the emperor is not ready; try again")?;
    let process = Process::of(ready.pid).filter(|process| holds(process.pid, (about.dev(), about.ino())));
    // A signal to a wrong process could end it.
    let pidfd = process.and_then(Process::open).ok_or_else(|| {
        format!(
            "process {} does not hold {}; ask from the emperor's own pid namespace, as its user",
            ready.pid,
            path.display()
        )
    })?;
    Ok((ready, pidfd))
}

/// Whether a process has that file open.
fn holds(pid: u32, file: (u64, u64)) -> bool {
    let Ok(open) = std::fs::read_dir(format!("/proc/{pid}/fd")) else {
        return false;
    };
    open.flatten()
        .any(|entry| std::fs::metadata(entry.path()).is_ok_and(|about| (about.dev(), about.ino()) == file))
}

/// The file that this program was started from.
fn own_binary() -> Result<PathBuf, String> {
    let path = std::env::current_exe().map_err(|error| format!("finding this program: {error}"))?;
    let there = std::fs::metadata(&path)
        .ok()
        .zip(std::fs::metadata("/proc/self/exe").ok());
    match there {
        Some((found, own)) if (found.dev(), found.ino()) == (own.dev(), own.ino()) => Ok(path),
        Some(_) | None => Err(format!(
            "{} is not this program any more; call it anew",
            path.display()
        )),
    }
}

fn wait(run: &Path, before: &Ready, emperor: impl AsFd, limit: Duration) -> Result<Ready, String> {
    let end = Instant::now() + limit;
    loop {
        match Ready::read(run) {
            Some(ready) if ready != *before => return Ok(ready),
            Some(_) | None => {}
        }
        if let Some(why) = Request::read(run).and_then(|request| request.refused) {
            return Err(format!("the emperor goes on as it was: {why}"));
        }
        if process::has_ended(&emperor) {
            let help = "its log says why; its vassals go on, and the next emperor takes them over";
            return Err(format!("the emperor has ended: {help}"));
        }
        if Instant::now() >= end {
            return Err(format!(
                "no answer within {limit:?}; the emperor's log may say why"
            ));
        }
        std::thread::sleep(LOOK);
    }
}
