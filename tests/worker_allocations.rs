//! Router threads allocate nothing while frames cross, on either engine.
#![allow(
    unsafe_code,
    clippy::unwrap_used,
    clippy::unwrap_in_result,
    reason = "a global allocator cannot be written without; a test that cannot look has failed"
)]

mod namespace;
mod village;

use std::alloc::{GlobalAlloc, Layout, System};
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU64, Ordering};

use mini_emperor::router::Reason;
use namespace::wait_until;
use village::{ENGINES, Village};

/// The system's allocator, which counts the calls of all threads.
struct Counting;

static CALLS: AtomicU64 = AtomicU64::new(0);

// SAFETY: every call goes to the system's allocator unchanged; counting touches no memory of the caller's.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        CALLS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promise about `layout` is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        CALLS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: `memory` came from `System.alloc` with this `layout`.
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        CALLS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: `memory` came from `System.alloc` with this `layout`.
        unsafe { System.realloc(memory, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The only test of this file, because all threads are counted.
#[test]
#[ignore = "needs a network namespace: run integration/run"]
fn no_frame_costs_an_allocation() {
    for engine in ENGINES {
        let mut village = Village::new(engine);
        let (a, b) = (village.settle(2, None), village.settle(3, None));
        let (from, to) = (a.udp(4000), b.udp(53));
        let nobody = a.udp(4001);
        let (unheld, group) = (
            (Ipv4Addr::new(10, 107, 0, 77), 9),
            (Ipv4Addr::new(224, 0, 0, 9), 9),
        );
        let turn = |count: u32| {
            for number in 0..count {
                // Forwarded, answered, and dropped as multicast.
                from.send_to(&number.to_be_bytes(), (b.address, 53)).unwrap();
                to.recv(&mut [0; 4]).unwrap();
                to.send_to(&[0; 1400], (a.address, 4000)).unwrap();
                from.recv(&mut [0; 1400]).unwrap();
                let _ = nobody.send_to(&[1], unheld);
                let _ = nobody.send_to(&[1], group);
            }
        };
        turn(500);
        let before = CALLS.load(Ordering::Relaxed);
        turn(5000);
        let calls = CALLS.load(Ordering::Relaxed) - before;
        assert_eq!(calls, 0, "{engine:?}: {calls} calls for 20,000 frames");
        wait_until("the dropped are counted", || {
            let dropped = village.traffic(&a).dropped;
            let seen = (dropped.get(Reason::Multicast), dropped.get(Reason::NoRoute));
            if seen == (5500, 5500) { Ok(()) } else { Err(seen) }
        });
        assert!(village.traffic(&b).segmented_packets == 0);
    }
}
