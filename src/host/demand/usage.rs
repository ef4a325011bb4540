//! Whether anybody is connected to a socket, by the kernel's own lists.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::config::definition::Trigger;

/// `SS_CONNECTING` and `SS_CONNECTED` of linux/net.h, as /proc/net/unix writes them: one that waits to be accepted, and one
/// that has been.
const UNIX_CONNECTED: [&str; 2] = ["02", "03"];
/// `TCP_ESTABLISHED` of net/tcp_states.h, as /proc/net/tcp writes it.
const TCP_ESTABLISHED: &str = "01";

/// Whether a connection that came in over the socket of `trigger` is open, or waits to be accepted. What cannot be looked up counts as one.
pub(super) fn is_connected(trigger: &Trigger) -> bool {
    let list = |name: &str, found: &dyn Fn(&str) -> bool| {
        std::fs::read_to_string(format!("/proc/thread-self/net/{name}"))
            .map_or(name != "tcp6", |text| found(&text))
    };
    match trigger {
        Trigger::Unix { path, .. } => list("unix", &|text| unix(text, &path.to_string_lossy())),
        Trigger::Tcp(address) => {
            list("tcp", &|text| tcp(text, *address)) || list("tcp6", &|text| tcp(text, *address))
        }
        Trigger::Packet => false,
    }
}

/// An accepted socket has the path of the one that it was accepted from.
fn unix(list: &str, path: &str) -> bool {
    list.lines().skip(1).any(|line| {
        let mut fields = line.splitn(7, ' ');
        let state = fields.nth(5);
        // The inode is padded; the path is all that stands behind it.
        let rest = fields.next().unwrap_or_default().trim_start();
        let found = rest.split_once(' ').map(|(_, path)| path);
        state.is_some_and(|state| UNIX_CONNECTED.contains(&state)) && found == Some(path)
    })
}

fn tcp(list: &str, listening: SocketAddr) -> bool {
    list.lines().skip(1).any(|line| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        let local = fields.next().and_then(address);
        let state = fields.nth(1);
        state == Some(TCP_ESTABLISHED) && local.is_some_and(|local| accepts(listening, local))
    })
}

fn accepts(listening: SocketAddr, local: SocketAddr) -> bool {
    let any = listening.ip().is_unspecified();
    listening.port() == local.port() && (any || listening.ip().to_canonical() == local.ip().to_canonical())
}

/// `0100007F:1F90`: 32-bit words in the machine's order, then the port.
fn address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let words = (0..ip.len() / 8).map(|at| u32::from_str_radix(ip.get(at * 8..at * 8 + 8)?, 16).ok());
    let bytes: Vec<u8> = words
        .collect::<Option<Vec<_>>>()?
        .iter()
        .flat_map(|word| word.to_ne_bytes())
        .collect();
    let ip = match <[u8; 4]>::try_from(bytes.as_slice()) {
        Ok(bytes) => IpAddr::from(Ipv4Addr::from(bytes)),
        Err(_) => IpAddr::from(Ipv6Addr::from(<[u8; 16]>::try_from(bytes.as_slice()).ok()?)),
    };
    Some(SocketAddr::new(ip, u16::from_str_radix(port, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::os::unix::net::{UnixListener, UnixStream};
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn a_connection_to_a_path_is_seen_as_long_as_it_is_open() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a b");
        let listener = UnixListener::bind(&path).unwrap();
        let beside = UnixListener::bind(directory.path().join("a b c")).unwrap();
        let trigger = Trigger::Unix {
            path: path.clone(),
            mode: 0,
            uid: None,
            gid: None,
        };
        let _other = UnixStream::connect(directory.path().join("a b c")).unwrap();
        let _accepted = beside.accept().unwrap();
        assert!(!is_connected(&trigger));
        let client = UnixStream::connect(&path).unwrap();
        assert!(is_connected(&trigger), "it waits to be accepted");
        let accepted = listener.accept().unwrap();
        assert!(is_connected(&trigger));
        drop((client, accepted));
        wait_until_unused(&trigger);
    }

    /// A child that another test has just cloned holds every connection open until it execs.
    fn wait_until_unused(trigger: &Trigger) {
        let end = Instant::now() + Duration::from_secs(10);
        while is_connected(trigger) {
            assert!(Instant::now() < end, "still used: {trigger:?}");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn a_connection_to_a_port_is_seen_as_long_as_it_is_open() {
        for at in ["127.0.0.1:0", "[::1]:0", "0.0.0.0:0", "[::]:0"] {
            let listener = TcpListener::bind(at).unwrap();
            let port = listener.local_addr().unwrap().port();
            let mut address: SocketAddr = at.parse().unwrap();
            address.set_port(port);
            let trigger = Trigger::Tcp(address);
            assert!(!is_connected(&trigger), "{at}");
            let host = if at.starts_with("[::1") {
                "::1"
            } else {
                "127.0.0.1"
            };
            let client = TcpStream::connect((host, port)).unwrap();
            assert!(is_connected(&trigger), "{at}: it waits to be accepted");
            let accepted = listener.accept().unwrap();
            assert!(is_connected(&trigger), "{at}");
            drop(accepted);
            drop(client);
            wait_until_unused(&trigger);
        }
    }
}
