//! `mini-emperor run [DIR]`: the emperor itself, in the foreground.

use std::io::{IsTerminal, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use tracing_subscriber::EnvFilter;

use crate::config::world::Identities;
use crate::config::{Places, Settings, load};
use crate::host::daemon::Daemon;
use crate::host::facts::Facts;
use crate::host::logs::Screen;
use crate::host::logs::stderr::{self, Stderr};
use crate::host::rootless::{self, Station};
use crate::host::upgrade::{Handover, Image, Inherited};
use crate::host::{HostError, adopt, descriptors, first};

use super::complain;

/// What `run` was asked for.
#[derive(Debug, Args)]
pub struct Run {
    /// Directory of definitions, instead of those of the settings
    directory: Option<PathBuf>,
    /// The settings [default: /etc/mini-emperor/emperor.yaml if it exists]
    #[arg(long, value_name = "FILE", env = "MINI_EMPEROR_CONFIG")]
    config: Option<PathBuf>,
    /// How log lines look on standard error
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    log_format: LogFormat,
    /// More to read: debug messages
    #[arg(short, long, conflicts_with = "quiet")]
    verbose: bool,
    /// Less to read: warnings and errors only
    #[arg(short, long)]
    quiet: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

/// Runs until a signal ends it.
pub fn run(wish: &Run) -> ExitCode {
    match first::stand_in() {
        Ok(Some(code)) => return code,
        Ok(None) => {}
        Err(error) => return complain::fatal(&error.to_string()),
    }
    let json = wish.log_format == LogFormat::Json;
    // Before the first thread starts: unshare(CLONE_NEWUSER) wants a process of one.
    let (image, inherited) = match who_we_are(wish) {
        Ok(found) => found,
        Err(error) => return complain::fatal(&error.to_string()),
    };
    let facts = Facts {
        identities: image.station.identities(),
    };
    let Some(mut settings) = judged_settings(wish.config.as_deref(), &image.places, &facts) else {
        return ExitCode::FAILURE;
    };
    if let Some(run) = &image.run_directory {
        settings.run_directory.clone_from(run);
    }
    if let Some(directory) = &wish.directory {
        // Not with its links resolved: they may be swapped while it is watched.
        match std::fs::metadata(directory).and_then(|found| Ok((found, std::path::absolute(directory)?))) {
            Ok((found, directory)) if found.is_dir() => settings.vassals = vec![directory],
            Ok(_) => return complain::fatal(&format!("{} is not a directory", directory.display())),
            Err(error) => return complain::fatal(&format!("{}: {error}", directory.display())),
        }
    }
    let screen = Screen::detect(json);
    start_log(wish, screen);
    if let Station::Own { .. } = image.station {
        tracing::info!(
            "not root: running in a user namespace of its own; vassals reach each other and the gateway, not the outside"
        );
    }
    reign(settings, image, inherited, screen)
}

/// Goes on as what this process was before its exec, or begins.
fn who_we_are(wish: &Run) -> Result<(Image, Inherited), HostError> {
    if let Some((handover, inherited)) = Handover::take() {
        return Ok((handover.image(), inherited));
    }
    let places = rootless::places(nix::unistd::Uid::effective().is_root());
    let left = if nix::unistd::Uid::effective().is_root() {
        None
    } else {
        left_behind(wish, &places)
    };
    let image = Image {
        number: 0,
        station: rootless::enter(left.as_ref())?,
        places,
        run_directory: None,
        nofile: descriptors::raise(),
    };
    Ok((image, Inherited::default()))
}

/// A process of an emperor that died. Its run directory is in the settings, whose judgement counts only later,
/// when it is known who we are.
fn left_behind(wish: &Run, places: &Places) -> Option<OwnedFd> {
    let facts = Facts {
        identities: rootless::likely_identities(),
    };
    let (path, text) = find_settings(wish.config.as_deref(), &places.settings).ok()?;
    let settings = load::settings(&path, text.as_deref(), places, &facts).value?;
    adopt::witness(&settings.run_directory)
}

/// The settings of an emperor that somebody else runs, with their problems shown.
pub(super) fn settings_of(config: Option<&Path>) -> Option<Settings> {
    let root = nix::unistd::Uid::effective().is_root();
    let identities = if root {
        Identities::Any
    } else {
        rootless::likely_identities()
    };
    judged_settings(config, &rootless::places(root), &Facts { identities })
}

/// Reads and judges the settings, and shows what is wrong with them.
fn judged_settings(config: Option<&Path>, places: &Places, facts: &Facts) -> Option<Settings> {
    let (path, text) = match find_settings(config, &places.settings) {
        Ok(found) => found,
        Err(why) => {
            complain::fatal(&why);
            return None;
        }
    };
    let judged = load::settings(&path, text.as_deref(), places, facts);
    complain::show(&judged.problems, text.as_deref());
    judged.value
}

/// The settings file and its text; a default one that does not exist is no text.
fn find_settings(given: Option<&Path>, default: &Path) -> Result<(PathBuf, Option<String>), String> {
    let path = given.unwrap_or(default);
    match std::fs::read_to_string(path) {
        Ok(text) => Ok((path.to_owned(), Some(text))),
        Err(error) if given.is_none() && error.kind() == std::io::ErrorKind::NotFound => {
            Ok((path.to_owned(), None))
        }
        Err(error) => Err(format!("{}: cannot be read: {error}", path.display())),
    }
}

fn reign(settings: Settings, image: Image, inherited: Inherited, screen: Screen) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return complain::fatal(&format!("starting the event loop: {error}")),
    };
    let ended = runtime.block_on(async {
        let daemon = Daemon::start(settings, image, inherited, screen).await?;
        daemon.reign().await
    });
    let code = match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
    };
    stderr::flush();
    code
}

fn start_log(wish: &Run, screen: Screen) {
    let level = match (wish.verbose, wish.quiet) {
        (true, _) => "debug",
        (_, true) => "warn,vassal=info",
        _ => "info",
    };
    // The netlink crates say at debug what we say better.
    let filter = EnvFilter::new(format!("{level},netlink_proto=warn,rtnetlink=warn"));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(|| match Stderr::get() {
            Some(stderr) => Box::new(stderr.clone()) as Box<dyn Write>,
            None => Box::new(std::io::stderr()),
        });
    if screen.json {
        builder.json().flatten_event(true).init();
    } else {
        builder
            .with_ansi(screen.colour && std::io::stderr().is_terminal())
            .with_target(false)
            .init();
    }
}
