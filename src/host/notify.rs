//! Hears what a vassal says by `sd_notify(3)`.
//!
//! Its socket is an abstract one (`NOTIFY_SOCKET=@mini-emperor/notify`) inside the vassal's own network
//! namespace, to which abstract names belong (`network_namespaces(7)`). So the kernel itself admits nobody but
//! the vassal, whatever it mounts, chroots to or runs as: no path has to be visible, writable or cleared away, and
//! a message counts even if its sender has ended before it is read, as `systemd-notify --ready` has. A socket
//! below the run directory would have to be found from within every mount namespace, and its senders could
//! only be judged while they live.
//!
//! What the name cannot keep out is a descriptor that was passed on. Therefore the sender's credentials
//! (`SO_PASSCRED`, `unix(7)`) are looked at as well: a process that still exists must be in that network namespace,
//! and one outside the emperor's pid namespace is nobody. A process that another one names as its main process
//! (`MAINPID=`) must be there, too; its number is translated from the vassal's pid namespace.
//!
//! The vassal may be hostile: a message has a limit, descriptors in it are closed where nobody waits
//! ([`strays`]), and after each handful of messages a pause is made, so that a flood blocks its sender
//! and nobody else.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::socket::sockopt::PassCred;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, bind, setsockopt, socket};
use nix::time::{ClockId, clock_gettime};

use crate::emperor::Word;
use crate::emperor::state::Fault;
use crate::sys::process::translate_pid;
use crate::sys::socket::receive;

use super::error::{Doing, HostError};
use super::netns;
use super::strays::{self, Strays};

/// `NOTIFY_SOCKET` of every vassal that has one.
pub const ADDRESS: &str = "@mini-emperor/notify";
/// A longer message is not taken; the limit that systemd has.
const LONGEST: usize = 4096;
/// Messages that are taken at once.
const HANDFUL: usize = 32;
/// Of a status, this many characters are kept.
const LONGEST_STATUS: usize = 500;

/// Something that a vassal said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// Something that its supervision depends on.
    Word(Word),
    /// What it does, for people.
    Status(String),
    /// The errno of its failure, for people.
    Errno(i32),
}

/// Opens the socket of the network namespace that the calling thread is in.
///
/// # Errors
/// If the kernel refuses, or the name is taken in this namespace.
pub fn open(on: &str) -> Result<OwnedFd, HostError> {
    let failed = |errno| HostError::new(Doing::OpenNotify, on, errno);
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(AddressFamily::Unix, SockType::Datagram, flags, None).map_err(failed)?;
    setsockopt(&socket, PassCred, &true).map_err(failed)?;
    let name = UnixAddr::new_abstract(&ADDRESS.as_bytes()[1..]).map_err(failed)?;
    bind(std::os::fd::AsRawFd::as_raw_fd(&socket), &name).map_err(failed)?;
    Ok(socket)
}

/// Whom messages are taken from.
#[derive(Debug, Clone)]
pub struct Speakers {
    /// The vassal's network namespace.
    pub netns: u64,
    /// The vassal's pid namespace, open; absent where it cannot be told.
    pub pidns: Option<Arc<File>>,
}

impl Speakers {
    /// Those of the vassal whose first process is `pid`, which must not have been reaped yet.
    pub fn of(pid: u32, netns: u64) -> Self {
        let pidns = File::open(format!("/proc/{pid}/ns/pid")).ok().map(Arc::new);
        Self { netns, pidns }
    }

    /// Whether a message from this process is the vassal's.
    fn include(&self, pid: i32) -> bool {
        pid > 0
            && self
                .netns_of(pid.unsigned_abs())
                .is_none_or(|inode| inode == self.netns)
    }

    fn netns_of(&self, pid: u32) -> Option<u64> {
        netns::inode(File::open(format!("/proc/{pid}/ns/net")).ok()?).ok()
    }

    /// The process that the vassal calls `pid`, as the emperor calls it.
    fn translate(&self, pid: i32) -> Option<u32> {
        let pid = translate_pid(self.pidns.as_ref()?, pid).ok()?;
        (self.netns_of(pid) == Some(self.netns)).then_some(pid)
    }
}

/// Takes a handful of messages; whether there may be more. Descriptors that came along go to `strays`.
pub fn take(socket: impl AsFd, speakers: &Speakers, said: &mut Vec<Said>, strays: &mut Strays) -> bool {
    let mut buffer = [0; LONGEST];
    let mut control = strays::control();
    for _ in 0..HANDFUL {
        let received = match receive(&socket, &mut buffer, &mut control) {
            Ok(received) => received,
            Err(Errno::EINTR) => continue,
            Err(_) => return false,
        };
        strays.extend(received.descriptors);
        if received.cut {
            tracing::debug!("a message by sd_notify is too long");
        } else if received.pid.is_some_and(|pid| speakers.include(pid)) {
            let text = &buffer[..received.length];
            said.extend(understand(text, &Clock::now(), |pid| speakers.translate(pid)));
        } else {
            tracing::debug!(pid = received.pid, "a message by sd_notify from a stranger");
        }
    }
    true
}

/// `CLOCK_MONOTONIC` as microseconds and as an `Instant`, which is the same clock without its number.
struct Clock {
    now: Instant,
    microseconds: u64,
}

impl Clock {
    fn now() -> Self {
        let monotonic = clock_gettime(ClockId::CLOCK_MONOTONIC).map(Duration::from);
        Self {
            now: Instant::now(),
            microseconds: monotonic.map_or(0, |time| u64::try_from(time.as_micros()).unwrap_or(u64::MAX)),
        }
    }

    /// The moment that the clock showed `microseconds`; the future counts as now.
    fn at(&self, microseconds: u64) -> Instant {
        let ago = Duration::from_micros(self.microseconds.saturating_sub(microseconds));
        self.now.checked_sub(ago).unwrap_or(self.now)
    }
}

/// Reads one message. Unknown and senseless lines are skipped, as the protocol wants it; a line that is no UTF-8 is one
/// of those.
fn understand(text: &[u8], clock: &Clock, translate: impl Fn(i32) -> Option<u32>) -> Vec<Said> {
    let lines = text.split(|&byte| byte == b'\n');
    let lines: Vec<_> = lines
        .filter_map(|line| std::str::from_utf8(line).ok()?.split_once('='))
        .collect();
    let value = |key: &str| {
        lines
            .iter()
            .rev()
            .find(|(name, _)| *name == key)
            .map(|(_, value)| *value)
    };
    let number = |key: &str| value(key).and_then(|value| value.parse::<u64>().ok());
    let yes = |key: &str| value(key) == Some("1");
    let mut said = Vec::new();
    let mut word = |word: Option<Word>| said.extend(word.map(Said::Word));
    // The order in which one message is obeyed, however its lines stand.
    let main = number("MAINPID").and_then(|pid| i32::try_from(pid).ok());
    word(main.and_then(translate).map(Word::MainPid));
    word(
        number("WATCHDOG_USEC")
            .map(|every| Word::Every(Some(every).filter(|&every| every > 0).map(Duration::from_micros))),
    );
    if yes("STOPPING") {
        word(Some(Word::Leaving));
    } else if yes("RELOADING") {
        let since = number("MONOTONIC_USEC").map(|microseconds| clock.at(microseconds));
        word(Some(Word::Reloading(since)));
    } else if yes("READY") {
        word(Some(Word::Ready));
    }
    word(number("EXTEND_TIMEOUT_USEC").map(|more| Word::Extend(Duration::from_micros(more))));
    match value("WATCHDOG") {
        Some("1") => word(Some(Word::Alive)),
        Some("trigger") => word(Some(Word::Fault(Fault::Trigger))),
        Some(_) | None => {}
    }
    said.extend(value("STATUS").map(|status| Said::Status(status.chars().take(LONGEST_STATUS).collect())));
    said.extend(
        value("ERRNO")
            .and_then(|errno| errno.parse().ok())
            .map(Said::Errno),
    );
    said
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clock() -> Clock {
        Clock {
            now: Instant::now() + Duration::from_secs(3600),
            microseconds: 3_600_000_000,
        }
    }

    fn words(text: &str) -> Vec<Word> {
        let inside = |pid| (pid == 7).then_some(4711);
        let said = understand(text.as_bytes(), &clock(), inside);
        said.into_iter()
            .filter_map(|said| match said {
                Said::Word(word) => Some(word),
                Said::Status(_) | Said::Errno(_) => None,
            })
            .collect()
    }

    #[test]
    fn every_word_is_understood() {
        assert_eq!(words("READY=1"), [Word::Ready]);
        assert_eq!(words("READY=1\nSTATUS=Up\n"), [Word::Ready]);
        assert_eq!(words("STOPPING=1"), [Word::Leaving]);
        assert_eq!(words("RELOADING=1"), [Word::Reloading(None)]);
        assert_eq!(words("WATCHDOG=1"), [Word::Alive]);
        assert_eq!(words("WATCHDOG=trigger"), [Word::Fault(Fault::Trigger)]);
        assert_eq!(
            words("WATCHDOG_USEC=1500000"),
            [Word::Every(Some(Duration::from_millis(1500)))]
        );
        assert_eq!(words("WATCHDOG_USEC=0"), [Word::Every(None)]);
        assert_eq!(
            words("EXTEND_TIMEOUT_USEC=2000000"),
            [Word::Extend(Duration::from_secs(2))]
        );
        assert_eq!(words("MAINPID=7"), [Word::MainPid(4711)]);
    }

    #[test]
    fn what_makes_no_sense_is_skipped() {
        for text in [
            "",
            "READY",
            "READY=0",
            "READY=yes",
            " READY=1",
            "WATCHDOG=maybe",
            "WATCHDOG_USEC=-1",
            "MAINPID=8",
            "MAINPID=99999999999999",
            "EXTEND_TIMEOUT_USEC=",
            "FDSTORE=1",
            "X_MINE=1",
        ] {
            assert_eq!(words(text), [], "{text:?}");
        }
        assert_eq!(understand(b"READY=\xff", &clock(), |_| None), []);
    }

    #[test]
    fn a_line_that_is_no_text_takes_no_other_with_it() {
        let said = understand(b"STATUS=Gr\xfc\xdfe\nREADY=1\nWATCHDOG=1\n\xff", &clock(), |_| {
            None
        });
        assert_eq!(said, [Said::Word(Word::Ready), Said::Word(Word::Alive)]);
    }

    #[test]
    fn the_moment_of_a_reload_is_read_off_the_same_clock() {
        let clock = clock();
        let said = understand(b"RELOADING=1\nMONOTONIC_USEC=3599000000", &clock, |_| None);
        let since = clock.now - Duration::from_secs(1);
        assert_eq!(said, [Said::Word(Word::Reloading(Some(since)))]);
        let future = understand(b"MONOTONIC_USEC=9999999999999\nRELOADING=1", &clock, |_| None);
        assert_eq!(future, [Said::Word(Word::Reloading(Some(clock.now)))]);
    }

    #[test]
    fn what_is_for_people_is_kept_short() {
        let text = format!("STATUS={}\nERRNO=2", "x".repeat(4000));
        let said = understand(text.as_bytes(), &clock(), |_| None);
        assert_eq!(said, [Said::Status("x".repeat(LONGEST_STATUS)), Said::Errno(2)]);
    }
}
