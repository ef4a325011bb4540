//! Which process it is. A pid is used again; a pid and the moment its process began name one process for ever.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde::{Deserialize, Serialize};

use crate::sys::process as sys;

use super::error::{Doing, HostError};

/// One process of this boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Process {
    /// Its id in our pid namespace.
    pub pid: u32,
    /// When it began, in clock ticks since the boot: `starttime` of proc_pid_stat(5).
    pub began: u64,
}

impl Process {
    /// The process that has this pid now.
    pub fn of(pid: u32) -> Option<Self> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let began = began(&stat)?;
        Some(Self { pid, began })
    }

    /// The process that a line of proc_pid_stat(5) is about, if that is whole.
    pub fn of_stat(stat: &str) -> Option<Self> {
        let (pid, _) = stat.strip_suffix('\n')?.split_once(' ')?;
        Some(Self {
            pid: pid.parse().ok()?,
            began: began(stat)?,
        })
    }

    /// Opens it, if it still exists and the kernel lets us; one that has ended and waits to be reaped does.
    pub fn open(self) -> Option<OwnedFd> {
        self.find().ok().flatten()
    }

    /// The same for whoever must tell a process that is gone (`None`) from one that we have no means to open.
    ///
    /// # Errors
    /// `EMFILE` and its like.
    pub fn find(self) -> Result<Option<OwnedFd>, HostError> {
        let on = || format!("process {}", self.pid);
        let pidfd = match sys::open_pid(self.pid) {
            Ok(pidfd) => pidfd,
            Err(Errno::ESRCH) => return Ok(None),
            Err(errno) => return Err(HostError::new(Doing::Open, on(), errno)),
        };
        // In this order: what /proc says now is said of the process that is open, or the pid is free again.
        let stat = match std::fs::read_to_string(format!("/proc/{}/stat", self.pid)) {
            Ok(stat) => stat,
            Err(error) => {
                let error = HostError::from_io(Doing::Open, on(), &error);
                return if error.is_shortage() { Err(error) } else { Ok(None) };
            }
        };
        let is_it = began(&stat) == Some(self.began) && sys::send_signal(&pidfd, 0) != Err(Errno::ESRCH);
        Ok(is_it.then_some(pidfd))
    }
}

/// The process that is open here; absent once it has been reaped.
pub fn of(pidfd: impl AsFd) -> Option<Process> {
    let number = pidfd.as_fd().as_raw_fd();
    let about = std::fs::read_to_string(format!("/proc/self/fdinfo/{number}")).ok()?;
    let pid = about.lines().find_map(|line| line.strip_prefix("Pid:"))?;
    let process = Process::of(pid.trim().parse().ok()?)?;
    // It is still there after it was looked at, so it was what was looked at.
    (sys::send_signal(&pidfd, 0) != Err(Errno::ESRCH)).then_some(process)
}

/// The 22nd field; the second is the name of the program, which may hold blanks and parentheses.
fn began(stat: &str) -> Option<u64> {
    let (_, after) = stat.rsplit_once(')')?;
    after.split_ascii_whitespace().nth(19)?.parse().ok()
}

/// Whether the process has ended, reaped or not.
pub fn has_ended(pidfd: impl AsFd) -> bool {
    let mut watched = [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)];
    poll(&mut watched, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
}

/// Names this boot: what was recorded under another one is no more.
pub fn boot() -> String {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    id.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_beginning_is_found_behind_any_name() {
        let stat = "17 (a) b (c) S 1 17 17 0 -1 4194560 100 0 0 0 1 2 0 0 20 0 1 0 4711 0 0";
        assert_eq!(began(stat), Some(4711));
    }

    #[test]
    fn a_pid_with_another_beginning_is_another_process() {
        let own = Process::of(std::process::id()).unwrap();
        assert!(own.open().is_some());
        let earlier = Process {
            began: own.began - 1,
            ..own
        };
        assert!(earlier.open().is_none());
    }

    #[test]
    fn an_ended_process_is_known_as_such_and_then_not_found() {
        let mut child = std::process::Command::new("/bin/cat")
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let process = Process::of(child.id()).unwrap();
        let pidfd = process.open().unwrap();
        assert!(!has_ended(&pidfd));
        assert_eq!(of(&pidfd), Some(process));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(has_ended(&pidfd));
        assert!(process.open().is_none());
        assert_eq!(of(&pidfd), None);
    }
}
