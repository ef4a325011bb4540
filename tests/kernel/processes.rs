//! Processes, what they write into, and what they have open.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::process::{Command, Stdio};

use mini_emperor::host::process::Process;
use mini_emperor::sys::process::status_of_reaped;
use nix::errno::Errno;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use crate::namespace::wait_until;

/// A process that somebody else reaped still says by its pidfd how it ended (Linux 6.15). Nobody else knows of the
/// status of a vassal that began under another emperor.
#[test]
fn a_pidfd_tells_the_status_of_a_process_that_another_has_reaped() {
    let mut shell = Command::new("/bin/sh")
        .args([
            "-c",
            "exec 3<&0; sh -c 'read nothing <&3; exit 7' & echo $!; wait; exec cat <&3",
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = String::new();
    let mut reader = std::io::BufReader::new(shell.stdout.take().unwrap());
    std::io::BufRead::read_line(&mut reader, &mut said).unwrap();
    let process = Process::of(said.trim().parse().unwrap()).unwrap();
    let pidfd = process.open().unwrap();
    assert_eq!(status_of_reaped(&pidfd), Ok(None), "it is alive");
    shell.stdin.as_ref().unwrap().write_all(b"\n").unwrap();
    wait_until("the shell reaps it", || match status_of_reaped(&pidfd) {
        Ok(Some(status)) if status == 7 << 8 => Ok(()),
        seen => Err(seen),
    });
    shell.kill().unwrap();
    shell.wait().unwrap();
}

/// A FIFO whose writer holds it open for reading too keeps what is written and never breaks, whoever reads.
#[test]
fn a_fifo_that_its_writer_can_read_outlives_its_reader() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("fifo");
    mkfifo(&path, Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
    let reader = || {
        let flags = libc::O_NONBLOCK;
        OpenOptions::new()
            .read(true)
            .custom_flags(flags)
            .open(&path)
            .unwrap()
    };
    let first = reader();
    let mut writer = OpenOptions::new().read(true).write(true).open(&path).unwrap();
    drop(first);
    // SIGPIPE is ignored in a test; EPIPE would be an error.
    writer.write_all(b"kept").unwrap();
    let mut second = reader();
    let mut text = [0; 8];
    assert_eq!(second.read(&mut text).unwrap(), 4);
    assert_eq!(&text[..4], b"kept");
    drop(writer);
    assert_eq!(
        second.read(&mut text).unwrap(),
        0,
        "the last writer's end is the end"
    );
}

#[test]
fn a_pidfd_becomes_readable_when_its_process_ends() {
    let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
    let pid = libc::c_long::from(child.id());
    // SAFETY: pidfd_open takes two numbers and touches no memory.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    // SAFETY: the kernel has just made this fd for us and nobody else knows it.
    let pidfd = unsafe { OwnedFd::from_raw_fd(i32::try_from(fd).unwrap()) };
    let readable = |timeout: PollTimeout| {
        poll(&mut [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)], timeout).unwrap() == 1
    };
    assert!(!readable(PollTimeout::ZERO));
    drop(child.stdin.take());
    assert!(readable(PollTimeout::from(10_000u16)));
    // Readable before anybody has waited: no exit can be missed or taken for another's.
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_read_lease_is_refused_while_somebody_writes() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("web.yaml");
    let writer = File::create(&path).unwrap();
    let reader = OpenOptions::new().read(true).open(&path).unwrap();
    let lease = || {
        // SAFETY: F_SETLEASE takes its argument by value and touches no memory.
        let result = unsafe { libc::fcntl(reader.as_raw_fd(), libc::F_SETLEASE, libc::F_RDLCK) };
        Errno::result(result).map(drop)
    };
    assert_eq!(lease(), Err(Errno::EAGAIN));
    drop(writer);
    assert_eq!(lease(), Ok(()));
}
