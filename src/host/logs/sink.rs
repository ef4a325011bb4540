//! Where one vassal's output goes: its file, the screen, both or neither.

use std::io::Write;
use std::path::Path;

use anstyle::{AnsiColor, Style};

use crate::config::Definition;
use crate::config::definition::LogTarget;

use super::Screen;
use super::rotating::Rotating;
use crate::host::error::HostError;

/// A line on its way to the screen that is longer than this is cut into several.
pub(super) const LONGEST_LINE: usize = 16 * 1024;

/// Where one vassal's lines go.
pub(super) struct Sink {
    name: String,
    file: Option<Rotating>,
    shown: bool,
    screen: Screen,
    started: Vec<u8>,
}

impl Sink {
    pub(super) fn open(definition: &Definition, directory: &Path, screen: Screen) -> Result<Self, HostError> {
        let name = definition.name.to_string();
        let file = match definition.log.to {
            LogTarget::File => Some(Rotating::open(directory, &name, &definition.log)?),
            LogTarget::Inherit | LogTarget::None => None,
        };
        let shown = match definition.log.to {
            LogTarget::File => screen.terminal,
            LogTarget::Inherit => true,
            LogTarget::None => false,
        };
        Ok(Self {
            name,
            file,
            shown,
            screen,
            started: Vec::new(),
        })
    }

    pub(super) fn become_like(&mut self, newer: Self) {
        let started = std::mem::take(&mut self.started);
        *self = Self { started, ..newer };
    }

    pub(super) fn take(&mut self, bytes: &[u8]) {
        if let Some(file) = &mut self.file
            && let Err(error) = file.write(bytes)
        {
            tracing::error!(vassal = %self.name, %error, "output lost");
        }
        if !self.shown {
            return;
        }
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.started.extend_from_slice(piece);
            if piece.ends_with(b"\n") || self.started.len() >= LONGEST_LINE {
                self.flush();
            }
        }
    }

    /// Writes one line of a hook.
    pub(super) fn insert(&mut self, moment: &str, line: &[u8]) {
        let started = std::mem::take(&mut self.started);
        self.begin_line();
        self.take(&[b"hook ", moment.as_bytes(), b": ", line].concat());
        self.end();
        self.started = started;
    }

    /// A life begins: not in the middle of a line.
    pub(super) fn begin_line(&mut self) {
        if let Some(file) = &mut self.file
            && let Err(error) = file.end_line()
        {
            tracing::error!(vassal = %self.name, %error, "output lost");
        }
    }

    /// A life has ended, and its last line with it.
    pub(super) fn end(&mut self) {
        self.flush();
        self.begin_line();
    }

    /// Shows the line that was started.
    fn flush(&mut self) {
        let line = std::mem::take(&mut self.started);
        if !line.is_empty() && self.shown {
            self.show(&printable(line.strip_suffix(b"\n").unwrap_or(&line)));
        }
    }

    fn show(&self, line: &str) {
        if self.screen.json {
            return tracing::info!(target: "vassal", vassal = %self.name, "{line}");
        }
        let style = if self.screen.colour {
            colour_of(&self.name)
        } else {
            Style::new()
        };
        let text = format!("{style}{:<12} |{style:#} {line}\n", self.name);
        // A closed terminal must not end the emperor.
        let _ = std::io::stderr().lock().write_all(text.as_bytes());
    }
}

/// A colour for each name, the same in every run.
fn colour_of(name: &str) -> Style {
    const COLOURS: [AnsiColor; 6] = [
        AnsiColor::Cyan,
        AnsiColor::Green,
        AnsiColor::Yellow,
        AnsiColor::Magenta,
        AnsiColor::Blue,
        AnsiColor::BrightCyan,
    ];
    let sum: usize = name.bytes().map(usize::from).sum();
    COLOURS[sum % COLOURS.len()].on_default()
}

/// The line with every control character as an escape; tabs stay.
fn printable(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(line);
    if !text.chars().any(|c| c.is_control() && c != '\t') {
        return text.into_owned();
    }
    text.chars()
        .flat_map(|c| {
            let escape = c.is_control() && c != '\t';
            let (escaped, plain) = if escape {
                (Some(c.escape_default()), None)
            } else {
                (None, Some(c))
            };
            escaped.into_iter().flatten().chain(plain)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_never_reach_the_terminal_raw() {
        assert_eq!(printable(b"plain\ttext"), "plain\ttext");
        assert_eq!(printable(b"\x1b[2Jgone\r"), r"\u{1b}[2Jgone\r");
        assert_eq!(printable("\u{9b}2J".as_bytes()), r"\u{9b}2J");
        assert_eq!(printable(b"\xff"), "\u{fffd}");
    }
}
