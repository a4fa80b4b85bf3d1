//! The store as the page's mailbox.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::Arc;

use crate::core::run::LoopStats;
use crate::http::{HistoryMessage, Mailbox};
use crate::store::sync::SyncStats;
use crate::store::Reader;

/// Reads history beside the mind, and knows what its writers count.
pub struct StoreMailbox {
    pub reader: Reader,
    pub sync: Arc<SyncStats>,
    pub core: Arc<LoopStats>,
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

    fn figures(&self) -> Vec<(&'static str, bool, f64)> {
        let n = |value: &AtomicU64| value.load(Relaxed) as f64;
        let seconds = |us: &AtomicU64| n(us) / 1e6;
        vec![
            ("sync_total", true, n(&self.sync.syncs)),
            ("sync_failures_total", true, n(&self.sync.failures)),
            ("sync_last_seconds", false, seconds(&self.sync.last_us)),
            ("sync_longest_seconds", false, seconds(&self.sync.max_us)),
            ("wal_bytes", false, n(&self.sync.wal_bytes)),
            ("core_batches_total", true, n(&self.core.batches)),
            ("core_events_total", true, n(&self.core.events)),
            ("core_longest_step_seconds", false, seconds(&self.core.longest_step_us)),
        ]
    }
}
