//! Where vassals' output goes: files with rotation, or the terminal behind the vassal's name.
//!
//! A vassal writes into a pipe. A thread of its own takes what is there and hands it to the vassal's `Sink`;
//! so neither a flood of output nor a disk that hangs ever delays the emperor. No buffer is kept for a vassal
//! that is silent, and one that writes more than others can only fill its pipe and wait. Files get the bytes
//! as they came; on a terminal every control character is shown as an escape, so that a vassal cannot move
//! the operator's cursor or recolour his screen.
//!
//! The pipe outlives the emperor: it is a FIFO in the run directory, one for each life, which the vassal holds
//! open for reading too. So a vassal whose emperor has died is not killed by SIGPIPE; what it writes waits in
//! the FIFO for the next emperor, and when that is full the vassal waits. Bytes are written to the file before
//! they are taken out of the FIFO (`tee(2)`), so a `kill -9` loses none of them and may at worst repeat the
//! chunk that was being written. Only what goes to the screen is cut into lines, and an unfinished line on its
//! way there is lost.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{IsTerminal, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use anstyle::{AnsiColor, Style};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, SpliceFFlags, fcntl, tee};
use nix::libc;
use nix::sys::stat::Mode;
use nix::unistd::{Gid, Uid, fchown, mkfifo, pipe2, read};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::net::unix::pipe;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::{JoinSet, LocalSet};

use crate::config::definition::{Log, LogTarget};
use crate::config::{Definition, Name};
use crate::sys::readiness::readable;

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
    /// Read this FIFO until its last writer is gone.
    Read(Name, Sink, Fifo),
    /// Read this pipe of one of the vassal's hooks.
    Hook(Name, &'static str, OwnedFd),
    /// Write there from here on.
    Update(Name, Sink),
    /// The vassal is gone.
    Forget(Name),
    /// Stand still: say so, and go on when told to.
    Pause(Sender<()>, Receiver<()>),
    /// End at once; what is in the FIFOs is for another emperor.
    Leave,
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

    /// Makes the FIFO of one life at `path` and has it read; what comes back is the vassal's end.
    pub fn open(&mut self, definition: &Definition, path: &Path) -> Result<OwnedFd, HostError> {
        let mut sink = Sink::open(definition, &self.directory, self.screen)?;
        sink.begin_line();
        let fifo = Fifo::make(path)?;
        let theirs = fifo.end_of_vassal(definition)?;
        self.order(Order::Read(definition.name.clone(), sink, fifo));
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

    /// Goes on reading the FIFO of a life that began under another emperor.
    pub fn adopt(&mut self, definition: &Definition, path: &Path) -> Result<(), HostError> {
        let fifo = Fifo::open(path)?;
        let sink = Sink::open(definition, &self.directory, self.screen)?;
        self.order(Order::Read(definition.name.clone(), sink, fifo));
        Ok(())
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

    /// Stands still until the answer is dropped: nothing is read that is not written.
    pub fn pause(&self) -> Pause {
        let ((paused, is_paused), (go_on, wait)) = (channel(), channel());
        self.order(Order::Pause(paused, wait));
        // An error means that the thread has ended, which is as good.
        let _ = is_paused.recv();
        Pause(go_on)
    }

    /// Ends without waiting for the writers, who go on under another emperor.
    pub fn leave(mut self) {
        self.order(Order::Leave);
        self.join();
    }

    fn join(&mut self) {
        drop(self.orders.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
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
        self.join();
    }
}

/// While this lives, the logs stand still.
pub struct Pause(#[allow(dead_code, reason = "its end is the message")] Sender<()>);

type Shared = Rc<RefCell<Sink>>;

/// The thread: one task a pipe, until the emperor ends and the last pipe is empty.
async fn keep(mut orders: UnboundedReceiver<Order>) {
    let mut sinks = BTreeMap::<Name, Shared>::new();
    let mut pumps = JoinSet::new();
    while let Some(order) = orders.recv().await {
        match order {
            Order::Read(name, sink, fifo) => {
                let shared = match sinks.get(&name) {
                    Some(shared) => {
                        shared.borrow_mut().become_like(sink);
                        shared.clone()
                    }
                    None => sinks.entry(name).or_insert(Rc::new(RefCell::new(sink))).clone(),
                };
                pumps.spawn_local(pump(fifo, shared));
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
            Order::Pause(paused, go_on) => {
                // Every pump is a task of this thread, and so stands between two chunks.
                let _ = paused.send(());
                let _ = go_on.recv();
            }
            Order::Leave => return,
        }
        while pumps.try_join_next().is_some() {}
    }
    while pumps.join_next().await.is_some() {}
}

/// Moves one life's output until the last writer is gone; then nobody can open the FIFO any more.
async fn pump(fifo: Fifo, sink: Shared) {
    let (Ok(watched), Ok(desk)) = (readable(fifo.reader.clone()), Desk::new()) else {
        tracing::error!(fifo = %fifo.path.display(), "output is not read: no descriptor is left for it");
        return;
    };
    while let Ok(mut ready) = watched.readable().await {
        match desk.copy(&fifo.reader, &sink) {
            Ok(0) => break,
            Ok(_) => {}
            Err(Errno::EAGAIN) => ready.clear_ready(),
            Err(Errno::EINTR) => {}
            Err(errno) => {
                tracing::error!(fifo = %fifo.path.display(), errno = errno.desc(), "output cannot be read");
                break;
            }
        }
        tokio::task::yield_now().await;
    }
    sink.borrow_mut().end();
    fifo.remove();
}

/// Moves one hook's output, line by line, so that it and the vassal's own cannot tear each other's.
async fn pump_hook(moment: &'static str, output: OwnedFd, sink: Shared) {
    let Ok(reader) = pipe::Receiver::from_owned_fd(output) else {
        return;
    };
    let mut lines = BufReader::new(reader).take(0);
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

/// A pipe through which bytes are looked at that stay where they are.
struct Desk {
    reader: OwnedFd,
    writer: OwnedFd,
}

thread_local! {
    /// One for all: it is empty between two chunks.
    static DESK: RefCell<Option<Rc<Desk>>> = const { RefCell::new(None) };
}

impl Desk {
    /// The thread's.
    fn new() -> Result<Rc<Self>, Errno> {
        DESK.with_borrow_mut(|desk| match desk {
            Some(desk) => Ok(desk.clone()),
            None => {
                let (reader, writer) = pipe2(OFlag::O_CLOEXEC)?;
                Ok(desk.insert(Rc::new(Self { reader, writer })).clone())
            }
        })
    }

    /// Copies one chunk to `sink`, then takes it out of `pipe`; its length, 0 at the end. The buffer lives on the
    /// stack, not in the waiting task.
    fn copy(&self, pipe: &OwnedFd, sink: &Shared) -> Result<usize, Errno> {
        let mut chunk = [0; CHUNK];
        let length = tee(pipe, &self.writer, CHUNK, SpliceFFlags::SPLICE_F_NONBLOCK)?;
        let mut copied = 0;
        while copied < length {
            copied += read(&self.reader, &mut chunk[copied..length])?;
        }
        sink.borrow_mut().take(&chunk[..length]);
        let mut taken = 0;
        while taken < length {
            match read(pipe, &mut chunk[taken..length]) {
                // The vassal can read its own output away; then it is not there any more.
                Ok(0) | Err(Errno::EAGAIN) => break,
                Ok(more) => taken += more,
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno),
            }
        }
        Ok(length)
    }
}

/// The pipe of one life, and its name.
struct Fifo {
    path: PathBuf,
    reader: Arc<OwnedFd>,
}

impl Fifo {
    fn make(path: &Path) -> Result<Self, HostError> {
        mkfifo(path, Mode::S_IRUSR | Mode::S_IWUSR)
            .map_err(|errno| HostError::new(Doing::OpenLog, path.display().to_string(), errno))?;
        Self::open(path)
    }

    fn open(path: &Path) -> Result<Self, HostError> {
        let reader = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(path)
            .map_err(|e| HostError::from_io(Doing::OpenLog, path.display().to_string(), &e))?;
        Ok(Self {
            path: path.to_owned(),
            reader: Arc::new(reader.into()),
        })
    }

    /// Open for reading too. The vassal's user may open it again, as `/dev/stdout` and by no other name: the
    /// directory is closed to it.
    fn end_of_vassal(&self, definition: &Definition) -> Result<OwnedFd, HostError> {
        let failed =
            |e: &std::io::Error| HostError::from_io(Doing::OpenLog, self.path.display().to_string(), e);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(&self.path)
            .map_err(|e| failed(&e))?;
        if let Some(who) = &definition.identity {
            fchown(&file, Some(Uid::from_raw(who.uid)), Some(Gid::from_raw(who.gid)))
                .map_err(|errno| failed(&errno.into()))?;
        }
        Ok(file.into())
    }

    fn remove(&self) {
        // Gone is what was wanted.
        let _ = std::fs::remove_file(&self.path);
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
    fn insert(&mut self, moment: &str, line: &[u8]) {
        let started = std::mem::take(&mut self.started);
        self.begin_line();
        self.take(&[b"hook ", moment.as_bytes(), b": ", line].concat());
        self.end();
        self.started = started;
    }

    /// A life begins: not in the middle of a line.
    fn begin_line(&mut self) {
        if let Some(file) = &mut self.file
            && let Err(error) = file.end_line()
        {
            tracing::error!(vassal = %self.name, %error, "output lost");
        }
    }

    /// A life has ended, and its last line with it.
    fn end(&mut self) {
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

/// `NAME.log`, `NAME.log.1`, …
struct Rotating {
    path: PathBuf,
    file: File,
    size: u64,
    /// The last byte was a line's end.
    between_lines: bool,
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
        let between_lines = ends_with_line(&file, size);
        Ok(Self {
            path,
            file,
            size,
            between_lines,
            max_size: log.max_size,
            keep: log.keep,
        })
    }

    /// Writes bytes as they came; a file that is full is rotated, between two lines.
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        if self.size + (bytes.len() as u64) < self.max_size {
            return self.append(bytes);
        }
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let full = self.size + piece.len() as u64 > self.max_size;
            // A line without an end is cut.
            let endless = self.size >= self.max_size + LONGEST_LINE as u64;
            if self.size > 0 && (full && self.between_lines || endless) {
                self.end_line()?;
                self.rotate()?;
            }
            self.append(piece)?;
        }
        Ok(())
    }

    fn append(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.file.write_all(bytes)?;
        self.size += bytes.len() as u64;
        self.between_lines = bytes.last().map_or(self.between_lines, |last| *last == b'\n');
        Ok(())
    }

    /// Ends a line that was started.
    fn end_line(&mut self) -> std::io::Result<()> {
        if self.between_lines {
            Ok(())
        } else {
            self.append(b"\n")
        }
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

/// Readable, so that it can be told where an earlier emperor stopped.
fn append(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().append(true).read(true).create(true).open(path)
}

/// Whether a file of this size ends with a whole line; what cannot be read is taken to.
fn ends_with_line(file: &File, size: u64) -> bool {
    let mut last = *b"\n";
    let read = size.checked_sub(1).map(|at| file.read_exact_at(&mut last, at));
    read.is_none_or(|read| read.is_err()) || last == *b"\n"
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
        for chunk in ["one", " one\ntwo two\nth", "ree\n", "four four\n"] {
            file.write(chunk.as_bytes()).unwrap();
        }
        let read = |name: &str| std::fs::read_to_string(directory.path().join(name)).ok();
        assert_eq!(read("web.log").as_deref(), Some("four four\n"));
        assert_eq!(read("web.log.1").as_deref(), Some("three\n"));
        assert_eq!(read("web.log.2").as_deref(), Some("two two\n"));
        assert_eq!(read("web.log.3"), None);
    }
}
