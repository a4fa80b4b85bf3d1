//! Crash points for tests: `PI_GW_CRASH=<n>` ends the process like `kill -9` at the n-th point it passes.
//! `PI_GW_HOLD=<file>` makes the mind stand still before a commit as long as that file exists.
//! `PI_GW_PANIC=<text>` makes the mind panic at a message with that text.
//! Debug builds only.

/// A place where a crash must be harmless.
#[inline]
pub fn point(_name: &str) {
    #[cfg(debug_assertions)]
    debug::point(_name);
}

/// A message that the mind cannot bear.
#[inline]
pub fn trip(_text: &str) {
    #[cfg(debug_assertions)]
    debug::trip(_text);
}

#[cfg(debug_assertions)]
mod debug {
    use std::io::Write;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::sync::OnceLock;

    static PASSED: AtomicU64 = AtomicU64::new(0);
    static AT: OnceLock<Option<u64>> = OnceLock::new();

    static PANIC: OnceLock<Option<String>> = OnceLock::new();

    pub fn trip(text: &str) {
        let poison = PANIC.get_or_init(|| std::env::var("PI_GW_PANIC").ok());
        if poison.as_ref().is_some_and(|p| text.contains(p)) {
            panic!("poison in a message");
        }
    }

    static HOLD: OnceLock<Option<std::path::PathBuf>> = OnceLock::new();

    pub fn point(name: &str) {
        let hold = HOLD.get_or_init(|| std::env::var_os("PI_GW_HOLD").map(Into::into));
        if let Some(file) = hold.as_ref().filter(|_| name == "before commit") {
            while file.exists() {
                std::thread::sleep(std::time::Duration::from_millis(2)); // the file's going is the only sign
            }
        }
        let at = *AT.get_or_init(|| std::env::var("PI_GW_CRASH").ok().and_then(|v| v.parse().ok()));
        let Some(at) = at else { return };
        let n = PASSED.fetch_add(1, Ordering::SeqCst) + 1;
        if n == at {
            let _ = writeln!(std::io::stderr(), "crash point {n}: {name}");
            let me = rustix::process::getpid();
            let _ = rustix::process::kill_process(me, rustix::process::Signal::KILL);
        }
    }
}
