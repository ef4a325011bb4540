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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::config::places::Places;
    use crate::config::world::{Host, Identities};
    use crate::config::{Change, Definition, load};

    /// A vassal under settings that limit everybody.
    fn vassal(text: &str) -> Definition {
        let host = Host(Identities::Any);
        let defaults =
            "defaults: {limits: {memory: 1G, nofile: 64}, network: {bandwidth: {out: 8Mbit/s, burst: 4K}}}";
        let settings = load::settings(Path::new("e.yaml"), Some(defaults), &Places::of_root(), &host);
        let settings = settings.value.unwrap();
        let text = format!("command: [/bin/sh]\n{text}\n");
        let judged = load::definition(Path::new("web.yaml"), text.as_bytes(), &settings, &host);
        judged.value.unwrap()
    }

    #[test]
    fn the_defaults_limit_whoever_does_not_say_otherwise() {
        let plain = vassal("");
        assert_eq!(
            (plain.limits.memory, plain.limits.nofile),
            (Some(1 << 30), Some(64))
        );
        let out = plain.network.bandwidth.out.unwrap();
        assert_eq!((out.bytes, out.burst), (1_000_000, 4096));
        let own = vassal("limits: {memory: none, cpu: 0.5}\nnetwork: {bandwidth: {out: none, in: 8kbit/s}}");
        assert_eq!(
            (own.limits.memory, own.limits.cpu, own.limits.nofile),
            (None, Some(500), Some(64))
        );
        assert_eq!(own.network.bandwidth.out, None);
        assert_eq!(own.network.bandwidth.in_.unwrap().burst, 4096);
    }

    #[test]
    fn limits_of_the_whole_tree_change_while_it_runs_and_those_of_a_process_do_not() {
        let plain = vassal("");
        for (text, change) in [
            ("limits: {memory: 2G}", Change::Live),
            ("limits: {memory: none}", Change::Live),
            ("limits: {cpu: 2, pids: 7}", Change::Live),
            ("network: {bandwidth: {in: 1Gbit/s}}", Change::Live),
            ("network: {bandwidth: {out: none}}", Change::Live),
            ("network: {bandwidth: {burst: 4096}}", Change::Nothing),
            ("limits: {nofile: 65}", Change::Restart),
            ("limits: {core: 0}", Change::Restart),
            ("limits: {cpu: 2, core: 0}", Change::Restart),
        ] {
            assert_eq!(Change::between(&plain, &vassal(text)), change, "{text}");
            assert_eq!(Change::between(&vassal(text), &plain), change, "{text}");
        }
    }

    #[test]
    fn a_record_from_before_there_were_limits_has_none() {
        let mut old = serde_json::to_value(vassal("limits: {memory: 2G}")).unwrap();
        old.as_object_mut().unwrap().remove("limits");
        old["network"].as_object_mut().unwrap().remove("bandwidth");
        let read: Definition = serde_json::from_value(old).unwrap();
        assert_eq!((read.limits.memory, read.network.bandwidth.out), (None, None));
    }
}
