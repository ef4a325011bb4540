//! What the one nftables table looks like, and that nobody gets rid of it by accident.
#![allow(clippy::unwrap_used, reason = "a test that cannot look has failed")]

mod namespace;

use std::cell::RefCell;
use std::io::Write;
use std::process::{Command, Stdio};
use std::rc::Rc;
use std::time::{Duration, Instant};

use mini_emperor::host::nat::{Nat, NatPlan};
use mini_emperor::host::{Doing, HostError};
use namespace::{alone, alone_async};
use nix::errno::Errno;

/// Runs `nft` in this thread's namespace; tests may, the program must not.
fn nft(script: &str) -> String {
    let mut child = Command::new("nft")
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "nft refused: {script}");
    String::from_utf8(output.stdout).unwrap()
}

fn ruleset() -> String {
    nft("list ruleset")
}

fn plan() -> NatPlan {
    NatPlan {
        table: "mini-emperor-emperor0".to_owned(),
        uplink: "emperor0".to_owned(),
        subnets: vec!["10.107.0.0/24".parse().unwrap(), "fd00:107::/64".parse().unwrap()],
        interfaces: Vec::new(),
    }
}

/// The table of [`plan`] as `nft` prints it.
const TABLE: &str = r#"table inet mini-emperor-emperor0 {
	comment "made and kept by mini-emperor"
	chain postrouting {
		type nat hook postrouting priority srcnat; policy accept;
		oifname "lo" accept
		ip saddr 10.107.0.0/24 oifname != "emperor0" counter packets 0 bytes 0 masquerade
		ip6 saddr fd00:107::/64 oifname != "emperor0" counter packets 0 bytes 0 masquerade
	}
}
"#;

/// Somebody else's table.
const FOREIGN: &str = "table inet other {
	chain input {
		type filter hook input priority filter; policy accept;
		tcp dport 22 accept
	}
}
";

#[test]
#[ignore = "needs a network namespace: run integration/run"]
fn the_table_reads_as_an_operator_would_have_written_it() {
    alone(|| {
        Nat::install(plan()).unwrap();
        assert_eq!(ruleset(), TABLE);
    });
}

#[test]
#[ignore = "needs a network namespace: run integration/run"]
fn prefixes_of_any_length_and_named_interfaces_are_written_as_meant() {
    alone(|| {
        Nat::install(NatPlan {
            subnets: vec!["192.0.2.77/32".parse().unwrap(), "10.64.3.9/10".parse().unwrap()],
            interfaces: vec!["eth0".to_owned(), "wlan0".to_owned()],
            ..plan()
        })
        .unwrap();
        let seen = ruleset();
        for rule in [
            r#"ip saddr 192.0.2.77 oifname != "emperor0" oifname "eth0" counter"#,
            r#"ip saddr 192.0.2.77 oifname != "emperor0" oifname "wlan0" counter"#,
            r#"ip saddr 10.64.0.0/10 oifname != "emperor0" oifname "eth0" counter"#,
            r#"ip saddr 10.64.0.0/10 oifname != "emperor0" oifname "wlan0" counter"#,
        ] {
            assert!(seen.contains(rule), "{rule} is not in {seen}");
        }
        assert_eq!(seen.matches("masquerade").count(), 4, "{seen}");
    });
}

#[test]
#[ignore = "needs a network namespace: run integration/run"]
fn a_stale_table_is_replaced_whole() {
    alone(|| {
        nft("table inet mini-emperor-emperor0 { chain old { counter drop; }; }");
        Nat::install(plan()).unwrap();
        assert_eq!(ruleset(), TABLE);
        Nat::install(plan()).unwrap();
        assert_eq!(ruleset(), TABLE);
    });
}

#[test]
#[ignore = "needs a network namespace: run integration/run"]
fn removal_leaves_nothing_and_touches_nobody() {
    alone(|| {
        nft(FOREIGN);
        let nat = Nat::install(plan()).unwrap();
        assert_eq!(ruleset(), format!("{FOREIGN}{TABLE}"));
        nat.remove().unwrap();
        assert_eq!(ruleset(), FOREIGN);
        let nat = Nat::install(plan()).unwrap();
        nft("flush ruleset");
        nat.remove().unwrap();
        assert_eq!(ruleset(), "");
    });
}

#[test]
#[ignore = "needs a network namespace: run integration/run"]
fn a_refused_table_is_named_and_changes_nothing() {
    alone(|| {
        let bad = NatPlan {
            interfaces: vec!["a-name-of-16-byte".to_owned()],
            ..plan()
        };
        let error = Nat::install(bad).unwrap_err();
        assert_eq!((error.doing, error.errno), (Doing::InstallNat, Errno::EINVAL));
        // nf_tables limits a table's name to 255 bytes.
        let long = "x".repeat(300);
        let error = Nat::install(NatPlan {
            table: long.clone(),
            ..plan()
        })
        .unwrap_err();
        assert_eq!((error.doing, error.on), (Doing::InstallNat, long));
        assert_eq!(ruleset(), "");
    });
}

/// Waits until `look` is content, and fails with what it saw last. The guard has its turn in between.
async fn until(what: &str, look: impl Fn() -> Result<(), String>) {
    let start = Instant::now();
    while let Err(seen) = look() {
        assert!(start.elapsed() < Duration::from_secs(10), "{what}: {seen}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Waits until the ruleset is `expected`, after `what`.
async fn restored(what: &str, expected: &str) {
    let look = || match ruleset() {
        seen if seen == expected => Ok(()),
        seen => Err(seen),
    };
    until(what, look).await;
}

/// Performs `harm` while the guard runs, and waits until the ruleset is `expected` again; returns what was said.
fn guarded(harm: &'static [&'static str], expected: String) -> Vec<String> {
    alone_async(move || async move {
        nft(FOREIGN);
        let nat = Nat::install(plan()).unwrap();
        let said = Rc::new(RefCell::new(Vec::new()));
        let listener = Rc::clone(&said);
        let story = async {
            for script in harm {
                nft(script);
                restored(script, &expected).await;
            }
            // Its own repairs lead to nothing more.
            until("the guard has heard all", || {
                let unread = queues().iter().any(|(unread, _)| unread != "0");
                if unread {
                    Err("there is more".to_owned())
                } else {
                    Ok(())
                }
            })
            .await;
        };
        tokio::select! {
            error = nat.guard(move |sentence| listener.borrow_mut().push(sentence)) => panic!("the guard left: {error}"),
            () = story => {}
        }
        said.borrow().clone()
    })
}

#[test]
#[ignore = "needs a network namespace: run integration/run"]
fn a_flushed_ruleset_is_repaired_each_time() {
    let said = guarded(
        &["flush ruleset", "flush ruleset", "flush ruleset"],
        TABLE.to_owned(),
    );
    assert_eq!(
        said,
        vec!["the nftables table mini-emperor-emperor0 was removed; it is back"; 3]
    );
}

#[test]
#[ignore = "needs a network namespace: run integration/run"]
fn every_kind_of_damage_is_repaired_and_said_once() {
    let said = guarded(
        &[
            "flush table inet mini-emperor-emperor0",
            "delete table inet mini-emperor-emperor0",
            "insert rule inet mini-emperor-emperor0 postrouting ip saddr 10.107.0.0/24 accept",
            "add chain inet mini-emperor-emperor0 extra",
            "add chain inet mini-emperor-emperor0 postrouting { policy drop; }",
            "add table inet mini-emperor-emperor0 { flags dormant; }",
        ],
        format!("{FOREIGN}{TABLE}"),
    );
    let table = "the nftables table mini-emperor-emperor0 was";
    let changed = format!("{table} changed; it is back");
    let expected = [
        &changed,
        &format!("{table} removed; it is back"),
        &changed,
        &changed,
        &changed,
        &changed,
    ]
    .map(String::clone);
    assert_eq!(said, expected);
}

#[test]
#[ignore = "needs a network namespace: run integration/run"]
fn changes_of_other_tables_are_no_damage() {
    const HARM: &[&str] = &["add rule inet other input counter
        delete table inet other
        add table ip other { flags dormant; }"];
    let said = guarded(HARM, format!("{TABLE}table ip other {{\n\tflags dormant\n}}\n"));
    assert_eq!(said, Vec::<String>::new());
}

#[test]
#[ignore = "needs a network namespace: run integration/run"]
fn a_guard_that_starts_late_repairs_what_it_finds() {
    let said = alone_async(|| async {
        let nat = Nat::install(plan()).unwrap();
        nft("flush ruleset");
        let said = Rc::new(RefCell::new(Vec::new()));
        let listener = Rc::clone(&said);
        tokio::select! {
            error = nat.guard(move |sentence| listener.borrow_mut().push(sentence)) => panic!("the guard left: {error}"),
            () = restored("a flush before it", TABLE) => {}
        }
        said.borrow().len()
    });
    assert_eq!(said, 1);
}

#[test]
#[ignore = "needs a network namespace: run integration/run"]
fn a_guard_that_loses_messages_looks_for_itself() {
    let said = alone_async(|| async {
        let nat = Nat::install(plan()).unwrap();
        let said = Rc::new(RefCell::new(Vec::new()));
        let listener = Rc::clone(&said);
        let story = async {
            // The guard runs up to its first wait, then not again until the flood is over.
            tokio::task::yield_now().await;
            let rule = "add rule inet other input tcp dport 22 counter accept\n";
            let flood = format!("{FOREIGN}{}flush ruleset", rule.repeat(5000));
            // How much its queue holds is a matter of the machine.
            let waves = (0..100).take_while(|_| !overrun());
            waves.for_each(|_| drop(nft(&flood)));
            assert!(overrun(), "the flood did not overrun the guard's queue");
            restored("the flood", TABLE).await;
        };
        tokio::select! {
            biased;
            error = nat.guard(move |sentence| listener.borrow_mut().push(sentence)) => panic!("the guard left: {error}"),
            () = story => {}
        }
        said.borrow().len()
    });
    assert_eq!(said, 1);
}

/// Whether a netfilter socket of this namespace has lost messages.
fn overrun() -> bool {
    queues().iter().any(|(_, lost)| lost != "0")
}

/// What waits to be read from each netfilter socket of this namespace, and how much it has lost (`/proc/net/netlink`:
/// protocol 12, bytes, drops).
fn queues() -> Vec<(String, String)> {
    let table = std::fs::read_to_string("/proc/thread-self/net/netlink").unwrap();
    let lines = table.lines().skip(1);
    let words = lines.map(|line| line.split_whitespace().map(str::to_owned).collect());
    let netfilter = words.filter(|words: &Vec<String>| words[1] == "12");
    netfilter
        .map(|words| (words[4].clone(), words[8].clone()))
        .collect()
}

#[test]
#[ignore = "needs a network namespace: run integration/run"]
fn without_privilege_the_refusal_says_so() {
    let error = alone(|| {
        caps::clear(None, caps::CapSet::Effective).unwrap();
        Nat::install(plan()).unwrap_err()
    });
    assert_eq!(
        error,
        HostError::new(Doing::InstallNat, "mini-emperor-emperor0", Errno::EPERM)
    );
}
