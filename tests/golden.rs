//! Golden files: what good files mean, and what an operator reads about bad ones.
//!
//! Every `NAME.yaml` under `tests/golden` has a `NAME.expected` beside it. `UPDATE_GOLDEN=1 cargo test --test
//! golden` writes them anew; read the difference before it is committed. A first line `# world: own-only` or
//! `# world: mapped 1000` says what ids the emperor has; otherwise it is root. Files of `tenants` are judged under
//! `run_as_owner`; their first line says whose they are, as `# owner: UID GID`.

use std::fmt::Debug;
use std::fs;
use std::path::{Path, PathBuf};

use mini_emperor::cli::complain;
use mini_emperor::config::namespaces::IdRange;
use mini_emperor::config::{Identities, Judged, Owner, Places, Settings, User, World, load};

/// A host with four users, two directories and two programs.
struct Host(Identities);

const USERS: [(&str, u32, u32); 4] = [
    ("root", 0, 0),
    ("www-data", 33, 33),
    ("alice", 1000, 1000),
    ("nobody", 65534, 65534),
];

impl World for Host {
    fn user(&self, wanted: &str) -> Option<User> {
        let (name, uid, gid) = USERS
            .into_iter()
            .find(|(name, uid, _)| *name == wanted || uid.to_string() == wanted)?;
        Some(User {
            name: name.to_owned(),
            uid,
            gid,
            home: Path::new("/home").join(name),
        })
    }

    fn group(&self, wanted: &str) -> Option<u32> {
        self.user(wanted).map(|user| user.gid)
    }

    fn is_executable(&self, program: &str, path: &str) -> bool {
        match program {
            "/bin/sh" | "/usr/bin/uwsgi" => true,
            "sh" => path.split(':').any(|part| part == "/bin"),
            _ => false,
        }
    }

    fn is_directory(&self, path: &Path) -> bool {
        ["/", "/srv/app", "/etc/mini-emperor/vassals"]
            .map(Path::new)
            .contains(&path)
    }

    fn identities(&self) -> Identities {
        self.0
    }

    fn subordinates(&self, user: &str, _: u32) -> (Option<IdRange>, Option<IdRange>) {
        let range = IdRange {
            first: 100_000,
            count: 65_536,
        };
        let uids = (user == "alice" && self.0 == Identities::Any).then_some(range);
        (uids, uids)
    }
}

fn host_for(text: &str) -> Host {
    let first = text.lines().next().unwrap_or_default();
    Host(
        match first
            .strip_prefix("# world: ")
            .map(|world| world.split_once(' ').unwrap_or((world, "")))
        {
            None => Identities::Any,
            Some(("own-only", _)) => Identities::OwnOnly,
            Some(("mapped", count)) => {
                let count = count.parse().expect("a number of ids");
                Identities::Mapped {
                    uids: count,
                    gids: count,
                }
            }
            Some((other, _)) => panic!("no such world: {other}"),
        },
    )
}

fn places() -> Places {
    Places {
        settings: "/etc/mini-emperor/emperor.yaml".into(),
        vassals: "/etc/mini-emperor/vassals".into(),
        run_directory: "/run/mini-emperor".into(),
        state_directory: "/var/lib/mini-emperor".into(),
        log_directory: "/var/log/mini-emperor".into(),
    }
}

/// The settings that the golden vassals live under: both families.
fn settings(host: &Host) -> Settings {
    settings_from("defaults: {env: {LANG: C.UTF-8}}\n", host)
}

/// The same where owners are tenants, and the operator has given all of them something that they cannot ask for.
fn settings_of_tenants(host: &Host) -> Settings {
    let text = "run_as_owner: true\n\
                defaults: {capabilities: [NET_BIND_SERVICE], log: {keep: 1}, stop: {timeout: 20s}}\n";
    settings_from(text, host)
}

fn settings_from(text: &str, host: &Host) -> Settings {
    let text = &format!("router: {{address: [10.107.0.1/24, 'fd00:107::1/64']}}\n{text}");
    let judged = load::settings(
        Path::new("/etc/mini-emperor/emperor.yaml"),
        Some(text),
        &places(),
        host,
    );
    judged.value.expect("the golden settings are good")
}

/// What is compared: the meaning and the messages.
fn shown<T: Debug>(judged: &Judged<T>, text: &[u8]) -> String {
    let complaints = complain::report(&judged.problems, std::str::from_utf8(text).ok(), false);
    let lines: String = judged
        .problems
        .iter()
        .map(|problem| format!("{problem}\n"))
        .collect();
    match &judged.value {
        Some(value) => format!("{value:#?}\n\n{complaints}{lines}"),
        None => format!("{complaints}{lines}"),
    }
}

fn files(directory: &str) -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(directory);
    let entries = fs::read_dir(&directory).expect("a directory of golden files");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    paths.sort();
    assert!(!paths.is_empty(), "{} holds no golden file", directory.display());
    paths
}

/// Compares every file of a directory with what is expected, and tells of all that differ.
fn compare(directory: &str, judge: impl Fn(&Path, &[u8], &Host) -> (bool, String)) {
    let good = directory.starts_with("good");
    let mut failures = Vec::new();
    for path in files(directory) {
        let text = fs::read(&path).expect("a golden file");
        let host = host_for(&String::from_utf8_lossy(&text));
        let name = Path::new(path.file_name().expect("a file"));
        let (usable, seen) = judge(name, &text, &host);
        let expected = path.with_extension("expected");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&expected, &seen).expect("the golden file is written");
        }
        if usable != good {
            failures.push(format!("{}: usable = {usable}\n{seen}", path.display()));
        } else if fs::read_to_string(&expected).unwrap_or_default() != seen {
            failures.push(format!("{} differs; now it is\n{seen}", expected.display()));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

fn vassal(name: &Path, text: &[u8], host: &Host) -> (bool, String) {
    let judged = load::definition(name, text, &settings(host), host);
    (judged.value.is_some(), shown(&judged, text))
}

/// Whose a tenant's file is, by its first line.
fn owner(text: &[u8]) -> Option<Owner> {
    let text = std::str::from_utf8(text).ok()?;
    let (uid, gid) = text.lines().next()?.strip_prefix("# owner: ")?.split_once(' ')?;
    Some(Owner {
        uid: uid.parse().expect("a uid"),
        gid: gid.parse().expect("a gid"),
    })
}

fn tenant(name: &Path, text: &[u8], host: &Host) -> (bool, String) {
    let judged = load::definition_of(name, text, owner(text), &settings_of_tenants(host), host);
    (judged.value.is_some(), shown(&judged, text))
}

fn emperor(name: &Path, text: &[u8], host: &Host) -> (bool, String) {
    let path = Path::new("/etc/mini-emperor").join(name);
    let judged = load::settings_bytes(&path, Some(text), &places(), host);
    (judged.value.is_some(), shown(&judged, text))
}

#[test]
fn good_vassals_mean_what_they_meant() {
    compare("good/vassals", vassal);
}

#[test]
fn good_settings_mean_what_they_meant() {
    compare("good/settings", emperor);
}

#[test]
fn good_tenants_run_as_themselves() {
    compare("good/tenants", tenant);
}

#[test]
fn bad_tenants_are_refused_with_every_problem() {
    compare("bad/tenants", tenant);
}

#[test]
fn bad_vassals_are_refused_with_every_problem() {
    compare("bad/vassals", vassal);
}

#[test]
fn bad_settings_are_refused_with_every_problem() {
    compare("bad/settings", emperor);
}
