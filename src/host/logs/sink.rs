//! Where one vassal's output goes: its file, the screen or the journal, both or neither.
//!
//! A file takes bytes as they came, whole or not at all: see `writing`. The screen and the journal take lines, when they have
//! room. A vassal waits for room for a second at most, however much it says; then its lines are dropped until there is
//! room again. What is dropped is counted, and the place where it would stand says how much.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::config::Definition;
use crate::config::definition::LogTarget;

use super::Screen;
use super::journal;
use super::logfile::{Lending, LogFile, Piece, Place};
use super::losses::{Dropped, Losses};
use super::outlets::{Outlet, Outlets, Refusal};
use super::rotating::Rotating;
use crate::host::error::HostError;

/// A vassal waits this long for the screen or the journal.
const PATIENCE: Duration = Duration::from_secs(1);

/// Where one vassal's output goes.
pub(super) struct Sink {
    name: Arc<str>,
    /// A later one has a higher number.
    number: u64,
    file: Option<Place>,
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
        let name = Arc::<str>::from(definition.name.as_str());
        let counting = || Losses::new(Some(dropped.clone()));
        let file = || {
            let rotating = Rotating::new(directory, &name, &definition.log);
            Place::Here(LogFile::new(name.clone(), number, rotating, counting()))
        };
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
        if let Some(file) = &mut self.file {
            file.open()?;
        }
        match &self.outlet {
            Some((Outlet::Journal, _)) => journal::check(),
            Some((Outlet::Screen, _)) | None => Ok(()),
        }
    }

    /// Its file, if it has one.
    pub(super) fn file(&self) -> Option<&Path> {
        self.file.as_ref().and_then(Place::path)
    }

    /// The same vassal's output goes where `newer` says from here on, if it is newer.
    pub(super) fn become_like(&mut self, mut newer: Self) {
        if newer.number < self.number {
            return;
        }
        let file = newer.file.take().map(|file| match self.file.take() {
            Some(old) => old.become_like(file),
            None => file,
        });
        if let (Some((old, before)), Some((new, losses))) = (&self.outlet, &mut newer.outlet)
            && old == new
        {
            losses.go_on(before);
            newer.stuck = self.stuck;
        }
        let started = std::mem::take(&mut self.started);
        let waiting = std::mem::take(&mut self.waiting);
        *self = Self {
            file,
            started,
            waiting,
            ..newer
        };
    }

    /// Takes output that does not go into the file: lines wait for [`send`](Self::send).
    pub(super) fn take(&mut self, bytes: &[u8]) {
        let Some((outlet, _)) = &self.outlet else { return };
        let longest = outlet.longest();
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.started.extend_from_slice(piece);
            if piece.ends_with(b"\n") || self.started.len() >= longest {
                self.end();
            }
        }
    }

    /// Takes one line of a hook.
    pub(super) fn insert(&mut self, line: &[u8]) {
        let started = std::mem::take(&mut self.started);
        self.take(line);
        self.end();
        self.started = started;
    }

    /// Whether there is one.
    pub(super) fn has_file(&self) -> bool {
        self.file.is_some()
    }

    /// Gives its file away, so that `piece` can be written to it.
    pub(super) fn lend(&mut self, piece: Piece) -> Lending {
        match &mut self.file {
            Some(file) => file.lend(&self.name, piece),
            None => Lending::Dropped,
        }
    }

    /// Takes it back.
    pub(super) fn give_back(&mut self, file: LogFile) {
        if let Some(place) = &mut self.file {
            place.give_back(file);
        }
    }

    /// The file of this number does not come back now.
    pub(super) fn hangs(&mut self, number: u64) {
        if let Some(place) = &mut self.file {
            place.hangs(number);
        }
    }

    /// A life begins: not in the middle of a line.
    pub(super) fn begin_line(&mut self) {
        if let Some(file) = &mut self.file {
            file.end_line();
        }
    }

    /// A life has ended, and its last line with it.
    pub(super) fn end(&mut self) {
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
