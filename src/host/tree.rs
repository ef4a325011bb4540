//! A vassal's whole process tree, where no pid namespace holds it together: a cgroup of version 2.
//!
//! Only its membership is used, not its controllers, so that a hybrid system (controllers in version 1)
//! will do. A process that daemonises, or whose parent dies, stays in it; `cgroup.kill` (Linux 5.14) ends
//! all that are left. cgroups(7), Documentation/admin-guide/cgroup-v2.rst

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;

use crate::config::Name;

use super::error::{Doing, HostError};
use super::limits::trees::Trees;

/// How often a cgroup whose processes are dying is tried to be removed.
const AGAIN: Duration = Duration::from_millis(5);
/// A process in uninterruptible sleep may keep it longer; then it stays behind, empty in the end.
const TRIES: u32 = 1000;

/// The cgroup of one life.
#[derive(Debug)]
pub struct Tree(PathBuf);

impl Tree {
    /// Where the cgroup of a life will be: below the emperor's own, as `leaf`. It is written down before it exists.
    pub fn place(trees: &Trees, name: &Name, leaf: &str) -> Result<PathBuf, HostError> {
        let none = || HostError::new(Doing::SeparateTree, name.as_str(), Errno::ENOENT);
        Ok(trees.unified().ok_or_else(none)?.join(leaf))
    }

    /// Makes the cgroup and moves the process `pid` into it.
    pub fn plant(path: &Path, name: &Name, pid: u32) -> Result<Self, HostError> {
        let failed = |e: &std::io::Error| HostError::from_io(Doing::SeparateTree, name.as_str(), e);
        fs::create_dir(path).map_err(|e| failed(&e))?;
        let tree = Self(path.to_owned());
        if !tree.0.join("cgroup.kill").exists() {
            let _ = fs::remove_dir(&tree.0);
            return Err(HostError::new(Doing::SeparateTree, name.as_str(), Errno::ENOSYS));
        }
        fs::write(tree.0.join("cgroup.procs"), pid.to_string()).map_err(|e| {
            let _ = fs::remove_dir(&tree.0);
            failed(&e)
        })?;
        Ok(tree)
    }

    /// The cgroup of a life that began under another emperor; it need not exist.
    pub fn adopt(path: PathBuf) -> Self {
        Self(path)
    }

    /// Kills all that is left of it and removes it.
    pub async fn fell(self) {
        for _ in 0..TRIES {
            // A fork may escape one sweep, not all of them.
            let _ = fs::write(self.0.join("cgroup.kill"), "1");
            match fs::remove_dir(&self.0) {
                Err(error) if error.raw_os_error() == Some(Errno::EBUSY as i32) => {
                    tokio::time::sleep(AGAIN).await;
                }
                Ok(()) | Err(_) => return,
            }
        }
        tracing::error!(cgroup = %self.0.display(), "processes of the vassal do not die; their cgroup is left");
    }
}
