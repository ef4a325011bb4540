//! What the operator types: one file a verb.

pub mod demo;
