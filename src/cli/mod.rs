//! What the operator types: one file a verb.
