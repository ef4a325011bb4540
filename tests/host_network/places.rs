//! Namespaces that are entered, and tuns that are somebody's.

use std::os::fd::AsFd;
use std::sync::Barrier;

use mini_emperor::config::settings::Offload;
use mini_emperor::host::link::{configure, route_socket};
use mini_emperor::host::{Doing, HostError, netns, tun};
use nix::errno::Errno;

use super::plan;
use crate::namespace::{alone, alone_async};

#[test]
#[ignore = "needs a network namespace: run integration/run"]
fn work_inside_a_namespace_leaves_the_caller_where_it_was() {
    let other = alone(|| netns::current().unwrap());
    alone_async(move || async move {
        let own = netns::inode(netns::current().unwrap()).unwrap();
        let there = netns::inside(other.as_fd(), "web", || netns::inode(netns::current()?))
            .await
            .unwrap();
        assert_eq!(there, netns::inode(&other).unwrap());
        assert_ne!(there, own);
        assert_eq!(netns::inode(netns::current().unwrap()).unwrap(), own);
        // The borrowed thread made this socket there; it configures that namespace from here.
        let (_tun, socket) = netns::inside(other.as_fd(), "web", || {
            Ok((tun::open("tun0", Offload::Auto, false)?, route_socket("web")?))
        })
        .await
        .unwrap();
        configure(socket, &plan(&["10.107.0.2/24"], &["10.107.0.1"]))
            .await
            .unwrap();
        let names = std::fs::read_to_string("/proc/thread-self/net/dev").unwrap();
        assert!(!names.contains("tun0"), "{names}");
    });
}

#[test]
#[ignore = "needs a network namespace: run integration/run"]
fn a_namespace_that_cannot_be_entered_is_an_error_about_its_owner() {
    let error = alone_async(|| async {
        let file = std::fs::File::open("/dev/null").unwrap();
        netns::inside(file.as_fd(), "vassal web", || Ok(()))
            .await
            .unwrap_err()
    });
    assert_eq!(
        error,
        HostError::new(Doing::EnterNamespace, "vassal web", Errno::EINVAL)
    );
}

#[test]
#[ignore = "needs a network namespace: run integration/run"]
fn an_interface_that_exists_is_never_taken() {
    alone(|| {
        let first = tun::open("emperor0", Offload::Auto, true).unwrap();
        assert_eq!(
            tun::open("emperor0", Offload::Auto, false).unwrap_err(),
            HostError::new(Doing::CreateTun, "emperor0", Errno::EBUSY)
        );
        // Idle, but somebody made it persistent: still not ours.
        drop(first);
        assert_eq!(
            tun::open("emperor0", Offload::Auto, false).unwrap_err(),
            HostError::new(Doing::CreateTun, "emperor0", Errno::EBUSY)
        );
        assert_eq!(
            tun::open("lo", Offload::Auto, false).unwrap_err().errno,
            Errno::EBUSY
        );
        assert_eq!(
            tun::open("a-name-of-16-byte", Offload::Auto, false)
                .unwrap_err()
                .doing,
            Doing::CreateTun
        );
        let index = tun::index("emperor0").unwrap();
        let adopted = tun::adopt("emperor0", index, Offload::Off).unwrap();
        assert_eq!(adopted.offloads, tun::Offloads::NONE);
        let refused = |device, index, errno| {
            assert_eq!(
                tun::adopt(device, index, Offload::Auto).unwrap_err(),
                HostError::new(Doing::AttachTun, device, errno)
            );
        };
        refused("emperor0", index, Errno::EBUSY);
        refused("emperor0", index + 1, Errno::ENODEV);
        refused("emperor1", index, Errno::ENODEV);
    });
}

#[test]
#[ignore = "needs a network namespace: run integration/run"]
fn a_tun_that_goes_while_it_is_adopted_is_not_made_anew() {
    alone(|| {
        for round in 0..100 {
            let first = tun::open("emperor0", Offload::Auto, false).unwrap();
            let index = tun::index("emperor0").unwrap();
            let go = Barrier::new(2);
            let adopted = std::thread::scope(|scope| {
                scope.spawn(|| {
                    go.wait();
                    drop(first);
                });
                go.wait();
                loop {
                    // Held, until it goes.
                    match tun::adopt("emperor0", index, Offload::Auto) {
                        Err(error) if error.errno == Errno::EBUSY => {}
                        adopted => break adopted.map(drop),
                    }
                }
            });
            assert_eq!(
                adopted.map_err(|error| error.errno),
                Err(Errno::ENODEV),
                "{round}"
            );
            assert_eq!(
                tun::index("emperor0").unwrap_err().errno,
                Errno::ENODEV,
                "{round}"
            );
        }
    });
}
