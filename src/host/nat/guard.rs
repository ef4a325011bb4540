//! Puts the table back whenever it is not what it was when it was fresh.
//!
//! The kernel tells every change of the firewall on a multicast group. Messages are only hints: one that names our
//! table (or the loss of some) makes the guard look at the table as a whole and compare it with what the kernel showed
//! right after the installation. So it does not matter who changed what, how, or how many changes were missed, and
//! the guard's own repair is a hint that leads to nothing.

use std::io;
use std::time::Duration;

use netlink_packet_core::{NetlinkBuffer, NlasIterator};
use netlink_packet_netfilter::nftables::{
    ChainAttribute, ChainMessage, ExpressionAttribute, Expressions, ListAttribute, NfTablesMessage,
    RuleAttribute, RuleMessage, TableAttribute, TableMessage,
};
use netlink_sys::protocols::NETLINK_NETFILTER;
use netlink_sys::{AsyncSocket, AsyncSocketExt, TokioSocket};
use nix::errno::Errno;
use nix::libc::{NFNL_SUBSYS_NFTABLES, NFNLGRP_NFTABLES};

use super::wire::{Wire, errno_of, receive, split};
use super::{CHAIN, NatPlan};

/// Pause after a first repair; doubles with every repair that follows at once.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// The longest pause between two repairs.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// Bytes of an event that are read; the table's name stands at its start.
const EVENT: usize = 8 * 1024;
/// Bytes of `struct nfgenmsg` before a message's attributes.
const FAMILY_HEADER: usize = 4;
/// `NFTA_TABLE_NAME`, `NFTA_CHAIN_TABLE`, `NFTA_RULE_TABLE`, ...: in every kind of message the table's name.
const TABLE_NAME: u16 = 1;

/// The table as the kernel shows it, without what changes by itself (counters) or with every repair (handles).
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Seen {
    table: Vec<TableAttribute>,
    chain: Vec<ChainAttribute>,
    rules: Vec<Vec<RuleAttribute>>,
}

impl Seen {
    /// Looks; `None` if the table or its chain is gone.
    pub(super) fn look(wire: &Wire, table: &str) -> Result<Option<Self>, Errno> {
        match Self::read(wire, table) {
            Ok(seen) => Ok(Some(seen)),
            Err(Errno::ENOENT) => Ok(None),
            Err(errno) => Err(errno),
        }
    }

    fn read(wire: &Wire, name: &str) -> Result<Self, Errno> {
        let wish = TableMessage {
            attributes: vec![TableAttribute::Name(name.to_owned())],
        };
        let NfTablesMessage::NewTable(mut table) = wire.get(NfTablesMessage::GetTable(wish))? else {
            return Err(Errno::EPROTO);
        };
        table
            .attributes
            .retain(|attribute| !matches!(attribute, TableAttribute::Handle(_)));
        let wish = ChainMessage {
            attributes: vec![
                ChainAttribute::Table(name.to_owned()),
                ChainAttribute::Name(CHAIN.to_owned()),
            ],
        };
        let NfTablesMessage::NewChain(mut chain) = wire.get(NfTablesMessage::GetChain(wish))? else {
            return Err(Errno::EPROTO);
        };
        chain
            .attributes
            .retain(|attribute| !matches!(attribute, ChainAttribute::Handle(_) | ChainAttribute::Counter(_)));
        let wish = RuleMessage {
            attributes: vec![
                RuleAttribute::Table(name.to_owned()),
                RuleAttribute::Chain(CHAIN.to_owned()),
            ],
        };
        let mut rules = Vec::new();
        for object in wire.list(NfTablesMessage::GetRule(wish))? {
            if let NfTablesMessage::NewRule(rule) = object {
                rules.push(rule.attributes.into_iter().filter_map(lasting).collect());
            }
        }
        Ok(Self {
            table: table.attributes,
            chain: chain.attributes,
            rules,
        })
    }
}

/// What of a rule stays the same while nobody touches it.
fn lasting(attribute: RuleAttribute) -> Option<RuleAttribute> {
    if matches!(attribute, RuleAttribute::Handle(_) | RuleAttribute::Position(_)) {
        return None;
    }
    let RuleAttribute::Expressions(mut expressions) = attribute else {
        return Some(attribute);
    };
    for expression in &mut expressions {
        if let ListAttribute::Element(parts) = expression {
            parts.retain(|part| !is_count(part));
        }
    }
    Some(RuleAttribute::Expressions(expressions))
}

/// The values of a `counter`.
fn is_count(part: &ExpressionAttribute) -> bool {
    matches!(part, ExpressionAttribute::Data(Expressions::Other { expression_type, .. }) if expression_type == "counter")
}

/// Keeps the table of `plan` as `fresh` shows it; ends only with a refusal that waiting does not cure.
pub(super) async fn keep(plan: &NatPlan, fresh: &Seen, said: impl Fn(String)) -> Errno {
    match watch(plan, fresh, said).await {
        Ok(never) => match never {},
        Err(errno) => errno,
    }
}

async fn watch(
    plan: &NatPlan,
    fresh: &Seen,
    said: impl Fn(String),
) -> Result<std::convert::Infallible, Errno> {
    // Subscribed before the first look, so that no change falls between the two.
    let events = Events::subscribe()?;
    let wire = Wire::open()?;
    let mut pause = FIRST_PAUSE;
    loop {
        events.forget()?;
        match repair(&wire, plan, fresh) {
            Ok(None) => {
                pause = FIRST_PAUSE;
                events.about(&plan.table).await?;
                continue;
            }
            Ok(Some(harm)) => said(format!(
                "the nftables table {} was {harm}; it is back",
                plan.table
            )),
            Err(errno) if passes(errno) => {
                said(format!(
                    "the nftables table {} cannot be put back yet: {}",
                    plan.table,
                    errno.desc()
                ));
            }
            Err(errno) => return Err(errno),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Looks, and installs the table again if it is not as it was; says what was wrong with it.
fn repair(wire: &Wire, plan: &NatPlan, fresh: &Seen) -> Result<Option<&'static str>, Errno> {
    let harm = match Seen::look(wire, &plan.table) {
        Ok(Some(seen)) if seen == *fresh => return Ok(None),
        // What we cannot decode is not ours.
        Ok(Some(_)) | Err(Errno::EBADMSG) => "changed",
        Ok(None) => "removed",
        Err(errno) => return Err(errno),
    };
    wire.commit(super::batch(plan))?;
    Ok(Some(harm))
}

/// Refusals that end by themselves.
fn passes(errno: Errno) -> bool {
    matches!(
        errno,
        Errno::EAGAIN | Errno::EINTR | Errno::EBUSY | Errno::ENOBUFS | Errno::ENOMEM
    )
}

/// The kernel's messages about changes of the firewall.
struct Events(TokioSocket);

impl Events {
    fn subscribe() -> Result<Self, Errno> {
        let subscribe = || {
            let mut events = TokioSocket::new(NETLINK_NETFILTER)?;
            let socket = events.socket_mut();
            socket.bind_auto()?;
            socket.add_membership(NFNLGRP_NFTABLES.unsigned_abs())?;
            Ok(Self(events))
        };
        subscribe().map_err(|error: io::Error| errno_of(&error))
    }

    /// Reads away what is queued: the look that follows sees its effect.
    fn forget(&self) -> Result<(), Errno> {
        let mut buffer = vec![0; EVENT];
        loop {
            match receive(self.0.socket_ref(), &mut buffer) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if is_loss(&error) => {}
                Err(error) => return Err(errno_of(&error)),
            }
        }
    }

    /// Waits for a message about `table`, or for the loss of messages.
    async fn about(&self, table: &str) -> Result<(), Errno> {
        let mut event = Vec::with_capacity(EVENT);
        loop {
            event.clear();
            match self.0.recv(&mut event).await {
                Ok(_) if names(&event, table) => return Ok(()),
                Ok(_) => {}
                Err(error) if is_loss(&error) => return Ok(()),
                Err(error) => return Err(errno_of(&error)),
            }
        }
    }
}

/// Messages were lost: the queue was full (`ENOBUFS`) or one was longer than our buffer.
fn is_loss(error: &io::Error) -> bool {
    matches!(errno_of(error), Errno::ENOBUFS | Errno::EMSGSIZE)
}

/// Whether an event is about `table`; one that is cut short or makes no sense might be.
fn names(event: &[u8], table: &str) -> bool {
    split(event).any(|message| message.map_or(true, |message| message_names(message, table)))
}

fn message_names(message: &[u8], table: &str) -> bool {
    let message = NetlinkBuffer::new(message);
    if i32::from(message.message_type() >> 8) != NFNL_SUBSYS_NFTABLES {
        return false;
    }
    let attributes = message.payload().get(FAMILY_HEADER..).unwrap_or_default();
    NlasIterator::new(attributes).any(|attribute| {
        attribute.is_ok_and(|attribute| {
            attribute.kind() == TABLE_NAME && attribute.value().strip_suffix(&[0]) == Some(table.as_bytes())
        })
    })
}
