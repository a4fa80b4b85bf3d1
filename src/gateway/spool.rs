//! Takes in what `pi-gw send` left on the disk: at the start and when this process is poked.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::time::Duration;

use super::doors::Doors;
use crate::spool::{self, Left};

/// Between two tries to take in what could not be stored.
const PAUSE: Duration = Duration::from_secs(30);

pub struct Spool {
    dir: PathBuf,
    doors: Arc<Doors>,
    running: AtomicBool,
    /// Somebody left something since the directory was read.
    again: AtomicBool,
}

impl Spool {
    pub fn new(dir: PathBuf, doors: Arc<Doors>) -> Arc<Spool> {
        Arc::new(Spool { dir, doors, running: AtomicBool::new(false), again: AtomicBool::new(false) })
    }

    /// Looks, on a thread of its own that lives no longer than that takes.
    pub fn look(self: &Arc<Self>) {
        self.again.store(true, Ordering::SeqCst);
        if !self.dir.exists() || self.running.swap(true, Ordering::SeqCst) {
            return;
        }
        let this = self.clone();
        let thread = std::thread::Builder::new().name("spool".into()).stack_size(256 << 10);
        if let Err(e) = thread.spawn(move || this.run()) {
            self.running.store(false, Ordering::SeqCst);
            log::error!("{}: no thread to take in what was left: {e}", self.dir.display());
        }
    }

    fn run(&self) {
        loop {
            self.again.store(false, Ordering::SeqCst);
            let all = spool::left(&self.dir).unwrap_or_else(|e| {
                log::error!("{}: {e}", self.dir.display());
                Vec::new()
            });
            let stuck = all.into_iter().any(|left| !self.take(left));
            if stuck {
                std::thread::sleep(PAUSE);
                continue;
            }
            if !self.again.load(Ordering::SeqCst) {
                self.running.store(false, Ordering::SeqCst);
                // Left between the look and the word that nobody looks.
                if !self.again.load(Ordering::SeqCst) || self.running.swap(true, Ordering::SeqCst) {
                    return;
                }
            }
        }
    }

    /// False: not now; those behind it wait too, for the order's sake.
    fn take(&self, left: Left) -> bool {
        let taken = match &left.note {
            Ok(note) => self.doors.public.take_in(&left.id, note),
            Err(why) => Err((why.clone(), false)),
        };
        let name = left.id.clone();
        let gone = match taken {
            Ok(()) => left.done(),
            Err((why, true)) => {
                log::warn!("spool: {name} waits: {why}");
                return false;
            }
            Err((why, false)) => left.put_aside(&why).map(|aside| {
                log::error!("spool: nobody can send {name}: {why}; it is kept as {}", aside.display());
            }),
        };
        if let Err(e) = gone {
            log::error!("spool: {name}: {e}");
        }
        true
    }
}
