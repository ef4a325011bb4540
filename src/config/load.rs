//! From the bytes of a file to what it means, with every problem at once.

use std::ffi::OsStr;
use std::net::IpAddr;
use std::path::Path;

use super::definition::{Definition, Name};
use super::judge::{self, Bench};
use super::judge_settings;
use super::kinds::WordOr;
use super::mirror::{Emperor, Vassal};
use super::places::Places;
use super::problem::{Place, Problem};
use super::report::Report;
use super::settings::{Defaults, Settings};
use super::world::World;
use super::written::{Item, Read, Slot};
use super::yaml::{self, Node};

pub use super::yaml::MAX_BYTES;

/// What became of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judged<T> {
    /// What it means; there exactly if no problem is an [`Error`](super::Severity::Error).
    pub value: Option<T>,
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
/// standard input, and names the vassal `stdin`.
pub fn definition(path: &Path, text: &[u8], settings: &Settings, world: &dyn World) -> Judged<Definition> {
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
    let mut bench = Bench {
        report: &mut report,
        router: &settings.router,
        world,
    };
    let value = judge::vassal(&merged, name, path, &mut bench);
    finish(report, value)
}

/// Whether a file of that name is a definition: `*.yaml` or `*.yml`, and nobody's hidden, backup or swap
/// file.
pub fn is_definition(file_name: &OsStr) -> bool {
    let Some(name) = file_name.to_str() else {
        return false;
    };
    let stem = name.strip_suffix(".yaml").or_else(|| name.strip_suffix(".yml"));
    stem.is_some_and(|stem| !stem.is_empty() && !name.starts_with(['.', '#', '~']))
}

/// Where a vassal's file names a fixed address; `None` if it does not.
pub fn place_of_address(text: &[u8], address: IpAddr) -> Option<Place> {
    let written = vassal(text, &mut Report::new(Path::new("")))?;
    let items = match written.network.value()?.address.value()? {
        WordOr::These(items) => items,
        WordOr::Word(_) => return None,
    };
    items.iter().find(|item| item.value.address == address)?.place
}

fn finish<T>(report: Report, value: Option<T>) -> Judged<T> {
    let value = value.filter(|_| report.is_usable());
    Judged {
        value,
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

/// The place behind the end of `text`.
fn end_of(text: &str) -> Place {
    let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    let last = text.rsplit('\n').next().unwrap_or_default();
    Place {
        line: count(text.matches('\n').count()).saturating_add(1),
        column: count(last.chars().count()).saturating_add(1),
        length: 1,
    }
}

/// The tree of a text: `None` if it has none (reported), `Some(None)` if it says nothing.
#[allow(clippy::option_option, reason = "unreadable and empty are two things")]
fn tree(text: &[u8], report: &mut Report) -> Option<Option<Node>> {
    if text.len() > MAX_BYTES {
        report.error(
            None,
            format!("has {} bytes; a file may have {MAX_BYTES}", text.len()),
            "",
        );
        return None;
    }
    let text = match std::str::from_utf8(text) {
        Ok(text) => text,
        Err(error) => {
            let good = text.get(..error.valid_up_to()).unwrap_or_default();
            let place = end_of(&String::from_utf8_lossy(good));
            report.error(
                Some(place),
                "is not text: here is a byte that is not UTF-8",
                "save it as UTF-8",
            );
            return None;
        }
    };
    if let Some(at) = text.find('\0') {
        report.error(
            Some(end_of(&text[..at])),
            "is not text: here is a NUL",
            "save it as UTF-8",
        );
        return None;
    }
    match yaml::read(text) {
        Ok(node) => Some(node),
        Err(error) => {
            report.error(error.place, error.message, "");
            None
        }
    }
}

fn name_of(path: &Path, report: &mut Report) -> Option<Name> {
    let stem = if path == Path::new("-") {
        Some(OsStr::new("stdin"))
    } else {
        path.file_stem()
    };
    let name = stem.and_then(OsStr::to_str).and_then(Name::new);
    if name.is_none() {
        let stem = stem.unwrap_or_default().to_string_lossy().into_owned();
        report.error(
            None,
            format!("its name gives a vassal no good name: {stem:?}"),
            "rename it: 1 to 63 letters, digits, `-`, `_` and `.`, the first a letter or digit",
        );
    }
    name
}
