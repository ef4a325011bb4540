//! What an operator may write: every key of both files, in the order of the documentation.
//!
//! The sentences here are the descriptions of the published schema.

use std::net::IpAddr;
use std::time::Duration;

use super::definition::{Capability, LogTarget, Reload, RestartPolicy};
use super::kinds::{
    Address, Any, Argv, ArgvOr, Auto, Between, BitRate, ChainDefault, Cores, Device, EmperorWord, Env, List,
    Listen, Mode, NamespaceWord, Nothing, OneOrMore, ReadyWord, Signal, Size, Subnet, Text, WordOr,
    WordOrOne,
};
use super::rule::Rule;
use super::settings::{Engine, Offload, OnExit};
use super::written::mirror;

/// An MTU in bytes; 576 is what every IPv4 host must take whole (RFC 791).
pub(super) type Mtu = Between<576, 65535>;

mirror! {
    /// A vassal's file.
    Vassal {
        /// The program and its arguments, as a list; no shell reads it. Required.
        command: Argv,
        /// Variables of the environment. Those of the defaults that are not named here are added.
        env: Env,
        /// Working directory, absolute. Default: /.
        directory: Text,
        /// Host name inside the vassal; needs the uts namespace. Default: the host's own.
        hostname: Text,
        /// Whom the command runs as, by name or number. Default: nobody, if the emperor is root.
        user: Text,
        /// Its group, by name or number. Default: the user's primary group.
        group: Text,
        /// Supplementary groups, by name or number. Default: none.
        groups: List<Text>,
        /// Capabilities that the command keeps, by name (NET_BIND_SERVICE) or number. Default: none.
        capabilities: List<Capability>,
        /// No program that the command starts gains privileges (set-user-ID). Default: true.
        no_new_privileges: bool,
        /// Namespaces beside the network namespace, which every vassal has. In a user namespace the vassal is root, and
        /// nobody but its user outside. Default: [pid, mount, uts, ipc].
        namespaces: List<NamespaceWord>,
        /// What it may use of the machine, with everything that it starts.
        limits: Limits,
        /// Its place in the network.
        network: Network,
        /// When it is started again after it ended.
        restart: Restart,
        /// How it is asked to end.
        stop: Stop,
        /// How it is asked to read its configuration anew, when the emperor gets SIGHUP: restart, signal NAME, or
        /// emperor (uWSGI's emperor protocol). Default: restart.
        reload: Reload,
        /// How it is known to be ready: exec (as soon as it runs), notify (sd_notify), emperor (uWSGI's emperor
        /// protocol), or {tcp: PORT} (it accepts connections there). Default: exec.
        ready: WordOrOne<ReadyWord, ReadyTcp>,
        /// When it is not ready after this, it is stopped and counts as failed. Default: 1m.
        ready_timeout: Duration,
        /// It must give a sign of life (sd_notify, or uWSGI's heartbeat) in every such interval once it is ready,
        /// or is killed and counts as failed. Default: none.
        watchdog: WordOrOne<Nothing, Duration>,
        /// It is started by its first client, and not before: a map, or none. Default: none.
        on_demand: WordOrOne<Nothing, OnDemand>,
        /// Programs that the emperor runs, as itself and beside its own work, when something happens to the vassal.
        hooks: Hooks,
        /// Where its output goes.
        log: Log,
    }
}

mirror! {
    /// A vassal's place in the network.
    Network {
        /// Its address: auto, an address, or a list of one IPv4 and one IPv6 address. Without a prefix length
        /// the router's is taken. Default: auto.
        address: WordOr<Auto, Address>,
        /// Name of its interface. Default: tun0.
        device: Device,
        /// Next hop of its default route: an address, a list of one of each family, or none. Default: the
        /// router's addresses.
        gateway: WordOr<Nothing, IpAddr>,
        /// MTU of its interface in bytes: 576 (1280 with IPv6) to 65535. Default: the router's.
        mtu: Mtu,
        /// Its chains, beside those of the settings.
        firewall: Firewall,
        /// How much may leave and enter it; what is more is dropped.
        bandwidth: Bandwidth,
    }
}

mirror! {
    /// How much may leave and enter a vassal.
    Bandwidth {
        /// What leaves it: a whole number of kbit/s, Mbit/s or Gbit/s (powers of 1000), or none. Default: none.
        out: WordOrOne<Nothing, BitRate>,
        /// What enters it, in the same way. Default: none.
        r#in: WordOrOne<Nothing, BitRate>,
        /// What may be saved up for a burst, in each direction: 1500 to 1GiB. Default: what passes in 250 ms, 64KiB
        /// at least. With less, TCP does not reach its rate.
        burst: Size,
    }
}

mirror! {
    /// What a vassal may use of the machine, with everything that it starts.
    Limits {
        /// Memory of all its processes, 1MiB or more, or none. Beyond it the kernel kills. Default: none.
        memory: WordOrOne<Nothing, Size>,
        /// Processor time of all its processes, in cores: 0.01 to 1024, or none. Default: none.
        cpu: WordOrOne<Nothing, Cores>,
        /// Processes and threads at one time, or none. Default: none.
        pids: WordOrOne<Nothing, Between<1, 4_194_304>>,
        /// Open descriptors of each process (RLIMIT_NOFILE), or none: the emperor's own. Default: none.
        nofile: WordOrOne<Nothing, Between<16, 1_073_741_816>>,
        /// Size of a core file (RLIMIT_CORE); 0 = no core file; none: the emperor's own. Default: none.
        core: WordOrOne<Nothing, Size>,
    }
}

mirror! {
    /// Two chains of rules; the first rule that matches a packet decides.
    Firewall {
        /// Rules for packets that leave a vassal: ACTION [SRC [DST]] [PROTO [PORTS]]. Default: none.
        out: List<Rule>,
        /// Rules for packets that enter a vassal. Default: none.
        r#in: List<Rule>,
        /// What happens to a packet that no rule matches, in both chains. Default: allow.
        default: ChainDefault,
    }
}

mirror! {
    /// When a vassal is started again.
    Restart {
        /// After every end, after a failure, or never. Default: always.
        policy: RestartPolicy,
        /// The first delay; it doubles with each death in a row. Default: 1s.
        delay: Duration,
        /// The delay never grows beyond this. Default: 3m.
        max_delay: Duration,
        /// After so many deaths it is not started again before its file changes. Default: none.
        give_up: WordOrOne<Nothing, GiveUp>,
    }
}

mirror! {
    /// How many deaths are too many.
    GiveUp {
        /// This many deaths, 1 to 1000. Required.
        deaths: Between<1, 1000>,
        /// Within this time. Required.
        within: Duration,
    }
}

mirror! {
    /// A vassal is ready when a port of it can be connected to.
    ReadyTcp {
        /// The port, on the vassal's own address. Required.
        tcp: Between<1, 65535>,
    }
}

mirror! {
    /// How a vassal is asked to end.
    Stop {
        /// The signal, by name or number, or emperor (uWSGI's emperor protocol). Default: TERM; emperor, if it says
        /// that it is ready by that protocol.
        signal: WordOrOne<EmperorWord, Signal>,
        /// After this all of it is killed. Default: 30s.
        timeout: Duration,
    }
}

mirror! {
    /// What starts a vassal that waits for its first client, and when it waits for the next.
    OnDemand {
        /// The emperor listens here: an absolute path, or ADDRESS:PORT on the host. The command gets the listening
        /// socket as descriptors 0 and 3 (LISTEN_FDS).
        socket: Listen,
        /// Permissions of the socket at that path, in octal. Default: 0666.
        mode: Mode,
        /// Owner of the socket at that path, by name or number. Default: the emperor's user.
        owner: Text,
        /// Group of the socket at that path, by name or number. Default: the emperor's group.
        group: Text,
        /// The first packet to one of its addresses starts it; it waits until the vassal is there. Default: false.
        packet: bool,
        /// A vassal that nobody has used for so long is stopped and waited for again. Default: never.
        idle: Duration,
    }
}

mirror! {
    /// Programs that the emperor runs: each a list, or a map with `command` and `timeout`.
    Hooks {
        /// Its network is ready and its command has not begun; a failure is a failed start. Default: none.
        pre_start: ArgvOr<Hook>,
        /// Its command runs. Default: none.
        post_start: ArgvOr<Hook>,
        /// It is about to be asked to end; it is asked when the hook has ended. Default: none.
        pre_stop: ArgvOr<Hook>,
        /// It has ended, for whatever reason. Default: none.
        post_stop: ArgvOr<Hook>,
    }
}

mirror! {
    /// A program that the emperor runs.
    Hook {
        /// The program and its arguments, as a list; no shell reads it. Required.
        command: Argv,
        /// When it is killed and counts as failed. Default: 30s.
        timeout: Duration,
    }
}

mirror! {
    /// Where a vassal's output goes.
    Log {
        /// A file in the log directory, the emperor's own standard error (inherit), the system's journal, or nowhere.
        /// Default: file.
        to: LogTarget,
        /// A file of this size is rotated. Default: 10MiB.
        max_size: Size,
        /// How many rotated files are kept. Default: 3.
        keep: Between<0, 1000>,
    }
}

mirror! {
    /// The emperor's own file.
    Emperor {
        /// Directories that hold the vassals' files. Default: /etc/mini-emperor/vassals, if
        /// the emperor is root.
        vassals: OneOrMore<Text>,
        /// The router.
        router: Router,
        /// The way out.
        nat: Nat,
        /// Whether SIGTERM and SIGINT stop the vassals, or keep them running for the next emperor. Default: stop.
        on_exit: OnExit,
        /// Chains that every vassal's packets pass before its own.
        firewall: Firewall,
        /// Vassal keys: what holds where a vassal's file says nothing.
        defaults: Vassal,
        /// A vassal runs as the user and group that own its file, and may set only what is theirs to decide.
        /// Default: false.
        run_as_owner: bool,
        /// Where the lock, the state and the pipes of the running emperor live.
        run_directory: Text,
        /// Where it is kept which vassal had which address.
        state_directory: Text,
        /// Where the vassals' log files go.
        log_directory: Text,
    }
}

mirror! {
    /// The router.
    Router {
        /// Name of the uplink, the interface in the host's namespace. Default: emperor0.
        device: Device,
        /// Gateway address and subnet: one, or a list of one IPv4 and one IPv6. Default: 10.107.0.1/24.
        address: OneOrMore<Subnet>,
        /// MTU in bytes of the uplink, and default for every vassal. Default: 1500.
        mtu: Mtu,
        /// Number of router threads, 1 to 64; auto = one per core. Default: auto.
        workers: WordOrOne<Auto, Between<1, 64>>,
        /// How the threads read and write: io_uring (Linux 6.7), epoll, or the better one that is granted. Default: auto.
        engine: Engine,
        /// Whether frames cross whole. Default: auto.
        offload: Offload,
        /// Vassals cannot reach each other. Default: false.
        isolate: bool,
    }
}

mirror! {
    /// The way out of the host.
    Nat {
        /// Packets that leave the host get its own address. Default: true.
        masquerade: bool,
        /// Outgoing interfaces that do so: any, a name, or a list. Default: any.
        interfaces: WordOr<Any, Device>,
        /// Switch on forwarding in the host's kernel. Default: true.
        ip_forward: bool,
    }
}
