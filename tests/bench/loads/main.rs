//! The loads that the benchmark puts on a network, and the peers that answer them.
//!
//! ```text
//! loads serve                            echoes on UDP and TCP, and answers connections, until killed
//! loads udp-rr ADDRESS SECONDS           one datagram there, one back, one at a time
//! loads tcp-rr ADDRESS SECONDS           the same on one connection
//! loads connect ADDRESS SECONDS          connect, ask, hear, close; several at a time
//! loads receive PORT                     counts datagrams until they cease
//! loads flood ADDRESS PORT SIZE SECONDS  sends datagrams of SIZE bytes as fast as they go
//! loads born FILE                        writes the time into FILE: the first thing a newborn vassal does
//! loads live FILE                        the same, and then does nothing until it is killed
//! ```
//!
//! Each prints one line of JSON when it is done; `serve` and `receive` first print `ready`.

#![allow(clippy::print_stdout, reason = "a program")]

mod connections;
mod flood;
mod turns;

use std::error::Error;
use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Where `serve` listens.
mod port {
    pub(super) const UDP_ECHO: u16 = 5301;
    pub(super) const TCP_ECHO: u16 = 5302;
    pub(super) const CONNECTIONS: u16 = 5303;
}

/// Why a load came to nothing.
type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

fn main() -> Outcome<()> {
    let now = SystemTime::now();
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let result = match words.as_slice() {
        ["serve"] => return serve(),
        ["born", file] => return cry(file, now),
        ["live", file] => {
            cry(file, now)?;
            loop {
                std::thread::park();
            }
        }
        ["udp-rr", to, lasts] => turns::udp((address(to)?, port::UDP_ECHO).into(), seconds(lasts)?)?,
        ["tcp-rr", to, lasts] => turns::tcp((address(to)?, port::TCP_ECHO).into(), seconds(lasts)?)?,
        ["connect", to, lasts] => {
            connections::open_many((address(to)?, port::CONNECTIONS).into(), seconds(lasts)?)?
        }
        ["receive", port] => flood::receive(port.parse()?)?,
        ["flood", to, port, size, lasts] => flood::send(
            (address(to)?, port.parse()?).into(),
            size.parse()?,
            seconds(lasts)?,
        )?,
        _ => {
            return Err("loads serve|udp-rr|tcp-rr|connect|receive|flood|born|live …; see its source".into());
        }
    };
    println!("{result}");
    Ok(())
}

/// In one piece: a thousand may share the file, a FIFO.
fn cry(file: &str, born: SystemTime) -> Outcome<()> {
    let line = format!("{}\n", born.duration_since(UNIX_EPOCH)?.as_nanos());
    Ok(std::fs::write(file, line)?)
}

fn address(text: &str) -> Outcome<IpAddr> {
    Ok(text.parse()?)
}

fn seconds(text: &str) -> Outcome<Duration> {
    Ok(Duration::try_from_secs_f64(text.parse()?)?)
}

fn serve() -> Outcome<()> {
    let servers = [
        std::thread::spawn(turns::udp_server(port::UDP_ECHO)?),
        std::thread::spawn(turns::tcp_server(port::TCP_ECHO)?),
        std::thread::spawn(connections::server(port::CONNECTIONS)?),
    ];
    println!("ready");
    for server in servers {
        if server.join().is_err() {
            return Err("a server panicked".into());
        }
    }
    Ok(())
}
