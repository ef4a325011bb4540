//! When a vassal is started again, how it is asked to end, and how it is known to be ready and alive.

use std::time::Duration;

use super::definition::{Farewell, GiveUp, Ready, Restart, RestartPolicy, Stop};
use super::judge::Bench;
use super::kinds::{ReadyWord, WordOrOne};
use super::mirror::{self, Vassal};
use super::written::Item;

/// No interval or time limit may be shorter.
const SHORTEST: Duration = Duration::from_millis(100);

pub(super) fn restart(written: &mirror::Restart, bench: &mut Bench<'_>) -> Restart {
    let given = (written.delay.value().copied(), written.max_delay.value().copied());
    // The one that is given moves the default of the other.
    let (delay, max_delay) = match given {
        (Some(delay), Some(max_delay)) => (delay, max_delay),
        (Some(delay), None) => (delay, delay.max(Duration::from_secs(180))),
        (None, Some(max_delay)) => (max_delay.min(Duration::from_secs(1)), max_delay),
        (None, None) => (Duration::from_secs(1), Duration::from_secs(180)),
    };
    for (key, slot) in [("delay", &written.delay), ("max_delay", &written.max_delay)] {
        if let Some(Item { value, place }) = slot.item()
            && *value < SHORTEST
        {
            let help = "100ms is the shortest: a vassal that dies at once must not eat a core";
            bench.error(*place, format!("`restart.{key}` is too short"), help);
        }
    }
    if max_delay < delay {
        let place = written.max_delay.place().or(written.delay.place());
        let help = "the delay grows from `delay` to `max_delay`";
        bench.error(place, "`restart.max_delay` is shorter than `restart.delay`", help);
    }
    Restart {
        policy: written.policy.value().copied().unwrap_or(RestartPolicy::Always),
        delay,
        max_delay,
        give_up: give_up(written, bench),
    }
}

fn give_up(written: &mirror::Restart, bench: &mut Bench<'_>) -> Option<GiveUp> {
    let Item { value, place } = written.give_up.item()?;
    let written = match value {
        WordOrOne::Word(_) => return None,
        WordOrOne::This(map) => map,
    };
    let example = "give_up: {deaths: 5, within: 10m}";
    for (key, missing) in [
        ("deaths", written.deaths.is_absent()),
        ("within", written.within.is_absent()),
    ] {
        if missing {
            let message = format!("`restart.give_up` lacks `{key}`");
            bench.error(*place, message, format!("write both: {example}"));
        }
    }
    let (deaths, within) = (written.deaths.value()?.0, *written.within.value()?);
    if within.is_zero() {
        let place = written.within.place();
        bench.error(place, "`restart.give_up.within` is no time", example);
    }
    Some(GiveUp { deaths, within })
}

pub(super) fn stop(written: &mirror::Stop, ready: Ready) -> Stop {
    /// `SIGTERM`
    const TERM: i32 = 15;
    let signal = match written.signal.value() {
        Some(WordOrOne::This(signal)) => Farewell::Signal(signal.0),
        Some(WordOrOne::Word(_)) => Farewell::Emperor,
        // uWSGI takes SIGTERM for a wish to be reloaded.
        None if ready == Ready::Emperor => Farewell::Emperor,
        None => Farewell::Signal(TERM),
    };
    let timeout = written.timeout.value().copied();
    Stop {
        signal,
        timeout: timeout.unwrap_or(Duration::from_secs(30)),
    }
}

pub(super) fn ready(written: &Vassal, bench: &mut Bench<'_>) -> Ready {
    let Some(Item { value, place }) = written.ready.item() else {
        return Ready::Exec;
    };
    match value {
        WordOrOne::Word(ReadyWord::Exec) => Ready::Exec,
        WordOrOne::Word(ReadyWord::Notify) => Ready::Notify,
        WordOrOne::Word(ReadyWord::Emperor) => Ready::Emperor,
        WordOrOne::This(map) => {
            if map.tcp.is_absent() {
                bench.error(*place, "`ready` names no port", "write {tcp: PORT}");
            }
            let port = map.tcp.value().and_then(|port| u16::try_from(port.0).ok());
            port.map_or(Ready::Exec, Ready::Tcp)
        }
    }
}

pub(super) fn ready_timeout(written: &Vassal, bench: &mut Bench<'_>) -> Duration {
    let Some(Item { value, place }) = written.ready_timeout.item() else {
        return Duration::from_secs(60);
    };
    if *value < SHORTEST {
        let help = "100ms is the shortest; without the key it is 1m";
        bench.error(*place, "`ready_timeout` is too short", help);
    }
    *value
}

pub(super) fn watchdog(written: &Vassal, bench: &mut Bench<'_>) -> Option<Duration> {
    let Item { value, place } = written.watchdog.item()?;
    match value {
        WordOrOne::Word(_) => None,
        WordOrOne::This(every) => {
            if *every < SHORTEST {
                let help = "100ms is the shortest; `none` is no watchdog";
                bench.error(*place, "`watchdog` is too short", help);
            }
            Some(*every)
        }
    }
}
