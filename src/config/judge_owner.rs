//! What the owner of a file may decide, where owners are tenants (`run_as_owner`), and whom he becomes.
//!
//! A tenant may say what runs, as himself, inside his own network. Whatever would be done with the emperor's
//! rights, takes from others or is the operator's promise to others is refused with its reason. The keys that a
//! tenant may write are listed; a key that is in no list is the operator's, so that one added later is refused until somebody
//! has thought about it.

use std::time::Duration;

use super::definition::Identity;
use super::judge::section;
use super::kinds::{Choice, List, Listen, NamespaceWord, WordOrOne};
use super::mirror::Vassal;
use super::problem::Place;
use super::report::Report;
use super::world::{Owner, World};
use super::written::{Item, Mirror, Slot};

/// Keys that concern nobody but the tenant; some are bounded below.
const OWN: &[&str] = &[
    "command",
    "env",
    "directory",
    "hostname",
    "capabilities",
    "no_new_privileges",
    "namespaces",
    "network",
    "restart",
    "stop",
    "reload",
    "ready",
    "ready_timeout",
    "watchdog",
    "on_demand",
];
/// The same below `network`.
const OWN_NETWORK: &[&str] = &["address", "device", "gateway", "mtu", "firewall"];
/// What the kernel calls somebody whom it cannot name (`/proc/sys/kernel/overflowuid`).
const NOBODY_KNOWN: u32 = 65534;
/// The stop timeout where the settings say nothing.
const STOP_TIMEOUT: Duration = Duration::from_secs(30);

/// Refuses whatever is not a tenant's to decide. What comes from the operator's `defaults` has no place and passes.
pub(super) fn confine(written: &Vassal, defaults: &Vassal, report: &mut Report) {
    for (key, place) in written.own() {
        if !OWN.contains(&key) {
            refuse(key, place, why(key), report);
        }
    }
    for (key, place) in section(&written.network).own() {
        if !OWN_NETWORK.contains(&key) {
            refuse(&format!("network.{key}"), place, OPERATORS, report);
        }
    }
    listening(written, report);
    privileges(written, report);
    namespaces(written, defaults, report);
    farewell(written, defaults, report);
}

/// Whom the vassal runs as.
pub(super) fn identity(owner: Option<Owner>, world: &dyn World, report: &mut Report) -> Option<Identity> {
    let Some(Owner { uid, gid }) = owner else {
        let help = "judge it where it lies, as a file";
        report.error(
            None,
            "it belongs to nobody, and `run_as_owner` asks whose it is",
            help,
        );
        return None;
    };
    if uid == 0 || gid == 0 {
        let what = if uid == 0 { "user" } else { "group" };
        let message = format!("it belongs to the {what} root, and `run_as_owner` runs nothing as root");
        report.error(
            None,
            message,
            "chown it to the user and group that its vassal is to run as",
        );
        return None;
    }
    if uid == NOBODY_KNOWN {
        let message =
            format!("it belongs to uid {uid}, which is what the kernel calls an owner that it cannot name");
        report.error(None, message, "chown it to a user of its own");
        return None;
    }
    let Some(user) = world.user_of(uid) else {
        let message = format!("it belongs to uid {uid}, and the user database has no such user");
        report.error(None, message, "create the user, or chown it to one that exists");
        return None;
    };
    if !world.is_member(&user, gid) {
        let message = format!(
            "its group is number {gid}, and its owner {} does not belong to it",
            user.name
        );
        // A set-group-id directory gives a file a group that its owner need not have.
        report.error(None, message, format!("chgrp it to a group of {}", user.name));
        return None;
    }
    Some(Identity {
        user: user.name,
        home: user.home,
        uid,
        gid,
        groups: Vec::new(),
    })
}

/// Why a key is nobody's but the operator's, unless there is more to say.
const OPERATORS: &str = "it is the operator's: the `defaults` of the settings may have it";

fn why(key: &str) -> &'static str {
    match key {
        "user" | "group" | "groups" => {
            "remove it: the vassal runs as the file's owner and group, without other groups"
        }
        "hooks" => {
            "remove it: hooks run with the emperor's rights; the `defaults` of the settings may have them"
        }
        "log" => {
            "remove it: the disk and the journal are the operator's; the `defaults` of the settings may have it"
        }
        _ => OPERATORS,
    }
}

fn refuse(key: &str, place: Place, help: &str, report: &mut Report) {
    let message = format!("`{key}` is not the owner's to set, under `run_as_owner`");
    report.error(Some(place), message, help);
}

/// A tenant's socket lies where he may put one, and is his.
fn listening(written: &Vassal, report: &mut Report) {
    let Some(WordOrOne::This(demand)) = written.on_demand.value() else {
        return;
    };
    for (key, place) in demand.own() {
        match key {
            "owner" | "group" => {
                let help = "remove it: the socket belongs to the file's owner";
                refuse(&format!("on_demand.{key}"), place, help, report);
            }
            "socket" if matches!(demand.socket.value(), Some(Listen::Tcp(_))) => {
                let help =
                    "write a path: a port of the host is the operator's, and a way around the firewall";
                refuse("on_demand.socket: ADDRESS:PORT", place, help, report);
            }
            _ => {}
        }
    }
}

fn privileges(written: &Vassal, report: &mut Report) {
    if let Some(Item {
        value,
        place: Some(place),
    }) = written.capabilities.item()
        && !value.items.is_empty()
    {
        refuse("capabilities", *place, OPERATORS, report);
    }
    if let Some(Item {
        value: false,
        place: Some(place),
    }) = written.no_new_privileges.item()
    {
        refuse("no_new_privileges: false", *place, OPERATORS, report);
    }
}

/// A tenant adds namespaces and leaves out none that every vassal has.
fn namespaces(written: &Vassal, defaults: &Vassal, report: &mut Report) {
    const USUAL: [NamespaceWord; 4] = [
        NamespaceWord::Pid,
        NamespaceWord::Mount,
        NamespaceWord::Uts,
        NamespaceWord::Ipc,
    ];
    let words = |list: &List<NamespaceWord>| list.items.iter().map(|item| item.value).collect::<Vec<_>>();
    let Some(Item {
        value,
        place: Some(place),
    }) = written.namespaces.item()
    else {
        return;
    };
    let demanded = defaults.namespaces.value().map_or_else(|| USUAL.to_vec(), words);
    let own = words(value);
    let missing: Vec<_> = demanded.into_iter().filter(|word| !own.contains(word)).collect();
    if value.whole && !missing.is_empty() {
        let names: Vec<_> = missing.iter().filter_map(|word| word.name()).collect();
        let message = format!(
            "`namespaces` leaves out {}, under `run_as_owner`",
            names.join(", ")
        );
        report.error(
            Some(*place),
            message,
            "an owner can add namespaces, and leave out none",
        );
    }
}

/// Nobody stays long after his file is gone.
fn farewell(written: &Vassal, defaults: &Vassal, report: &mut Report) {
    let most = section(&defaults.stop)
        .timeout
        .value()
        .copied()
        .unwrap_or(STOP_TIMEOUT);
    let stop = section(&written.stop);
    if let Slot::Given(Item {
        value,
        place: Some(place),
    }) = &stop.timeout
        && *value > most
    {
        let message = "`stop.timeout` is longer than the operator's, under `run_as_owner`";
        report.error(Some(*place), message, format!("{}s is the most", most.as_secs()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::mirror::Network;

    #[test]
    fn the_lists_name_keys_that_exist() {
        assert!(OWN.iter().all(|key| Vassal::KEYS.contains(key)));
        assert!(OWN_NETWORK.iter().all(|key| Network::KEYS.contains(key)));
    }
}
