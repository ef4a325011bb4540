//! Where things are when the settings do not say; the host room chooses, root or not.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Defaults of paths, all absolute.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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

#[cfg(test)]
impl Places {
    /// Those of root.
    pub(crate) fn of_root() -> Self {
        Self {
            settings: "/etc/mini-emperor/emperor.yaml".into(),
            vassals: "/etc/mini-emperor/vassals".into(),
            run_directory: "/run/mini-emperor".into(),
            state_directory: "/var/lib/mini-emperor".into(),
            log_directory: "/var/log/mini-emperor".into(),
        }
    }
}
