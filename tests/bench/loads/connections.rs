//! Short connections: how many can be opened, used once and closed again.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::Outcome;

/// Connections that are under way at the same time.
const CLIENTS: usize = 8;
/// Threads that answer them.
const SERVERS: usize = 4;
/// When a connection is given up.
const PATIENCE: Duration = Duration::from_secs(3);

/// Answers one byte by one and closes first, so that the port that has to rest is the server's: it has only one, and
/// the client never runs out of them.
pub(super) fn server(port: u16) -> Outcome<impl FnOnce() + Send> {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port))?;
    Ok(move || {
        std::thread::scope(|scope| {
            for _ in 0..SERVERS {
                scope.spawn(|| {
                    for mut stream in listener.incoming().flatten() {
                        let mut byte = [0];
                        let _ = stream.set_read_timeout(Some(PATIENCE));
                        if stream.read_exact(&mut byte).is_ok() {
                            let _ = stream.write_all(&byte);
                        }
                    }
                });
            }
        });
    })
}

/// Opens as many as can be had.
pub(super) fn open_many(to: SocketAddr, lasts: Duration) -> Outcome<Value> {
    let (served, failed) = (AtomicU64::new(0), AtomicU64::new(0));
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                while begun.elapsed() < lasts {
                    let count = if once(to).is_ok() { &served } else { &failed };
                    count.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    let (took, served) = (begun.elapsed().as_secs_f64(), served.into_inner());
    if served == 0 {
        return Err("not one connection was served".into());
    }
    Ok(json!({"connections": served, "failed": failed.into_inner(), "seconds": took}))
}

fn once(to: SocketAddr) -> Outcome<()> {
    let mut stream = TcpStream::connect_timeout(&to, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"?")?;
    let mut answer = Vec::with_capacity(1);
    stream.read_to_end(&mut answer)?;
    if answer == b"?" {
        Ok(())
    } else {
        Err("a wrong answer".into())
    }
}
