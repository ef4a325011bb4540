//! `schema`: prints the JSON Schema of a file, for editors and for templates.

use std::process::ExitCode;

use crate::config::schema::{settings_schema, vassal_schema};

/// Of which file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum What {
    /// A vassal's.
    Vassal,
    /// The emperor's own.
    Settings,
}

/// Prints the schema on standard output.
pub fn run(what: What) -> ExitCode {
    let schema = match what {
        What::Vassal => vassal_schema(),
        What::Settings => settings_schema(),
    };
    anstream::println!("{schema:#}");
    ExitCode::SUCCESS
}
