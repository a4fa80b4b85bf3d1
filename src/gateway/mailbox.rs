//! The store as the page's mailbox, with what pi's session files add to it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::Arc;

use serde_json::Value;

use super::logging::Log;
use crate::agent::session_parts::{self, Place, Stretch};
use crate::core::run::LoopStats;
use crate::http::{HistoryMessage, Mailbox};
use crate::store::sync::SyncStats;
use crate::store::{Reader, Trace};

/// Most that is read of session files for one page of a history, bytes.
const READ: u64 = 16 << 20;

/// Reads history beside the mind, and knows what its writers count.
pub struct StoreMailbox {
    pub reader: Reader,
    pub sync: Arc<SyncStats>,
    pub core: Arc<LoopStats>,
    pub log: Log,
}

impl Mailbox for StoreMailbox {
    fn history(&self, session: &str, limit: usize, before: Option<&str>) -> Result<Vec<HistoryMessage>, String> {
        let lines = self.reader.history(session, limit, before).map_err(|e| e.to_string())?;
        let message = |l: crate::store::HistoryLine| HistoryMessage {
            id: l.id,
            role: match (l.user, l.notice) {
                (true, _) => "user",
                (false, true) => "notice",
                (false, false) => "assistant",
            }
            .to_owned(),
            content: l.text,
            run_id: l.run,
            at: l.at,
            key: l.key,
            images: l.images,
            file: l.file,
            failed: l.failed,
        };
        Ok(lines.into_iter().map(message).collect())
    }

    /// The store is the source of what was said and of its ids; it knows where in which file a turn stands. So nothing
    /// more is written for this, and turns of before an update have their parts too.
    fn parts(&self, ids: &[&str], results: bool) -> Vec<Vec<Value>> {
        let mut left = READ;
        let mut turns: HashMap<i64, Vec<Stretch>> = HashMap::new();
        let mut of = |id: &&str| -> Vec<Value> {
            let trace = match self.reader.trace(id) {
                Ok(Some(trace)) => trace,
                Ok(None) => return Vec::new(),
                Err(e) => {
                    log::warn!("the turn of {id}: {e}");
                    return Vec::new();
                }
            };
            let stretches = turns.entry(trace.turn).or_insert_with(|| stretches(&trace, results, &mut left));
            let mine = stretches.iter_mut().filter(|s| s.n <= trace.last && trace.after.is_none_or(|n| s.n > n));
            mine.flat_map(|s| std::mem::take(&mut s.parts)).collect()
        };
        // The newest first: they get theirs, whatever the others cost.
        let mut all: Vec<Vec<Value>> = ids.iter().rev().map(&mut of).collect();
        all.reverse();
        all
    }

    fn figures(&self) -> Vec<(&'static str, bool, f64)> {
        let n = |value: &AtomicU64| value.load(Relaxed) as f64;
        let seconds = |us: &AtomicU64| n(us) / 1e6;
        vec![
            ("sync_total", true, n(&self.sync.syncs)),
            ("sync_failures_total", true, n(&self.sync.failures)),
            ("sync_last_seconds", false, seconds(&self.sync.last_us)),
            ("sync_duration_seconds_sum", true, seconds(&self.sync.sum_us)),
            ("sync_duration_seconds_count", true, n(&self.sync.syncs)),
            ("sync_duration_seconds_max", false, seconds(&self.sync.max_us)),
            ("log_dropped_total", true, self.log.dropped() as f64),
            ("wal_bytes", false, n(&self.sync.wal_bytes)),
            ("core_batches_total", true, n(&self.core.batches)),
            ("core_events_total", true, n(&self.core.events)),
            ("core_step_seconds_max", false, seconds(&self.core.longest_step_us)),
        ]
    }
}

fn stretches(trace: &Trace, results: bool, left: &mut u64) -> Vec<Stretch> {
    let Trace { file, file_len, marker, plain, .. } = trace;
    let place = Place { file, from: *file_len, marker, plain: *plain };
    session_parts::read(&place, results, left).unwrap_or_else(|e| {
        log::warn!("{}: {e}", file.display());
        Vec::new()
    })
}
