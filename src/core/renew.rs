//! Reload (core.md 17): pi reads its extensions, skills and prompts anew.

use super::session::Session;
use super::{State, Todo};
use crate::message::*;
use crate::store::{inbox_state as st, NewInbox, Result};

/// What pi's own command for it is called, where an extension brings one.
const NAME: &str = "reload";

impl State {
    /// A pi that knows how is told to, in a turn of its own; another one is ended after the running turn, so that the
    /// next message starts a fresh one on the same file. True: it is told to.
    pub(super) fn reload_pi(&mut self, s: &mut Session) -> Result<bool> {
        let knows = self.pi_commands.iter().flatten().any(|(name, _)| name == NAME);
        if !knows || self.live_proc(s).is_none() {
            self.retire_proc(s); // also none at all is as good as a fresh one
            return Ok(false);
        }
        let source = s.row.last.clone().unwrap_or_else(|| Source { channel: "webchat".into(), ..Source::default() });
        let row = self.store.add_inbox(&NewInbox {
            dkey: None,
            dkey2: None,
            kind: "renew", // nobody said it: it is no part of the conversation
            session: &s.key,
            agent: &s.row.agent,
            state: st::QUEUED,
            prio: self.priority(&source),
            at: self.now.wall,
            clock_ok: self.clock_confirmed,
            source: &source,
            text: &format!("/{NAME}"),
            images: &[],
            body_hash: None,
            solo: Some(&Solo::default()),
            files: &[],
            group: None,
        })?;
        s.queue.extend(self.store.inbox(row)?);
        self.todo.push_back(Todo::Kick(s.key.clone()));
        Ok(true)
    }
}
