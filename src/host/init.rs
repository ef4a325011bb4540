//! The init stage: what stands between the clone and the vassal's own command.
//!
//! The child of [`super::spawn`] execs this program again and lands here, single-threaded and with a clean
//! heap, so that ordinary code is allowed. It waits at the gate for its [`Plan`], which the emperor sends
//! once the network is there; a gate that closes first means that the vassal is no longer wanted. Then each
//! step gives something up, in an order in which no later step needs it, and the last one is exec. A step
//! that fails is reported to the emperor with its errno, and the process ends: nothing runs half confined.

use std::ffi::CString;
use std::fs::File;
use std::io::Write;
use std::os::fd::{OwnedFd, RawFd};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use caps::{CapSet, CapsHashSet};
use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sys::resource::{Resource, setrlimit};
use serde::{Deserialize, Serialize};

use crate::sys::socket::receive;
use crate::sys::{self, process};

/// The first argument that makes this program an init stage.
pub const VERB: &str = "__init";
/// The command that stands for this very program, wherever it lies and whoever may reach it.
pub const OURSELVES: &str = "mini-emperor";
/// Where the command is looked up if the vassal's environment does not say.
pub const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The first descriptor of a command beside its standard ones.
pub const FIRST: RawFd = 3;
/// How many a command can get.
const MOST: RawFd = 32;

/// All that the init stage does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// argv of the command.
    pub command: Vec<String>,
    /// Its whole environment.
    pub environment: Vec<(String, String)>,
    /// Its working directory.
    pub directory: PathBuf,
    /// Host name to set.
    pub hostname: Option<String>,
    /// The mount namespace is its own, with a `/sys` of its network namespace.
    pub mounts: bool,
    /// The pid namespace is its own too, so `/proc` must be.
    pub proc: bool,
    /// User, group and supplementary groups to become.
    pub identity: Option<(u32, u32, Vec<u32>)>,
    /// The first descriptor listens for it (`sd_listen_fds(3)`), and is its standard input too, as uWSGI expects.
    pub listens: bool,
    /// Open descriptors of each process.
    pub nofile: Option<u32>,
    /// The soft limit of the same, if the definition does not say: what the emperor was given.
    #[serde(default)]
    pub nofile_given: Option<u64>,
    /// Bytes of a core file.
    pub core: Option<u64>,
    /// Capabilities to keep, by number.
    pub capabilities: Vec<u8>,
    /// Set `no_new_privs`.
    pub no_new_privileges: bool,
}

/// One step of the init stage, as named in a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// A session of its own.
    Session,
    /// No mount event may reach the host.
    DetachMounts,
    /// `/proc` of the own pid namespace.
    MountProc,
    /// `/sys` of the own network namespace.
    MountSys,
    /// The host name.
    Hostname,
    /// Open descriptors limited.
    OpenFiles,
    /// Core files limited.
    CoreSize,
    /// Capabilities dropped.
    Capabilities,
    /// User and groups changed.
    Identity,
    /// `no_new_privs` set.
    NoNewPrivileges,
    /// Working directory.
    Directory,
    /// Signals as a new program expects them.
    Signals,
    /// No descriptor but 0, 1, 2 and those for the command survives.
    Descriptors,
    /// The command itself.
    Exec,
}

/// Why the init stage ended before the command's first instruction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// What failed.
    pub step: Step,
    /// On what.
    pub on: String,
    /// The kernel's answer.
    pub errno: i32,
}

/// Whether a process is still a copy of the emperor or an init stage, or in the midst of an exec. A program that
/// shows such arguments itself is taken at its word.
pub fn is_before_command(pid: u32) -> bool {
    /// `PF_FORKNOEXEC` of `linux/sched.h`: forked, and no exec since.
    const NO_EXEC: u32 = 0x40;
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let flags = stat
        .rsplit_once(')')
        .and_then(|(_, after)| after.split_ascii_whitespace().nth(6)?.parse::<u32>().ok());
    let arguments = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let is_stage = arguments.split(|byte| *byte == 0).nth(1) == Some(VERB.as_bytes());
    flags.is_none_or(|flags| flags & NO_EXEC != 0) || arguments.is_empty() || is_stage
}

/// Runs the init stage. `arguments` are the numbers of the gate and of the report pipe.
pub fn main(arguments: &[String]) -> ExitCode {
    let number = |index: usize| arguments.get(index).and_then(|text| text.parse::<RawFd>().ok());
    let (Some(gate), Some(report)) = (number(0).and_then(sys::adopt), number(1).and_then(sys::adopt)) else {
        return ExitCode::from(126); // typed by hand: there is nobody to report to
    };
    let Some((plan, descriptors)) = wait_at(gate) else {
        return ExitCode::SUCCESS;
    };
    let report = lift(&report).unwrap_or(report);
    let Err(failure) = plan.carry_out(&descriptors);
    if let Ok(text) = serde_json::to_vec(&failure) {
        // Nobody is left to tell if the emperor is gone.
        let _ = File::from(report).write_all(&text);
    }
    ExitCode::from(126)
}

/// Descriptors that this stage needs to its end lie above those that the command gets.
fn lift(fd: &OwnedFd) -> Result<OwnedFd, Errno> {
    process::lift(fd, FIRST + MOST)
}

/// The plan and the command's descriptors, once the gate opens; `None` if it is shut for good.
fn wait_at(gate: OwnedFd) -> Option<(Plan, Vec<OwnedFd>)> {
    let (mut text, mut descriptors) = (Vec::new(), Vec::new());
    let mut control = nix::cmsg_space!([RawFd; 32]);
    let mut chunk = [0; 4096];
    loop {
        match receive(&gate, &mut chunk, &mut control) {
            Ok(received) if received.length == 0 => break,
            Ok(received) => {
                text.extend_from_slice(&chunk[..received.length]);
                descriptors.extend(received.descriptors);
            }
            Err(Errno::EINTR) => {}
            Err(_) => return None,
        }
    }
    Some((serde_json::from_slice(&text).ok()?, descriptors))
}

type Outcome = Result<(), Report>;

/// Makes `descriptors` 3, 4, … of the command, and the first its standard input if that `listens`; nothing else survives.
fn hand_over(descriptors: Vec<OwnedFd>, listens: bool) -> Result<(), Errno> {
    process::close_on_exec_from(FIRST.cast_unsigned())?;
    if let Some(socket) = descriptors.first().filter(|_| listens) {
        nix::unistd::dup2_stdin(socket)?;
    }
    for (number, fd) in (FIRST..FIRST + MOST).zip(descriptors) {
        process::place(fd, number)?;
    }
    Ok(())
}

/// Names the step and the thing for whatever errno comes.
fn step(step: Step, on: impl Into<String>, result: Result<(), Errno>) -> Outcome {
    result.map_err(|errno| failure(step, on, errno))
}

fn failure(step: Step, on: impl Into<String>, errno: Errno) -> Report {
    Report {
        step,
        on: on.into(),
        errno: errno as i32,
    }
}

impl Plan {
    fn carry_out(&self, descriptors: &[OwnedFd]) -> Result<std::convert::Infallible, Report> {
        step(Step::Session, "", nix::unistd::setsid().map(drop))?;
        // Opened while /proc is the host's and the file can still be reached.
        let ourselves = File::open("/proc/self/exe").ok();
        let ourselves = ourselves.and_then(|file| lift(&file.into()).ok()).map(File::from);
        let descriptors = descriptors.iter().map(lift).collect::<Result<Vec<_>, _>>();
        let descriptors = descriptors.map_err(|errno| failure(Step::Descriptors, "", errno))?;
        self.separate_mounts()?;
        if let Some(hostname) = &self.hostname {
            step(Step::Hostname, hostname, nix::unistd::sethostname(hostname))?;
        }
        self.limit()?;
        self.drop_privileges()?;
        let directory = self.directory.display().to_string();
        step(Step::Directory, directory, nix::unistd::chdir(&self.directory))?;
        step(Step::Signals, "", process::reset_signals())?;
        step(Step::Descriptors, "", hand_over(descriptors, self.listens))?;
        Err(self.exec(ourselves))
    }

    fn separate_mounts(&self) -> Outcome {
        const NONE: Option<&str> = None;
        if !self.mounts {
            return Ok(());
        }
        // The host's later mounts may appear here; nothing goes the other way.
        let slave = mount(NONE, "/", NONE, MsFlags::MS_REC | MsFlags::MS_SLAVE, NONE);
        step(Step::DetachMounts, "/", slave)?;
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        if self.proc {
            step(
                Step::MountProc,
                "/proc",
                mount(Some("proc"), "/proc", Some("proc"), flags, NONE),
            )?;
        }
        let read_only = flags | MsFlags::MS_RDONLY;
        step(
            Step::MountSys,
            "/sys",
            mount(Some("sysfs"), "/sys", Some("sysfs"), read_only, NONE),
        )
    }

    /// What the definition says is soft and hard alike: the command cannot raise it.
    fn limit(&self) -> Outcome {
        if let Some(given) = self.nofile_given.filter(|_| self.nofile.is_none()) {
            step(
                Step::OpenFiles,
                given.to_string(),
                process::lower_open_files(given),
            )?;
        }
        if let Some(nofile) = self.nofile {
            let limited = setrlimit(Resource::RLIMIT_NOFILE, nofile.into(), nofile.into());
            step(Step::OpenFiles, nofile.to_string(), limited)?;
        }
        if let Some(core) = self.core {
            let limited = setrlimit(Resource::RLIMIT_CORE, core, core);
            step(Step::CoreSize, format!("{core} bytes"), limited)?;
        }
        Ok(())
    }

    /// Drops the bounding set, becomes the user, and keeps just the capabilities that were asked for.
    fn drop_privileges(&self) -> Outcome {
        let kept: CapsHashSet = caps::all()
            .into_iter()
            .filter(|capability| self.capabilities.contains(&capability.index()))
            .collect();
        let dropped = |result: Result<(), caps::errors::CapsError>| {
            step(Step::Capabilities, "", result.map_err(|_| Errno::last()))
        };
        for capability in caps::runtime::thread_all_supported().difference(&kept) {
            dropped(caps::drop(None, CapSet::Bounding, *capability))?;
        }
        if let Some((uid, gid, groups)) = &self.identity {
            dropped(caps::securebits::set_keepcaps(true))?;
            let result = process::user_and_group(*uid, *gid, groups);
            step(Step::Identity, format!("uid {uid}, gid {gid}"), result)?;
        }
        dropped(caps::clear(None, CapSet::Ambient))?;
        dropped(caps::set(None, CapSet::Inheritable, &kept))?;
        dropped(caps::set(None, CapSet::Effective, &CapsHashSet::new()))?;
        dropped(caps::set(None, CapSet::Permitted, &kept))?;
        dropped(caps::set(None, CapSet::Ambient, &kept))?;
        if self.no_new_privileges {
            step(Step::NoNewPrivileges, "", nix::sys::prctl::set_no_new_privs())?;
        }
        Ok(())
    }

    /// Becomes the command.
    fn exec(&self, ourselves: Option<File>) -> Report {
        let program = self.command.first().map_or("", String::as_str);
        let arguments = c_strings(self.command.iter().cloned());
        let own = self.listens.then(|| format!("LISTEN_PID={}", std::process::id()));
        let others = self
            .environment
            .iter()
            .map(|(key, value)| format!("{key}={value}"));
        let environment = c_strings(others.chain(own));
        let errno = match ourselves {
            Some(file) if program == OURSELVES => process::exec_open_file(file, &arguments, &environment),
            Some(_) | None => {
                let path = self.environment.iter().find(|(key, _)| key == "PATH");
                search(
                    program,
                    path.map_or(PATH, |(_, value)| value),
                    &arguments,
                    &environment,
                )
            }
        };
        Report {
            step: Step::Exec,
            on: program.to_owned(),
            errno: errno as i32,
        }
    }
}

/// Tries `program` in each directory of `path`, as execvp(3) does; returns the most telling errno.
fn search(program: &str, path: &str, arguments: &[CString], environment: &[CString]) -> Errno {
    if program.contains('/') {
        return exec_path(Path::new(program), arguments, environment);
    }
    let mut answer = Errno::ENOENT;
    for directory in path.split(':') {
        let errno = exec_path(&Path::new(directory).join(program), arguments, environment);
        if ![Errno::ENOENT, Errno::ENOTDIR].contains(&errno) {
            answer = errno;
        }
        if ![Errno::ENOENT, Errno::ENOTDIR, Errno::EACCES].contains(&errno) {
            break;
        }
    }
    answer
}

fn exec_path(path: &Path, arguments: &[CString], environment: &[CString]) -> Errno {
    let Ok(path) = CString::new(path.as_os_str().as_encoded_bytes()) else {
        return Errno::EINVAL;
    };
    let Err(errno) = nix::unistd::execve(&path, arguments, environment);
    errno
}

/// Strings for exec. None has a NUL inside: definitions are checked.
fn c_strings(strings: impl Iterator<Item = String>) -> Vec<CString> {
    strings
        .map(|text| CString::new(text).unwrap_or_default())
        .collect()
}
