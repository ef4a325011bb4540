//! What was found at the last look, file by file, and since when a file is missing.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::reading::Fingerprint;
use crate::config::Owner;

/// How long a file must be gone to count as removed.
pub(super) const GRACE: Duration = Duration::from_millis(150);

/// The files that were there.
#[derive(Default)]
pub(super) struct Known(BTreeMap<PathBuf, File>);

struct File {
    /// Absent if it could not be read, or was not yet.
    fingerprint: Option<Fingerprint>,
    content: u64,
    missing_since: Option<Instant>,
}

impl Known {
    /// A file that was not read yet, but whose absence is news.
    pub(super) fn expect(&mut self, path: PathBuf) {
        let unread = File {
            fingerprint: None,
            content: 0,
            missing_since: None,
        };
        self.0.insert(path, unread);
    }

    /// What the file was recognised by when it was read.
    pub(super) fn fingerprint(&self, path: &Path) -> Option<Fingerprint> {
        self.0.get(path)?.fingerprint
    }

    /// A file that is known and was seen is not missing.
    pub(super) fn is_there(&mut self, path: &Path) {
        if let Some(file) = self.0.get_mut(path) {
            file.missing_since = None;
        }
    }

    /// Remembers what was found at `path`: its text and whose it is, or (without a fingerprint) why it could not be
    /// read. Whether that differs from what was found before.
    pub(super) fn is_news(
        &mut self,
        path: &Path,
        fingerprint: Option<Fingerprint>,
        found: (&[u8], Option<Owner>),
    ) -> bool {
        let mut hasher = DefaultHasher::new();
        found.hash(&mut hasher);
        let content = hasher.finish();
        let news = File {
            fingerprint,
            content,
            missing_since: None,
        };
        let old = self.0.insert(path.to_owned(), news);
        !old.is_some_and(|old| old.fingerprint.is_some() == fingerprint.is_some() && old.content == content)
    }

    /// Forgets and gives the files that are not `present` for long enough, outside the directories that could not be
    /// read; and when to look for the next of them.
    pub(super) fn missing(
        &mut self,
        present: &BTreeSet<PathBuf>,
        unreadable: &[PathBuf],
        now: Instant,
    ) -> (Vec<PathBuf>, Option<Instant>) {
        let mut gone = Vec::new();
        let mut next = None;
        for (path, file) in &mut self.0 {
            if present.contains(path) || path.parent().is_some_and(|p| unreadable.iter().any(|u| u == p)) {
                continue;
            }
            let since = *file.missing_since.get_or_insert(now);
            if now >= since + GRACE {
                gone.push(path.clone());
            } else {
                next = Some(next.map_or(since + GRACE, |at: Instant| at.min(since + GRACE)));
            }
        }
        for path in &gone {
            self.0.remove(path);
        }
        (gone, next)
    }
}
