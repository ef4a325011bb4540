//! Which directories decide where a path leads.
//!
//! A path leads through symbolic links, and each of them can be swapped: `current -> release-7` by a deployment
//! tool, `..data` by Kubernetes. The swap is an event in the directory that holds the link, nowhere else.

use std::collections::{BTreeSet, VecDeque};
use std::ffi::OsString;
use std::fs;
use std::path::{Component, Path, PathBuf};

/// More links than the kernel follows (`path_resolution(7)`: 40).
const MOST_LINKS: usize = 40;

/// Where a path leads, and by which turns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Way {
    /// The end of it; `None` if nothing is there (yet) or the links go round in a circle.
    pub(super) end: Option<PathBuf>,
    /// The directories that hold a link of the way, or would hold what is missing on it.
    pub(super) turns: BTreeSet<PathBuf>,
}

impl Way {
    /// Follows `path`.
    pub(super) fn of(path: &Path) -> Self {
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let mut turns = BTreeSet::new();
        let mut ahead: VecDeque<OsString> = words(&path).collect();
        let mut here = PathBuf::from("/");
        let mut links = 0;
        while let Some(word) = ahead.pop_front() {
            if word == ".." {
                here.pop();
                continue;
            }
            let next = here.join(&word);
            match fs::symlink_metadata(&next) {
                Ok(found) if !found.is_symlink() => here = next,
                Ok(_) => {
                    turns.insert(here.clone());
                    links += 1;
                    let target = fs::read_link(&next).ok().filter(|_| links <= MOST_LINKS);
                    let Some(target) = target else {
                        return Self { end: None, turns };
                    };
                    if target.is_absolute() {
                        here = PathBuf::from("/");
                    }
                    for word in words(&target).collect::<Vec<_>>().into_iter().rev() {
                        ahead.push_front(word);
                    }
                }
                Err(_) => {
                    turns.insert(here);
                    return Self { end: None, turns };
                }
            }
        }
        Self {
            end: Some(here),
            turns,
        }
    }
}

fn words(path: &Path) -> impl Iterator<Item = OsString> {
    path.components().filter_map(|component| match component {
        Component::Normal(word) => Some(word.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::CurDir | Component::RootDir | Component::Prefix(_) => None,
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// A directory `r` with `file` in it, and a way to it, below a path without links.
    fn ground() -> (tempfile::TempDir, PathBuf) {
        let root = tempfile::tempdir().unwrap();
        let at = root.path().canonicalize().unwrap();
        fs::create_dir_all(at.join("r/1")).unwrap();
        fs::write(at.join("r/1/file"), "").unwrap();
        (root, at)
    }

    fn way(at: &Path, path: &str) -> (Option<String>, Vec<String>) {
        let short = |path: &Path| path.strip_prefix(at).unwrap().display().to_string();
        let way = Way::of(&at.join(path));
        (
            way.end.as_deref().map(short),
            way.turns.iter().map(|turn| short(turn)).collect(),
        )
    }

    #[test]
    fn every_directory_that_holds_a_link_is_a_turn() {
        let (_root, at) = ground();
        assert_eq!(way(&at, "r/1/file"), (Some("r/1/file".into()), vec![]));
        symlink("1", at.join("r/now")).unwrap();
        fs::create_dir(at.join("v")).unwrap();
        symlink("../r/now/./file", at.join("v/a")).unwrap();
        symlink(at.join("v/a"), at.join("b")).unwrap();
        let wanted = (
            Some("r/1/file".into()),
            vec![String::new(), "r".into(), "v".into()],
        );
        assert_eq!(way(&at, "b"), wanted);
    }

    #[test]
    fn what_is_missing_is_awaited_where_it_would_be() {
        let (_root, at) = ground();
        symlink("r/2/file", at.join("a")).unwrap();
        assert_eq!(way(&at, "a"), (None, vec![String::new(), "r".into()]));
        fs::create_dir(at.join("r/2")).unwrap();
        assert_eq!(way(&at, "a"), (None, vec![String::new(), "r/2".into()]));
    }

    #[test]
    fn a_circle_ends() {
        let (_root, at) = ground();
        symlink("b", at.join("a")).unwrap();
        symlink("r/../a", at.join("b")).unwrap();
        assert_eq!(way(&at, "a"), (None, vec![String::new()]));
    }
}
