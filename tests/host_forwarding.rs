//! What switching on forwarding changes, and what it leaves alone.
#![allow(clippy::unwrap_used, reason = "a test that cannot look has failed")]

mod namespace;

use std::fs;

use mini_emperor::config::settings::Offload;
use mini_emperor::host::{forwarding, tun};
use namespace::alone;

const IPV4: &str = "/proc/sys/net/ipv4/ip_forward";
const IPV6: &str = "/proc/sys/net/ipv6/conf/all/forwarding";

/// A setting of this thread's namespace.
fn setting(path: &str) -> String {
    fs::read_to_string(path).unwrap().trim().to_owned()
}

/// A new namespace may inherit what the host has.
fn switch_off() {
    fs::write(IPV4, "0").unwrap();
    fs::write(IPV6, "0").unwrap();
}

#[test]
#[ignore = "needs a network namespace: run integration/run"]
fn ipv4_forwarding_is_switched_on_once() {
    alone(|| {
        switch_off();
        assert_eq!(
            forwarding::enable(true, false).unwrap(),
            [format!("set {IPV4} to 1")]
        );
        assert_eq!((setting(IPV4).as_str(), setting(IPV6).as_str()), ("1", "0"));
        assert_eq!(forwarding::enable(true, false).unwrap(), Vec::<String>::new());
    });
}

#[test]
#[ignore = "needs a network namespace: run integration/run"]
fn nothing_is_switched_on_that_was_not_asked_for() {
    alone(|| {
        switch_off();
        assert_eq!(forwarding::enable(false, false).unwrap(), Vec::<String>::new());
        assert_eq!((setting(IPV4).as_str(), setting(IPV6).as_str()), ("0", "0"));
    });
}

#[test]
#[ignore = "needs a network namespace: run integration/run"]
fn a_host_that_listens_to_router_advertisements_goes_on_listening() {
    alone(|| {
        switch_off();
        let accept = |device: &str| format!("/proc/sys/net/ipv6/conf/{device}/accept_ra");
        let _links: Vec<tun::Tun> = ["wan0", "wan1", "wan2"]
            .iter()
            .map(|device| tun::open(device, Offload::Off, false).unwrap())
            .collect();
        for (device, value) in [("wan0", "1"), ("wan1", "0"), ("wan2", "2")] {
            fs::write(accept(device), value).unwrap();
        }
        let untouched = [setting(&accept("default")), setting(&accept("lo"))];
        let said = forwarding::enable(false, true).unwrap();
        let expected = [format!("set {} to 2", accept("wan0")), format!("set {IPV6} to 1")];
        // A kernel may give every new namespace devices of its own (tunl0, sit0, ...); they come with accept_ra=1 too.
        for sentence in &expected {
            assert!(said.contains(sentence), "{sentence} is not in {said:?}");
        }
        assert_eq!(said.last(), expected.last());
        let now = ["wan0", "wan1", "wan2"].map(|device| setting(&accept(device)));
        assert_eq!(now, ["2", "0", "2"]);
        assert_eq!([setting(&accept("default")), setting(&accept("lo"))], untouched);
        assert_eq!(
            (setting(IPV6).as_str(), setting(IPV4).as_str()),
            ("1", setting(IPV4).as_str())
        );
        assert_eq!(forwarding::enable(false, true).unwrap(), Vec::<String>::new());
    });
}

#[test]
#[ignore = "needs a network namespace: run integration/run"]
fn a_setting_that_cannot_be_written_is_named() {
    use nix::errno::Errno;
    use nix::mount::{MsFlags, mount};
    use nix::sched::{CloneFlags, unshare};

    let error = alone(|| {
        switch_off();
        unshare(CloneFlags::CLONE_NEWNS).unwrap();
        let none = None::<&str>;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
        mount(Some("/proc/sys"), "/proc/sys", none, MsFlags::MS_BIND, none).unwrap();
        let read_only = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
        mount(none, "/proc/sys", none, read_only, none).unwrap();
        forwarding::enable(true, false).unwrap_err()
    });
    assert_eq!((error.on.as_str(), error.errno), (IPV4, Errno::EROFS));
    assert!(error.to_string().contains("nat.ip_forward"), "{error}");
}
