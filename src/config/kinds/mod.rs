//! The kinds of values that keys take: each knows how to read itself off a node, and its schema.

mod command;
mod lists;
mod network;
mod reload;
mod scalars;
mod sockets;
mod words;

pub(super) use command::{Argv, ArgvOr, Env};
pub(super) use lists::{List, OneOrMore, WordOr, WordOrOne};
pub(super) use network::{Address, Device, Subnet};
pub(super) use scalars::{Between, BitRate, Cores, Signal, Size, Text};
pub(super) use sockets::{Listen, Mode};
pub(super) use words::{Any, Auto, ChainDefault, Choice, EmperorWord, NamespaceWord, Nothing, ReadyWord};
