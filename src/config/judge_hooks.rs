//! What the emperor runs when something happens to a vassal.

use std::time::Duration;

use super::definition::{DEFAULT_PATH, Hook, Hooks};
use super::judge::{Bench, executable};
use super::kinds::ArgvOr;
use super::mirror;
use super::written::{Item, Slot};

/// How long a hook may take if its file does not say.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Judges `hooks`.
pub(super) fn hooks(written: &mirror::Hooks, bench: &mut Bench<'_>) -> Hooks {
    let mut one = |slot, key, loss| hook(slot, key, loss, bench);
    let quiet = "the hook fails until it exists";
    Hooks {
        pre_start: one(
            &written.pre_start,
            "pre_start",
            "the vassal cannot start before it exists",
        ),
        post_start: one(&written.post_start, "post_start", quiet),
        pre_stop: one(&written.pre_stop, "pre_stop", quiet),
        post_stop: one(&written.post_stop, "post_stop", quiet),
    }
}

fn hook(slot: &Slot<ArgvOr<mirror::Hook>>, moment: &str, loss: &str, bench: &mut Bench<'_>) -> Option<Hook> {
    let Item { value, place } = slot.item()?;
    let (argv, key, timeout) = match value {
        ArgvOr::Argv(argv) => (argv, format!("hooks.{moment}"), TIMEOUT),
        ArgvOr::Map(map) => {
            if map.command.is_absent() {
                let help = "add `command: [/usr/bin/program, argument]`";
                bench.error(*place, format!("`hooks.{moment}` has no `command`"), help);
            }
            if let Some(Item { value, place }) = map.timeout.item()
                && value.is_zero()
            {
                let help = "write how long it may take: 30s";
                bench.error(
                    *place,
                    format!("`hooks.{moment}.timeout` leaves it no time"),
                    help,
                );
            }
            let timeout = map.timeout.value().copied().unwrap_or(TIMEOUT);
            (map.command.value()?, format!("hooks.{moment}.command"), timeout)
        }
    };
    executable(argv, &key, DEFAULT_PATH, loss, bench);
    Some(Hook {
        command: argv.0.iter().map(|item| item.value.0.clone()).collect(),
        timeout,
    })
}
