//! A vassal's log file with what it lost, as a thread takes it away to write to it, and the place that it comes back to.

use std::path::Path;
use std::sync::Arc;

use super::losses::Losses;
use super::rotating::Rotating;
use crate::host::error::HostError;

/// The file of one vassal. Whoever has it is the only one who writes to it.
pub(super) struct LogFile {
    name: Arc<str>,
    /// That of the sink which it was made for.
    number: u64,
    rotating: Rotating,
    losses: Losses,
}

/// What is to be written at once.
#[derive(Default)]
pub(super) struct Piece {
    pub(super) bytes: Vec<u8>,
    /// It begins a line, and its last line ends with it.
    pub(super) alone: bool,
}

impl LogFile {
    pub(super) fn new(name: Arc<str>, number: u64, rotating: Rotating, losses: Losses) -> Self {
        Self {
            name,
            number,
            rotating,
            losses,
        }
    }

    /// Tells it from others of the same vassal.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// Writes it, or counts what is not there afterwards.
    pub(super) fn write(&mut self, piece: &Piece) {
        if piece.alone {
            self.rotating.end_line();
        }
        if !piece.bytes.is_empty() {
            self.append(&piece.bytes);
        }
        if piece.alone {
            self.rotating.end_line();
        }
    }

    fn append(&mut self, bytes: &[u8]) {
        let (file, losses) = (&mut self.rotating, &mut self.losses);
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
}

/// Where a vassal's file is.
pub(super) enum Place {
    /// Here.
    Here(LogFile),
    /// A thread writes to it.
    Lent {
        number: u64,
        /// Counts what is dropped as long as the thread hangs.
        meanwhile: Losses,
        hangs: bool,
        /// What the vassal's output goes to when that thread is done.
        newer: Option<Box<LogFile>>,
    },
}

/// What becomes of a piece of output.
pub(super) enum Lending {
    /// It is to be written.
    Write(LogFile, Piece),
    /// Another piece is being written: later.
    Later(Piece),
    /// It has been dropped and counted.
    Dropped,
}

impl Place {
    /// Opens the file, if it is here.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub(super) fn open(&mut self) -> Result<(), HostError> {
        match self {
            Self::Here(file) => file.rotating.open(),
            Self::Lent { .. } => Ok(()),
        }
    }

    /// Where it lies, if it is here.
    pub(super) fn path(&self) -> Option<&Path> {
        match self {
            Self::Here(file) => Some(file.rotating.path()),
            Self::Lent { .. } => None,
        }
    }

    /// Ends a line that was started.
    pub(super) fn end_line(&mut self) {
        match self {
            Self::Here(file) => file.rotating.end_line(),
            Self::Lent { .. } => {}
        }
    }

    /// Gives the file away, for a piece of output.
    pub(super) fn lend(&mut self, name: &str, piece: Piece) -> Lending {
        match self {
            Self::Here(file) => {
                let away = Self::Lent {
                    number: file.number,
                    meanwhile: file.losses.beside(),
                    hangs: false,
                    newer: None,
                };
                match std::mem::replace(self, away) {
                    Self::Here(file) => Lending::Write(file, piece),
                    Self::Lent { .. } => Lending::Dropped,
                }
            }
            Self::Lent { hangs: false, .. } => Lending::Later(piece),
            Self::Lent {
                hangs: true,
                meanwhile,
                ..
            } => {
                if !piece.bytes.is_empty() {
                    meanwhile.add(
                        name,
                        piece.bytes.len(),
                        "the disk of its log file does not answer",
                    );
                }
                Lending::Dropped
            }
        }
    }

    /// The thread takes too long: nobody waits for it.
    pub(super) fn hangs(&mut self, which: u64) {
        match self {
            Self::Lent { number, hangs, .. } if *number == which => *hangs = true,
            Self::Lent { .. } | Self::Here(_) => {}
        }
    }

    /// The thread is done.
    pub(super) fn give_back(&mut self, mut file: LogFile) {
        match self {
            Self::Lent {
                number,
                meanwhile,
                newer,
                ..
            } if *number == file.number => {
                file.losses.absorb(meanwhile);
                let next = match newer.take() {
                    Some(mut newer) => {
                        newer.losses.go_on(&file.losses);
                        // The thread may have rotated the file that this one has opened.
                        newer.rotating.close();
                        *newer
                    }
                    None => file,
                };
                *self = Self::Here(next);
            }
            // The output went elsewhere and came back in the meantime.
            Self::Lent { .. } | Self::Here(_) => {}
        }
    }

    /// The vassal's output goes to `newer` from here on. A thread that still writes does so first: it is the same file.
    pub(super) fn become_like(self, newer: Self) -> Self {
        match (self, newer) {
            (Self::Here(old), Self::Here(mut newer)) => {
                newer.losses.go_on(&old.losses);
                Self::Here(newer)
            }
            (
                Self::Lent {
                    number,
                    meanwhile,
                    hangs,
                    ..
                },
                Self::Here(newer),
            ) => Self::Lent {
                number,
                meanwhile,
                hangs,
                newer: Some(Box::new(newer)),
            },
            (Self::Here(_) | Self::Lent { .. }, newer @ Self::Lent { .. }) => newer,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::losses::Dropped;
    use super::*;
    use crate::config::definition::{Log, LogTarget};
    use crate::host::pulse::Pulse;

    fn file(directory: &Path, number: u64, max_size: u64, dropped: &Dropped) -> LogFile {
        let log = Log {
            to: LogTarget::File,
            max_size,
            keep: 2,
        };
        let rotating = Rotating::new(directory, "web", &log);
        LogFile::new("web".into(), number, rotating, Losses::new(Some(dropped.clone())))
    }

    fn piece(text: &str) -> Piece {
        Piece {
            bytes: text.into(),
            alone: false,
        }
    }

    fn lent(place: &mut Place, text: &str) -> (LogFile, Piece) {
        match place.lend("web", piece(text)) {
            Lending::Write(file, piece) => (file, piece),
            Lending::Later(_) | Lending::Dropped => panic!("it is here"),
        }
    }

    fn write(place: &mut Place, text: &str) {
        let (mut file, piece) = lent(place, text);
        file.write(&piece);
        place.give_back(file);
    }

    #[test]
    fn while_a_thread_hangs_output_is_counted_and_its_place_is_marked() {
        let directory = tempfile::tempdir().unwrap();
        let dropped = Dropped::new(0, Arc::new(Pulse::new(0)));
        let mut place = Place::Here(file(directory.path(), 1, 1000, &dropped));
        let (mut away, first) = lent(&mut place, "first\n");
        assert!(matches!(
            place.lend("web", piece("too early\n")),
            Lending::Later(_)
        ));
        place.hangs(1);
        for _ in 0..2 {
            assert!(matches!(place.lend("web", piece("lost\n")), Lending::Dropped));
        }
        assert_eq!(dropped.get(), 10);
        away.write(&first);
        place.give_back(away);
        write(&mut place, "next\n");
        let text = std::fs::read_to_string(directory.path().join("web.log")).unwrap();
        assert_eq!(
            text,
            "first\nmini-emperor: 10 bytes of output were dropped here\nnext\n"
        );
    }

    #[test]
    fn an_edit_waits_for_a_thread_that_hangs_and_finds_the_file_that_it_left() {
        let directory = tempfile::tempdir().unwrap();
        let dropped = Dropped::new(0, Arc::new(Pulse::new(0)));
        let mut place = Place::Here(file(directory.path(), 1, 5, &dropped));
        write(&mut place, "one\n");
        let (mut away, second) = lent(&mut place, "two\n");
        let mut newer = Place::Here(file(directory.path(), 2, 1000, &dropped));
        newer.open().unwrap();
        place = place.become_like(newer);
        assert!(matches!(place.lend("web", piece("three\n")), Lending::Later(_)));
        away.write(&second);
        place.give_back(away);
        write(&mut place, "three\n");
        let read = |name: &str| std::fs::read_to_string(directory.path().join(name)).unwrap();
        assert_eq!(
            (&*read("web.log"), &*read("web.log.1")),
            ("two\nthree\n", "one\n")
        );
    }

    #[test]
    fn a_file_that_comes_back_too_late_is_not_taken_for_the_one_in_its_place() {
        let directory = tempfile::tempdir().unwrap();
        let dropped = Dropped::new(0, Arc::new(Pulse::new(0)));
        let mut old = Place::Here(file(directory.path(), 1, 1000, &dropped));
        let (away, _) = lent(&mut old, "old\n");
        let mut place = Place::Here(file(directory.path(), 2, 1000, &dropped));
        place.give_back(away);
        assert_eq!(lent(&mut place, "new\n").0.number(), 2);
    }
}
