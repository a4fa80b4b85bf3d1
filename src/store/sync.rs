//! The `sync` thread: `fdatasync` of the WAL, then whatever waited for it; checkpoints when idle (core.md 22.8).
//!
//! One call covers everything committed before it began; requests meanwhile wait together for the next.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError};
use rusqlite::Connection;

/// Above this the WAL is copied into the database even while writes go on, bytes. When SQLite begins the WAL
/// anew it cuts the file to this size: a longer file is one that has grown since.
pub const PASSIVE_AT: u64 = 1 << 20;
/// A checkpoint costs three syncs (one of them in core's next commit) and writes every page again: when idle
/// it is made for that many syncs at least.
const WORTH_IT: u32 = 32;
/// Above this a commit may have to wait for it, bytes.
const RESTART_AT: u64 = 16 << 20;
/// So long at most: a reader that stays in an old snapshot must not hold up core through us.
const RESTART_WAIT: Duration = Duration::from_millis(250);

/// Figures for metrics.
#[derive(Debug, Default)]
pub struct SyncStats {
    pub syncs: AtomicU64,
    pub failures: AtomicU64,
    pub last_us: AtomicU64,
    pub max_us: AtomicU64,
    pub sum_us: AtomicU64,
    pub wal_bytes: AtomicU64,
    /// Checkpoints that no commit waited for.
    pub passive: AtomicU64,
    /// Those that a commit may have waited for.
    pub restarts: AtomicU64,
}

/// What core hands over after a commit: effects to release, and how.
pub struct Covered<E> {
    pub effects: Vec<E>,
}

/// Runs until the sender is gone. `release` gets the effects of a covered commit, in order;
/// `trouble` is told after three failures in a row (and `None` when it works again), `quiet` two seconds after the start
/// and after the last write.
pub fn run<E>(
    store: &Path,
    work: &Receiver<Covered<E>>,
    stats: &Arc<SyncStats>,
    mut release: impl FnMut(Vec<E>),
    mut trouble: impl FnMut(Option<String>),
    quiet: impl Fn(),
) {
    let wal = wal_path(store);
    let mut side: Option<Connection> = None;
    let mut dirty = true; // written since it was quiet, or just started
    let mut synced = 0; // since the last checkpoint
    let mut copied = 0; // length of the log at the last checkpoint that was not made for idleness
    let mut failures = 0u32;
    if let Some(dir) = store.parent() {
        let _ = File::open(dir).and_then(|d| d.sync_all()); // the new files' names
    }
    loop {
        let idle = Duration::from_secs(2);
        let first =
            if dirty { work.recv_timeout(idle) } else { work.recv().map_err(|_| RecvTimeoutError::Disconnected) };
        let first = match first {
            Ok(c) => c,
            Err(RecvTimeoutError::Timeout) => {
                if synced >= WORTH_IT {
                    checkpoint(store, &mut side, "PASSIVE");
                    synced = 0;
                }
                side = None; // idle: give its cache back
                dirty = false;
                quiet();
                continue;
            }
            Err(RecvTimeoutError::Disconnected) => break,
        };
        let mut covered = vec![first];
        covered.extend(work.try_iter());
        dirty = true;
        synced += 1;
        loop {
            let begun = Instant::now();
            match File::open(&wal).and_then(|f| f.sync_data()) {
                Ok(()) => {
                    let us = begun.elapsed().as_micros() as u64;
                    stats.syncs.fetch_add(1, Relaxed);
                    stats.last_us.store(us, Relaxed);
                    stats.max_us.fetch_max(us, Relaxed);
                    stats.sum_us.fetch_add(us, Relaxed);
                    if us > 2_000_000 {
                        log::warn!("the disk took {} ms for one sync", us / 1000);
                    }
                    if failures >= 3 {
                        trouble(None);
                    }
                    failures = 0;
                    break;
                }
                Err(e) => {
                    failures += 1;
                    stats.failures.fetch_add(1, Relaxed);
                    log::error!("sync of {} failed: {e}; trying again", wal.display());
                    if failures == 3 {
                        trouble(Some(format!("the disk does not take writes: {e}")));
                    }
                    // Pages that failed once may be dropped by the kernel: write them again through the database.
                    checkpoint(store, &mut side, "FULL");
                    std::thread::sleep(Duration::from_secs(1));
                    covered.extend(work.try_iter());
                }
            }
        }
        for c in covered {
            release(c.effects);
        }
        let size = wal.metadata().map_or(0, |m| m.len());
        stats.wal_bytes.store(size, Relaxed);
        copied = copied.min(size); // it began anew and was cut
                                   // While somebody writes without a pause, it grows on: not again for every message.
        let mode = match size {
            s if s > RESTART_AT && s >= copied + PASSIVE_AT => "RESTART",
            s if s > RESTART_AT => continue,
            s if s > PASSIVE_AT && s >= copied + PASSIVE_AT / 4 => "PASSIVE",
            _ => continue,
        };
        let counter = if mode == "PASSIVE" { &stats.passive } else { &stats.restarts };
        counter.fetch_add(1, Relaxed);
        checkpoint(store, &mut side, mode);
        copied = size;
        synced = 0;
    }
    checkpoint(store, &mut side, "TRUNCATE");
}

/// SQLite's write-ahead log beside the store.
pub fn wal_path(store: &Path) -> PathBuf {
    let mut name = store.as_os_str().to_owned();
    name.push("-wal");
    name.into()
}

fn checkpoint(store: &Path, side: &mut Option<Connection>, mode: &str) {
    let begun = Instant::now();
    let db = match side {
        Some(db) => db,
        None => match Connection::open(store) {
            Ok(db) => {
                let _ = db.busy_timeout(RESTART_WAIT);
                let _ = db.pragma_update(None, "cache_size", -64);
                let _ = db.pragma_update(None, "wal_autocheckpoint", 0);
                let _ = db.pragma_update(None, "synchronous", "NORMAL");
                side.insert(db)
            }
            Err(e) => return log::warn!("checkpoint: {e}"),
        },
    };
    if let Err(e) = db.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |_| Ok(())) {
        log::warn!("checkpoint: {e}");
    }
    log::trace!("checkpoint {mode} took {} µs", begun.elapsed().as_micros());
}
