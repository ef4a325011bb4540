//! Lets vassals reach the world behind the host's own address: one nftables table, ours alone.
//!
//! The table is the only thing that the project leaves in the host's firewall. It is installed in one atomic batch
//! that also replaces a stale one of the same name, it is watched and put back when somebody flushes it away
//! (`firewall-cmd --reload` and `nft -f` with `flush ruleset` do), and it is removed whole. No other table is read or
//! touched, and no `nft` binary or C library is needed.
//!
//! ```text
//! table inet mini-emperor-emperor0 {
//!         comment "made and kept by mini-emperor"
//!         chain postrouting {
//!                 type nat hook postrouting priority srcnat; policy accept;
//!                 oifname "lo" accept
//!                 ip saddr 10.107.0.0/24 oifname != "emperor0" counter masquerade
//!         }
//! }
//! ```

mod expressions;
mod guard;
mod wire;

use ipnet::IpNet;
use netlink_packet_core::{NLM_F_APPEND, NLM_F_CREATE};
use netlink_packet_netfilter::nftables::{
    ChainAttribute, ChainMessage, Hook, InetHookNumber, NfTablesMessage, RuleAttribute, RuleMessage,
    TableAttribute, TableMessage,
};
use nix::errno::Errno;
use nix::libc::{IFNAMSIZ, NF_ACCEPT, NF_IP_PRI_NAT_SRC};

use self::expressions::Expression;
use self::guard::Seen;
use self::wire::{Step, Wire};
use super::error::{Doing, HostError};

/// The one chain of the table.
const CHAIN: &str = "postrouting";
/// What `nft list ruleset` shows as the table's comment.
const COMMENT: &str = "made and kept by mini-emperor";
/// `NFTNL_UDATA_TABLE_COMMENT`: how `nft` marks a comment in a table's user data.
const COMMENT_TAG: u8 = 0;

/// Whose packets leave as the host's own, and by which way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NatPlan {
    /// Name of the table, in the family `inet`; unique to this emperor.
    pub table: String,
    /// Packets that leave by this device stay as they are.
    pub uplink: String,
    /// The vassals' subnets; host bits are ignored.
    pub subnets: Vec<IpNet>,
    /// Interfaces that packets leave by as the host's own; empty = any but the uplink.
    pub interfaces: Vec<String>,
}

/// An installed table. Dropping this leaves it in the kernel; [`Nat::remove`] takes it out.
#[derive(Debug)]
pub struct Nat {
    plan: NatPlan,
    /// What the kernel showed when the table was fresh.
    fresh: Seen,
}

/// Removes a table that an earlier emperor left under another name; one that is gone is as good as removed.
///
/// # Errors
/// If the kernel refuses.
pub fn remove_left(table: &str) -> Result<(), HostError> {
    let plan = NatPlan {
        table: table.to_owned(),
        uplink: String::new(),
        subnets: Vec::new(),
        interfaces: Vec::new(),
    };
    remove(&plan)
}

fn remove(plan: &NatPlan) -> Result<(), HostError> {
    let result = Wire::open().and_then(|wire| wire.commit(vec![delete_table(plan)]));
    match result {
        Ok(()) | Err(Errno::ENOENT) => Ok(()),
        Err(errno) => Err(HostError::new(Doing::RemoveNat, &plan.table, errno)),
    }
}

impl Nat {
    /// Installs the table in the calling thread's network namespace, in place of a stale one of the same name.
    ///
    /// # Errors
    /// If an interface's name is empty or longer than 15 bytes (`EINVAL`), or the kernel refuses the table (`EPERM`
    /// without CAP_NET_ADMIN or if another program owns the name, `ENOENT` without the masquerade module); then
    /// nothing has changed.
    pub fn install(plan: NatPlan) -> Result<Self, HostError> {
        for name in plan.interfaces.iter().chain([&plan.uplink]) {
            if name.is_empty() || name.len() >= IFNAMSIZ {
                return Err(HostError::new(
                    Doing::InstallNat,
                    format!("{} for {name:?}", plan.table),
                    Errno::EINVAL,
                ));
            }
        }
        match install(&plan) {
            Ok(fresh) => Ok(Self { plan, fresh }),
            Err(errno) => Err(HostError::new(Doing::InstallNat, plan.table, errno)),
        }
    }

    /// Removes the table; one that is gone is as good as removed.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn remove(&self) -> Result<(), HostError> {
        remove(&self.plan)
    }

    /// Watches the table and puts it back when it is gone or changed; `said` gets one sentence a repair. Repairs are
    /// at once, but at most one a second against a program that keeps removing the table.
    ///
    /// Returns only if the kernel refuses for good. To be polled in the namespace that the table is in.
    pub async fn guard(&self, said: impl Fn(String)) -> HostError {
        let errno = guard::keep(&self.plan, &self.fresh, said).await;
        HostError::new(Doing::WatchNat, &self.plan.table, errno)
    }
}

/// Installs and looks at the result.
fn install(plan: &NatPlan) -> Result<Seen, Errno> {
    let wire = Wire::open()?;
    wire.commit(batch(plan))?;
    Seen::look(&wire, &plan.table)?.ok_or(Errno::ENOENT)
}

/// The whole table in one batch. Adding before deleting makes the deletion succeed whether or not there was one.
fn batch(plan: &NatPlan) -> Vec<Step> {
    let mut steps = vec![
        new_table(plan),
        delete_table(plan),
        new_table(plan),
        new_chain(plan),
    ];
    let rules = rules(plan);
    steps.extend(rules.into_iter().map(|rule| new_rule(plan, rule)));
    steps
}

/// The rules in their order.
fn rules(plan: &NatPlan) -> Vec<Vec<Expression>> {
    let mut rules = vec![expressions::spare_loopback()];
    for subnet in &plan.subnets {
        if plan.interfaces.is_empty() {
            rules.push(expressions::masquerade(*subnet, &plan.uplink, None));
        }
        for interface in &plan.interfaces {
            rules.push(expressions::masquerade(*subnet, &plan.uplink, Some(interface)));
        }
    }
    rules
}

fn new_table(plan: &NatPlan) -> Step {
    let attributes = vec![
        TableAttribute::Name(plan.table.clone()),
        TableAttribute::UserData(comment()),
    ];
    (
        NLM_F_CREATE,
        NfTablesMessage::NewTable(TableMessage { attributes }),
    )
}

fn delete_table(plan: &NatPlan) -> Step {
    let attributes = vec![TableAttribute::Name(plan.table.clone())];
    (0, NfTablesMessage::DeleteTable(TableMessage { attributes }))
}

fn new_chain(plan: &NatPlan) -> Step {
    let attributes = vec![
        ChainAttribute::Table(plan.table.clone()),
        ChainAttribute::Name(CHAIN.to_owned()),
        ChainAttribute::Hook(vec![
            Hook::Number(InetHookNumber::PostRouting.into()),
            Hook::Priority(NF_IP_PRI_NAT_SRC.unsigned_abs()),
        ]),
        ChainAttribute::Policy(NF_ACCEPT.unsigned_abs()),
        ChainAttribute::Type("nat".to_owned()),
    ];
    (
        NLM_F_CREATE,
        NfTablesMessage::NewChain(ChainMessage { attributes }),
    )
}

fn new_rule(plan: &NatPlan, rule: Vec<Expression>) -> Step {
    let attributes = vec![
        RuleAttribute::Table(plan.table.clone()),
        RuleAttribute::Chain(CHAIN.to_owned()),
        RuleAttribute::Expressions(rule),
    ];
    (
        NLM_F_CREATE | NLM_F_APPEND,
        NfTablesMessage::NewRule(RuleMessage { attributes }),
    )
}

/// The comment as `nft` stores it: tag, length, text with its final zero.
fn comment() -> Vec<u8> {
    let length = u8::try_from(COMMENT.len() + 1).unwrap_or(u8::MAX);
    let mut data = vec![COMMENT_TAG, length];
    data.extend(COMMENT.bytes());
    data.push(0);
    data
}
