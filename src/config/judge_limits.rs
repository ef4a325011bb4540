//! What a vassal may use: of the machine, and of its network.

use super::definition::{Bandwidth, Limits, Rate};
use super::judge::Bench;
use super::kinds::{BitRate, Nothing, WordOrOne};
use super::mirror;
use super::written::{Item, Slot};

/// No program starts in less.
const LEAST_MEMORY: u64 = 1 << 20;
/// A packet of the usual MTU.
const LEAST_BURST: u64 = 1_500;
const MOST_BURST: u64 = 1 << 30;
/// The burst of a vassal that states none: a super-frame…
const USUAL_BURST: u64 = 64 << 10;
/// …or what passes in a quarter of a second, if that is more. TCP that has lost a whole flight waits 200 ms before it
/// sends again (`TCP_RTO_MIN`), and what a bucket that is full before cannot take is lost to it: over a link without
/// delay a bucket of 10, 100 and 200 ms gave TCP 6, 50 and 95 % of its rate.
const BURSTS_A_SECOND: u64 = 4;

/// Judges `limits`.
pub(super) fn limits(written: &mirror::Limits, bench: &mut Bench<'_>) -> Limits {
    let memory = given(&written.memory).map(|size| size.0);
    if memory.is_some_and(|memory| memory < LEAST_MEMORY) {
        let message = "`limits.memory` is smaller than 1MiB";
        bench.error(written.memory.place(), message, "write 1MiB or more: 256MiB");
    }
    Limits {
        memory,
        cpu: given(&written.cpu).map(|cores| cores.0),
        pids: given(&written.pids).map(|pids| pids.0),
        nofile: given(&written.nofile).map(|files| files.0),
        core: given(&written.core).map(|size| size.0),
    }
}

/// Judges `network.bandwidth`.
pub(super) fn bandwidth(written: &mirror::Bandwidth, bench: &mut Bench<'_>) -> Bandwidth {
    let burst = written.burst.value().map(|size| size.0);
    let (out, in_) = (given(&written.out), given(&written.r#in));
    if burst.is_some_and(|burst| !(LEAST_BURST..=MOST_BURST).contains(&burst)) {
        let message = "`network.bandwidth.burst` is out of bounds";
        bench.error(written.burst.place(), message, "write 1500 to 1GiB: 64KiB");
    } else if let Some(Item { place, .. }) = written.burst.item()
        && (out, in_) == (None, None)
    {
        let message = "`network.bandwidth.burst` has no effect without a rate";
        bench.warning(*place, message, "add `out` or `in`: 10Mbit/s");
    }
    let rate = |bits: &BitRate| {
        let bytes = bits.0 / 8;
        Rate {
            bytes,
            burst: burst.unwrap_or_else(|| USUAL_BURST.max(bytes / BURSTS_A_SECOND)),
        }
    };
    Bandwidth {
        out: out.map(rate),
        in_: in_.map(rate),
    }
}

/// The value, where `none` is as good as nothing.
fn given<T>(slot: &Slot<WordOrOne<Nothing, T>>) -> Option<&T> {
    match slot.value()? {
        WordOrOne::Word(Nothing) => None,
        WordOrOne::This(value) => Some(value),
    }
}
