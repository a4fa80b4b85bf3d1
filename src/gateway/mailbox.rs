//! The store as the page's mailbox.

use crate::http::{HistoryMessage, Mailbox};
use crate::store::Reader;

/// Reads history beside the mind.
pub struct StoreMailbox(pub Reader);

impl Mailbox for StoreMailbox {
    fn history(&self, session: &str, limit: usize, before: Option<&str>) -> Result<Vec<HistoryMessage>, String> {
        let lines = self.0.history(session, limit, before).map_err(|e| e.to_string())?;
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
            failed: l.failed,
        };
        Ok(lines.into_iter().map(message).collect())
    }
}
