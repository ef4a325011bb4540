//! Whom a vassal runs as: names become numbers, and nobody gets an id that the emperor cannot give.

use std::path::PathBuf;

use super::definition::Identity;
use super::judge::Bench;
use super::kinds::Text;
use super::mirror::Vassal;
use super::world::{Identities, User};
use super::written::{Item, Slot, shown};

/// What an emperor without subordinate ids lacks.
const NEEDS_IDS: &str =
    "needs root, or subordinate ids for your user in /etc/subuid and /etc/subgid (and the newuidmap program)";

/// Judges `user`, `group` and `groups`. `None` = the emperor's own user.
pub(super) fn identity(written: &Vassal, bench: &mut Bench<'_>) -> Option<Identity> {
    let identities = bench.world.identities();
    if identities == Identities::OwnOnly {
        own_only(written, bench);
        return None;
    }
    let user = user(written, identities, bench)?;
    let gid = match written.group.item() {
        Some(item) => group(item, "group", identities, bench)?,
        None => {
            within(
                user.gid,
                identities,
                written.user.item(),
                "the primary group of",
                bench,
            );
            user.gid
        }
    };
    let wished = written
        .groups
        .value()
        .map(|list| list.items.as_slice())
        .unwrap_or_default();
    let mut groups = Vec::new();
    for (index, item) in wished.iter().enumerate() {
        groups.extend(group(item, &format!("groups[{index}]"), identities, bench));
    }
    groups.sort_unstable();
    groups.dedup();
    Some(Identity {
        user: user.name,
        home: user.home,
        uid: user.uid,
        gid,
        groups,
    })
}

/// The only user there is is the one who started the emperor; inside, its number is 0.
fn own_only(written: &Vassal, bench: &mut Bench<'_>) {
    let groups = written
        .groups
        .value()
        .map(|list| list.items.iter())
        .unwrap_or_default();
    let wished = written.user.item().map(|item| ("user", item)).into_iter();
    let wished = wished.chain(written.group.item().map(|item| ("group", item)));
    for (key, Item { value, place }) in wished {
        if !matches!(value.0.as_str(), "root" | "0") {
            bench.error(*place, format!("`{key}: {}` cannot be had", value.0), NEEDS_IDS);
        }
    }
    for Item { value, place } in groups {
        bench.error(*place, format!("`groups`: {} cannot be had", value.0), NEEDS_IDS);
    }
}

fn user(written: &Vassal, identities: Identities, bench: &mut Bench<'_>) -> Option<User> {
    let item = match &written.user {
        Slot::Given(item) => item,
        Slot::Bad => return None,
        Slot::Absent if identities == Identities::Any => return Some(nobody(bench)),
        Slot::Absent => {
            for (key, slot) in [("group", written.group.item()), ("groups", first(written))] {
                if let Some(item) = slot {
                    bench.error(item.place, format!("`{key}` needs `user`"), "add `user`");
                }
            }
            return None;
        }
    };
    let Some(user) = bench.world.user(&item.value.0) else {
        let message = format!("`user`: the host has no user {}", shown(&item.value.0));
        bench.error(
            item.place,
            message,
            "create it, or name one that exists (see /etc/passwd)",
        );
        return None;
    };
    if let Identities::Mapped { uids, .. } = identities
        && user.uid >= uids
    {
        outside(item, "user", user.uid, uids, bench);
    }
    Some(user)
}

fn first(written: &Vassal) -> Option<&Item<Text>> {
    written.groups.value().and_then(|list| list.items.first())
}

/// Whom an unnamed user is: the host's nobody, or its customary number.
fn nobody(bench: &Bench<'_>) -> User {
    bench.world.user("nobody").unwrap_or_else(|| User {
        name: "nobody".to_owned(),
        uid: 65534,
        gid: 65534,
        home: PathBuf::from("/nonexistent"),
    })
}

pub(super) fn group(
    item: &Item<Text>,
    key: &str,
    identities: Identities,
    bench: &mut Bench<'_>,
) -> Option<u32> {
    let Some(gid) = bench.world.group(&item.value.0) else {
        let message = format!("`{key}`: the host has no group {}", shown(&item.value.0));
        bench.error(
            item.place,
            message,
            "create it, or name one that exists (see /etc/group)",
        );
        return None;
    };
    within(gid, identities, Some(item), key, bench);
    Some(gid)
}

/// Checks that a group lies within the map.
fn within(gid: u32, identities: Identities, item: Option<&Item<Text>>, key: &str, bench: &mut Bench<'_>) {
    if let (Identities::Mapped { gids, .. }, Some(item)) = (identities, item)
        && gid >= gids
    {
        outside(item, key, gid, gids, bench);
    }
}

fn outside(item: &Item<Text>, key: &str, id: u32, count: u32, bench: &mut Bench<'_>) {
    let key = if key.contains(' ') {
        key.to_owned()
    } else {
        format!("`{key}`:")
    };
    let name = &item.value.0;
    let message = format!("{key} {name} is number {id}, and the emperor has {count} subordinate ids");
    bench.error(
        item.place,
        message,
        "give the emperor's user more in /etc/subuid and /etc/subgid, or run as root",
    );
}
