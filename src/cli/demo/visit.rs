//! A visitor of web services that says in words what became of each visit.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;

use super::knock::{self, Refusal};
use super::{Url, VisitArgs, harmless};

/// A service that has not answered within this time is not waited for.
const PATIENCE: Duration = Duration::from_secs(3);
/// No more of an answer is read than this.
const MOST_ANSWER: u64 = 64 * 1024;

/// Fetches every URL in rounds; whether every visit was answered with success.
pub(super) fn run(args: &VisitArgs, out: &mut dyn Write) -> io::Result<bool> {
    let width = args
        .urls
        .iter()
        .map(|url| url.to_string().len())
        .max()
        .unwrap_or(0);
    let mut all_well = true;
    let mut round = 0;
    while args.count.is_none_or(|count| round < count) {
        if round > 0 {
            thread::sleep(args.every);
        }
        for url in &args.urls {
            let begun = Instant::now();
            let visit = fetch(url);
            let millis = begun.elapsed().as_secs_f64() * 1000.0;
            all_well &= matches!(
                visit,
                Ok(Answer {
                    status: 200..=399,
                    ..
                })
            );
            writeln!(out, "{url:<width$}  {millis:>7.1} ms  {}", in_words(&visit))?;
        }
        round += 1;
    }
    Ok(all_well)
}

/// What a service answered.
#[derive(Debug)]
struct Answer {
    status: u16,
    /// The status line without the version.
    line: String,
    /// The first line of the body.
    says: String,
}

/// Why a visit had no answer.
#[derive(Debug)]
enum Failure {
    Unresolved(io::Error),
    Refused(Refusal),
    Broken(io::Error),
    NotHttp,
}

fn in_words(visit: &Result<Answer, Failure>) -> String {
    match visit {
        Ok(answer) if answer.says.is_empty() => answer.line.clone(),
        Ok(answer) => format!("{}: {}", answer.line, answer.says),
        Err(Failure::Unresolved(error)) => format!("no address: {error}"),
        Err(Failure::Refused(Refusal::Filtered)) => "rejected by a firewall".to_owned(),
        Err(Failure::Refused(Refusal::Errno(errno))) => connect_in_words(*errno).to_owned(),
        Err(Failure::Broken(error)) if is_timeout(error) => "connected, but no answer in time".to_owned(),
        Err(Failure::Broken(error)) => format!("connected, then broken off: {error}"),
        Err(Failure::NotHttp) => "connected, but that is no web service".to_owned(),
    }
}

#[allow(clippy::wildcard_enum_match_arm, reason = "the library's enum of every errno")]
fn connect_in_words(errno: Errno) -> &'static str {
    match errno {
        Errno::ECONNREFUSED => "nothing listens there",
        Errno::EHOSTUNREACH => "nobody has that address",
        Errno::ENETUNREACH => "no route to it",
        Errno::EACCES | Errno::EPERM => "rejected by a firewall",
        Errno::ETIMEDOUT => "no answer: dropped on the way",
        other => other.desc(),
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

fn fetch(url: &Url) -> Result<Answer, Failure> {
    let mut addresses = (url.host(), url.port)
        .to_socket_addrs()
        .map_err(Failure::Unresolved)?;
    let Some(address) = addresses.next() else {
        return Err(Failure::Unresolved(io::ErrorKind::NotFound.into()));
    };
    let stream = knock::connect(address, PATIENCE).map_err(Failure::Refused)?;
    let answer = converse(stream, url, address).map_err(Failure::Broken)?;
    understand(&answer).ok_or(Failure::NotHttp)
}

fn converse(mut stream: TcpStream, url: &Url, address: SocketAddr) -> io::Result<Vec<u8>> {
    let begun = Instant::now();
    stream.set_write_timeout(Some(PATIENCE))?;
    let host = if address.port() == 80 {
        url.authority.clone()
    } else {
        format!("{}:{}", url.authority, url.port)
    };
    // One write, so that the request is one packet.
    let request = format!(
        "GET {} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: mini-emperor\r\nConnection: close\r\n\r\n",
        url.path
    );
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    loop {
        let left = PATIENCE.saturating_sub(begun.elapsed());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        stream.set_read_timeout(Some(left))?;
        let had = answer.len();
        let mut piece = [0; 4096];
        match stream.read(&mut piece)? {
            0 => return Ok(answer),
            n => answer.extend_from_slice(&piece[..n]),
        }
        if u64::try_from(had).is_ok_and(|had| had > MOST_ANSWER) {
            return Ok(answer);
        }
    }
}

/// The status line and the body's first line; `None` if it is no HTTP.
fn understand(answer: &[u8]) -> Option<Answer> {
    let text = String::from_utf8_lossy(answer);
    let (first, rest) = text.split_once("\r\n")?;
    let line = first.strip_prefix("HTTP/1.")?.get(1..)?.strip_prefix(' ')?;
    let status = line.get(..3)?.parse().ok()?;
    let body = rest.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    Some(Answer {
        status,
        line: harmless(line, 40),
        says: harmless(body.lines().next().unwrap_or(""), 120),
    })
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    /// One visit of a service that says `answer` to everything: the line printed, and whether all was well.
    fn visit(answer: &'static [u8]) -> (String, bool) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap())
            .parse()
            .unwrap();
        let service = thread::spawn(move || {
            let (mut client, _) = listener.accept().unwrap();
            let mut request = [0; 1024];
            let n = client.read(&mut request).unwrap();
            assert!(request[..n].starts_with(b"GET / HTTP/1.1\r\nHost: 127.0.0.1:"));
            client.write_all(answer).unwrap();
        });
        let printed = print_one_round(url);
        service.join().unwrap();
        printed
    }

    fn print_one_round(url: Url) -> (String, bool) {
        let args = VisitArgs {
            every: Duration::ZERO,
            count: Some(1),
            urls: vec![url],
        };
        let mut out = Vec::new();
        let well = run(&args, &mut out).unwrap();
        (String::from_utf8(out).unwrap(), well)
    }

    #[test]
    fn an_answer_is_shown_with_its_first_line() {
        let (line, well) = visit(b"HTTP/1.1 200 OK\r\nX: y\r\n\r\nhello from\x1b web\nmore");
        assert!(line.ends_with(" ms  200 OK: hello from. web\n"), "{line}");
        assert!(well);
    }

    #[test]
    fn a_status_of_failure_is_not_well() {
        let (line, well) = visit(b"HTTP/1.0 503 Busy\r\n\r\n");
        assert!(line.ends_with(" ms  503 Busy\n"), "{line}");
        assert!(!well);
    }

    #[test]
    fn what_is_no_http_is_said_to_be_none() {
        for noise in [b"SSH-2.0-x\r\n".as_slice(), b"HTTP/1.1", b"HTTP/1.\xff 2", b""] {
            let (line, well) = visit(noise);
            assert!(line.ends_with("that is no web service\n"), "{line}");
            assert!(!well);
        }
    }

    #[test]
    fn a_port_without_a_listener_is_named_as_such() {
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let (line, well) = print_one_round(format!("http://{free}/").parse().unwrap());
        assert!(line.ends_with(" ms  nothing listens there\n"), "{line}");
        assert!(!well);
    }

    #[test]
    fn a_reader_that_left_ends_the_visit_with_an_error() {
        let (reader, mut writer) = io::pipe().unwrap();
        drop(reader);
        let args = VisitArgs {
            every: Duration::ZERO,
            count: None,
            urls: vec!["http://127.0.0.1:1/".parse().unwrap()],
        };
        assert_eq!(
            run(&args, &mut writer).unwrap_err().kind(),
            io::ErrorKind::BrokenPipe
        );
    }
}
