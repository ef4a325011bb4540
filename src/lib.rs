//! mini-Emperor: supervises programs in network namespaces of their own and routes their packets.
//!
//! # Theory of operation
//!
//! An operator puts YAML files into a directory. Each file defines a **vassal**: a program, whom it runs as,
//! and its place in a network. The **emperor** keeps exactly those programs alive, each in namespaces of its
//! own; the **router** holds the other end of each vassal's tun and moves packets between vassals and, over
//! the **uplink**, to the host and the world. Both live in one process.
//!
//! ```text
//!   file ──▶ host::watch ──▶ config ──▶ emperor ──▶ host::perform ──▶ clone, tun, port, gate ──▶ command
//!            (bytes)         (meaning)  (who should  (what to do)       host::life, host::init
//!                                        be alive)
//!
//!   tun ──▶ host::workers ──▶ router::forward ──▶ verdict ──▶ host::workers ──▶ another tun
//!           (bytes)           (parse, pin, chains, lookup)     (write, count)
//! ```
//!
//! The two never meet but in `host`, which tells the router's [`Fabric`](router::Fabric) who is attached
//! with which addresses and rules, and hands the compiled [`Tables`](router::Tables) to the workers.
//!
//! # The rooms
//!
//! | room | what it knows | what it never does |
//! |---|---|---|
//! | [`cli`] | what the operator typed | anything that lasts |
//! | [`config`] | what a file says, means, and lacks | look at the host; it asks a [`World`](config::World) |
//! | [`emperor`] | who should be alive, and when to try again | touch a process |
//! | [`packet`] | what bytes mean | decide |
//! | [`router`] | where a packet goes, and why not | read or write one |
//! | [`host`] | how to do it: the only I/O | decide |
//! | [`sys`] | every unsafe line | anything else |
//!
//! Dependencies point one way: `cli → host → {emperor, router, packet, config, sys}`, `emperor → config`,
//! `router → {config, packet}`. `tests/layering.rs` holds these walls.
//!
//! # Invariants
//!
//! - **The network is there before the first instruction.** The child waits at a gate; its plan comes
//!   through the gate, and only after tun, addresses, routes and the router's port exist.
//! - **An address belongs to its port.** Pins come from definitions. Nothing is learned from traffic, so there
//!   is nothing to poison, and no moment at which an address is free for the taking.
//! - **Never two processes for one vassal.** Each process is a `Life` with a number of its own; a state
//!   holds at most one, and news of any other is not heard.
//! - **A whole tree dies at once**: with process 1 of its pid namespace, or by `cgroup.kill`.
//! - **A bad packet ends itself, a bad device its vassal, a bad file nothing.** Packets end in a verdict with
//!   a counted reason; a refused edit leaves the vassal as it was.
//! - **A vassal's life is its own.** Its emperor can die, and be another binary a moment later; what another one
//!   needs is written down before the vassal's first instruction, in one record a vassal ([`host::state`]).
//! - **Judge everything, then touch anything.** A file is checked whole, across files too, before a process
//!   is asked to do so much as reload.
//! - **No clock, lock or allocation on the way of a packet.** Time is read once a wake-up, policy is swapped
//!   whole, devices are closed by a thread that does nothing else.
//!
//! # Decisions
//!
//! - **A command that is process 1 of its pid namespace is signalled as if it were any other.** The kernel
//!   gives process 1 no signal that it has no handler for; a plain `sleep` would sit out the whole stop timeout.
//!   The emperor looks whether a handler exists ([`host::ask`]) and where there is none does what the
//!   signal's default does: end it, and with it the tree.
//! - **Whether a file is being written is asked of the kernel** (a read lease, `fcntl(2)`), not guessed from
//!   a delay. A file counts as removed only after 150 ms, because editors rename it away for a moment.
//! - **A vassal is heard where only it can speak**: the socket of `sd_notify(3)` is an abstract one inside its own
//!   network namespace ([`host::notify`]), and so is uWSGI's control socket, which is a datagram pair because that
//!   has no end when an emperor dies ([`host::channel`]).
//! - **Time that a vassal asks for is bounded where others wait for it**: a stop can be extended to ten times its timeout,
//!   a start for ever.
//! - **An edit holds a running command only to what it was told**: a watchdog that is new or shorter is the next start's.
//! - **A process keeps its addresses to its end.** An edit that moves a vassal does not free them before.
//! - **A tree that was killed and is still there is killed again**, every five seconds.
//! - **SIGURG starts what waits or has failed, and nothing that has ended well.**
//! - **`ended` is a state beside `failed`**: a program that exited with 0 under a policy that does not start
//!   it again has not failed.
//! - **Tuns are persistent.** Unregistering one costs the kernel milliseconds of waiting; a persistent tun goes
//!   with its namespace, which the kernel sweeps many at a time.
//! - **Multicast from a vassal is counted before the pin check.** A fresh kernel's router solicitation has a
//!   link-local source; it is noise and not an attempt at spoofing.
//! - **A drop is charged to whose policy it was**: to the sender up to the route lookup, to the receiver after.
//! - **IPv4 packets that may be fragmented are delivered whole beyond the receiver's MTU**: a tun takes them, and
//!   nobody is told to cut what arrives anyway.
//! - **A super-frame that the kernel refuses is cut in software, that one frame and no more.** A vassal that crafts frames
//!   which its receiver's kernel does not take thereby slows itself, not the receiver. Whether this kernel keeps
//!   super-frames intact at all is tested before the first tun is opened ([`host::selftest`]).
//! - **A router thread's io_uring can do four things** (read, write, poll, cancel): it passes by the seccomp filter, so it
//!   is restricted itself before its first request.
//! - **A worker looks on for 50 us after traffic before it sleeps**, and gives way to whoever wants its core. While any
//!   of them moves a stream nobody looks on: the cores are wanted by its ends, and what gathers is carried together.
//! - **ICMP answers come from the gateway**, as from any first hop.
//! - **Switching on IPv6 forwarding makes interfaces that learn their routes keep learning them**
//!   (`accept_ra=2`); otherwise the host would lose its own way out.
//! - **Forwarding stays on after the emperor's end**: others may have come to rely on it. It is said in the log
//!   when it is switched on.
//! - **Without a pid namespace a vassal needs a version 2 cgroup** to be killed whole. Where there is none its
//!   start is refused, with the reason.
//! - **Limits of a tree are cgroups, and there is none without a limit** ([`host::limits`]). In version 1 a hierarchy is
//!   entered only for a limit that needs it. What the kernel cannot hold a vassal to is refused, not left out.
//! - **What is over a bandwidth is dropped.** To hold the sender back by not reading its tun would fill the tun's queue:
//!   the kernel takes a packet off its socket's account as it enters there. The bucket may go into debt, or a burst
//!   below a super-frame would let none pass.
//! - **What waits for a vassal that sleeps waits at the worker that brought it**, so no lock is needed and no flow is
//!   overtaken; it was judged when it came and is not judged again. New connections wait until the vassal is ready, all
//!   else may be what it needs to get ready.
//! - **Whether a socket is used is seen by the emperor's own copy of it**: a poll of io_uring keeps that somebody came,
//!   whoever accepts him, until the emperor looks ([`sys::arrivals`]). epoll would ask again and find nobody. So neither a
//!   busy vassal nor an idle one wakes the emperor between its looks.
//! - **A vassal that is told to stop could still accept, and nothing prevents that**: the socket is the vassal's as well. Whom
//!   it has accepted it is to answer; whom it has not, the next one does.
//! - **A vassal with CAP_NET_ADMIN may change its interface, and the operator is told**; nothing is set back, because
//!   it was given that right. The router's pins do not depend on what is set inside.
//! - **Output that cannot be written is dropped, counted and marked**, after a second of patience where room may
//!   come: a vassal that waits for a terminal or a disk is as dead as one that crashed. A file has a
//!   chunk of it whole or not at all, so that the count is exact. One that hangs is left to the thread that writes it, and
//!   others write the others' ([`host::logs`]): a thread in the kernel cannot be called back.
//! - **An owner's file is judged by its descriptor, its way by the directories that were walked** ([`host::owner`]).
//!   Group and others may write to neither, not even a group of one: whether a group is private cannot be known. What
//!   an owner may write is a list of keys; a key that is in no list is the operator's.
//! - **In a user namespace a vassal is root and nobody but its user** ([`config::namespaces`], [`host::userns`]). More ids
//!   than its own are mapped only where the host has set them aside for that user: any other range would be somebody
//!   else's. `capabilities` mean what they always do, so that being root gives none that the definition does not name.
//! - **There is one way to go on** ([`host::adopt`]), after a crash, a restart that kept the vassals, and an upgrade.
//!   It trusts nothing that can be looked at: a pid with the time its process began, a namespace and an interface
//!   by their numbers. What differs is ended and started anew.
//! - **No parent-death signal ties a vassal to its emperor.** A child that has not been told what to run ends when
//!   its gate closes, which the kernel sees to; one that has been told is in a record.
//! - **A gate opens only for what is on record**, so a `kill -9` at any moment leaves no process that the next
//!   emperor does not know. What can be lost: counters of the last five seconds; an unfinished line on its way to a
//!   terminal; a chunk of output that a disk has kept for more than a second; and the output of a vassal that ends while there is no emperor, because a pipe lives only as long as
//!   somebody holds it. What can be repeated: the chunk of output (4 KiB) that was being written to a log file; and
//!   a command that was reached in the moment of the kill and ended unseen, which counts as not yet started.
//! - **What a `pre_start` has made is taken back by a `post_stop` that ran to its end** ([`host::hooks`]). The call is owed
//!   from before the record of the life changes until the hook has ended or had its time, and an emperor owes what the one
//!   before it did. So it can be called twice, by two emperors, and a hook is not asked whether it has begun: a life has
//!   got as far as its hooks when its network is there, and its `post_stop` is called even if its `pre_start` was not.
//!   Only of a record that cannot be read no `post_stop` is called, as nobody knows which; and none of another boot, which
//!   has left nothing to take back that the next could reach.
//! - **The record holds the definition as it was judged**, not the file's text: under other defaults the same
//!   text means something else, and the process was started with what it meant then.
//! - **An upgrade keeps the tuns open over the exec**, so packets wait in them; after a crash they are lost, and TCP
//!   sends them again. Everything else takes the way of the crash.
//! - **Addresses given by `auto` are remembered in the state directory**, which outlives the emperor; the run
//!   directory does not.

pub mod cli;
pub mod config;
pub mod emperor;
pub mod host;
pub mod packet;
pub mod router;
pub mod sys;
