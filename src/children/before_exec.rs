//! What a child does between fork and exec. The only unsafe code around processes.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Children die before the gateway when memory runs out.
const OOM_SCORE: &[u8] = b"500";

/// The child gets SIGTERM when the spawning thread dies, an empty signal mask, no descriptor but its three
/// pipes, and is the first to go when memory runs out.
#[allow(unsafe_code)]
pub(super) fn prepare(command: &mut Command) {
    let parent = std::process::id();
    let hook = move || {
        // SAFETY: only system calls that are async-signal-safe, on values of this stack frame; nothing allocates.
        unsafe {
            if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM, 0, 0, 0) != 0 {
                return Err(io::Error::last_os_error());
            }
            if libc::getppid().unsigned_abs() != parent {
                libc::_exit(1); // the gateway died in between: nobody will ever send the signal
            }
            // A blocked signal is inherited and then does nothing: pi could not be stopped.
            let mut none: libc::sigset_t = std::mem::zeroed();
            libc::sigemptyset(&mut none);
            libc::sigprocmask(libc::SIG_SETMASK, &none, std::ptr::null_mut());
            let score = libc::open(c"/proc/self/oom_score_adj".as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC);
            if score >= 0 {
                libc::write(score, OOM_SCORE.as_ptr().cast(), OOM_SCORE.len());
                libc::close(score);
            }
            // Whatever a library opened without O_CLOEXEC. Older kernels do not know the call; then that is that.
            libc::syscall(libc::SYS_close_range, 3u32, u32::MAX, libc::CLOSE_RANGE_CLOEXEC);
        }
        Ok(())
    };
    // SAFETY: the hook keeps to what is allowed between fork and exec, see above.
    unsafe { command.pre_exec(hook) };
}
