//! Where things are when the settings do not say; the host room chooses, root or not.

use std::path::PathBuf;

/// Defaults of paths, all absolute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places {
    /// The emperor's own file.
    pub settings: PathBuf,
    /// The directory of definitions.
    pub vassals: PathBuf,
    /// Default of [`run_directory`](super::Settings::run_directory).
    pub run_directory: PathBuf,
    /// Default of [`state_directory`](super::Settings::state_directory).
    pub state_directory: PathBuf,
    /// Default of [`log_directory`](super::Settings::log_directory).
    pub log_directory: PathBuf,
}
