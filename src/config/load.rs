//! From the bytes of a file to what it means, with every problem at once.

use std::net::IpAddr;
use std::path::Path;

use super::definition::Definition;
use super::file_name::name_of;
use super::judge::{self, Bench};
use super::judge_namespaces;
use super::judge_owner;
use super::judge_settings;
use super::kinds::WordOr;
use super::mirror::{Emperor, Vassal};
use super::places::Places;
use super::problem::{Place, Problem};
use super::report::Report;
use super::settings::{Defaults, Settings};
use super::text;
use super::world::{Owner, World};
use super::written::{Item, Read, Slot};
use super::yaml::{self, Node};

/// Most bytes that a file may have.
pub const MAX_BYTES: usize = 1 << 20;

/// What became of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judged<T> {
    /// What it means; there exactly if no problem is an [`Error`](super::Severity::Error).
    pub value: Option<T>,
    /// What it would mean without what is wrong with it, for judgements across files; absent where there is a
    /// [`value`](Self::value), or too little can be read.
    pub draft: Option<T>,
    /// All that is wrong with it, in the order of the file.
    pub problems: Vec<Problem>,
}

/// Judges the emperor's own file. Without `text` there is no file, and every key has its default.
pub fn settings(path: &Path, text: Option<&str>, places: &Places, world: &dyn World) -> Judged<Settings> {
    settings_bytes(path, text.map(str::as_bytes), places, world)
}

/// Like [`settings`], for a file that may not even be text.
pub fn settings_bytes(
    path: &Path,
    text: Option<&[u8]>,
    places: &Places,
    world: &dyn World,
) -> Judged<Settings> {
    let mut report = Report::new(path);
    let written = match tree(text.unwrap_or_default(), &mut report) {
        Some(Some(node)) => Emperor::read(&node, "", &mut report).unwrap_or_default(),
        Some(None) | None => Emperor::default(),
    };
    let value = judge_settings::settings(&written, path, places, world, &mut report);
    finish(report, Some(value))
}

/// Judges a vassal's file; `settings` hold the defaults and the router's subnets. A `path` of `-` is
/// standard input, and names the vassal `stdin`. Under `run_as_owner` the file is refused: it takes
/// [`definition_of`] to say whose it is.
pub fn definition(path: &Path, text: &[u8], settings: &Settings, world: &dyn World) -> Judged<Definition> {
    definition_of(path, text, None, settings, world)
}

/// Judges a vassal's file that belongs to `owner`, which matters under `run_as_owner` alone.
pub fn definition_of(
    path: &Path,
    text: &[u8],
    owner: Option<Owner>,
    settings: &Settings,
    world: &dyn World,
) -> Judged<Definition> {
    let mut report = Report::new(path);
    let name = name_of(path, &mut report);
    let Some(written) = vassal(text, &mut report) else {
        return finish(report, None);
    };
    let here = Slot::Given(Item {
        value: written,
        place: None,
    });
    let Defaults(defaults) = &settings.defaults;
    let default = Slot::Given(Item {
        value: defaults.clone(),
        place: None,
    });
    let Slot::Given(Item { value: merged, .. }) = Vassal::merge(here, &default) else {
        return finish(report, None);
    };
    if merged.command.is_absent() {
        let help = "add `command: [/usr/bin/program, argument]`";
        report.error(
            Some(Place {
                line: 1,
                column: 1,
                length: 1,
            }),
            "there is no `command`",
            help,
        );
    }
    if settings.run_as_owner {
        judge_owner::confine(&merged, defaults, &mut report);
    }
    let mut bench = Bench {
        report: &mut report,
        router: &settings.router,
        world,
    };
    let mut value = judge::vassal(&merged, name, path, &mut bench);
    if settings.run_as_owner {
        let identity = judge_owner::identity(owner, world, &mut report);
        if let Some(definition) = &mut value {
            definition.identity = identity;
        }
    }
    if let Some(definition) = &mut value {
        judge_namespaces::pass_on(definition, world);
    }
    finish(report, value)
}

/// Where a vassal's file names a fixed address; `None` if it does not.
pub fn place_of_address(text: &[u8], address: IpAddr) -> Option<Place> {
    let written = vassal(text, &mut Report::new(Path::new("")))?;
    let items = match written.network.value()?.address.value()? {
        WordOr::These(list) => &list.items,
        WordOr::Word(_) => return None,
    };
    items.iter().find(|item| item.value.address == address)?.place
}

fn finish<T>(report: Report, value: Option<T>) -> Judged<T> {
    let (value, draft) = if report.is_usable() {
        (value, None)
    } else {
        (None, value)
    };
    Judged {
        value,
        draft,
        problems: report.finish(),
    }
}

/// What a vassal's file says; `None` if that cannot be read at all.
fn vassal(text: &[u8], report: &mut Report) -> Option<Vassal> {
    match tree(text, report)? {
        Some(node) => Vassal::read(&node, "", report),
        None => {
            report.error(None, "is empty; a vassal needs at least `command: [...]`", "");
            None
        }
    }
}

/// The tree of a text: `None` if it has none (reported), `Some(None)` if it says nothing.
#[allow(clippy::option_option, reason = "unreadable and empty are two things")]
fn tree(text: &[u8], report: &mut Report) -> Option<Option<Node>> {
    if text.len() > MAX_BYTES {
        report.error(
            None,
            format!("is larger than a file may be, {MAX_BYTES} bytes"),
            "",
        );
        return None;
    }
    let text = match text::read(text) {
        Ok(text) => text,
        Err(error) => {
            report.error(Some(error.place), error.message, error.help);
            return None;
        }
    };
    match yaml::read(text) {
        Ok(node) => Some(node),
        Err(error) => {
            report.error(error.place, error.message, error.help);
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::definition::RestartPolicy;
    use crate::config::rule::Action;
    use crate::config::world::{Host, Identities};

    const ROOT: Host = Host(Identities::Any);

    fn settings_from(text: &str) -> Settings {
        let judged = settings(
            Path::new("/etc/emperor.yaml"),
            Some(text),
            &Places::of_root(),
            &ROOT,
        );
        judged.value.unwrap_or_else(|| panic!("{:?}", judged.problems))
    }

    fn judged(name: &str, text: &str, settings: &Settings) -> Judged<Definition> {
        definition(Path::new(name), text.as_bytes(), settings, &ROOT)
    }

    fn good(text: &str, settings: &Settings) -> Definition {
        let judged = judged("web.yaml", text, settings);
        judged.value.unwrap_or_else(|| panic!("{:?}", judged.problems))
    }

    #[test]
    fn a_vassals_own_keys_win_over_the_defaults_key_by_key() {
        let settings = settings_from(
            "defaults:\n  env: {A: 1, B: 2}\n  network: {mtu: 1400, firewall: {out: [deny], default: deny}}\n  \
             restart: {policy: never, delay: 2s}\n  log: {keep: 9}\n",
        );
        let web = good(
            "command: [/bin/sh]\nenv: {B: 3}\nnetwork: {device: web0, firewall: {out: []}}\nrestart: {delay: 3s}\n",
            &settings,
        );
        assert_eq!(
            web.env.into_iter().collect::<Vec<_>>(),
            [("A".to_owned(), "1".to_owned()), ("B".to_owned(), "3".to_owned())]
        );
        assert_eq!((web.network.mtu, web.network.device.as_str()), (1400, "web0"));
        assert_eq!(web.network.firewall_out.rules, []);
        assert_eq!(web.network.firewall_out.default, Action::Deny);
        assert_eq!(web.network.firewall_in.default, Action::Deny);
        assert_eq!(
            (web.restart.policy, web.restart.delay),
            (RestartPolicy::Never, Duration::from_secs(3))
        );
        assert_eq!(web.log.keep, 9);
    }

    #[test]
    fn the_command_may_come_from_the_defaults_but_an_empty_file_is_none() {
        let settings = settings_from("defaults: {command: [/bin/sh]}\n");
        assert_eq!(good("stop: {timeout: 1s}\n", &settings).command, ["/bin/sh"]);
        assert!(judged("web.yaml", "# soon\n", &settings).value.is_none());
    }

    #[test]
    fn what_is_odd_in_the_defaults_is_told_once() {
        let text = "defaults: {command: [/bin/missing]}\n";
        let host = &ROOT;
        let first = settings(
            Path::new("/etc/emperor.yaml"),
            Some(text),
            &Places::of_root(),
            host,
        );
        assert_eq!(first.problems.len(), 1);
        let second = judged("web.yaml", "stop: {timeout: 1s}\n", &first.value.unwrap());
        assert_eq!(second.problems, []);
    }

    #[test]
    fn a_default_that_does_not_fit_the_vassal_names_the_defaults() {
        let settings = settings_from("defaults: {hostname: web}\n");
        let judged = judged("web.yaml", "command: [/bin/sh]\nnamespaces: [pid]\n", &settings);
        assert_eq!(judged.problems.len(), 1, "{:?}", judged.problems);
        assert_eq!(judged.problems[0].place.map(|place| place.line), Some(2));
    }

    #[test]
    fn the_place_of_the_defaults_does_not_change_the_settings() {
        let above = settings_from(
            "\n\n\ndefaults: {env: {A: 1}, network: {gateway: [10.107.0.1]}, ready: {tcp: 80}}\n",
        );
        let below = settings_from(
            "defaults:\n  ready: {tcp: 80}\n  network: {gateway: [10.107.0.1]}\n  env: {A: 1}\n",
        );
        assert_eq!(above, below);
        assert_ne!(
            above,
            settings_from("defaults: {env: {A: 2}, network: {gateway: [10.107.0.1]}, ready: {tcp: 80}}\n")
        );
    }

    #[test]
    fn without_a_file_every_key_has_its_default() {
        let none = settings(Path::new("/etc/emperor.yaml"), None, &Places::of_root(), &ROOT);
        assert_eq!(none.problems, []);
        assert_eq!(none.value, Some(settings_from("")));
    }

    #[test]
    fn an_emperor_that_is_not_root_leaves_the_user_alone() {
        for identities in [
            Identities::OwnOnly,
            Identities::Mapped {
                uids: 65536,
                gids: 65536,
            },
        ] {
            let judged = definition(
                Path::new("web.yaml"),
                b"command: [/bin/sh]",
                &settings_from(""),
                &Host(identities),
            );
            assert_eq!(judged.value.map(|web| web.identity), Some(None));
        }
    }

    #[test]
    fn a_file_beyond_the_limit_is_one_problem() {
        let text = " ".repeat(MAX_BYTES + 1);
        let judged = judged("web.yaml", &text, &settings_from(""));
        assert_eq!(judged.problems.len(), 1, "{:?}", judged.problems);
    }

    #[test]
    fn an_address_is_found_in_its_file() {
        let text = b"command: [/bin/sh]\nnetwork: {address: [10.107.0.9/24]}\n";
        let place = place_of_address(text, [10, 107, 0, 9].into());
        assert_eq!(
            place,
            Some(Place {
                line: 2,
                column: 21,
                length: 13
            })
        );
        assert_eq!(place_of_address(text, [10, 107, 0, 8].into()), None);
    }
}
