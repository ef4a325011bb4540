//! Who came to a listening socket, whoever accepted him: polls of an io_uring for which nobody waits.
//!
//! epoll asks a file again before it reports it, and so says nothing of a client whom another process has accepted by then.
//! A poll of io_uring keeps what woke it (`io_poll_wake` of `io_uring/poll.c`), and here it keeps that until it is asked
//! (`IORING_SETUP_DEFER_TASKRUN`), so that nobody is woken. Linux 6.1.

use std::os::fd::{AsRawFd, BorrowedFd};

use io_uring::types::{CancelBuilder, Fd, Timespec};
use io_uring::{IoUring, opcode};
use nix::errno::Errno;

use super::uring::errno;

/// Polls that one call hands over.
const REQUESTS: u32 = 4;
/// Ends of polls that one call brings; the kernel keeps the others.
const REPORTS: u32 = 64;
/// `IORING_ENTER_GETEVENTS` of `linux/io_uring.h`.
const GET_EVENTS: u32 = 1;

/// A ring of the calling thread, which must be its only user.
pub struct Arrivals {
    ring: IoUring,
    /// Of the last poll.
    number: u64,
}

impl Arrivals {
    /// Watches nothing yet.
    ///
    /// # Errors
    /// If the kernel is too old (`EINVAL`) or io_uring is forbidden (`EPERM`, `ENOSYS`).
    pub fn new() -> Result<Self, Errno> {
        let ring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_cqsize(REPORTS)
            .build(REQUESTS)
            .map_err(|error| errno(&error))?;
        Ok(Self { ring, number: 0 })
    }

    /// Watches for the next client of `listening`, or one who waits there. What comes back is the number of this poll, which
    /// ends with that one client. Until then, or until it is [forgotten](Self::forget), it keeps the socket open.
    ///
    /// # Errors
    /// If the kernel does not take it; then this ring is of no more use.
    pub fn watch(&mut self, listening: BorrowedFd<'_>) -> Result<u64, Errno> {
        self.number += 1;
        let readable = u32::from(libc::POLLIN.cast_unsigned());
        let request = opcode::PollAdd::new(Fd(listening.as_raw_fd()), readable);
        let request = request.build().user_data(self.number);
        // SAFETY: the request names no memory.
        unsafe { self.ring.submission().push(&request) }.map_err(|_| Errno::EBUSY)?;
        loop {
            match self.ring.submit().map_err(|error| errno(&error)) {
                Ok(0) => return Err(Errno::EBUSY),
                Ok(_) => return Ok(self.number),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno),
            }
        }
    }

    /// The polls that ended since this was last asked: a client came.
    ///
    /// # Errors
    /// What keeps the kernel from telling.
    pub fn ended(&mut self) -> Result<Vec<u64>, Errno> {
        let mut ended = Vec::new();
        loop {
            self.catch_up()?;
            let before = ended.len();
            ended.extend(self.ring.completion().map(|entry| entry.user_data()));
            if ended.len() == before {
                return Ok(ended);
            }
        }
    }

    /// Lets go of the socket of a poll. If it has not ended before, it ends now and is one of the next that have.
    ///
    /// # Errors
    /// What keeps the kernel from letting go.
    pub fn forget(&mut self, number: u64) -> Result<(), Errno> {
        let wait = Some(Timespec::new().sec(1));
        let found = self
            .ring
            .submitter()
            .register_sync_cancel(wait, CancelBuilder::user_data(number));
        match found.map_err(|error| errno(&error)) {
            // It lets go of its file when it is caught up with.
            Ok(()) => self.catch_up(),
            Err(Errno::ENOENT) => Ok(()),
            Err(errno) => Err(errno),
        }
    }

    /// Has the kernel do what it has put off for this thread, without waiting for anything.
    fn catch_up(&mut self) -> Result<(), Errno> {
        let submitter = self.ring.submitter();
        loop {
            // SAFETY: no signal mask is passed.
            let entered = unsafe { submitter.enter::<()>(0, 0, GET_EVENTS, None) };
            match entered.map_err(|error| errno(&error)) {
                Ok(_) => return Ok(()),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsFd;
    use std::os::unix::net::{UnixListener, UnixStream};

    use super::*;

    #[test]
    #[ignore = "needs io_uring: run integration/run"]
    fn a_client_is_seen_who_has_come_and_gone() {
        let mut arrivals = Arrivals::new().unwrap();
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        let unix = UnixListener::bind(&path).unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = port.local_addr().unwrap();
        for _ in 0..3 {
            let watched = [unix.as_fd(), port.as_fd()].map(|fd| arrivals.watch(fd).unwrap());
            assert_eq!(arrivals.ended(), Ok(vec![]), "nobody came");
            let client = UnixStream::connect(&path).unwrap();
            drop((client, unix.accept().unwrap()));
            assert_eq!(arrivals.ended(), Ok(vec![watched[0]]));
            assert_eq!(arrivals.ended(), Ok(vec![]), "said once");
            let client = TcpStream::connect(address).unwrap();
            drop((client, port.accept().unwrap()));
            assert_eq!(arrivals.ended(), Ok(vec![watched[1]]));
        }
    }

    #[test]
    #[ignore = "needs io_uring: run integration/run"]
    fn a_client_who_waits_is_one_who_came() {
        let mut arrivals = Arrivals::new().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap();
        let _client = TcpStream::connect(port.local_addr().unwrap()).unwrap();
        let watched = arrivals.watch(port.as_fd()).unwrap();
        assert_eq!(arrivals.ended(), Ok(vec![watched]));
    }

    #[test]
    #[ignore = "needs io_uring: run integration/run"]
    fn more_clients_than_reports_have_room_are_all_seen() {
        let mut arrivals = Arrivals::new().unwrap();
        let ports: Vec<_> = (0..3 * REPORTS)
            .map(|_| TcpListener::bind("127.0.0.1:0").unwrap())
            .collect();
        let watched: Vec<_> = ports
            .iter()
            .map(|port| arrivals.watch(port.as_fd()).unwrap())
            .collect();
        for port in &ports {
            let client = TcpStream::connect(port.local_addr().unwrap()).unwrap();
            drop((client, port.accept().unwrap()));
        }
        let mut ended = arrivals.ended().unwrap();
        ended.sort_unstable();
        assert_eq!(ended, watched);
    }

    #[test]
    #[ignore = "needs io_uring: run integration/run"]
    fn what_is_forgotten_does_not_listen_on() {
        let mut arrivals = Arrivals::new().unwrap();
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        let unix = UnixListener::bind(&path).unwrap();
        let watched = arrivals.watch(unix.as_fd()).unwrap();
        drop(unix);
        // A child that another test has just cloned holds the socket as well, until it execs; the poll holds it for good.
        UnixStream::connect(&path).unwrap();
        assert_eq!(
            arrivals.ended(),
            Ok(vec![watched]),
            "who came, although nobody else has it"
        );

        let path = directory.path().join("t");
        let unix = UnixListener::bind(&path).unwrap();
        let watched = arrivals.watch(unix.as_fd()).unwrap();
        drop(unix);
        arrivals.forget(watched).unwrap();
        let end = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while UnixStream::connect(&path).is_ok() {
            assert!(std::time::Instant::now() < end, "it listens on");
            std::thread::yield_now();
        }
        assert_eq!(arrivals.ended(), Ok(vec![watched]));
        assert_eq!(arrivals.forget(watched), Ok(()), "there is none any more");
    }
}
