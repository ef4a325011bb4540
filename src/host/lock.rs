//! One emperor a run directory: whoever holds its lock.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use super::error::{Doing, HostError};
use super::process::{self, Process};
use super::state::make_directory;

/// How long the lock of an emperor that is no more may still be held.
const RELEASE: Duration = Duration::from_secs(5);
/// How often it is tried.
const LOOK: Duration = Duration::from_millis(2);

/// Locks `path` in the directory `run` and writes our pid into it.
pub(super) fn take(run: &Path, path: &Path) -> Result<Flock<File>, HostError> {
    let failed = |e: &std::io::Error| HostError::from_io(Doing::Lock, path.display().to_string(), e);
    let end = Instant::now() + RELEASE;
    loop {
        make_directory(run, 0o755)?;
        // Not truncated before it is ours: another emperor's pid may be in it.
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path);
        let file = match file {
            // The directory was taken away just now, by an emperor that ends.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && Instant::now() < end => continue,
            file => file.map_err(|e| failed(&e))?,
        };
        let lock = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => lock,
            // A child that was just cloned holds whatever its emperor did, until it execs.
            Err((file, Errno::EAGAIN)) if Instant::now() < end && is_of_the_dead(&file) => {
                std::thread::sleep(LOOK);
                continue;
            }
            Err((_, errno)) => return Err(HostError::new(Doing::Lock, path.display().to_string(), errno)),
        };
        let ours = lock.metadata().map_err(|e| failed(&e))?;
        // An emperor that ended in between has taken the file away, and the next one makes another.
        if std::fs::metadata(path).is_ok_and(|m| (m.dev(), m.ino()) == (ours.dev(), ours.ino())) {
            lock.set_len(0).map_err(|e| failed(&e))?;
            let mut pid = &*lock;
            writeln!(pid, "{}", std::process::id()).map_err(|e| failed(&e))?;
            return Ok(lock);
        }
    }
}

/// Whether the process that wrote its pid into the lock is no more.
fn is_of_the_dead(lock: &File) -> bool {
    let mut text = String::new();
    let read = { lock }.read_to_string(&mut text);
    let pid = read.ok().and_then(|_| text.trim().parse().ok());
    let holder = pid.map(|pid| Process::of(pid).and_then(Process::open));
    holder.is_some_and(|holder| holder.is_none_or(process::has_ended))
}
