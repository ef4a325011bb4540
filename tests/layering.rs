//! The walls between the rooms, as `src/lib.rs` draws them. Reads the source, as tokens, without its tests.
#![allow(clippy::unwrap_used, reason = "test code")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// A room, and the rooms that it may know.
const ROOMS: [(&str, &[&str]); 7] = [
    ("cli", &["config", "host"]),
    ("config", &[]),
    ("emperor", &["config"]),
    ("host", &["config", "emperor", "packet", "router", "sys"]),
    ("packet", &[]),
    ("router", &["config", "packet"]),
    ("sys", &[]),
];

/// The rooms that read no clock, file or socket, with the crates that they may use. None of those does I/O.
const PURE: [(&str, &[&str]); 4] = [
    (
        "config",
        &[
            "ipnet",
            "schemars",
            "serde",
            "serde_json",
            "serde_yaml",
            "strsim",
            "thiserror",
        ],
    ),
    ("emperor", &["ipnet", "serde", "thiserror"]),
    ("packet", &["thiserror"]),
    ("router", &["ipnet", "serde", "thiserror"]),
];

/// What a pure room may use of the standard library: nothing that asks the kernel.
const STD: [&str; 27] = [
    "any",
    "array",
    "borrow",
    "boxed",
    "cell",
    "char",
    "cmp",
    "collections",
    "convert",
    "error",
    "ffi",
    "fmt",
    "hash",
    "hint",
    "iter",
    "marker",
    "mem",
    "net",
    "num",
    "ops",
    "option",
    "path",
    "rc",
    "slice",
    "str",
    "sync",
    "time",
];

/// Parts of the above that do ask it: by path, and as methods of a path.
const ASKING: [&str; 10] = [
    "Instant::now",
    "SystemTime",
    "UNIX_EPOCH",
    "TcpListener",
    "TcpStream",
    "UdpSocket",
    "ToSocketAddrs",
    "RandomState",
    "Condvar",
    "Barrier",
];
const ASKING_METHODS: [&str; 10] = [
    "canonicalize",
    "elapsed",
    "exists",
    "is_dir",
    "is_file",
    "is_symlink",
    "metadata",
    "read_dir",
    "read_link",
    "try_exists",
];

/// The files that start other programs: none of them for the network, which is netlink's alone.
const STARTERS: [&str; 3] = [
    "src/host/first.rs",
    "src/host/hooks/mod.rs",
    "src/host/rootless.rs",
];

/// One file: every path in it, in full, and every method that it calls.
struct Source {
    file: String,
    room: String,
    paths: BTreeSet<String>,
    methods: BTreeSet<String>,
}

impl Source {
    fn new(file: &str, text: &str) -> Self {
        let inner = file.trim_start_matches("src/").trim_end_matches(".rs");
        let module: Vec<String> = inner
            .split('/')
            .filter(|part| !["mod", "lib", "main"].contains(part))
            .map(str::to_owned)
            .collect();
        let mut source = Self {
            file: file.to_owned(),
            room: module.first().cloned().unwrap_or_default(),
            paths: BTreeSet::new(),
            methods: BTreeSet::new(),
        };
        let tokens = text.parse().unwrap_or_else(|error| panic!("{file}: {error}"));
        source.walk(without_tests(tokens), &[], &module);
        source
    }

    /// Collects what `tokens` name; `above` is what stands before the braces of a `use`.
    fn walk(&mut self, tokens: TokenStream, above: &[String], module: &[String]) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let is = |at: usize, wanted: char| matches!(tokens.get(at), Some(TokenTree::Punct(p)) if p.as_char() == wanted);
        let (mut path, mut at) = (above.to_vec(), 0);
        while let Some(token) = tokens.get(at) {
            let joins = is(at + 1, ':') && is(at + 2, ':');
            match token {
                TokenTree::Ident(word) => {
                    if at > 0 && is(at - 1, '.') && !(at > 1 && is(at - 2, '.')) {
                        self.methods.insert(word.to_string());
                    }
                    path.push(word.to_string());
                    if joins {
                        at += 3;
                        continue;
                    }
                    self.paths.insert(in_full(&path, module));
                }
                TokenTree::Group(group) => {
                    let of_use = path.len() > above.len() && group.delimiter() == Delimiter::Brace;
                    let above = if of_use { path.as_slice() } else { &[] };
                    self.walk(group.stream(), above, module);
                }
                TokenTree::Punct(punct) if punct.as_char() == '*' && path.len() > above.len() => {
                    self.paths.insert(in_full(&path, module));
                }
                TokenTree::Punct(_) | TokenTree::Literal(_) => {}
            }
            path = above.to_vec();
            at += 1;
        }
    }

    fn names(&self, path: &str) -> bool {
        self.paths
            .iter()
            .any(|one| format!("::{one}::").contains(&format!("::{path}::")))
    }
}

/// `super::super::x` in module `a::b` is `crate::x`.
fn in_full(path: &[String], module: &[String]) -> String {
    let ups = path.iter().take_while(|word| *word == "super").count();
    if ups == 0 {
        return path.join("::");
    }
    let above = module.iter().take(module.len().saturating_sub(ups));
    let all: Vec<&str> = std::iter::once("crate")
        .chain(above.map(String::as_str))
        .chain(path.iter().skip(ups).map(String::as_str))
        .collect();
    all.join("::")
}

/// Leaves out each item that stands behind `#[cfg(test)]`.
fn without_tests(tokens: TokenStream) -> TokenStream {
    let (mut kept, mut skipping, mut hash) = (Vec::new(), false, None);
    for token in tokens {
        let text = token.to_string().replace(' ', "");
        let is_attribute = hash.is_some() && text.starts_with('[');
        if is_attribute && text == "[cfg(test)]" {
            (hash, skipping) = (None, true);
            continue;
        }
        kept.extend(hash.take().filter(|_| !skipping));
        if skipping {
            // The item ends with its body, or with a semicolon.
            let is_body = matches!(&token, TokenTree::Group(g) if g.delimiter() == Delimiter::Brace);
            skipping = !is_body && text != ";";
        } else if text == "#" {
            hash = Some(token);
        } else {
            kept.push(token);
        }
    }
    kept.extend(hash);
    kept.into_iter().collect()
}

fn files(directory: &Path, all: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, all);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            all.push(path);
        }
    }
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut all = Vec::new();
    files(&root.join("src"), &mut all);
    // The tests of a room, where they are a file of their own, may go anywhere.
    all.retain(|path| !path.ends_with("tests.rs"));
    all.sort();
    assert!(all.len() > 50, "{all:?}");
    all.iter()
        .map(|path| {
            let name = path.strip_prefix(root).unwrap().to_string_lossy();
            Source::new(&name, &fs::read_to_string(path).unwrap())
        })
        .collect()
}

/// The crates that the program is built with.
fn crates() -> Vec<String> {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml")).unwrap();
    let dependencies = text.split("[dependencies]").nth(1).unwrap();
    let dependencies = dependencies.split("\n[").next().unwrap();
    let names = dependencies.lines().filter_map(|line| line.split_once(" = "));
    names.map(|(name, _)| name.replace('-', "_")).collect()
}

/// Every breach of a wall by `source`.
fn breaches(source: &Source, crates: &[String]) -> Vec<String> {
    let mut found = Vec::new();
    let mut breach = |what: String| found.push(format!("{}: {what}", source.file));
    let known = ROOMS
        .iter()
        .find(|(room, _)| *room == source.room)
        .map(|(_, known)| *known);
    for path in &source.paths {
        let words: Vec<&str> = path.split("::").collect();
        if let (Some(known), ["crate", other, ..]) = (known, words.as_slice())
            && *other != source.room
            && ROOMS.iter().any(|(room, _)| room == other)
            && !known.contains(other)
        {
            breach(format!("{} knows {other}: {path}", source.room));
        }
        if let Some((_, allowed)) = PURE.iter().find(|(room, _)| *room == source.room) {
            match words.as_slice() {
                ["std" | "core" | "alloc", part, ..] if !STD.contains(part) => breach(format!("uses {path}")),
                [first, _, ..] if crates.iter().any(|one| one == first) && !allowed.contains(first) => {
                    breach(format!("uses {path}"));
                }
                _ => {}
            }
        }
    }
    if PURE.iter().any(|(room, _)| *room == source.room) {
        for path in ASKING.iter().filter(|path| source.names(path)) {
            breach(format!("asks the kernel: {path}"));
        }
        for method in ASKING_METHODS
            .iter()
            .filter(|method| source.methods.contains(**method))
        {
            breach(format!("asks the kernel: .{method}()"));
        }
    }
    if source.names("unsafe") && source.room != "sys" {
        breach("has unsafe code outside sys".to_owned());
    }
    if source.names("process::Command") && !STARTERS.contains(&source.file.as_str()) {
        breach("starts another program".to_owned());
    }
    found
}

#[test]
fn no_room_breaks_a_wall() {
    let crates = crates();
    assert!(crates.contains(&"netlink_sys".to_owned()), "{crates:?}");
    let found: Vec<String> = sources()
        .iter()
        .flat_map(|source| breaches(source, &crates))
        .collect();
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

#[test]
fn the_rooms_are_all_there_is() {
    let rooms: BTreeSet<String> = sources().into_iter().map(|source| source.room).collect();
    let wanted = ROOMS
        .iter()
        .map(|(room, _)| (*room).to_owned())
        .chain([String::new()]);
    assert_eq!(rooms, wanted.collect());
}

/// What is found in one file of so much text.
fn found(file: &str, text: &str) -> Vec<String> {
    breaches(&Source::new(file, text), &["nix".to_owned(), "ipnet".to_owned()])
}

#[test]
fn a_breach_is_seen_however_it_is_written() {
    for (file, text) in [
        ("src/emperor/mod.rs", "use crate::router::Fabric;"),
        ("src/emperor/mod.rs", "use super::router;"),
        (
            "src/emperor/state.rs",
            "use crate::{config::Name, host::{daemon, nat}};",
        ),
        (
            "src/emperor/state.rs",
            "fn f() { let x = vec![super::super::sys::clone::f()]; }",
        ),
        ("src/packet/ipv4.rs", "use crate::config::*;"),
        ("src/router/mod.rs", "use crate::emperor as e;"),
        ("src/sys/tun.rs", "fn f() -> crate::host::HostError {}"),
        ("src/config/load.rs", "use std::{fmt, fs};"),
        (
            "src/config/load.rs",
            "use std::time::{self, Instant}; fn f() { Instant::now(); }",
        ),
        ("src/config/load.rs", "fn f(p: &Path) -> bool { p.exists() }"),
        ("src/config/load.rs", "use std::net::{IpAddr, TcpStream};"),
        ("src/router/mod.rs", "use nix::unistd::read;"),
        (
            "src/router/mod.rs",
            "#[cfg(test)] mod tests { } fn f() { std::env::args(); }",
        ),
        ("src/router/mod.rs", "fn f() { unsafe { g() } }"),
        ("src/host/nat/mod.rs", "use std::process::{Command, Stdio};"),
        (
            "src/host/nat/mod.rs",
            "fn f() { tokio::process::Command::new(NFT); }",
        ),
    ] {
        assert!(!found(file, text).is_empty(), "{file}: {text}");
    }
}

#[test]
fn what_is_allowed_is_no_breach() {
    for (file, text) in [
        (
            "src/emperor/mod.rs",
            "//! Knows crate::router not.\nuse crate::config::Name; use super::config;",
        ),
        (
            "src/emperor/state.rs",
            "use super::pacing::Pacing; const WHY: &str = \"std::fs\";",
        ),
        (
            "src/router/mod.rs",
            "use ipnet::{IpNet, Ipv4Net}; use std::time::Instant; fn f(now: Instant) {}",
        ),
        (
            "src/router/mod.rs",
            "#[cfg(test)]\nmod tests { use std::fs; use crate::host; }",
        ),
        (
            "src/router/mod.rs",
            "#[cfg(test)] use std::fs; #[derive(Debug)] struct S;",
        ),
        ("src/sys/clone.rs", "fn f() { unsafe { g() } }"),
        ("src/host/init.rs", "use nix::unistd::execve; use std::fs;"),
    ] {
        assert_eq!(found(file, text), Vec::<String>::new(), "{file}: {text}");
    }
}
