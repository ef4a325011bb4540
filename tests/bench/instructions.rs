//! Walks one way through the router a fixed number of times, so that its instructions can be counted.
//!
//! Time differs from machine to machine and from run to run; the number of instructions of one binary does not.
//! `integration/instructions` runs this under callgrind, which counts only what happens inside `measured`, and holds
//! the counts against those in `instructions.txt`.
//!
//! `instructions` lists the ways; `instructions WAY` walks one and prints how many packets went it.

#![allow(clippy::print_stdout, reason = "a program")]

#[path = "../packets/mod.rs"]
mod packets;
mod scene;

use std::error::Error;
use std::time::Instant;

use mini_emperor::router::{PortId, Reason, Router, Tables, Verdict};
use packets::Sample;
use scene::{Maker, address_of, fabric, frames, large, port_rules, small};

/// What a packet is to end in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Delivered,
    Spoofed,
}

struct Way {
    name: &'static str,
    vassals: usize,
    rules: usize,
    v6: bool,
    sample: Maker,
    end: End,
}

const WAYS: [Way; 7] = [
    way("v4-udp-small"),
    Way {
        v6: true,
        ..way("v6-udp-small")
    },
    Way {
        sample: large,
        ..way("v4-tcp-super")
    },
    Way {
        v6: true,
        sample: large,
        ..way("v6-tcp-super")
    },
    Way {
        rules: 100,
        ..way("v4-udp-small-100-rules")
    },
    Way {
        vassals: 1,
        ..way("v4-udp-small-to-host")
    },
    Way {
        sample: spoofed,
        end: End::Spoofed,
        ..way("v4-spoofed")
    },
];

/// Small datagrams between a thousand vassals, and no rule.
const fn way(name: &'static str) -> Way {
    Way {
        name,
        vassals: 1000,
        rules: 0,
        v6: false,
        sample: small,
        end: End::Delivered,
    }
}

/// From an address that nobody has.
fn spoofed(_: &str, destination: &str) -> Sample {
    small(&address_of(30_000, false).to_string(), destination)
}

fn main() -> Result<(), Box<dyn Error>> {
    let Some(name) = std::env::args().nth(1) else {
        WAYS.iter().for_each(|way| println!("{}", way.name));
        return Ok(());
    };
    let way = WAYS.iter().find(|way| way.name == name).ok_or("no such way")?;
    let (mut fabric, ports) = fabric(way.vassals, port_rules(way.rules));
    let tables = fabric.tables();
    let mut router = Router::new(0);
    let now = Instant::now();
    let mut packets = frames(&ports, way.sample, way.v6);
    let went = measured(&mut router, &tables, &mut packets, way.end, now);
    if went != packets.len() {
        return Err(format!("only {went} of {} packets went this way", packets.len()).into());
    }
    println!("{went}");
    Ok(())
}

/// Every packet once; returns how many ended as they should.
#[inline(never)]
fn measured(
    router: &mut Router,
    tables: &Tables,
    packets: &mut [(PortId, Vec<u8>)],
    end: End,
    now: Instant,
) -> usize {
    let mut went = 0;
    for (from, frame) in packets {
        let ended = match router.forward(tables, *from, frame, now) {
            Verdict::Forward(to) => {
                router.delivered(tables, *from, to, frame.len() - 10);
                End::Delivered
            }
            Verdict::Drop(Reason::Spoofed) => End::Spoofed,
            Verdict::Answer(_) | Verdict::Wake(_) | Verdict::Drop(_) => continue,
        };
        went += usize::from(ended == end);
    }
    went
}
