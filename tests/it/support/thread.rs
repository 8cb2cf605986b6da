//! Threads that are less than the rest of the process: of another user, or without a system call.
//!
//! On Linux both belong to a thread, so that no other test is touched and no child process is needed.

use std::collections::BTreeMap;

use rustix::process::{Gid, Uid};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};

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
            let filter = SeccompFilter::new(
                BTreeMap::from([(openat2, Vec::new())]),
                SeccompAction::Allow,
                SeccompAction::Errno(1),
                std::env::consts::ARCH.try_into().unwrap(),
            );
            let program: BpfProgram = filter.unwrap().try_into().unwrap();
            seccompiler::apply_filter(&program).unwrap();
            assert_eq!(openat2_answers(), Err(rustix::io::Errno::PERM));
        },
        work,
    )
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
