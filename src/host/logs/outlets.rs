//! Where whole lines go that do not go into a file: the screen and the journal, neither of which can be counted on to
//! take them.

use std::cell::RefCell;
use std::io::{ErrorKind, Write};
use std::rc::Rc;

use anstyle::{AnsiColor, Style};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};

use super::Screen;
use super::journal::Journal;
use super::stderr::Stderr;

/// A line in a file or on its way to the screen that is longer than this is cut into several.
pub(super) const LONGEST_LINE: usize = 16 * 1024;
/// The same on its way to the journal, which cuts what programs print itself there (`LineMax=` of journald.conf(5)).
const LONGEST_ENTRY: usize = 48 * 1024;

/// One of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outlet {
    /// Standard error.
    Screen,
    /// The system's journal.
    Journal,
}

impl Outlet {
    /// Longer lines are cut.
    pub(super) fn longest(self) -> usize {
        match self {
            Self::Screen => LONGEST_LINE,
            Self::Journal => LONGEST_ENTRY,
        }
    }

    /// What is so when there is no room.
    pub(super) fn is_stuck(self) -> &'static str {
        match self {
            Self::Screen => "nobody reads standard error",
            Self::Journal => "the journal takes nothing",
        }
    }
}

/// Why a line was not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refusal {
    /// There is no room now.
    Later,
    /// There will not be any.
    Never(String),
}

/// Both, as one thread uses them.
#[derive(Clone)]
pub(super) struct Outlets {
    screen: Screen,
    journal: Rc<RefCell<Journal>>,
}

impl Outlets {
    pub(super) fn new(screen: Screen) -> Self {
        Self {
            screen,
            journal: Rc::default(),
        }
    }

    /// Gives a line of the vassal `name`, control characters shown as escapes, to `outlet`.
    pub(super) fn give(&self, outlet: Outlet, name: &str, line: &[u8]) -> Result<(), Refusal> {
        let line = printable(line);
        match outlet {
            Outlet::Journal => {
                let written = self.journal.borrow_mut().write(name, &line);
                written.map_err(|error| {
                    if error.kind() == ErrorKind::WouldBlock {
                        Refusal::Later
                    } else {
                        Refusal::Never(format!("the journal refuses: {error}"))
                    }
                })
            }
            Outlet::Screen => {
                let text = self.shown(name, &line).into_bytes();
                match Stderr::get() {
                    Some(stderr) => stderr.vassals_line(text).map_err(|_| Refusal::Later),
                    None => {
                        let _ = std::io::stderr().lock().write_all(&text);
                        Ok(())
                    }
                }
            }
        }
    }

    /// Resolves when `outlet` may take a line.
    pub(super) async fn room(&self, outlet: Outlet) {
        match outlet {
            Outlet::Screen => {
                if let Some(stderr) = Stderr::get() {
                    stderr.room().await;
                }
            }
            Outlet::Journal => {
                let way = self.journal.borrow().way();
                if let Some(way) = way {
                    // An error is one that the next line meets, too.
                    let _ = way.writable().await;
                }
            }
        }
    }

    /// A line as it stands on the screen.
    fn shown(&self, name: &str, line: &str) -> String {
        if self.screen.json {
            let entry = serde_json::json!({
                "timestamp": timestamp(),
                "level": "INFO",
                "target": "vassal",
                "vassal": name,
                "message": line,
            });
            return format!("{entry}\n");
        }
        let style = if self.screen.colour {
            colour_of(name)
        } else {
            Style::new()
        };
        format!("{style}{name:<12} |{style:#} {line}\n")
    }
}

/// As the emperor's own lines have it.
fn timestamp() -> String {
    let mut text = String::new();
    // Writing into a string does not fail.
    let _ = SystemTime.format_time(&mut Writer::new(&mut text));
    text
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
