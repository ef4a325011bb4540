//! The namespaces of a vassal, and what a user namespace rules out.

use super::definition::{Definition, Identity};
use super::judge::Bench;
use super::kinds::NamespaceWord;
use super::mirror::Vassal;
use super::namespaces::{Namespaces, UserNamespace};
use super::problem::Place;
use super::world::{Identities, World};
use super::written::Item;

/// Capabilities that act on no namespace but on the whole machine; the kernel wants them on the host.
/// user_namespaces(7)
const OF_THE_HOST: [(u8, &str); 3] = [(16, "SYS_MODULE"), (25, "SYS_TIME"), (27, "MKNOD")];

/// Judges `namespaces`.
pub(super) fn namespaces(written: &Vassal, bench: &mut Bench<'_>) -> Namespaces {
    let Some(list) = written.namespaces.value() else {
        return Namespaces {
            pid: true,
            mount: true,
            uts: true,
            ipc: true,
            cgroup: false,
            user: None,
        };
    };
    let mut all = Namespaces {
        pid: false,
        mount: false,
        uts: false,
        ipc: false,
        cgroup: false,
        user: None,
    };
    let mut user = false;
    for Item { value, place } in &list.items {
        let (flag, name) = match value {
            NamespaceWord::Pid => (&mut all.pid, "pid"),
            NamespaceWord::Mount => (&mut all.mount, "mount"),
            NamespaceWord::Uts => (&mut all.uts, "uts"),
            NamespaceWord::Ipc => (&mut all.ipc, "ipc"),
            NamespaceWord::User => (&mut user, "user"),
            NamespaceWord::Cgroup => (&mut all.cgroup, "cgroup"),
        };
        if std::mem::replace(flag, true) {
            bench.error(
                *place,
                format!("`namespaces` names {name} twice"),
                "once is enough",
            );
        }
    }
    all.user = user.then(UserNamespace::default);
    all
}

/// Judges what stands beside a user namespace, if there is one.
pub(super) fn user(
    namespaces: Namespaces,
    written: &Vassal,
    identity: Option<&Identity>,
    bench: &mut Bench<'_>,
) {
    if namespaces.user.is_none() {
        return;
    }
    if let Some(who) = identity {
        roots(written, who, bench);
    }
    let wished = written.capabilities.value().map(|list| list.items.as_slice());
    for Item { value, place } in wished.unwrap_or_default() {
        if let Some((_, name)) = OF_THE_HOST.iter().find(|(bit, _)| *bit == value.0) {
            let message = format!("`capabilities`: {name} is of no use in a user namespace");
            let help = "the kernel asks for it on the host: take it out, or take user from `namespaces`";
            bench.error(*place, message, help);
        }
    }
}

/// Whoever is root outside gains nothing by being it inside, and the host no protection.
fn roots(written: &Vassal, who: &Identity, bench: &mut Bench<'_>) {
    // Without root, 0 is who started the emperor.
    let of_the_host = bench.world.identities() == Identities::Any;
    let mut refuse = |place: Option<Place>, message: &str, help: &str| bench.error(place, message, help);
    if of_the_host && who.uid == 0 {
        refuse(
            written.user.place(),
            "`user` is root, and `namespaces` has user: root inside would be root of the host",
            "leave `user` out, or name another: inside it is root all the same",
        );
    } else if of_the_host && who.gid == 0 {
        refuse(
            written.group.place().or(written.user.place()),
            "the group is root, and `namespaces` has user: it would be the host's root group inside",
            "name another `group`: inside it is root all the same",
        );
    }
    if who.groups.contains(&0) && (of_the_host || who.gid != 0) {
        refuse(
            written.groups.place(),
            "`groups` names root, and `namespaces` has user: the group root inside is the vassal's own",
            "take it out",
        );
    }
}

/// Gives a user namespace the ids that are set aside for its vassal's user, now that it is known who that is.
pub(super) fn pass_on(definition: &mut Definition, world: &dyn World) {
    if let (Some(user), Some(who)) = (&mut definition.namespaces.user, &definition.identity) {
        (user.uids, user.gids) = world.subordinates(&who.user, who.uid);
    }
}
