//! Who holds which name and which fixed address; the first to claim keeps it.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use super::definition::{Addresses, Definition, Name};

/// Names and fixed addresses, each with the file that claimed it first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Claims {
    names: BTreeMap<Name, PathBuf>,
    addresses: BTreeMap<IpAddr, Name>,
}

/// What two files claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claimed {
    /// The name of a vassal: `web.yaml` and `web.yml`, or the same file name in two directories.
    Name(Name),
    /// An address.
    Address(IpAddr),
}

/// A claim that came second.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// What both claim.
    pub claimed: Claimed,
    /// The file that has it.
    pub holder: PathBuf,
    /// The file that does not get it.
    pub claimant: PathBuf,
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let holder = self.holder.display();
        match &self.claimed {
            Claimed::Name(name) => write!(f, "the name {name} is already that of {holder}"),
            Claimed::Address(address) => write!(f, "the address {address} already belongs to {holder}"),
        }
    }
}

impl Claims {
    /// Nobody holds anything.
    pub fn new() -> Self {
        Self::default()
    }

    /// Claims the name and the fixed addresses of `definition`, all of them or none. A file that claims
    /// again gives up its old addresses, if the new claim holds.
    ///
    /// # Errors
    /// Everything that another file holds; the old claim of this file then stays as it was.
    pub fn claim(&mut self, definition: &Definition) -> Result<(), Vec<Conflict>> {
        let name = &definition.name;
        let conflict = |claimed, holder: &Path| Conflict {
            claimed,
            holder: holder.to_owned(),
            claimant: definition.path.clone(),
        };
        let mut conflicts = Vec::new();
        if let Some(holder) = self.names.get(name).filter(|holder| **holder != definition.path) {
            conflicts.push(conflict(Claimed::Name(name.clone()), holder));
        }
        for address in fixed(definition) {
            let other = self.addresses.get(&address).filter(|other| *other != name);
            if let Some(holder) = other.and_then(|other| self.names.get(other)) {
                conflicts.push(conflict(Claimed::Address(address), holder));
            }
        }
        if !conflicts.is_empty() {
            return Err(conflicts);
        }
        self.release(name);
        self.names.insert(name.clone(), definition.path.clone());
        self.addresses
            .extend(fixed(definition).map(|address| (address, name.clone())));
        Ok(())
    }

    /// Gives up everything that `name` holds.
    pub fn release(&mut self, name: &Name) {
        self.names.remove(name);
        self.addresses.retain(|_, holder| holder != name);
    }

    /// Whose fixed address it is.
    pub fn holder_of(&self, address: IpAddr) -> Option<&Name> {
        self.addresses.get(&address)
    }
}

/// The fixed addresses of a definition.
fn fixed(definition: &Definition) -> impl Iterator<Item = IpAddr> + '_ {
    let nets = match &definition.network.address {
        Addresses::Auto => [].as_slice(),
        Addresses::Fixed(nets) => nets,
    };
    nets.iter().map(ipnet::IpNet::addr)
}
