//! What an operator may ask for. Never reads a clock, a file or a socket.
//!
//! The way of a file, in the order in which it is walked:
//! `text -> yaml (nodes with places) -> written + kinds + mirror (what was written) -> judge (what is meant)`.
//! Every station adds what is wrong to one report, so that an operator sees all of it at once.

mod capability;
mod change;
pub mod claims;
pub mod definition;
pub mod file_name;
mod judge;
mod judge_demand;
mod judge_hooks;
mod judge_identity;
mod judge_life;
mod judge_limits;
mod judge_namespaces;
mod judge_network;
mod judge_owner;
mod judge_settings;
mod kinds;
pub mod load;
mod mirror;
pub mod namespaces;
pub mod places;
pub mod problem;
mod report;
pub mod rule;
pub mod rule_text;
pub mod schema;
pub mod settings;
mod text;
mod units;
pub mod world;
mod written;
mod yaml;

pub use change::Change;
pub use claims::{Claimed, Claims, Conflict};
pub use definition::{Definition, Name};
pub use load::Judged;
pub use places::Places;
pub use problem::{Place, Problem, Severity};
pub use settings::Settings;
pub use world::{Identities, Owner, User, World};
