//! What a router thread gives up before it sees its first packet.
//!
//! The thread handles bytes that vassals wrote. It needs to read, write, wait and free memory; it needs no
//! capability and can open, map for execution, signal or start nothing. Nor does it take signals: whoever catches one hands
//! it on by a system call that this thread may not make, so it would be lost.

use std::collections::BTreeMap;

use caps::{CapSet, CapsHashSet};
use nix::errno::Errno;
use nix::libc;
use nix::sys::signal::SigSet;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};

use super::error::{Doing, HostError};

/// The system calls of the packet loop (either engine's; a ring is restricted by itself, see `sys::uring`), of the allocator (old tables are freed here) and of a thread's end.
const ALLOWED: &[i64] = &[
    libc::SYS_read,
    libc::SYS_write,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_epoll_wait,
    libc::SYS_epoll_pwait,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_epoll_ctl,
    libc::SYS_futex,
    libc::SYS_close,
    libc::SYS_clock_gettime,
    libc::SYS_sched_yield,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_brk,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_rseq,
    libc::SYS_set_robust_list,
    libc::SYS_restart_syscall,
    libc::SYS_exit,
];

/// Confines the calling thread for good.
pub fn router_thread() -> Result<(), HostError> {
    SigSet::all()
        .thread_block()
        .map_err(|errno| HostError::new(Doing::Confine, "a router thread", errno))?;
    drop_capabilities().map_err(|errno| HostError::new(Doing::Confine, "a router thread", errno))?;
    let program = filter().ok_or_else(|| HostError::new(Doing::Confine, "a router thread", Errno::EINVAL))?;
    seccompiler::apply_filter(&program)
        .map_err(|_| HostError::new(Doing::Confine, "a router thread", Errno::last()))
}

fn drop_capabilities() -> Result<(), Errno> {
    for set in [CapSet::Inheritable, CapSet::Effective, CapSet::Permitted] {
        caps::set(None, set, &CapsHashSet::new()).map_err(|_| Errno::last())?;
    }
    nix::sys::prctl::set_no_new_privs()
}

fn filter() -> Option<BpfProgram> {
    let mut rules: BTreeMap<i64, Vec<_>> = ALLOWED.iter().map(|call| (*call, Vec::new())).collect();
    let only = |argument, operator, value| {
        let condition = SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator, value).ok()?;
        Some(vec![SeccompRule::new(vec![condition]).ok()?])
    };
    let not_executable = SeccompCmpOp::MaskedEq(u64::try_from(libc::PROT_EXEC).ok()?);
    rules.insert(libc::SYS_mmap, only(2, not_executable.clone(), 0)?);
    rules.insert(libc::SYS_mprotect, only(2, not_executable, 0)?);
    // The standard library asks whether a descriptor that it closes was open.
    let get_flags = u64::try_from(libc::F_GETFD).ok()?;
    rules.insert(libc::SYS_fcntl, only(1, SeccompCmpOp::Eq, get_flags)?);
    let arch = std::env::consts::ARCH.try_into().ok()?;
    // Refused, not killed: the death of this process would be the death of every vassal.
    let refused = SeccompAction::Errno(Errno::EPERM as u32);
    SeccompFilter::new(rules, refused, SeccompAction::Allow, arch)
        .ok()?
        .try_into()
        .ok()
}
