//! A web service of two pages that says who answers and who asks.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use super::{ServeArgs, harmless};

/// A client that has not said what it wants within this time is let go.
const PATIENCE: Duration = Duration::from_secs(5);
/// A request's head may be this long.
const MOST_HEAD: usize = 8 * 1024;
/// Clients beyond this many at a time are let go at once.
const MOST_CLIENTS: usize = 64;

/// Serves until the process ends.
pub(super) fn run(args: &ServeArgs, out: &mut dyn Write) -> io::Result<()> {
    let listener = listen(args.port)?;
    let me = Arc::new(Me::find(&args.text));
    writeln!(
        out,
        "{} serves on port {} as uid {}",
        me.host,
        listener.local_addr()?.port(),
        me.uid
    )?;
    loop {
        match listener.accept() {
            Ok((client, _)) => receive(client, &me),
            Err(error) if is_passing(&error) => {}
            Err(error) => return Err(error),
        }
    }
}

/// All addresses of both families; only IPv4 where the host has no IPv6.
fn listen(port: u16) -> io::Result<TcpListener> {
    let both = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
    let only_v4 = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
    TcpListener::bind([both, only_v4].as_slice())
        .map_err(|error| io::Error::new(error.kind(), format!("cannot listen on port {port}: {error}")))
}

/// Errors of accept(2) that belong to one connection, not to the listener.
fn is_passing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted
    )
}

/// What a service says of itself.
struct Me {
    text: String,
    host: String,
    uid: u32,
}

impl Me {
    fn find(text: &str) -> Self {
        Self {
            text: harmless(text, 1024),
            host: nix::unistd::gethostname().map_or_else(
                |_| "a nameless host".to_owned(),
                |name| harmless(&name.to_string_lossy(), 64),
            ),
            uid: nix::unistd::getuid().as_raw(),
        }
    }

    fn greeting(&self, own: IpAddr, peer: IpAddr) -> String {
        format!(
            "{} from {} at {own}, uid {}; you are {peer}\n",
            self.text, self.host, self.uid
        )
    }
}

/// Answers one client on a thread of its own. `me` is shared by every live client, and so counts them.
fn receive(client: TcpStream, me: &Arc<Me>) {
    if Arc::strong_count(me) > MOST_CLIENTS {
        return;
    }
    let me = Arc::clone(me);
    // No thread to be had: the connection closes, the service goes on.
    drop(thread::Builder::new().spawn(move || {
        // A client that breaks off is its own loss.
        drop(answer(client, &me));
    }));
}

fn answer(mut client: TcpStream, me: &Me) -> io::Result<()> {
    client.set_write_timeout(Some(PATIENCE))?;
    let own = client.local_addr()?.ip().to_canonical();
    let peer = client.peer_addr()?.ip().to_canonical();
    let head = read_head(&mut client)?;
    let mut words = head.split(|byte| byte.is_ascii_whitespace());
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let (status, body) = match (method, path) {
        (b"GET" | b"HEAD", b"/") => ("200 OK", me.greeting(own, peer)),
        (b"GET" | b"HEAD", b"/healthz") => ("200 OK", "ok\n".to_owned()),
        (b"GET" | b"HEAD", _) => ("404 Not Found", "there are / and /healthz\n".to_owned()),
        _ => ("405 Method Not Allowed", "only GET and HEAD\n".to_owned()),
    };
    let mut response = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    if method != b"HEAD" {
        response.push_str(&body);
    }
    client.write_all(response.as_bytes())
}

/// Everything up to the empty line that ends a request's head.
fn read_head(client: &mut TcpStream) -> io::Result<Vec<u8>> {
    let begun = Instant::now();
    let mut head = Vec::new();
    let mut piece = [0; 1024];
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        let left = PATIENCE.saturating_sub(begun.elapsed());
        if left.is_zero() || head.len() > MOST_HEAD {
            return Err(io::ErrorKind::TimedOut.into());
        }
        client.set_read_timeout(Some(left))?;
        match client.read(&mut piece)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            n => head.extend_from_slice(&piece[..n]),
        }
    }
    Ok(head)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(request: &str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let me = Arc::new(Me {
            text: "good day".to_owned(),
            host: "web".to_owned(),
            uid: 65534,
        });
        receive(listener.accept().unwrap().0, &me);
        client.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        answer
    }

    #[test]
    fn the_front_page_names_host_address_uid_and_visitor() {
        let answer = ask("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(
            answer.ends_with("\r\n\r\ngood day from web at 127.0.0.1, uid 65534; you are 127.0.0.1\n"),
            "{answer}"
        );
    }

    #[test]
    fn health_is_one_word_and_head_has_no_body() {
        assert!(ask("GET /healthz HTTP/1.1\r\n\r\n").ends_with("\r\n\r\nok\n"));
        let head = ask("HEAD /healthz HTTP/1.1\r\n\r\n");
        assert!(
            head.contains("Content-Length: 3\r\n") && head.ends_with("\r\n\r\n"),
            "{head}"
        );
    }

    #[test]
    fn other_pages_and_methods_are_refused() {
        assert!(ask("GET /x HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 404 "));
        assert!(ask("POST / HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 405 "));
        assert!(ask("\0\r\n\r\n").starts_with("HTTP/1.1 405 "));
    }
}
