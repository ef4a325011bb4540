//! Exchanges nftables messages with the kernel over one netlink socket.
//!
//! nf_tables answers within the call that asks: when `send` returns, every answer is queued. So nothing here waits;
//! an exchange reads until the socket is empty, and the next one starts with an empty socket.

use std::io;

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkBuffer, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_netfilter::nftables::NfTablesMessage;
use netlink_packet_netfilter::none::ControlMessage;
use netlink_packet_netfilter::{
    NetfilterHeader, NetfilterMessage, NetfilterMessageInner, NetfilterProtoFamily,
};
use netlink_sys::Socket;
use netlink_sys::protocols::NETLINK_NETFILTER;
use nix::errno::Errno;
use nix::libc::{MSG_DONTWAIT, MSG_TRUNC, NFNL_SUBSYS_NFTABLES};

/// The kernel fills at most this many bytes of a datagram (`NLMSG_GOODSIZE` and `netlink_dump`'s limit).
const DATAGRAM: usize = 32 * 1024;

/// One step of a batch: netlink flags beyond request and acknowledge, and the message.
pub(super) type Step = (u16, NfTablesMessage);

/// A netlink socket of the calling thread's network namespace.
pub(super) struct Wire {
    socket: Socket,
}

impl Wire {
    /// Opens the socket.
    pub(super) fn open() -> Result<Self, Errno> {
        let socket = Socket::new(NETLINK_NETFILTER).map_err(|error| errno_of(&error))?;
        Ok(Self { socket })
    }

    /// Performs every step or none; the first refusal is the error.
    pub(super) fn commit(&self, steps: Vec<Step>) -> Result<(), Errno> {
        let count = steps.len();
        let mut batch = Vec::new();
        put(&mut batch, NLM_F_REQUEST, batch_mark(ControlMessage::BatchBegin));
        for (flags, step) in steps {
            put(&mut batch, NLM_F_REQUEST | NLM_F_ACK | flags, inet(step));
        }
        put(&mut batch, NLM_F_REQUEST, batch_mark(ControlMessage::BatchEnd));
        let mut done = 0;
        for answer in self.exchange(&batch)? {
            if let NetlinkPayload::Error(error) = answer.payload {
                match error.code {
                    Some(code) => return Err(Errno::from_raw(code.get().saturating_neg())),
                    None => done += 1,
                }
            }
        }
        // A batch that is not acknowledged step by step was not performed.
        if done == count { Ok(()) } else { Err(Errno::EPROTO) }
    }

    /// Asks for one object.
    pub(super) fn get(&self, wish: NfTablesMessage) -> Result<NfTablesMessage, Errno> {
        self.ask(NLM_F_REQUEST, wish)?.pop().ok_or(Errno::EPROTO)
    }

    /// Asks for every object that matches.
    pub(super) fn list(&self, wish: NfTablesMessage) -> Result<Vec<NfTablesMessage>, Errno> {
        self.ask(NLM_F_REQUEST | NLM_F_DUMP, wish)
    }

    fn ask(&self, flags: u16, wish: NfTablesMessage) -> Result<Vec<NfTablesMessage>, Errno> {
        let mut request = Vec::new();
        put(&mut request, flags, inet(wish));
        let mut objects = Vec::new();
        for answer in self.exchange(&request)? {
            if let NetlinkPayload::Error(error) = &answer.payload
                && let Some(code) = error.code
            {
                return Err(Errno::from_raw(code.get().saturating_neg()));
            }
            if let NetlinkPayload::InnerMessage(message) = answer.payload
                && let NetfilterMessageInner::NfTables(object) = message.inner
            {
                objects.push(object);
            }
        }
        Ok(objects)
    }

    /// Sends one datagram and reads every answer.
    fn exchange(&self, request: &[u8]) -> Result<Vec<NetlinkMessage<NetfilterMessage>>, Errno> {
        self.socket.send(request, 0).map_err(|error| errno_of(&error))?;
        let mut answers = Vec::new();
        let mut buffer = vec![0; DATAGRAM];
        loop {
            match receive(&self.socket, &mut buffer) {
                Ok(datagram) => {
                    for message in split(datagram) {
                        let message = NetlinkMessage::deserialize(message?);
                        answers.push(message.map_err(|_| Errno::EBADMSG)?);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(answers),
                Err(error) => return Err(errno_of(&error)),
            }
        }
    }
}

/// Reads one datagram without waiting; one that does not fit is `EMSGSIZE`.
pub(super) fn receive<'a>(socket: &Socket, buffer: &'a mut [u8]) -> io::Result<&'a [u8]> {
    let length = socket.recv(&mut &mut buffer[..], MSG_DONTWAIT | MSG_TRUNC)?;
    buffer.get(..length).ok_or_else(|| Errno::EMSGSIZE.into())
}

/// The netlink messages in one datagram, each with its header.
pub(super) fn split(mut rest: &[u8]) -> impl Iterator<Item = Result<&[u8], Errno>> {
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let Some((message, padded)) = first_of(rest) else {
            rest = &[];
            return Some(Err(Errno::EBADMSG));
        };
        rest = rest.get(padded..).unwrap_or_default();
        Some(Ok(message))
    })
}

/// The first message and its length with padding, if it is whole.
fn first_of(datagram: &[u8]) -> Option<(&[u8], usize)> {
    let length = NetlinkBuffer::new_checked(datagram).ok()?.length();
    let length = usize::try_from(length).ok()?;
    Some((datagram.get(..length)?, length.next_multiple_of(4)))
}

/// The errno of a refused system call; one without counts as `EIO`.
pub(super) fn errno_of(error: &io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::EIO, Errno::from_raw)
}

/// Appends one message.
fn put(batch: &mut Vec<u8>, flags: u16, message: NetfilterMessage) {
    let mut message = NetlinkMessage::from(message);
    message.header.flags = flags;
    message.finalize();
    let start = batch.len();
    batch.resize(start + message.buffer_len(), 0);
    message.serialize(&mut batch[start..]);
}

/// A message about the family `inet`: IPv4 and IPv6 in one table.
fn inet(message: NfTablesMessage) -> NetfilterMessage {
    NetfilterMessage::new(NetfilterHeader::new(NetfilterProtoFamily::Inet, 0, 0), message)
}

/// The begin or end of a batch for nf_tables.
fn batch_mark(mark: ControlMessage) -> NetfilterMessage {
    let subsystem = u16::try_from(NFNL_SUBSYS_NFTABLES).unwrap_or_default();
    NetfilterMessage::new(
        NetfilterHeader::new(NetfilterProtoFamily::Unspec, 0, subsystem),
        mark,
    )
}
