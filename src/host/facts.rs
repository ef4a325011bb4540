//! What the checks of definitions ask the host: users, groups, programs.

use std::ffi::CString;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use nix::unistd::{Gid, Group, Uid, getgrouplist};

use crate::config::namespaces::IdRange;
use crate::config::world::{Identities, User, World};

use super::init::OURSELVES;
use super::rootless;

/// The host as it is.
#[derive(Debug, Clone, Copy)]
pub struct Facts {
    /// Which ids the emperor can give to a vassal.
    pub identities: Identities,
}

impl World for Facts {
    fn user(&self, name_or_number: &str) -> Option<User> {
        let by_name = nix::unistd::User::from_name(name_or_number).ok().flatten();
        let number = || name_or_number.parse::<u32>().ok();
        let user = by_name
            .or_else(|| {
                nix::unistd::User::from_uid(Uid::from_raw(number()?))
                    .ok()
                    .flatten()
            })
            .map(|user| User {
                name: user.name,
                uid: user.uid.as_raw(),
                gid: user.gid.as_raw(),
                home: user.dir,
            });
        // A number needs no entry in the user database.
        user.or_else(|| {
            let uid = number()?;
            Some(User {
                name: name_or_number.to_owned(),
                uid,
                gid: uid,
                home: "/".into(),
            })
        })
    }

    fn group(&self, name_or_number: &str) -> Option<u32> {
        let by_name = Group::from_name(name_or_number)
            .ok()
            .flatten()
            .map(|group| group.gid);
        by_name.map(Gid::as_raw).or_else(|| name_or_number.parse().ok())
    }

    fn is_executable(&self, program: &str, path: &str) -> bool {
        let executable = |file: &Path| {
            std::fs::metadata(file).is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
        };
        program == OURSELVES
            || if program.contains('/') {
                executable(Path::new(program))
            } else {
                path.split(':')
                    .any(|directory| executable(&Path::new(directory).join(program)))
            }
    }

    fn is_directory(&self, path: &Path) -> bool {
        path.is_dir()
    }

    fn identities(&self) -> Identities {
        self.identities
    }

    fn subordinates(&self, user: &str, uid: u32) -> (Option<IdRange>, Option<IdRange>) {
        match self.identities {
            Identities::Any => rootless::subordinates(user, uid),
            // The files count ids as the host does.
            Identities::Mapped { .. } | Identities::OwnOnly => (None, None),
        }
    }

    fn user_of(&self, uid: u32) -> Option<User> {
        let user = nix::unistd::User::from_uid(Uid::from_raw(uid)).ok().flatten()?;
        Some(User {
            name: user.name,
            uid: user.uid.as_raw(),
            gid: user.gid.as_raw(),
            home: user.dir,
        })
    }

    fn is_member(&self, user: &User, gid: u32) -> bool {
        let Ok(name) = CString::new(user.name.as_str()) else {
            return false;
        };
        getgrouplist(&name, Gid::from_raw(user.gid)).is_ok_and(|groups| groups.contains(&Gid::from_raw(gid)))
    }
}
