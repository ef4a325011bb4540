//! What the operator types: one file a verb.

pub mod check;
pub mod complain;
pub mod demo;
mod findings;
mod reading;
pub mod run;
pub mod schema;
pub mod upgrade;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::config::world::Identities;
use crate::host::facts::Facts;
use crate::host::{init, rootless};

/// Supervises programs in network namespaces of their own and routes their packets.
#[derive(Debug, Parser)]
#[command(name = "mini-emperor", version, about, max_term_width = 100)]
struct Line {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Start the emperor in the foreground
    Run(run::Run),
    /// Judge definitions and settings without starting anything
    Check {
        /// A definition, a directory of them, an emperor.yaml, or - for standard input [default: the settings
        /// and all that they name]
        target: Option<PathBuf>,
        /// Judge definitions under these settings
        #[arg(long, value_name = "FILE", env = "MINI_EMPEROR_CONFIG")]
        config: Option<PathBuf>,
        /// How problems are shown
        #[arg(long, value_name = "FORMAT", default_value = "text")]
        format: check::Format,
    },
    /// Print the JSON Schema of a vassal's file or of the settings
    Schema {
        /// Which file
        #[arg(default_value = "vassal")]
        what: schema::What,
    },
    /// Put this program in the place of the running emperor; its vassals go on
    Upgrade(upgrade::Upgrade),
    /// Small programs that show a network at work
    Demo(demo::DemoArgs),
}

/// Carries out the command line.
pub fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args_os()
        .map(|a| a.to_string_lossy().into_owned())
        .collect();
    match arguments.get(1).map(String::as_str) {
        // These two are how the emperor starts itself again; nobody types them.
        Some(init::VERB) => return init::main(&arguments[2..]),
        Some(rootless::MAP_VERB) => return rootless::map_helper(&arguments[2..]),
        Some(_) | None => {}
    }
    let root = nix::unistd::Uid::effective().is_root();
    match Line::parse().verb {
        Verb::Run(wish) => run::run(&wish),
        Verb::Check {
            target,
            config,
            format,
        } => {
            let identities = if root {
                Identities::Any
            } else {
                rootless::likely_identities()
            };
            let facts = Facts { identities };
            check::run(
                target.as_deref(),
                config.as_deref(),
                &rootless::places(root),
                &facts,
                format,
            )
        }
        Verb::Schema { what } => schema::run(what),
        Verb::Upgrade(wish) => upgrade::run(&wish),
        Verb::Demo(wish) => demo::run(&wish),
    }
}
