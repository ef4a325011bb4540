//! What the checks must ask the host; the host answers, this room never looks itself.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::namespaces::IdRange;

/// The host as far as the checks need it.
pub trait World {
    /// The user of that name or number; `None` if the host knows none.
    fn user(&self, name_or_number: &str) -> Option<User>;
    /// The id of the group of that name or number; `None` if the host knows none.
    fn group(&self, name_or_number: &str) -> Option<u32>;
    /// Whether `program` (absolute, or looked up in `path` = the value of `PATH`) is an executable file.
    fn is_executable(&self, program: &str, path: &str) -> bool;
    /// Whether `path` is a directory, symbolic links followed.
    fn is_directory(&self, path: &Path) -> bool;
    /// What ids the emperor can give to a vassal.
    fn identities(&self) -> Identities;

    /// The ids that the host has set aside for `user` to give to others (subuid(5), subgid(5)), where the emperor can
    /// pass them on: users, then groups.
    fn subordinates(&self, _user: &str, _uid: u32) -> (Option<IdRange>, Option<IdRange>) {
        (None, None)
    }

    /// The user that the user database has under this number; `None` if it has none.
    fn user_of(&self, uid: u32) -> Option<User> {
        self.user(&uid.to_string()).filter(|user| user.uid == uid)
    }

    /// Whether `user` belongs to the group, by the user and group databases.
    fn is_member(&self, user: &User, gid: u32) -> bool {
        user.gid == gid
    }
}

/// Whose a definition is: the ids that own its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Owner {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
}

/// A user of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Name; the number as text if it has none.
    pub name: String,
    /// User id.
    pub uid: u32,
    /// Primary group id.
    pub gid: u32,
    /// Home directory.
    pub home: PathBuf,
}

/// What ids the emperor can give to a vassal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Identities {
    /// Every id: the emperor is root of the host.
    Any,
    /// A user namespace with subordinate ids, as the namespace counts them: uids 0 to `uids` - 1 and gids 0
    /// to `gids` - 1.
    Mapped {
        /// How many user ids are mapped.
        uids: u32,
        /// How many group ids are mapped.
        gids: u32,
    },
    /// A user namespace that maps nobody but the user who started the emperor.
    OwnOnly,
}

/// A host that has everybody and everything. Who asks it judges a file by what stands in it, whatever host will run it.
#[derive(Debug, Clone, Copy)]
pub struct Anywhere;

impl World for Anywhere {
    fn user(&self, name_or_number: &str) -> Option<User> {
        Some(User {
            name: name_or_number.to_owned(),
            uid: 1,
            gid: 1,
            home: PathBuf::from("/"),
        })
    }

    fn group(&self, _: &str) -> Option<u32> {
        Some(1)
    }

    fn is_executable(&self, _: &str, _: &str) -> bool {
        true
    }

    fn is_directory(&self, _: &Path) -> bool {
        true
    }

    fn identities(&self) -> Identities {
        Identities::Any
    }
}

/// A host with three users and one program, for tests.
#[cfg(test)]
pub(crate) struct Host(pub(crate) Identities);

#[cfg(test)]
impl World for Host {
    fn user(&self, wanted: &str) -> Option<User> {
        let (name, id) = [("root", 0), ("www-data", 33), ("nobody", 65534)]
            .into_iter()
            .find(|(name, id): &(&str, u32)| *name == wanted || id.to_string() == wanted)?;
        Some(User {
            name: name.to_owned(),
            uid: id,
            gid: id,
            home: PathBuf::from("/"),
        })
    }

    fn group(&self, wanted: &str) -> Option<u32> {
        self.user(wanted).map(|user| user.gid)
    }

    fn is_executable(&self, program: &str, _: &str) -> bool {
        program == "/bin/sh"
    }

    fn is_directory(&self, _: &Path) -> bool {
        true
    }

    fn identities(&self) -> Identities {
        self.0
    }
}
