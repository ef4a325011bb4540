//! `mini-emperor demo`: a web service and its visitor, so that a directory of definitions can be tried without other programs.
//!
//! Both are ordinary programs with blocking sockets. They know nothing of the emperor: what one sees of the
//! other is what any program would see from inside a vassal.

mod knock;
mod serve;
mod url;
mod visit;

use std::io;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use clap::{Args, Subcommand};
use nix::sys::signal::{SigSet, Signal};

pub use self::url::Url;

/// Arguments of `mini-emperor demo`.
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Which of the two programs.
    #[command(subcommand)]
    pub demo: Demo,
}

/// The two programs.
#[derive(Debug, Subcommand)]
pub enum Demo {
    /// A small web service: GET / says who answers and who asks, GET /healthz says ok
    Serve(ServeArgs),
    /// Fetch each URL in turn and print one line about each
    Visit(VisitArgs),
}

/// Arguments of `mini-emperor demo serve`.
#[derive(Debug, Args)]
pub struct ServeArgs {
    /// TCP port to listen on, on all addresses of both families; 0 takes any free one
    #[arg(long, default_value_t = 80)]
    pub port: u16,
    /// What the answer begins with
    #[arg(long, default_value = "hello")]
    pub text: String,
}

/// Arguments of `mini-emperor demo visit`.
#[derive(Debug, Args)]
pub struct VisitArgs {
    /// Pause between two rounds, such as 500ms, 2s or 1m
    #[arg(long, default_value = "2s", value_parser = duration)]
    pub every: Duration,
    /// End after this many rounds; without it, go on until told to stop
    #[arg(long)]
    pub count: Option<u64>,
    /// What to fetch, such as http://10.107.0.2:8080/
    #[arg(required = true)]
    pub urls: Vec<Url>,
}

/// Runs one of the two programs to its end: 0 = it did what it should, 1 = it did not.
pub fn run(args: &DemoArgs) -> ExitCode {
    if end_on_signals().is_err() {
        return ExitCode::FAILURE;
    }
    let mut out = io::stdout().lock();
    let result = match &args.demo {
        Demo::Serve(args) => serve::run(args, &mut out).map(|()| true),
        Demo::Visit(args) => visit::run(args, &mut out),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        // Whoever read the output has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            anstream::eprintln!("mini-emperor demo: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Ends the process with 0 on SIGTERM or SIGINT.
///
/// The first process of a PID namespace never receives a signal whose action is the default one
/// (`pid_namespaces(7)`), so a program that wants to be stopped politely there must ask for the signal.
fn end_on_signals() -> nix::Result<()> {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGTERM);
    signals.add(Signal::SIGINT);
    // Threads made later inherit the mask; only the one below takes the signals.
    signals.thread_block()?;
    thread::spawn(move || {
        if signals.wait().is_ok() {
            std::process::exit(0);
        }
    });
    Ok(())
}

/// Reads `500ms`, `2s`, `1m` or `1h`.
fn duration(text: &str) -> Result<Duration, String> {
    let wish = || format!("`{text}` is not a duration; write it like 500ms, 2s or 1m");
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| wish())?;
    let millis = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(wish()),
    };
    number
        .checked_mul(millis)
        .map(Duration::from_millis)
        .ok_or_else(wish)
}

/// `text` with everything that could drive a terminal replaced, cut to `most` characters.
fn harmless(text: &str, most: usize) -> String {
    text.chars()
        .take(most)
        .map(|c| if c.is_control() { '.' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_needs_a_number_and_a_unit() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("2s"), Ok(Duration::from_secs(2)));
        assert_eq!(duration("1h"), Ok(Duration::from_secs(3600)));
        for bad in [
            "",
            "2",
            "s",
            "-1s",
            "2 s",
            "2d",
            "99999999999999999999s",
            "18446744073709551615h",
        ] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_a_service_says_cannot_drive_the_terminal() {
        assert_eq!(harmless("a\x1b[2Jb\u{9b}c", 80), "a.[2Jb.c");
        assert_eq!(harmless("abcdef", 3), "abc");
    }
}
