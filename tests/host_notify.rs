//! Who is heard on a vassal's notify socket.
#![allow(clippy::unwrap_used, reason = "a test that cannot look has failed")]

mod namespace;

use std::fs::File;
use std::io::{IoSlice, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process::Command;
use std::time::{Duration, Instant};

use mini_emperor::emperor::Word;
use mini_emperor::host::netns::inode;
use mini_emperor::host::notify::{ADDRESS, Said, Speakers, open, take};
use mini_emperor::host::strays;
use mini_emperor::sys::process::translate_pid;
use namespace::{alone, alone_async, wait_until};
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg, setsockopt, sockopt};

/// Senders of this process; its `/proc/PID/ns/net` is its first thread's.
fn this_process() -> Speakers {
    let netns = inode(File::open("/proc/self/ns/net").unwrap()).unwrap();
    Speakers::of(std::process::id(), netns)
}

fn sender() -> UnixDatagram {
    let socket = UnixDatagram::unbound().unwrap();
    let name = SocketAddr::from_abstract_name(&ADDRESS[1..]).unwrap();
    socket.connect_addr(&name).unwrap();
    socket
}

fn heard(socket: &OwnedFd, speakers: &Speakers) -> (Vec<Said>, bool) {
    let mut said = Vec::new();
    let more = take(socket, speakers, &mut said, &mut Vec::new());
    (said, more)
}

#[test]
#[ignore = "needs a network namespace: run integration/run"]
fn a_word_from_the_namespace_is_heard_and_one_from_elsewhere_is_not() {
    alone(|| {
        let socket = open("test").unwrap();
        let (sender, speakers) = (sender(), this_process());
        sender.send(b"READY=1").unwrap();
        assert_eq!(heard(&socket, &speakers), (vec![Said::Word(Word::Ready)], false));
        // A descriptor that went astray: its holder lives elsewhere.
        let strangers = Speakers {
            netns: speakers.netns + 1,
            ..speakers
        };
        sender.send(b"READY=1").unwrap();
        assert_eq!(heard(&socket, &strangers), (vec![], false));
    });
}

#[test]
#[ignore = "needs a network namespace: run integration/run"]
fn nobody_reaches_the_socket_from_another_namespace() {
    alone(|| {
        let _socket = open("test").unwrap();
        let refused = alone(|| {
            let name = SocketAddr::from_abstract_name(&ADDRESS[1..]).unwrap();
            UnixDatagram::unbound()
                .unwrap()
                .connect_addr(&name)
                .unwrap_err()
                .kind()
        });
        assert_eq!(refused, std::io::ErrorKind::ConnectionRefused);
    });
}

#[test]
#[ignore = "needs a network namespace: run integration/run"]
fn a_word_of_a_process_that_has_ended_is_heard() {
    alone(|| {
        let socket = open("test").unwrap();
        let script = format!(
            "import socket; s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); s.sendto(b'READY=1', '\\0{}')",
            &ADDRESS[1..]
        );
        assert!(
            Command::new("python3")
                .args(["-c", &script])
                .status()
                .unwrap()
                .success()
        );
        // Whoever it was, it is nowhere now.
        let strangers = Speakers {
            netns: 1,
            pidns: None,
        };
        assert_eq!(heard(&socket, &strangers), (vec![Said::Word(Word::Ready)], false));
    });
}

#[test]
#[ignore = "needs a network namespace: run integration/run"]
fn hostile_messages_cost_nothing() {
    alone(|| {
        let socket = open("test").unwrap();
        let (sender, speakers) = (sender(), this_process());
        let file = tempfile::NamedTempFile::new().unwrap();
        let holds = || {
            let links = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
            let links = links.filter_map(|entry| std::fs::read_link(entry.path()).ok());
            links.filter(|link| link == file.path()).count()
        };
        // Too long.
        sender.send(&[b'x'; 5000]).unwrap();
        // With descriptors.
        let before = holds();
        let rights = [ControlMessage::ScmRights(&[file.as_file().as_raw_fd(); 3])];
        let text = [IoSlice::new(b"FDSTORE=1\nREADY=1")];
        sendmsg::<()>(sender.as_raw_fd(), &text, &rights, MsgFlags::empty(), None).unwrap();
        assert_eq!(heard(&socket, &speakers), (vec![Said::Word(Word::Ready)], false));
        wait_until("the descriptors are closed", || {
            let now = holds();
            if now == before { Ok(()) } else { Err((before, now)) }
        });
        // Many: only so many at once.
        sender.set_nonblocking(true).unwrap();
        let mut sent = 0;
        while sender.send(b"WATCHDOG=1").is_ok() {
            sent += 1;
        }
        let mut taken = 0;
        while sent > taken {
            let (said, _) = heard(&socket, &speakers);
            assert!(!said.is_empty() && said.len() <= 32, "{}", said.len());
            taken += said.len();
        }
    });
}

#[test]
#[ignore = "needs a network namespace: run integration/run"]
fn a_socket_that_lingers_is_waited_for_by_nobody() {
    const LINGER: Duration = Duration::from_secs(2);
    alone_async(|| async {
        assert!(
            Command::new("ip")
                .args(["link", "set", "lo", "up"])
                .status()
                .unwrap()
                .success()
        );
        let socket = open("test").unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut talker = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let linger = nix::libc::linger {
            l_onoff: 1,
            l_linger: LINGER.as_secs().try_into().unwrap(),
        };
        setsockopt(&talker, sockopt::Linger, &linger).unwrap();
        // Nobody reads it, so there is something left to send when it is closed.
        talker.set_nonblocking(true).unwrap();
        while talker.write(&[0; 65536]).is_ok() {}
        let rights = [ControlMessage::ScmRights(&[talker.as_raw_fd()])];
        let text = [IoSlice::new(b"READY=1")];
        sendmsg::<()>(sender().as_raw_fd(), &text, &rights, MsgFlags::empty(), None).unwrap();
        drop(talker);
        let begun = Instant::now();
        let (mut said, mut strays) = (Vec::new(), Vec::new());
        take(&socket, &this_process(), &mut said, &mut strays);
        assert_eq!((said.len(), strays.len()), (1, 1));
        let closing = strays::close(strays);
        let (others, ()) = tokio::join!(async { begun.elapsed() }, closing);
        assert!(others < LINGER / 2, "everybody waited for {others:?}");
        assert!(
            begun.elapsed() > LINGER / 2,
            "it did not linger, and this test shows nothing"
        );
    });
}

#[test]
fn a_pid_is_translated_between_namespaces() {
    let own = File::open("/proc/self/ns/pid").unwrap();
    let me = std::process::id();
    match translate_pid(&own, i32::try_from(me).unwrap()) {
        Ok(pid) => assert_eq!(pid, me),
        // Before Linux 6.11, where MAINPID= is not understood.
        Err(nix::errno::Errno::ENOTTY) => {}
        Err(errno) => panic!("{errno}"),
    }
}
