//! Writes our rules in nf_tables' instructions, the way `nft` writes them, so that `nft list ruleset` reads well.

use std::net::IpAddr;

use ipnet::IpNet;
use netlink_packet_netfilter::nftables::{
    Bitwise, Cmp, DataAttribute, ExpressionAttribute, Expressions, Immediate, ListAttribute, Meta, MetaKey,
    Operator, Payload, Register, Verdict, VerdictAttribute,
};
use nix::libc::{IFNAMSIZ, NF_ACCEPT, NFPROTO_IPV4, NFPROTO_IPV6};

/// One instruction of a rule.
pub(super) type Expression = ListAttribute<ExpressionAttribute>;

/// `NFT_PAYLOAD_NETWORK_HEADER`: offsets count from the start of the IP header.
const NETWORK_HEADER: u32 = 1;

/// `ip saddr SUBNET oifname != "UPLINK" [oifname "INTERFACE"] counter masquerade`.
pub(super) fn masquerade(subnet: IpNet, uplink: &str, interface: Option<&str>) -> Vec<Expression> {
    let mut rule = source_in(subnet);
    rule.extend(leaves_by(Operator::NotEqual, uplink));
    if let Some(interface) = interface {
        rule.extend(leaves_by(Operator::Equal, interface));
    }
    rule.push(statement("counter"));
    rule.push(statement("masq"));
    rule
}

/// `oifname "lo" accept`: the host that talks to its own gateway address keeps that address as its source.
pub(super) fn spare_loopback() -> Vec<Expression> {
    let mut rule: Vec<Expression> = leaves_by(Operator::Equal, "lo").into();
    let accept = Verdict::Other(NF_ACCEPT.unsigned_abs());
    rule.push(
        Expressions::Immediate(vec![
            Immediate::DestinationRegister(Register::Verdict),
            Immediate::Data(DataAttribute::Verdict(vec![VerdictAttribute::Code(accept)])),
        ])
        .into(),
    );
    rule
}

/// `ip saddr SUBNET` or `ip6 saddr SUBNET`, behind the family that it implies in an `inet` table.
fn source_in(subnet: IpNet) -> Vec<Expression> {
    // Where the source address stands in the header: RFC 791 and RFC 8200.
    let (family, offset) = match subnet {
        IpNet::V4(_) => (NFPROTO_IPV4, 12),
        IpNet::V6(_) => (NFPROTO_IPV6, 8),
    };
    let network = octets(subnet.network());
    let length = u32::from(subnet.max_prefix_len() / 8);
    let mut rule = vec![
        load(MetaKey::Nfproto),
        compare(
            Operator::Equal,
            family
                .to_ne_bytes()
                .into_iter()
                .filter(|byte| *byte != 0)
                .collect(),
        ),
        Expressions::Payload(vec![
            Payload::DestinationRegister(Register::Reg1),
            Payload::Base(NETWORK_HEADER),
            Payload::Offset(offset),
            Payload::Len(length),
        ])
        .into(),
    ];
    if subnet.prefix_len() < subnet.max_prefix_len() {
        rule.push(mask(length, octets(subnet.netmask())));
    }
    rule.push(compare(Operator::Equal, network));
    rule
}

/// Register 1 becomes register 1 AND `mask`.
fn mask(length: u32, mask: Vec<u8>) -> Expression {
    let nothing = vec![0; mask.len()];
    Expressions::Bitwise(vec![
        Bitwise::SourceRegister(Register::Reg1),
        Bitwise::DestinationRegister(Register::Reg1),
        Bitwise::Length(length),
        Bitwise::Mask(DataAttribute::Value(mask)),
        Bitwise::Xor(DataAttribute::Value(nothing)),
    ])
    .into()
}

/// `oifname "NAME"` or `oifname != "NAME"`; a name fills its field with zeros.
fn leaves_by(operator: Operator, name: &str) -> [Expression; 2] {
    let mut field = name.as_bytes().to_vec();
    field.resize(IFNAMSIZ, 0);
    [load(MetaKey::Oifname), compare(operator, field)]
}

/// Register 1 becomes a property of the packet.
fn load(key: MetaKey) -> Expression {
    Expressions::Meta(vec![Meta::DestinationRegister(Register::Reg1), Meta::Key(key)]).into()
}

/// The rule ends here unless register 1 compares so.
fn compare(operator: Operator, value: Vec<u8>) -> Expression {
    Expressions::Cmp(vec![
        Cmp::SourceRegister(Register::Reg1),
        Cmp::Op(operator),
        Cmp::Data(DataAttribute::Value(value)),
    ])
    .into()
}

/// An instruction without operands.
fn statement(name: &str) -> Expression {
    Expressions::Other {
        expression_type: name.to_owned(),
        attributes: Vec::new(),
    }
    .into()
}

/// An address as it stands in a packet.
fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}
