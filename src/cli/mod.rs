//! What the operator types: one file a verb.

pub mod check;
pub mod complain;
mod reading;
pub mod schema;
