//! Switches on packet forwarding in the host's kernel without losing the host's own routes.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::error::{Doing, HostError};

/// Forwards IPv4 between all interfaces.
const IPV4: &str = "/proc/sys/net/ipv4/ip_forward";
/// Forwards IPv6 between all interfaces.
const IPV6: &str = "/proc/sys/net/ipv6/conf/all/forwarding";
/// One directory an interface, and `all` and `default`.
const IPV6_INTERFACES: &str = "/proc/sys/net/ipv6/conf";

/// Switches on `net.ipv4.ip_forward` and `net.ipv6.conf.all.forwarding`, as wished, in the calling thread's network
/// namespace. Says each setting that it changed, for the log; all stay changed afterwards, because nobody can know
/// who else has come to rely on them.
///
/// A host that forwards IPv6 ignores router advertisements on interfaces with `accept_ra=1` and would lose the default
/// route that it learned there, so those get `accept_ra=2` first. To be called before the uplink exists: the uplink
/// must not listen to advertisements.
///
/// # Errors
/// If a setting cannot be read or written (`EROFS`, `EACCES` in a container); names its file.
pub fn enable(ipv4: bool, ipv6: bool) -> Result<Vec<String>, HostError> {
    let mut changed = Vec::new();
    if ipv4 && read(Path::new(IPV4))? == "0" {
        write(Path::new(IPV4), "1", &mut changed)?;
    }
    if ipv6 && read(Path::new(IPV6))? == "0" {
        for setting in advertisement_settings()? {
            // An interface may go away meanwhile; then it has no routes to lose.
            match read(&setting) {
                Ok(value) if value == "1" => write(&setting, "2", &mut changed)?,
                Ok(_) => {}
                Err(error) if error.errno == nix::errno::Errno::ENOENT => {}
                Err(error) => return Err(error),
            }
        }
        write(Path::new(IPV6), "1", &mut changed)?;
    }
    Ok(changed)
}

/// `accept_ra` of every real interface, in the order of their names.
fn advertisement_settings() -> Result<Vec<PathBuf>, HostError> {
    let refused = |error: &io::Error| HostError::from_io(Doing::SetForwarding, IPV6_INTERFACES, error);
    let mut settings = Vec::new();
    for entry in fs::read_dir(IPV6_INTERFACES).map_err(|error| refused(&error))? {
        let entry = entry.map_err(|error| refused(&error))?;
        if !["all", "default", "lo"]
            .iter()
            .any(|name| entry.file_name() == *name)
        {
            settings.push(entry.path().join("accept_ra"));
        }
    }
    settings.sort();
    Ok(settings)
}

fn read(setting: &Path) -> Result<String, HostError> {
    fs::read_to_string(setting)
        .map(|text| text.trim().to_owned())
        .map_err(|error| HostError::from_io(Doing::SetForwarding, setting.display().to_string(), &error))
}

/// Writes one setting and adds the sentence about it.
fn write(setting: &Path, value: &str, changed: &mut Vec<String>) -> Result<(), HostError> {
    let path = setting.display().to_string();
    fs::write(setting, value)
        .map_err(|error| HostError::from_io(Doing::SetForwarding, path.as_str(), &error))?;
    changed.push(format!("set {path} to {value}"));
    Ok(())
}
