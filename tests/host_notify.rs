//! Who is heard on a vassal's notify socket.
#![allow(clippy::unwrap_used, reason = "a test that cannot look has failed")]

mod namespace;

use std::fs::File;
use std::io::{IoSlice, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::pin::pin;
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use mini_emperor::emperor::Word;
use mini_emperor::host::netns::inode;
use mini_emperor::host::notify::{ADDRESS, Said, Speakers, open, take};
use mini_emperor::host::strays;
use mini_emperor::sys::process::translate_pid;
use namespace::{alone, alone_async, wait_until};
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg, setsockopt, sockopt};

/// Held while a process is started, and by who cannot have one started meanwhile: it holds a copy of every descriptor
/// until it executes its program.
static STARTING: Mutex<()> = Mutex::new(());

/// Runs a program to its end.
fn run(program: &str, arguments: &[&str]) {
    let status = Command::new(program).args(arguments).status().unwrap();
    assert!(status.success(), "{program}: {status}");
}

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
        let _starting = STARTING.lock().unwrap_or_else(PoisonError::into_inner);
        run("python3", &["-c", &script]);
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

/// A connection of which one side has much more to send than the other, which reads nothing, has room for.
fn full_connection() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    // Whoever sets them keeps the kernel from choosing, and from letting them grow.
    setsockopt(&listener, sockopt::RcvBuf, &4096).unwrap();
    let mut talker = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    setsockopt(&talker, sockopt::SndBuf, &(128 * 1024)).unwrap();
    let (hearer, _) = listener.accept().unwrap();
    talker.set_nonblocking(true).unwrap();
    while talker.write(&[0; 4096]).is_ok() {}
    (talker, hearer)
}

/// Whether the socket of this port has been closed by its holder, and has not been able to say so to its peer.
fn is_being_closed(port: u16) -> bool {
    const FIN_WAIT1: &str = "04";
    let local = format!(":{port:04X}");
    let sockets = std::fs::read_to_string("/proc/thread-self/net/tcp").unwrap();
    sockets.lines().any(|line| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        fields.next().is_some_and(|address| address.ends_with(&local)) && fields.nth(1) == Some(FIN_WAIT1)
    })
}

#[test]
#[ignore = "needs a network namespace: run integration/run"]
fn a_socket_that_lingers_is_waited_for_by_nobody() {
    // It ends when its peer has read everything; the time is for a failure.
    const LINGER: Duration = Duration::from_secs(30);
    // Another holder of it would be the one whose close lingers.
    let _starting = STARTING.lock().unwrap_or_else(PoisonError::into_inner);
    alone_async(|| async {
        run("ip", &["link", "set", "lo", "up"]);
        let socket = open("test").unwrap();
        let (talker, mut hearer) = full_connection();
        let port = talker.local_addr().unwrap().port();
        let linger = nix::libc::linger {
            l_onoff: 1,
            l_linger: LINGER.as_secs().try_into().unwrap(),
        };
        setsockopt(&talker, sockopt::Linger, &linger).unwrap();
        let rights = [ControlMessage::ScmRights(&[talker.as_raw_fd()])];
        let text = [IoSlice::new(b"READY=1")];
        sendmsg::<()>(sender().as_raw_fd(), &text, &rights, MsgFlags::empty(), None).unwrap();
        drop(talker);
        let (mut said, mut strays) = (Vec::new(), Vec::new());
        take(&socket, &this_process(), &mut said, &mut strays);
        assert_eq!((said.len(), strays.len()), (1, 1));
        let mut closing = pin!(strays::close(strays));
        assert!(closing.as_mut().now_or_never().is_none(), "it was waited for");
        wait_until("the socket is being closed", || {
            is_being_closed(port).then_some(()).ok_or("it is not")
        });
        assert!(
            closing.as_mut().now_or_never().is_none(),
            "it did not linger, and this test shows nothing"
        );
        hearer.read_to_end(&mut Vec::new()).unwrap();
        closing.await;
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
