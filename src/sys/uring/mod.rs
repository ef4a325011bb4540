//! One io_uring of one thread: reads frames into buffers that it lends to the kernel, writes from the same buffers.
//!
//! A buffer belongs to the kernel (a read may land in it), to us (a frame to look at), or to a write whose end has not
//! been reported. [`Ring`] keeps the account, so that its callers need not be trusted with it. The end of a write is
//! the kernel's own report and nothing else: since Linux 6.13 failures may be reported turns after they happened.
//!
//! The ring can do nothing but what is used here: it is restricted (`io_uring_register(2)`,
//! `IORING_REGISTER_RESTRICTIONS`) before its first request, since io_uring passes by the thread's seccomp filter.
//! Linux 6.7 for multishot reads.

mod buffers;

use std::os::fd::{AsRawFd, BorrowedFd};

use io_uring::register::Restriction;
use io_uring::squeue::Flags;
use io_uring::types::{CancelBuilder, Fd, Timespec};
use io_uring::{IoUring, cqueue, opcode, squeue};
use nix::errno::Errno;

use buffers::{Memory, Provided};

/// The group of our only buffer ring.
const GROUP: u16 = 0;
/// `IORING_UNREGISTER_PBUF_RING` of `linux/io_uring.h`.
const UNREGISTER_BUFFERS: u8 = 23;
/// `IORING_REGISTER_SYNC_CANCEL` of `linux/io_uring.h`.
const SYNC_CANCEL: u8 = 24;
/// `IORING_ENTER_GETEVENTS` of `linux/io_uring.h`.
const GET_EVENTS: u32 = 1;
/// Marks what is not a read: tokens of reads have this bit clear.
const NO_READ: u64 = 1 << 31;
/// Marks a write; the buffer's number stands below.
const WRITE: u64 = NO_READ | 1 << 30;
/// The user data of the poll.
const POLL: u64 = NO_READ | 1;
/// Marks a cancellation; the rest is the token of the read that is to end.
const CANCEL: u64 = NO_READ | 1 << 29;

/// What the kernel reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Done {
    /// A frame of `length` bytes lies in `buffer`, which is ours until it is written from or given back.
    Frame {
        /// As it was given to [`Ring::read`].
        token: u64,
        /// The buffer's number.
        buffer: u16,
        /// Bytes read.
        length: usize,
        /// Whether the read goes on.
        more: bool,
    },
    /// A read ended without a frame.
    Ended {
        /// As it was given to [`Ring::read`].
        token: u64,
        /// Why; `ENOBUFS`: all buffers were in use.
        errno: Errno,
    },
    /// There is no read to cancel.
    NotFound {
        /// As it was given to [`Ring::cancel`].
        token: u64,
    },
    /// The write from this buffer is over, and the buffer is ours again.
    Written {
        /// The buffer's number.
        buffer: u16,
        /// Whether it was done.
        outcome: Result<(), Errno>,
    },
    /// What [`Ring::poll`] watches is readable.
    Polled {
        /// Whether it is still watched.
        more: bool,
    },
}

/// Who may touch a buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Holder {
    Kernel,
    Us,
    Write,
}

/// A ring with its buffers; see the head of this file.
pub struct Ring {
    ring: IoUring,
    provided: Provided,
    memory: Memory,
    holders: Vec<Holder>,
    lent: usize,
}

impl Ring {
    /// A ring of the calling thread, which must be its only user, with `buffers` (a power of two) buffers of `size` bytes.
    ///
    /// # Errors
    /// If the kernel is too old (`EINVAL`) or io_uring is forbidden (`EPERM`, `ENOSYS`).
    pub fn new(buffers: u16, size: usize) -> Result<Self, Errno> {
        let requests = u32::from(buffers) * 2;
        let ring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_submit_all()
            .setup_cqsize(requests * 4)
            .setup_r_disabled()
            .build(requests)
            .map_err(|error| errno(&error))?;
        let mut own = Self {
            ring,
            provided: Provided::new(buffers)?,
            memory: Memory::new(buffers.into(), size)?,
            holders: vec![Holder::Us; usize::from(buffers)],
            lent: 0,
        };
        own.prepare().map_err(|error| errno(&error))?;
        (0..buffers).for_each(|buffer| own.give_back(buffer));
        own.provided.publish();
        Ok(own)
    }

    fn prepare(&mut self) -> std::io::Result<()> {
        let submitter = self.ring.submitter();
        // SAFETY: the ring of buffers is freed by `Drop` after it has been unregistered.
        unsafe {
            submitter.register_buf_ring_with_flags(self.provided.address(), self.provided.entries, GROUP, 0)
        }?;
        let operations = [
            opcode::ReadMulti::CODE,
            opcode::Write::CODE,
            opcode::PollAdd::CODE,
            opcode::AsyncCancel::CODE,
        ];
        let flags = Flags::BUFFER_SELECT | Flags::SKIP_SUCCESS;
        let mut allowed: Vec<_> = operations.into_iter().map(Restriction::sqe_op).collect();
        allowed.push(Restriction::sqe_flags_allowed(flags.bits()));
        allowed.push(Restriction::register_op(UNREGISTER_BUFFERS));
        allowed.push(Restriction::register_op(SYNC_CANCEL));
        submitter.register_restrictions(&mut allowed)?;
        submitter.register_enable_rings()
    }

    /// Reads from `file` until it ends or is cancelled. Bits 29 to 31 of `token` must be clear.
    ///
    /// # Errors
    /// If the kernel does not take requests.
    pub fn read(&mut self, file: BorrowedFd<'_>, token: u64) -> Result<(), Errno> {
        let request = opcode::ReadMulti::new(Fd(file.as_raw_fd()), 0, GROUP).build();
        self.push(&request.user_data(token & !NO_READ))
    }

    /// Ends the read of that token; it reports `ECANCELED`. If there is none, [`Done::NotFound`] says so.
    ///
    /// # Errors
    /// If the kernel does not take requests.
    pub fn cancel(&mut self, token: u64) -> Result<(), Errno> {
        let request = opcode::AsyncCancel::new(token & !NO_READ).build();
        let request = request.flags(Flags::SKIP_SUCCESS);
        self.push(&request.user_data(CANCEL | token & !NO_READ))
    }

    /// Watches for `file` to become readable.
    ///
    /// # Errors
    /// If the kernel does not take requests.
    pub fn poll(&mut self, file: BorrowedFd<'_>) -> Result<(), Errno> {
        let readable = u32::from(libc::POLLIN.cast_unsigned());
        let request = opcode::PollAdd::new(Fd(file.as_raw_fd()), readable).multi(true);
        self.push(&request.build().user_data(POLL))
    }

    /// Writes the first `length` bytes of a buffer of ours to `file`, which must stay open until a [`turn`](Self::turn) has
    /// submitted all, as must the file of [`read`](Self::read): a request names a number.
    /// It never waits: where it would have to, it fails with `EAGAIN`. A buffer that is not ours is left alone.
    ///
    /// # Errors
    /// If the kernel does not take requests; the buffer is still ours then.
    pub fn write(&mut self, file: BorrowedFd<'_>, buffer: u16, length: usize) -> Result<(), Errno> {
        let Some(bytes) = self.frame(buffer, length) else {
            return Err(Errno::EINVAL);
        };
        let (start, length) = (bytes.as_ptr(), u32::try_from(bytes.len()).unwrap_or(0));
        let request = opcode::Write::new(Fd(file.as_raw_fd()), start, length)
            .rw_flags(libc::RWF_NOWAIT)
            .build()
            .user_data(WRITE | u64::from(buffer));
        self.push(&request)?;
        if let Some(holder) = self.holders.get_mut(usize::from(buffer)) {
            *holder = Holder::Write;
        }
        Ok(())
    }

    /// The first `length` bytes of a buffer that is ours.
    pub fn frame(&mut self, buffer: u16, length: usize) -> Option<&mut [u8]> {
        let at = usize::from(buffer);
        if self.holders.get(at) != Some(&Holder::Us) {
            return None;
        }
        self.memory.buffer(at)?.get_mut(..length)
    }

    /// How many buffers are lent to the kernel, from the next [`turn`](Self::turn) on.
    pub fn lent(&self) -> usize {
        self.lent
    }

    /// Lends a buffer of ours to the kernel again, from the next [`turn`](Self::turn) on.
    pub fn give_back(&mut self, buffer: u16) {
        let at = usize::from(buffer);
        let Some(holder) = self.holders.get_mut(at).filter(|holder| **holder == Holder::Us) else {
            return;
        };
        *holder = Holder::Kernel;
        self.lent += 1;
        if let Some(bytes) = self.memory.buffer(at) {
            self.provided.add(buffer, bytes);
        }
    }

    /// Submits what was asked for, runs it, and waits for something to report if `wait`: the end of a write, too, since what
    /// was not written may have to be written in another way. Says whether all was submitted; if not, reports must be
    /// taken first.
    ///
    /// # Errors
    /// What keeps the kernel from going on.
    pub fn turn(&mut self, wait: bool) -> Result<bool, Errno> {
        self.provided.publish();
        let mut submitted = self.ring.submission();
        submitted.sync();
        let count = u32::try_from(submitted.len()).unwrap_or(u32::MAX);
        drop(submitted);
        let submitter = self.ring.submitter();
        // SAFETY: no signal mask is passed, and every request names memory that `self` owns.
        let entered = unsafe { submitter.enter::<()>(count, u32::from(wait), GET_EVENTS, None) };
        match entered.map_err(|error| errno(&error)) {
            // A signal, or for the moment no memory or no room for more reports.
            Ok(_) | Err(Errno::EINTR | Errno::EAGAIN | Errno::EBUSY) => {
                let mut left = self.ring.submission();
                left.sync();
                Ok(left.is_empty())
            }
            Err(errno) => Err(errno),
        }
    }

    /// The next report.
    pub fn next_done(&mut self) -> Option<Done> {
        loop {
            let entry = self.ring.completion().next()?;
            if let Some(done) = self.understand(&entry) {
                return Some(done);
            }
        }
    }

    fn understand(&mut self, entry: &cqueue::Entry) -> Option<Done> {
        let (token, result) = (entry.user_data(), entry.result());
        let more = cqueue::more(entry.flags());
        if token & NO_READ == 0 {
            let buffer = cqueue::buffer_select(entry.flags());
            if let Some(holder) = buffer.and_then(|at| self.holders.get_mut(usize::from(at))) {
                *holder = Holder::Us;
                self.lent = self.lent.saturating_sub(1);
            }
            if let (Some(buffer), true) = (buffer, result < 0) {
                self.give_back(buffer);
            }
            return Some(match (usize::try_from(result), buffer) {
                (Ok(length), Some(buffer)) => Done::Frame {
                    token,
                    buffer,
                    length,
                    more,
                },
                (Ok(_), None) => Done::Ended {
                    token,
                    errno: Errno::ENODATA,
                },
                (Err(_), _) => Done::Ended {
                    token,
                    errno: Errno::from_raw(-result),
                },
            });
        }
        match token {
            POLL => Some(Done::Polled { more }),
            _ if token & WRITE == WRITE => self.over(token, result),
            // With any other outcome its end is reported by the read itself.
            _ if result == -libc::ENOENT => Some(Done::NotFound {
                token: token & !CANCEL,
            }),
            _ => None,
        }
    }

    /// The end of a write.
    fn over(&mut self, token: u64, result: i32) -> Option<Done> {
        let buffer = u16::try_from(token & u64::from(u16::MAX)).ok()?;
        let holder = self.holders.get_mut(usize::from(buffer))?;
        if *holder != Holder::Write {
            return None;
        }
        *holder = Holder::Us;
        let outcome = if result < 0 {
            Err(Errno::from_raw(-result))
        } else {
            Ok(())
        };
        Some(Done::Written { buffer, outcome })
    }

    fn push(&mut self, request: &squeue::Entry) -> Result<(), Errno> {
        loop {
            // SAFETY: the request names a descriptor and, if any, memory that `self` owns and leaves alone until it is done.
            if unsafe { self.ring.submission().push(request) }.is_ok() {
                return Ok(());
            }
            match self.ring.submit() {
                Ok(0) => return Err(Errno::EBUSY),
                Ok(_) => {}
                Err(error) if error.raw_os_error() == Some(libc::EINTR) => {}
                Err(error) => return Err(errno(&error)),
            }
        }
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        let submitter = self.ring.submitter();
        // Waits until no read holds its file any more, so that a tun is free as soon as this returns.
        let _ = submitter.register_sync_cancel(Some(Timespec::new().sec(1)), CancelBuilder::any());
        // After this the kernel finds no buffer to read into.
        let _ = submitter.unregister_buf_ring(GROUP);
    }
}

pub(super) fn errno(error: &std::io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::EIO, Errno::from_raw)
}
