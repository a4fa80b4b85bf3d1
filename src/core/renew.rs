//! Reload (core.md 17): pi reads its extensions, skills and prompts anew.

use super::session::Session;
use super::{State, Todo};
use crate::message::*;
use crate::store::{NewInbox, Result};

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
        // Nobody said it: it is no part of the conversation.
        let row = self.store.add_inbox(&NewInbox {
            agent: &s.row.agent,
            prio: self.priority(&source),
            text: &format!("/{NAME}"),
            solo: Some(&Solo::default()),
            ..self.incoming("renew", &s.key, &source)
        })?;
        s.queue.extend(self.store.inbox(row)?);
        self.todo.push_back(Todo::Kick(s.key.clone()));
        Ok(true)
    }
}
