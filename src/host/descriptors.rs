//! How many descriptors may be open: the emperor takes all that it may have, its vassals and hooks get what it was given.
//!
//! Each vassal costs the emperor a handful, and select(2), for whose sake the soft limit is low, is not used here. It may
//! be used by what the emperor starts, so that limit goes on as it was.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Raises this process's soft limit as far as it may; what it was before. `None` if the kernel does not say.
pub fn raise() -> Option<u64> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).ok()?;
    // Refused, it stays as it is.
    let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    Some(soft)
}
