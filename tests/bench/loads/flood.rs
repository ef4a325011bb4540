//! Floods: many datagrams a system call on both sides, so that what is in between is the bottleneck.

use std::io::{IoSlice, IoSliceMut};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrIn, recvmmsg, sendmmsg, setsockopt, sockopt};
use serde_json::{Value, json};

use super::Outcome;

/// Datagrams a system call.
const BATCH: usize = 64;
/// The largest datagram that is received whole.
const LARGEST: usize = 2048;
/// Bytes that the kernel may hold for the receiver.
const BUFFER: usize = 16 << 20;
/// What the receiver lets pass when it has caught up. Being woken for every datagram would cost the sender more than the
/// sending, wherever the wake-up is done in the sender's name, and the buffer holds many times what comes meanwhile.
const PAUSE: Duration = Duration::from_millis(1);
/// How long nothing must come before the flood counts as over.
const SILENCE: Duration = Duration::from_millis(700);
/// How long the first datagram may take.
const PATIENCE: Duration = Duration::from_secs(15);

/// What has arrived so far.
struct Arrivals {
    first: Instant,
    last: Instant,
    datagrams: u64,
    bytes: usize,
    /// Came after one that was sent later.
    late: u64,
    highest: u64,
}

/// Counts what comes to `port`.
pub(super) fn receive(port: u16) -> Outcome<Value> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port))?;
    setsockopt(&socket, sockopt::RcvBufForce, &BUFFER)?;
    println!("ready");
    let mut headers = MultiHeaders::<SockaddrIn>::preallocate(BATCH, None);
    let mut memory = vec![0; BATCH * LARGEST];
    socket.set_read_timeout(Some(PATIENCE))?;
    let mut arrivals: Option<Arrivals> = None;
    loop {
        let mut slices: Vec<_> = memory
            .chunks_mut(LARGEST)
            .map(|chunk| [IoSliceMut::new(chunk)])
            .collect();
        let got = recvmmsg(
            socket.as_raw_fd(),
            &mut headers,
            slices.iter_mut(),
            MsgFlags::MSG_WAITFORONE,
            None,
        );
        let lengths: Vec<usize> = match got {
            Ok(messages) => messages.map(|message| message.bytes).collect(),
            Err(Errno::EINTR) => continue,
            Err(Errno::EAGAIN) => break,
            Err(errno) => return Err(errno.into()),
        };
        let now = Instant::now();
        if arrivals.is_none() {
            socket.set_read_timeout(Some(SILENCE))?;
        }
        let all = arrivals.get_or_insert(Arrivals::begin(now));
        all.last = now;
        let few = lengths.len() < BATCH;
        for (chunk, length) in memory.chunks(LARGEST).zip(lengths) {
            all.count(&chunk[..length]);
        }
        if few {
            std::thread::sleep(PAUSE);
        }
    }
    Ok(arrivals.ok_or("nothing came")?.result())
}

impl Arrivals {
    fn begin(now: Instant) -> Self {
        Self {
            first: now,
            last: now,
            datagrams: 0,
            bytes: 0,
            late: 0,
            highest: 0,
        }
    }

    fn count(&mut self, datagram: &[u8]) {
        self.datagrams += 1;
        self.bytes += datagram.len();
        if let Some(number) = datagram.first_chunk() {
            let number = u64::from_le_bytes(*number);
            self.late += u64::from(number < self.highest);
            self.highest = self.highest.max(number);
        }
    }

    fn result(&self) -> Value {
        let seconds = (self.last - self.first).as_secs_f64();
        json!({"delivered": self.datagrams, "bytes": self.bytes, "late": self.late, "seconds": seconds})
    }
}

/// Sends datagrams of `size` bytes, numbered, until time is up.
pub(super) fn send(to: SocketAddr, size: usize, lasts: Duration) -> Outcome<Value> {
    if !(8..=LARGEST).contains(&size) {
        return Err("a size between 8 and 2048".into());
    }
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.connect(to)?;
    let mut headers = MultiHeaders::<SockaddrIn>::preallocate(BATCH, None);
    let mut memory = vec![0x5a; BATCH * size];
    let (begun, mut number, mut sent) = (Instant::now(), 0_u64, 0);
    while begun.elapsed() < lasts {
        for chunk in memory.chunks_mut(size) {
            chunk[..8].copy_from_slice(&number.to_le_bytes());
            number += 1;
        }
        let slices: Vec<_> = memory.chunks(size).map(|chunk| [IoSlice::new(chunk)]).collect();
        match sendmmsg(
            socket.as_raw_fd(),
            &mut headers,
            &slices,
            [None; BATCH],
            [],
            MsgFlags::empty(),
        ) {
            Ok(messages) => sent += messages.count(),
            // The queue is full, or an ICMP error about an earlier datagram is delivered here.
            Err(Errno::ENOBUFS | Errno::EAGAIN | Errno::EINTR | Errno::ECONNREFUSED) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(json!({"sent": sent, "seconds": begun.elapsed().as_secs_f64()}))
}
