//! What starts a vassal that is started by its first client.

use std::time::Duration;

use super::definition::{OnDemand, Trigger};
use super::judge::Bench;
use super::judge_identity;
use super::kinds::{Listen, ReadyWord, WordOrOne};
use super::mirror::{self, Vassal};
use super::problem::Place;
use super::written::{Item, Slot, shown};

/// Whether a vassal is in use is looked at now and then, not at every packet.
const SHORTEST_IDLE: Duration = Duration::from_secs(1);
/// Whoever may reach the path may connect, as to a port.
const MODE: u32 = 0o666;

/// Judges `on_demand`.
pub(super) fn on_demand(written: &Vassal, bench: &mut Bench<'_>) -> Option<OnDemand> {
    let Item { value, place } = written.on_demand.item()?;
    let wish = match value {
        WordOrOne::Word(_) => return None,
        WordOrOne::This(wish) => wish,
    };
    if let Some(Item { value, place }) = wish.idle.item()
        && *value < SHORTEST_IDLE
    {
        let help = "1s is the shortest; leave it out and the vassal ends by itself or not at all";
        bench.error(*place, "`on_demand.idle` is too short", help);
    }
    let packet = wish.packet.value() == Some(&true);
    let trigger = match (wish.socket.item(), packet) {
        (Some(_), true) => {
            let message = "`on_demand` has both `socket` and `packet`";
            bench.error(*place, message, "a packet starts it, or a connection: keep one");
            return None;
        }
        (None, false) => {
            if !matches!(wish.socket, Slot::Bad) {
                let message = "`on_demand` says nothing that could start the vassal";
                bench.error(*place, message, "add `socket: /run/NAME.sock` or `packet: true`");
            }
            return None;
        }
        (Some(item), false) => socket(item, wish, bench),
        (None, true) => {
            warn_of_haste(written, *place, bench);
            Some(Trigger::Packet)
        }
    };
    if !matches!(trigger, Some(Trigger::Unix { .. })) {
        superfluous(wish, bench);
    }
    Some(OnDemand {
        trigger: trigger?,
        idle: wish.idle.value().copied(),
    })
}

fn socket(item: &Item<Listen>, wish: &mirror::OnDemand, bench: &mut Bench<'_>) -> Option<Trigger> {
    let path = match &item.value {
        Listen::Tcp(address) => return Some(Trigger::Tcp(*address)),
        Listen::Unix(path) => path,
    };
    if let Some(parent) = path.parent()
        && !bench.world.is_directory(parent)
    {
        let message = format!("`on_demand.socket`: {} is no directory", parent.display());
        bench.warning(item.place, message, "nobody can connect before it exists");
    }
    let uid = wish.owner.item().map(|item| {
        let user = bench.world.user(&item.value.0);
        if user.is_none() {
            let message = format!("`on_demand.owner`: the host has no user {}", shown(&item.value.0));
            bench.error(item.place, message, "name one that exists (see /etc/passwd)");
        }
        user.map(|user| user.uid)
    });
    let identities = bench.world.identities();
    let gid = wish
        .group
        .item()
        .map(|item| judge_identity::group(item, "on_demand.group", identities, bench));
    Some(Trigger::Unix {
        path: path.clone(),
        mode: wish.mode.value().map_or(MODE, |mode| mode.0),
        uid: uid.flatten(),
        gid: gid.flatten(),
    })
}

/// The packet that starts a vassal is delivered when it is ready.
fn warn_of_haste(written: &Vassal, place: Option<Place>, bench: &mut Bench<'_>) {
    let ready = written.ready.value();
    if matches!(ready, None | Some(WordOrOne::Word(ReadyWord::Exec))) {
        let message = "`on_demand.packet` without `ready`: the first packet may meet a program that does not listen yet";
        bench.warning(
            place,
            message,
            "add `ready: {tcp: PORT}`, or `ready: notify` if it can",
        );
    }
}

/// Only a path has a mode and an owner.
fn superfluous(wish: &mirror::OnDemand, bench: &mut Bench<'_>) {
    for (key, place) in [
        ("mode", wish.mode.item().map(|item| item.place)),
        ("owner", wish.owner.item().map(|item| item.place)),
        ("group", wish.group.item().map(|item| item.place)),
    ] {
        if let Some(place) = place {
            let message = format!("`on_demand.{key}` is about nothing: only a socket at a path has one");
            bench.error(place, message, format!("remove `{key}`"));
        }
    }
}
