//! The ceiling of the plain mechanism: two tuns, one thread, epoll, read, write, and nothing else.
//!
//! Frames cross whole with their virtio headers, as in the router, but nobody looks at them: no parse, no pin, no
//! rule, no lookup, no counter. What the router loses against this is the price of its work; what it gains, it gains
//! by a better mechanism.
//!
//! `relay NAMESPACE DEVICE NAMESPACE DEVICE` makes the tun DEVICE in each namespace (`/proc/PID/ns/net`), prints
//! `ready` and relays until it is killed. Addresses are the caller's business.

#![allow(clippy::print_stdout, reason = "a program")]

use std::error::Error;
use std::fs::File;
use std::os::fd::AsFd;

use mini_emperor::config::settings::Offload;
use mini_emperor::host::{netns, tun};
use mini_emperor::router::MAX_FRAME;
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::unistd::{read, write};

/// Frames taken from one side before the other has its turn, as in the router.
const BURST: usize = 64;

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [left_space, left_name, right_space, right_name] = words.as_slice() else {
        return Err("relay NAMESPACE DEVICE NAMESPACE DEVICE".into());
    };
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let left = runtime.block_on(open(left_space, left_name.clone()))?;
    let right = runtime.block_on(open(right_space, right_name.clone()))?;
    println!("ready");
    relay(&[left, right])
}

async fn open(space: &str, device: String) -> Result<tun::Tun, Box<dyn Error>> {
    let space = File::open(space)?;
    let made = netns::inside(space.as_fd(), "the relay", move || {
        tun::open(&device, Offload::Auto, false)
    });
    Ok(made.await?)
}

fn relay(sides: &[tun::Tun; 2]) -> Result<(), Box<dyn Error>> {
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    for (token, side) in (0..).zip(sides) {
        epoll.add(&side.fd, EpollEvent::new(EpollFlags::EPOLLIN, token))?;
    }
    let mut frame = vec![0; MAX_FRAME];
    let mut events = [EpollEvent::empty(); 2];
    loop {
        let count = match epoll.wait(&mut events, EpollTimeout::NONE) {
            Ok(count) => count,
            Err(Errno::EINTR) => continue,
            Err(errno) => return Err(errno.into()),
        };
        for event in &events[..count] {
            let [left, right] = sides;
            let (from, to) = if event.data() == 0 {
                (left, right)
            } else {
                (right, left)
            };
            burst(from, to, &mut frame)?;
        }
    }
}

fn burst(from: &tun::Tun, to: &tun::Tun, frame: &mut [u8]) -> Result<(), Errno> {
    for _ in 0..BURST {
        match read(&from.fd, frame) {
            // A full queue and a frame that the kernel does not take lose that frame, as on any link.
            Ok(length) => drop(write(&to.fd, &frame[..length])),
            Err(Errno::EAGAIN) => return Ok(()),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}
