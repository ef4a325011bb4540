//! The packet path allocates nothing, whatever a packet's fate.

#![allow(unsafe_code, reason = "a global allocator cannot be written without")]

mod packets;
mod world;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::time::{Duration, Instant};

use mini_emperor::router::{ANSWER, GlobalPolicy, Reason, Verdict};
use packets::Sample;
use world::{World, rules};

/// The system's allocator, which counts the calls of each thread.
struct Counting;

thread_local! {
    static CALLS: Cell<u64> = const { Cell::new(0) };
}

fn count() {
    // A thread that is ending has lost its counter; nobody reads it then.
    let _ = CALLS.try_with(|calls| calls.set(calls.get() + 1));
}

// SAFETY: every call goes to the system's allocator unchanged; counting touches no memory of the caller's.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promise about `layout` is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        count();
        // SAFETY: `memory` came from `System.alloc` with this `layout`.
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: `memory` came from `System.alloc` with this `layout`.
        unsafe { System.realloc(memory, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// A packet of every fate, in both families.
fn samples() -> Vec<Vec<u8>> {
    let mut samples = Vec::new();
    for [a, b, nobody, outside, group] in [
        [
            "10.107.0.2",
            "10.107.0.3",
            "10.107.0.77",
            "192.0.2.9",
            "224.0.0.1",
        ],
        [
            "fd00:107::2",
            "fd00:107::3",
            "fd00:107::77",
            "2001:db8::9",
            "ff02::1",
        ],
    ] {
        samples.extend([
            Sample::udp(a, b, 53, 64),
            Sample::super_tcp(a, b, 60_000, 1400),
            Sample::super_tcp(a, b, 60_000, 9000),
            Sample::udp(a, b, 53, 64).ttl(1),
            Sample::udp(a, b, 22, 64),
            Sample::udp(a, b, 23, 64),
            Sample::udp(a, nobody, 53, 64),
            Sample::udp(a, outside, 53, 64),
            Sample::udp(a, group, 53, 64),
            Sample::udp(b, a, 53, 64),
            Sample::tcp(a, b, 80, 64).fragment(1, false),
        ]);
    }
    samples.iter().map(Sample::frame).collect()
}

#[test]
fn no_packet_costs_an_allocation() {
    let mut world = World::open();
    let policy = GlobalPolicy {
        out: rules(&["deny any any udp 22", "reject any @b udp 23"]),
        ..GlobalPolicy::default()
    };
    world.fabric.set_policy(policy);
    let (tables, from) = (world.fabric.tables(), world.ports["a"]);
    let (fresh, start) = (samples(), Instant::now());
    let (mut frames, mut out, mut answers, mut delivered) = (fresh.clone(), [0; ANSWER], 0, 0);
    let mut round = |number: u64| {
        let now = start + Duration::from_secs(number);
        for (frame, fresh) in frames.iter_mut().zip(&fresh) {
            frame.copy_from_slice(fresh);
            match world.router.forward(&tables, from, frame, now) {
                Verdict::Forward(to) => {
                    delivered += 1;
                    world.router.delivered(&tables, from, to, frame.len() - 10);
                    world.router.undeliverable(&tables, to, Reason::QueueFull);
                }
                Verdict::Answer(complaint) => {
                    let answer = world
                        .router
                        .answer(&tables, from, frame, complaint, now, &mut out);
                    answers += u64::from(answer.is_some());
                    world.router.answered(&tables, from, 56);
                }
                Verdict::Wake(_) | Verdict::Drop(_) => {}
            }
        }
    };
    // The first round makes room for the ports of these tables.
    round(0);
    let before = CALLS.get();
    for number in 1..=100 {
        round(number);
    }
    assert_eq!(CALLS.get() - before, 0);
    assert_eq!(
        (answers, delivered),
        (101 * 8, 101 * 6),
        "all fates have been met"
    );
}

#[test]
fn the_counter_counts() {
    let before = CALLS.get();
    drop(std::hint::black_box(vec![1_u8; 100]));
    assert_eq!(CALLS.get() - before, 2);
}
