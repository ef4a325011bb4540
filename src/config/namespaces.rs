//! The namespaces of a vassal, and who is who in its user namespace.
//!
//! In a user namespace the vassal is root, 0, and outside nobody but its own user and group. Number 0 is all that is
//! mapped, unless the host has set subordinate ids aside for that user (subuid(5), subgid(5)): those follow from 1 on,
//! so that programs can have users of their own. Each of its `groups` keeps its number, because the vassal sees
//! the host's files and group names. Ids that are none of these do not exist inside: what belongs to them, the host's root
//! too, is shown as nobody's and can be neither used nor become.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::definition::Identity;

/// The namespaces that a vassal gets beside its network namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Namespaces {
    /// `CLONE_NEWPID`: the command is process 1 and its whole tree dies with it.
    pub pid: bool,
    /// `CLONE_NEWNS`: own mount table, with `/proc` and `/sys` of its own namespaces.
    pub mount: bool,
    /// `CLONE_NEWUTS`: own host name.
    pub uts: bool,
    /// `CLONE_NEWIPC`: own System V IPC and POSIX message queues.
    pub ipc: bool,
    /// `CLONE_NEWCGROUP`: own view of the cgroup tree.
    pub cgroup: bool,
    /// `CLONE_NEWUSER`: own users and capabilities; absent = the emperor's.
    #[serde(default)]
    pub user: Option<UserNamespace>,
}

/// What a user namespace maps beside the vassal's own user and groups.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserNamespace {
    /// Subordinate user ids.
    pub uids: Option<IdRange>,
    /// Subordinate group ids.
    pub gids: Option<IdRange>,
}

/// Ids of the host that follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdRange {
    /// The first.
    pub first: u32,
    /// How many; never 0.
    pub count: u32,
}

/// One line of a map of `user_namespaces(7)`; it is displayed as such.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// The first id, as the vassal knows it.
    pub inside: u32,
    /// The same, as the emperor knows it.
    pub outside: u32,
    /// How many follow each other from there, the first included; never 0.
    pub count: u32,
}

impl fmt::Display for Extent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.inside, self.outside, self.count)
    }
}

impl UserNamespace {
    /// The users of a vassal that runs as `identity`; absent = the emperor's own user, who is 0 for the emperor as well.
    pub fn uid_map(&self, identity: Option<&Identity>) -> Vec<Extent> {
        map(identity.map_or(0, |who| who.uid), self.uids, &[])
    }

    /// Its groups.
    pub fn gid_map(&self, identity: Option<&Identity>) -> Vec<Extent> {
        let Some(who) = identity else {
            return map(0, self.gids, &[]);
        };
        let mut others = who.groups.clone();
        others.retain(|group| *group != who.gid);
        map(who.gid, self.gids, &others)
    }

    /// What a vassal that runs as `identity` outside is inside: user, group, and its other groups.
    pub fn identity(identity: &Identity) -> (u32, u32, Vec<u32>) {
        let groups = identity.groups.iter();
        let inside = |group: &u32| if *group == identity.gid { 0 } else { *group };
        (0, 0, groups.map(inside).collect())
    }
}

/// `root` as 0; from 1 on what is subordinate, but for the numbers in `kept`, which ascend and stand for themselves.
fn map(root: u32, subordinate: Option<IdRange>, kept: &[u32]) -> Vec<Extent> {
    let mut extents = vec![Extent {
        inside: 0,
        outside: root,
        count: 1,
    }];
    let (mut inside, mut outside, mut left) = (1, 0, 0);
    if let Some(range) = subordinate {
        (outside, left) = (range.first, range.count);
    }
    let mut take = |count: u32, inside: u32| {
        extents.extend((count > 0).then_some(Extent {
            inside,
            outside,
            count,
        }));
        outside = outside.saturating_add(count);
    };
    let mut own = Vec::new();
    for &number in kept {
        let before = left.min(number.saturating_sub(inside));
        take(before, inside);
        left -= before;
        inside = number.saturating_add(1);
        own.push(Extent {
            inside: number,
            outside: number,
            count: 1,
        });
    }
    take(left, inside);
    extents.extend(own);
    extents
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn who(uid: u32, gid: u32, groups: &[u32]) -> Identity {
        Identity {
            user: "www-data".to_owned(),
            home: PathBuf::from("/"),
            uid,
            gid,
            groups: groups.to_vec(),
        }
    }

    fn lines(extents: &[Extent]) -> Vec<String> {
        extents.iter().map(ToString::to_string).collect()
    }

    const HUNDRED: Option<IdRange> = Some(IdRange {
        first: 100_000,
        count: 100,
    });

    #[test]
    fn without_more_there_is_root_alone() {
        let user = UserNamespace::default();
        let www = who(33, 34, &[]);
        assert_eq!(lines(&user.uid_map(Some(&www))), ["0 33 1"]);
        assert_eq!(lines(&user.gid_map(Some(&www))), ["0 34 1"]);
        assert_eq!(lines(&user.uid_map(None)), ["0 0 1"]);
        assert_eq!(lines(&user.gid_map(None)), ["0 0 1"]);
        assert_eq!(UserNamespace::identity(&www), (0, 0, vec![]));
    }

    #[test]
    fn subordinate_ids_follow() {
        let user = UserNamespace {
            uids: HUNDRED,
            gids: None,
        };
        let www = who(33, 34, &[]);
        assert_eq!(lines(&user.uid_map(Some(&www))), ["0 33 1", "1 100000 100"]);
        assert_eq!(lines(&user.gid_map(Some(&www))), ["0 34 1"]);
    }

    #[test]
    fn its_groups_keep_their_numbers_and_nothing_is_mapped_twice() {
        let user = UserNamespace {
            uids: None,
            gids: HUNDRED,
        };
        let www = who(33, 34, &[1, 34, 50, 51, 1000]);
        assert_eq!(
            lines(&user.gid_map(Some(&www))),
            [
                "0 34 1",
                "2 100000 48",
                "52 100048 52",
                "1 1 1",
                "50 50 1",
                "51 51 1",
                "1000 1000 1"
            ]
        );
        assert_eq!(UserNamespace::identity(&www).2, [1, 0, 50, 51, 1000]);
        let alone = UserNamespace::default();
        assert_eq!(
            lines(&alone.gid_map(Some(&who(33, 33, &[4, 5])))),
            ["0 33 1", "4 4 1", "5 5 1"]
        );
    }

    #[test]
    fn what_was_written_before_there_were_any_has_none() {
        let text = r#"{"pid":true,"mount":true,"uts":false,"ipc":true,"cgroup":false}"#;
        let namespaces: Namespaces = serde_json::from_str(text).unwrap();
        assert_eq!(namespaces.user, None);
        assert!(namespaces.pid && !namespaces.uts);
    }

    #[test]
    fn what_lies_beyond_all_numbers_does_not_overflow() {
        let gids = Some(IdRange {
            first: u32::MAX,
            count: u32::MAX,
        });
        let user = UserNamespace { uids: gids, gids };
        let www = who(33, 33, &[7, u32::MAX]);
        assert_eq!(user.uid_map(Some(&www)).len(), 2);
        assert_eq!(user.gid_map(Some(&www)).len(), 6);
    }
}
