//! What the pretended host says of an action that fails, as the host does (`host::perform`).

use mini_emperor::config::Name;
use mini_emperor::emperor::{Action, Deed, Emperor, Event, Trouble};

/// What is to be told at once of an action that has failed; of any other failure the emperor hears by what a process does,
/// or does not do.
pub(super) fn failing(action: &Action, emperor: &Emperor) -> Option<Event> {
    let (name, deed) = match action {
        Action::Reload { name, .. } => (name, Deed::Reload),
        Action::Update { definition } => (&definition.name, Deed::Update),
        Action::Await(name) => (name, Deed::Await),
        Action::Spawn { .. }
        | Action::Probe { .. }
        | Action::Ask { .. }
        | Action::Kill { .. }
        | Action::Say { .. }
        | Action::Complain { .. }
        | Action::Forget(_)
        | Action::Refuse { .. }
        | Action::Abandon { .. }
        | Action::Retry { .. } => return None,
    };
    Some(failure(name, deed, emperor))
}

/// Something could not be done for the process that a vassal has, or for the want of one.
pub(super) fn failure(name: &Name, deed: Deed, emperor: &Emperor) -> Event {
    let vassal = emperor.vassals().get(name);
    let why = "the kernel said no".to_owned();
    Event::Failed {
        name: name.clone(),
        life: vassal.and_then(|vassal| vassal.state.life()),
        trouble: Trouble { deed, why },
    }
}
