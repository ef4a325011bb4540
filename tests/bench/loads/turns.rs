//! Request and response: how long one packet takes there and back while nothing else is under way.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::Outcome;

/// Bytes of a request and of its response.
const SIZE: usize = 64;
/// When an answer is given up.
const PATIENCE: Duration = Duration::from_millis(500);

/// Sends back every datagram.
pub(super) fn udp_server(port: u16) -> Outcome<impl FnOnce() + Send> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port))?;
    Ok(move || {
        let mut buffer = [0; 2048];
        loop {
            // An error is an ICMP message about a client that has left.
            if let Ok((length, from)) = socket.recv_from(&mut buffer) {
                let _ = socket.send_to(&buffer[..length], from);
            }
        }
    })
}

/// Sends back what each connection brings, one connection at a time.
pub(super) fn tcp_server(port: u16) -> Outcome<impl FnOnce() + Send> {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port))?;
    Ok(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.set_nodelay(true);
            let mut buffer = [0; SIZE];
            while stream.read_exact(&mut buffer).is_ok() && stream.write_all(&buffer).is_ok() {}
        }
    })
}

/// Takes turns over UDP.
pub(super) fn udp(to: SocketAddr, lasts: Duration) -> Outcome<Value> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.connect(to)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let mut number = 0_u64;
    take_turns(lasts, || {
        number += 1;
        let mut bytes = [0; SIZE];
        bytes[..8].copy_from_slice(&number.to_le_bytes());
        socket.send(&bytes)?;
        let mut answer = [0; SIZE];
        // An answer that was given up may still come; it is not this one.
        while answer[..8] != bytes[..8] {
            match socket.recv(&mut answer) {
                Ok(_) => {}
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    return Ok(false);
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(true)
    })
}

/// Takes turns over one TCP connection.
pub(super) fn tcp(to: SocketAddr, lasts: Duration) -> Outcome<Value> {
    let mut stream = TcpStream::connect_timeout(&to, Duration::from_secs(5))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut bytes = [7; SIZE];
    take_turns(lasts, || {
        stream.write_all(&bytes)?;
        stream.read_exact(&mut bytes)?;
        Ok(true)
    })
}

/// Times `turn` again and again; `turn` says whether it was answered.
fn take_turns(lasts: Duration, mut turn: impl FnMut() -> Outcome<bool>) -> Outcome<Value> {
    for _ in 0..10 {
        turn()?;
    }
    let (begun, mut times, mut lost) = (Instant::now(), Vec::with_capacity(1 << 20), 0);
    let mut last = begun;
    while last - begun < lasts {
        let answered = turn()?;
        let now = Instant::now();
        if answered {
            times.push((now - last).as_secs_f64() * 1e6);
        } else {
            lost += 1;
        }
        last = now;
    }
    if times.is_empty() {
        return Err("not one answer came".into());
    }
    times.sort_unstable_by(f64::total_cmp);
    let at = |per_mille: usize| times[(times.len() - 1) * per_mille / 1000];
    Ok(
        json!({"turns": times.len(), "lost": lost, "median_us": at(500), "p99_us": at(990), "worst_us": at(1000)}),
    )
}
