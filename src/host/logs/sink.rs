//! Where one vassal's output goes: its file, the screen or the journal, both or neither.
//!
//! A file takes bytes as they came, at once or not at all. The screen and the journal take lines, when they have room. A
//! vassal waits for room for a second at most, however much it says; then its lines are dropped until there is
//! room again. What is dropped is counted, and the place where it would stand says how much.

use std::collections::VecDeque;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::config::Definition;
use crate::config::definition::LogTarget;

use super::Screen;
use super::journal;
use super::losses::{Dropped, Losses};
use super::outlets::{Outlet, Outlets, Refusal};
use super::rotating::Rotating;
use crate::host::error::HostError;

/// A vassal waits this long for the screen or the journal.
const PATIENCE: Duration = Duration::from_secs(1);

/// Where one vassal's output goes.
pub(super) struct Sink {
    name: String,
    /// A later one has a higher number.
    number: u64,
    file: Option<(Rotating, Losses)>,
    outlet: Option<(Outlet, Losses)>,
    /// The line that has begun.
    started: Vec<u8>,
    /// Lines that are to go out, with the bytes of the vassal's that they stand for.
    waiting: VecDeque<(Vec<u8>, usize)>,
    /// Since when nothing goes out.
    stuck: Option<Instant>,
}

impl Sink {
    /// What `definition` says.
    pub(super) fn new(
        definition: &Definition,
        number: u64,
        directory: &Path,
        screen: Screen,
        dropped: &Dropped,
    ) -> Self {
        let name = definition.name.to_string();
        let counting = || Losses::new(Some(dropped.clone()));
        let file = || (Rotating::new(directory, &name, &definition.log), counting());
        // What the screen does not show of it is in the file.
        let shown = screen.terminal.then(|| (Outlet::Screen, Losses::new(None)));
        let (file, outlet) = match definition.log.to {
            LogTarget::File => (Some(file()), shown),
            LogTarget::Journal => (None, Some((Outlet::Journal, counting()))),
            LogTarget::Inherit => (None, Some((Outlet::Screen, counting()))),
            LogTarget::None => (None, None),
        };
        Self {
            name,
            number,
            file,
            outlet,
            started: Vec::new(),
            waiting: VecDeque::new(),
            stuck: None,
        }
    }

    /// Opens the file, or looks whether there is a journal.
    ///
    /// # Errors
    /// If the file cannot be opened, or there is none. Output is taken all the same, as far as it can be then.
    pub(super) fn open(&mut self) -> Result<(), HostError> {
        if let Some((file, _)) = &mut self.file {
            file.open()?;
        }
        match &self.outlet {
            Some((Outlet::Journal, _)) => journal::check(),
            Some((Outlet::Screen, _)) | None => Ok(()),
        }
    }

    /// Its file, if it has one.
    pub(super) fn file(&self) -> Option<&Path> {
        self.file.as_ref().map(|(file, _)| file.path())
    }

    /// The same vassal's output goes where `newer` says from here on, if it is newer.
    pub(super) fn become_like(&mut self, mut newer: Self) {
        if newer.number < self.number {
            return;
        }
        if let (Some((_, before)), Some((_, losses))) = (&self.file, &mut newer.file) {
            losses.go_on(before);
        }
        if let (Some((old, before)), Some((new, losses))) = (&self.outlet, &mut newer.outlet)
            && old == new
        {
            losses.go_on(before);
            newer.stuck = self.stuck;
        }
        let started = std::mem::take(&mut self.started);
        let waiting = std::mem::take(&mut self.waiting);
        *self = Self {
            started,
            waiting,
            ..newer
        };
    }

    /// Takes output: the file has it then, lines wait for [`send`](Self::send).
    pub(super) fn take(&mut self, bytes: &[u8]) {
        self.write(bytes);
        let Some((outlet, _)) = &self.outlet else { return };
        let longest = outlet.longest();
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.started.extend_from_slice(piece);
            if piece.ends_with(b"\n") || self.started.len() >= longest {
                self.end_started();
            }
        }
    }

    fn write(&mut self, bytes: &[u8]) {
        let Some((file, losses)) = &mut self.file else {
            return;
        };
        let written = match losses.mark() {
            None => file.write(bytes),
            Some(mark) => {
                let between = if file.is_between_lines() { "" } else { "\n" };
                let mark = [between, &mark].concat();
                let written = file.write(&[mark.as_bytes(), bytes].concat());
                // The mark's own bytes are none of the vassal's.
                written.map_err(|mut unwritten| {
                    let theirs = unwritten.written.checked_sub(mark.len());
                    if theirs.is_some() {
                        losses.marked();
                    }
                    unwritten.written = theirs.unwrap_or_default();
                    unwritten
                })
            }
        };
        match written {
            Ok(()) => {
                losses.marked();
                losses.came_through(&self.name);
            }
            Err(unwritten) => {
                let lost = bytes.len() - unwritten.written.min(bytes.len());
                losses.add(&self.name, lost, &unwritten.error.to_string());
            }
        }
    }

    /// Takes one line of a hook.
    pub(super) fn insert(&mut self, moment: &str, line: &[u8]) {
        let started = std::mem::take(&mut self.started);
        self.begin_line();
        self.take(&[b"hook ", moment.as_bytes(), b": ", line].concat());
        self.end();
        self.started = started;
    }

    /// A life begins: not in the middle of a line.
    pub(super) fn begin_line(&mut self) {
        if let Some((file, _)) = &mut self.file {
            file.end_line();
        }
    }

    /// A life has ended, and its last line with it.
    pub(super) fn end(&mut self) {
        self.end_started();
        self.begin_line();
    }

    fn end_started(&mut self) {
        let line = std::mem::take(&mut self.started);
        if !line.is_empty() && self.outlet.is_some() {
            let bytes = line.len();
            let line = line.strip_suffix(b"\n").map(<[u8]>::to_vec).unwrap_or(line);
            self.waiting.push_back((line, bytes));
        }
    }

    /// Sends the lines that wait, as far as there is room. Where there is none: until when it is worth waiting for
    /// it.
    pub(super) fn send(&mut self, outlets: &Outlets) -> Option<(Outlet, Instant)> {
        let Some((outlet, losses)) = &mut self.outlet else {
            self.waiting.clear();
            return None;
        };
        while let Some((line, bytes)) = self.waiting.front() {
            let mut sent = Ok(());
            if let Some(mark) = losses.mark() {
                sent = outlets.give(*outlet, &self.name, mark.trim_end().as_bytes());
                if sent.is_ok() {
                    losses.marked();
                }
            }
            match sent.and_then(|()| outlets.give(*outlet, &self.name, line)) {
                Ok(()) => {
                    self.stuck = None;
                    losses.came_through(&self.name);
                }
                Err(Refusal::Never(why)) => losses.add(&self.name, *bytes, &why),
                Err(Refusal::Later) => {
                    let since = *self.stuck.get_or_insert_with(Instant::now);
                    return Some((*outlet, since + PATIENCE));
                }
            }
            self.waiting.pop_front();
        }
        None
    }

    /// Nobody waits longer for room.
    pub(super) fn give_up(&mut self) {
        for (_, bytes) in std::mem::take(&mut self.waiting) {
            if let Some((outlet, losses)) = &mut self.outlet {
                losses.add(&self.name, bytes, outlet.is_stuck());
            }
        }
    }
}
