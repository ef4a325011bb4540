//! From what a vassal's file says to what it means: defaults, checks, numbers for names.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::definition::{DEFAULT_PATH, Definition, Log, LogTarget, Name, Reload};
use super::judge_demand;
use super::judge_hooks;
use super::judge_identity;
use super::judge_life;
use super::judge_limits;
use super::judge_namespaces;
use super::judge_network;
use super::kinds::Argv;
use super::mirror::{self, Vassal};
use super::namespaces::Namespaces;
use super::problem::Place;
use super::report::Report;
use super::settings::RouterSettings;
use super::world::World;
use super::written::{Item, Slot, shown};

/// What a judgement needs beside the file.
pub(super) struct Bench<'a> {
    pub(super) report: &'a mut Report,
    pub(super) router: &'a RouterSettings,
    pub(super) world: &'a dyn World,
}

impl Bench<'_> {
    /// Something is wrong with a value; one without a place comes from the defaults.
    pub(super) fn error(
        &mut self,
        place: Option<Place>,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        let mut message = message.into();
        if place.is_none() {
            message.push_str(" (from the defaults of the settings)");
        }
        self.report.error(place, message, help);
    }

    /// Something is odd with a value. One from the defaults has been reported with the settings.
    pub(super) fn warning(
        &mut self,
        place: Option<Place>,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        if place.is_some() {
            self.report.warning(place, message, help);
        }
    }
}

/// Judges a vassal's file, merged with the defaults. `None` without a name; the caller has reported why, and a
/// command that is missing.
pub(super) fn vassal(
    written: &Vassal,
    name: Option<Name>,
    path: &Path,
    bench: &mut Bench<'_>,
) -> Option<Definition> {
    let env = environment(written);
    let directory = directory(written, bench);
    program(written, &env, bench);
    let namespaces = judge_namespaces::namespaces(written, bench);
    let hostname = hostname(written, namespaces, bench);
    let mut capabilities: Vec<_> = written
        .capabilities
        .value()
        .map(|list| list.items.iter().map(|item| item.value).collect())
        .unwrap_or_default();
    capabilities.sort_unstable();
    capabilities.dedup();
    let identity = judge_identity::identity(written, bench);
    judge_namespaces::user(namespaces, written, identity.as_ref(), bench);
    let network = judge_network::network(&section(&written.network), bench);
    let restart = judge_life::restart(&section(&written.restart), bench);
    let ready = judge_life::ready(written, bench);
    let stop = judge_life::stop(&section(&written.stop), ready);
    let ready_timeout = judge_life::ready_timeout(written, bench);
    let watchdog = judge_life::watchdog(written, bench);
    let on_demand = judge_demand::on_demand(written, bench);
    let hooks = judge_hooks::hooks(&section(&written.hooks), bench);
    let log = log(&section(&written.log), bench);
    Some(Definition {
        name: name?,
        path: path.to_owned(),
        command: command(written),
        env,
        directory,
        hostname,
        identity,
        capabilities,
        no_new_privileges: written.no_new_privileges.value().copied().unwrap_or(true),
        namespaces,
        limits: judge_limits::limits(&section(&written.limits), bench),
        network,
        restart,
        stop,
        reload: written.reload.value().copied().unwrap_or(Reload::Restart),
        ready,
        ready_timeout,
        watchdog,
        on_demand,
        hooks,
        log,
    })
}

/// The keys of a map, or none of them if the map is not there.
pub(super) fn section<T: Clone + Default>(slot: &Slot<T>) -> T {
    slot.value().cloned().unwrap_or_default()
}

fn command(written: &Vassal) -> Vec<String> {
    let argv = written.command.value().map(|argv| argv.0.as_slice());
    let words = argv.unwrap_or_default().iter();
    words.map(|item| item.value.0.clone()).collect()
}

fn environment(written: &Vassal) -> BTreeMap<String, String> {
    let env = written.env.value();
    env.map(|env| {
        env.0
            .iter()
            .map(|(name, item)| (name.clone(), item.value.0.clone()))
            .collect()
    })
    .unwrap_or_default()
}

fn directory(written: &Vassal, bench: &mut Bench<'_>) -> PathBuf {
    let Some(Item { value, place }) = written.directory.item() else {
        return PathBuf::from("/");
    };
    let path = PathBuf::from(&value.0);
    if !path.is_absolute() {
        let help = "write an absolute path: it begins with `/`";
        bench.error(
            *place,
            format!("`directory` is {}, a relative path", shown(&value.0)),
            help,
        );
    } else if !bench.world.is_directory(&path) {
        let help = "the vassal cannot start before it exists";
        bench.warning(*place, format!("`directory`: {} is no directory", value.0), help);
    }
    path
}

fn program(written: &Vassal, env: &BTreeMap<String, String>, bench: &mut Bench<'_>) {
    let search = env.get("PATH").map_or(DEFAULT_PATH, String::as_str);
    if let Some(argv) = written.command.value() {
        executable(
            argv,
            "command",
            search,
            "the vassal cannot start before it exists",
            bench,
        );
    }
}

/// Judges the program of `argv`, which stands at `key`; `loss` is what follows if there is none.
pub(super) fn executable(argv: &Argv, key: &str, search: &str, loss: &str, bench: &mut Bench<'_>) {
    let Some(Item {
        value: program,
        place,
    }) = argv.0.first()
    else {
        return;
    };
    let program = program.0.as_str();
    if program.contains('/') && !program.starts_with('/') {
        let help = "write its absolute path, or its bare name to have it looked up in PATH";
        bench.error(
            *place,
            format!("`{key}[0]` is {}, a relative path", shown(program)),
            help,
        );
    } else if !bench.world.is_executable(program, search) {
        let message = if program.starts_with('/') {
            format!("`{key}[0]`: {program} is no executable file")
        } else {
            format!("`{key}[0]`: no executable {program} in {search}")
        };
        bench.warning(*place, message, loss);
    }
}

fn hostname(written: &Vassal, namespaces: Namespaces, bench: &mut Bench<'_>) -> Option<String> {
    let Item { value, place } = written.hostname.item()?;
    let name = value.0.clone();
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b"-.".contains(&byte);
    let ends = name.starts_with(['-', '.']) || name.ends_with(['-', '.']);
    if name.len() > 64 || ends || !name.bytes().all(good) {
        let help =
            "it has 1 to 64 letters, digits, `-` and `.`, and neither begins nor ends with one of these";
        bench.error(*place, format!("`hostname` is {}", shown(&name)), help);
    }
    let whole = written.namespaces.value().is_some_and(|list| list.whole);
    if !namespaces.uts && whole {
        let at = place.or(written.namespaces.place());
        let help = "add uts to `namespaces`, or remove `hostname`";
        bench.error(
            at,
            "`hostname` needs the uts namespace, which `namespaces` leaves out",
            help,
        );
    }
    Some(name)
}

fn log(written: &mirror::Log, bench: &mut Bench<'_>) -> Log {
    let max_size = written.max_size.value().map_or(10 << 20, |size| size.0);
    if max_size < 4096 {
        let message = "`log.max_size` is smaller than 4KiB";
        bench.error(written.max_size.place(), message, "write 4KiB or more: 10MiB");
    }
    let keep = written.keep.value().map_or(3, |keep| keep.0);
    Log {
        to: written.to.value().copied().unwrap_or(LogTarget::File),
        max_size,
        keep,
    }
}
