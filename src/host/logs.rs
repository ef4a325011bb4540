//! Where vassals' output goes: files with rotation, or the terminal behind the vassal's name.
//!
//! A vassal writes into a pipe. A thread of its own takes what is there, cuts it into lines and hands them
//! to the vassal's `Sink`; so neither a flood of output nor a disk that hangs ever delays the emperor. No
//! buffer is kept for a vassal that is silent, and one that writes more than others can only fill its pipe
//! and wait. Files get the bytes as they came; on a terminal every control character is shown as an
//! escape, so that a vassal cannot move the operator's cursor or recolour his screen.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{IsTerminal, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::thread::JoinHandle;

use anstyle::{AnsiColor, Style};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::unistd::pipe2;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::net::unix::pipe::Receiver;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::{JoinSet, LocalSet};

use crate::config::definition::{Log, LogTarget};
use crate::config::{Definition, Name};

use super::error::{Doing, HostError};

/// A line longer than this is cut into several.
const LONGEST_LINE: usize = 16 * 1024;
/// How much is taken from a pipe at once; then the next vassal has its turn.
const CHUNK: usize = 4 * 1024;

/// Every vassal's output.
pub struct Logs {
    directory: PathBuf,
    screen: Screen,
    orders: Option<UnboundedSender<Order>>,
    thread: Option<JoinHandle<()>>,
}

/// What the thread is told.
enum Order {
    /// Read this pipe until its last writer is gone.
    Read(Name, Sink, OwnedFd),
    /// The same for a hook of the vassal.
    Hook(Name, &'static str, OwnedFd),
    /// Write there from here on.
    Update(Name, Sink),
    /// The vassal is gone.
    Forget(Name),
}

/// How lines look on standard error.
#[derive(Debug, Clone, Copy)]
pub struct Screen {
    /// As JSON objects, one a line.
    pub json: bool,
    /// Standard error is a terminal: `file` is shown there as well.
    pub terminal: bool,
    /// Names in colour.
    pub colour: bool,
}

impl Screen {
    /// Looks at standard error and at `NO_COLOR`.
    pub fn detect(json: bool) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let colour = terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self {
            json,
            terminal,
            colour,
        }
    }
}

impl Logs {
    /// Log files lie in `directory`, which is made when the first is written.
    pub fn start(directory: PathBuf, screen: Screen) -> Result<Self, HostError> {
        let failed = |e: &std::io::Error| HostError::from_io(Doing::StartWorker, "the logs", e);
        let (orders, received) = unbounded_channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|e| failed(&e))?;
        let thread = std::thread::Builder::new()
            .name("logs".to_owned())
            .spawn(move || LocalSet::new().block_on(&runtime, keep(received)))
            .map_err(|e| failed(&e))?;
        Ok(Self {
            directory,
            screen,
            orders: Some(orders),
            thread: Some(thread),
        })
    }

    /// Makes the pipe of one life and has it read; what comes back is the vassal's end.
    pub fn open(&mut self, definition: &Definition) -> Result<OwnedFd, HostError> {
        let failed = |errno| HostError::new(Doing::OpenLog, definition.name.as_str(), errno);
        let sink = Sink::open(definition, &self.directory, self.screen)?;
        let (ours, theirs) = pipe2(OFlag::O_CLOEXEC).map_err(failed)?;
        fcntl(&ours, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).map_err(failed)?;
        self.order(Order::Read(definition.name.clone(), sink, ours));
        Ok(theirs)
    }

    /// Makes the pipe of one hook of a vassal whose output was opened before; its lines stand behind `hook MOMENT: `.
    pub fn open_hook(&self, name: &Name, moment: &'static str) -> Result<OwnedFd, HostError> {
        let failed = |errno| HostError::new(Doing::OpenLog, name.as_str(), errno);
        let (ours, theirs) = pipe2(OFlag::O_CLOEXEC).map_err(failed)?;
        fcntl(&ours, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).map_err(failed)?;
        self.order(Order::Hook(name.clone(), moment, ours));
        Ok(theirs)
    }

    /// Applies the `log` keys of the newest definition.
    pub fn update(&mut self, definition: &Definition) -> Result<(), HostError> {
        let sink = Sink::open(definition, &self.directory, self.screen)?;
        self.order(Order::Update(definition.name.clone(), sink));
        Ok(())
    }

    /// The vassal is gone. What is still in its pipe is written all the same.
    pub fn forget(&mut self, name: &Name) {
        self.order(Order::Forget(name.clone()));
    }

    fn order(&self, order: Order) {
        if let Some(orders) = &self.orders {
            // The thread ends only after this sender.
            let _ = orders.send(order);
        }
    }
}

impl Drop for Logs {
    /// Waits until every line is written. All vassals are gone by then, and with them all writers.
    fn drop(&mut self) {
        drop(self.orders.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

type Shared = Rc<RefCell<Sink>>;

/// The thread: one task a pipe, until the emperor ends and the last pipe is empty.
async fn keep(mut orders: UnboundedReceiver<Order>) {
    let mut sinks = BTreeMap::<Name, Shared>::new();
    let mut pumps = JoinSet::new();
    while let Some(order) = orders.recv().await {
        match order {
            Order::Read(name, sink, pipe) => {
                let shared = match sinks.get(&name) {
                    Some(shared) => {
                        shared.borrow_mut().become_like(sink);
                        shared.clone()
                    }
                    None => sinks.entry(name).or_insert(Rc::new(RefCell::new(sink))).clone(),
                };
                pumps.spawn_local(pump(pipe, shared));
            }
            Order::Hook(name, moment, pipe) => {
                if let Some(shared) = sinks.get(&name) {
                    pumps.spawn_local(pump_hook(moment, pipe, shared.clone()));
                }
            }
            Order::Update(name, sink) => {
                if let Some(shared) = sinks.get(&name) {
                    shared.borrow_mut().become_like(sink);
                }
            }
            Order::Forget(name) => {
                sinks.remove(&name);
            }
        }
        while pumps.try_join_next().is_some() {}
    }
    while pumps.join_next().await.is_some() {}
}

/// Moves one life's output until the last writer is gone.
async fn pump(pipe: OwnedFd, sink: Shared) {
    let Ok(pipe) = Receiver::from_owned_fd(pipe) else {
        return;
    };
    while pipe.readable().await.is_ok() && take_some(&pipe, &sink) {
        tokio::task::yield_now().await;
    }
    sink.borrow_mut().flush();
}

/// Moves one hook's output, line by line, so that it and the vassal's own cannot tear each other's.
async fn pump_hook(moment: &'static str, pipe: OwnedFd, sink: Shared) {
    let Ok(pipe) = Receiver::from_owned_fd(pipe) else {
        return;
    };
    let mut lines = BufReader::new(pipe).take(0);
    let mut line = Vec::new();
    loop {
        lines.set_limit(LONGEST_LINE as u64);
        line.clear();
        match lines.read_until(b'\n', &mut line).await {
            Ok(0) | Err(_) => return,
            Ok(_) => sink.borrow_mut().insert(moment, &line),
        }
    }
}

/// Moves one chunk; whether there may be more. The buffer lives on the stack, not in the waiting task.
fn take_some(pipe: &Receiver, sink: &Shared) -> bool {
    let mut chunk = [0; CHUNK];
    match pipe.try_read(&mut chunk) {
        Ok(0) => false,
        Ok(length) => {
            sink.borrow_mut().take(&chunk[..length]);
            true
        }
        Err(error) => error.kind() == std::io::ErrorKind::WouldBlock,
    }
}

/// Where one vassal's lines go.
struct Sink {
    name: String,
    file: Option<Rotating>,
    shown: bool,
    screen: Screen,
    started: Vec<u8>,
}

impl Sink {
    fn open(definition: &Definition, directory: &Path, screen: Screen) -> Result<Self, HostError> {
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

    fn become_like(&mut self, newer: Self) {
        let started = std::mem::take(&mut self.started);
        *self = Self { started, ..newer };
    }

    fn take(&mut self, bytes: &[u8]) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.started.extend_from_slice(piece);
            if piece.ends_with(b"\n") || self.started.len() >= LONGEST_LINE {
                self.flush();
            }
        }
    }

    /// Writes one line of a hook.
    fn insert(&mut self, moment: &str, line: &[u8]) {
        let started = std::mem::take(&mut self.started);
        self.take(format!("hook {moment}: ").as_bytes());
        self.take(line);
        self.flush();
        self.started = started;
    }

    fn flush(&mut self) {
        let line = std::mem::take(&mut self.started);
        if line.is_empty() {
            return;
        }
        let line = line.strip_suffix(b"\n").unwrap_or(&line);
        if let Some(file) = &mut self.file
            && let Err(error) = file.write_line(line)
        {
            tracing::error!(vassal = %self.name, %error, "log line lost");
        }
        if self.shown {
            self.show(&printable(line));
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

/// `NAME.log`, `NAME.log.1`, …
struct Rotating {
    path: PathBuf,
    file: File,
    size: u64,
    max_size: u64,
    keep: u32,
}

impl Rotating {
    fn open(directory: &Path, name: &str, log: &Log) -> Result<Self, HostError> {
        let path = directory.join(format!("{name}.log"));
        let failed = |e: &std::io::Error| HostError::from_io(Doing::OpenLog, path.display().to_string(), e);
        std::fs::create_dir_all(directory).map_err(|e| failed(&e))?;
        let file = append(&path).map_err(|e| failed(&e))?;
        let size = file.metadata().map_err(|e| failed(&e))?.len();
        Ok(Self {
            path,
            file,
            size,
            max_size: log.max_size,
            keep: log.keep,
        })
    }

    fn write_line(&mut self, line: &[u8]) -> std::io::Result<()> {
        if self.size > 0 && self.size + line.len() as u64 >= self.max_size {
            self.rotate()?;
        }
        let whole = [line, b"\n"].concat();
        self.file.write_all(&whole)?;
        self.size += whole.len() as u64;
        Ok(())
    }

    fn rotate(&mut self) -> std::io::Result<()> {
        let numbered = |number: u32| self.path.with_extension(format!("log.{number}"));
        for number in (1..self.keep).rev() {
            match std::fs::rename(numbered(number), numbered(number + 1)) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
                Ok(()) | Err(_) => {}
            }
        }
        if self.keep == 0 {
            std::fs::remove_file(&self.path)?;
        } else {
            std::fs::rename(&self.path, numbered(1))?;
        }
        self.file = append(&self.path)?;
        self.size = 0;
        Ok(())
    }
}

fn append(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().append(true).create(true).open(path)
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

    #[test]
    fn a_full_file_is_rotated_and_only_so_many_are_kept() {
        let directory = tempfile::tempdir().unwrap();
        let log = Log {
            to: LogTarget::File,
            max_size: 10,
            keep: 2,
        };
        let mut file = Rotating::open(directory.path(), "web", &log).unwrap();
        for line in ["one one", "two two", "three", "four four"] {
            file.write_line(line.as_bytes()).unwrap();
        }
        let read = |name: &str| std::fs::read_to_string(directory.path().join(name)).ok();
        assert_eq!(read("web.log").as_deref(), Some("four four\n"));
        assert_eq!(read("web.log.1").as_deref(), Some("three\n"));
        assert_eq!(read("web.log.2").as_deref(), Some("two two\n"));
        assert_eq!(read("web.log.3"), None);
    }
}
