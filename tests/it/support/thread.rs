//! Threads that are less than the rest of the process: of another user, or without a system call, or with a bad disk.
//!
//! On Linux both belong to a thread, so that no other test is touched and no child process is needed.

use std::collections::BTreeMap;

use rustix::process::{Gid, Uid};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};

/// A user that owns nothing.
const NOBODY: u32 = 65534;

/// Runs `work` in a thread that is not root. Who is not root already stays who they are.
pub(crate) fn unprivileged<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    apart(
        || {
            if rustix::process::geteuid().is_root() {
                rustix::thread::set_thread_groups(&[]).unwrap();
                let (user, group) = (Uid::from_raw(NOBODY), Gid::from_raw(NOBODY));
                rustix::thread::set_thread_res_gid(group, group, group).unwrap();
                rustix::thread::set_thread_res_uid(user, user, user).unwrap();
            }
        },
        work,
    )
}

/// Runs `work` in a thread whose sandbox knows no openat2.
///
/// It says EPERM, as container runtimes of before Linux 5.6 do.
pub(crate) fn without_openat2<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    apart(
        || {
            let openat2 = 437; // on every architecture
            refuse(openat2, Vec::new(), 1);
            assert_eq!(openat2_answers(), Err(rustix::io::Errno::PERM));
        },
        work,
    )
}

/// Runs `work` in a thread, and in threads of its own, for which every file has a bad disk from this offset on: EIO.
pub(crate) fn with_read_errors<T: Send>(offset: u64, work: impl FnOnce() -> T + Send) -> T {
    let pread64 = if cfg!(target_arch = "x86_64") { 17 } else { 67 };
    let beyond = SeccompCondition::new(3, SeccompCmpArgLen::Qword, SeccompCmpOp::Ge, offset).unwrap();
    apart(|| refuse(pread64, vec![SeccompRule::new(vec![beyond]).unwrap()], 5), work)
}

/// From now on this system call of this thread ends with this error, under any of these rules if there are some.
fn refuse(call: i64, rules: Vec<SeccompRule>, error: u32) {
    let (allow, refuse) = (SeccompAction::Allow, SeccompAction::Errno(error));
    let filter =
        SeccompFilter::new(BTreeMap::from([(call, rules)]), allow, refuse, std::env::consts::ARCH.try_into().unwrap());
    let program: BpfProgram = filter.unwrap().try_into().unwrap();
    seccompiler::apply_filter(&program).unwrap();
}

/// What openat2 says to a question that any kernel that has it can answer.
pub(crate) fn openat2_answers() -> rustix::io::Result<()> {
    use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
    rustix::fs::openat2(CWD, ".", OFlags::PATH, Mode::empty(), ResolveFlags::BENEATH).map(drop)
}

fn apart<T: Send>(become_less: impl FnOnce() + Send, work: impl FnOnce() -> T + Send) -> T {
    let run = || {
        become_less();
        work()
    };
    std::thread::scope(|scope| scope.spawn(run).join().unwrap())
}
