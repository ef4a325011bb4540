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
use crate::emperor::state::Life;

use super::error::{Doing, HostError};

/// How often a cgroup whose processes are dying is tried to be removed.
const AGAIN: Duration = Duration::from_millis(5);
/// A process in uninterruptible sleep may keep it longer; then it stays behind, empty in the end.
const TRIES: u32 = 1000;

/// The cgroup of one life.
#[derive(Debug)]
pub struct Tree(PathBuf);

impl Tree {
    /// Where the cgroup of a life will be: beside the emperor's own, under a name that no other emperor uses, in
    /// whatever pid namespace it is; `token` is a random number. It is written down before it exists.
    pub fn place(name: &Name, life: Life, token: u32) -> Result<PathBuf, HostError> {
        let own =
            own_cgroup().ok_or_else(|| HostError::new(Doing::SeparateTree, name.as_str(), Errno::ENOENT))?;
        Ok(own.join(format!("mini-emperor.{name}.{}.{token:08x}", life.0)))
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

/// Where this process is in the version 2 tree.
fn own_cgroup() -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    let memberships = fs::read_to_string("/proc/self/cgroup").ok()?;
    Some(below(&mount_point(&mounts)?, &membership(&memberships)?))
}

/// The first cgroup2 mount point of a mountinfo (proc_pid_mountinfo(5)).
fn mount_point(mountinfo: &str) -> Option<PathBuf> {
    mountinfo.lines().find_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        let point = before.split(' ').nth(4)?;
        (after.split(' ').next() == Some("cgroup2")).then(|| PathBuf::from(point))
    })
}

/// The version 2 line of /proc/self/cgroup: `0::/path`.
fn membership(cgroup: &str) -> Option<String> {
    cgroup
        .lines()
        .find_map(|line| line.strip_prefix("0::"))
        .map(str::to_owned)
}

fn below(mount: &Path, membership: &str) -> PathBuf {
    mount.join(membership.trim_start_matches('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_cgroup_is_found_on_a_hybrid_system() {
        let mounts = "30 24 0:26 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
                      41 24 0:37 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n";
        let own = "4:cpu:/elsewhere\n0::/system.slice/emperor.service\n";
        let path = below(&mount_point(mounts).unwrap(), &membership(own).unwrap());
        assert_eq!(
            path,
            Path::new("/sys/fs/cgroup/unified/system.slice/emperor.service")
        );
    }

    #[test]
    fn no_version_2_tree_is_no_cgroup() {
        assert_eq!(
            mount_point("30 24 0:26 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n"),
            None
        );
    }
}
