//! The text of a row becomes the messages that the platform takes: asked of hands, taken in here (core.md 22.3).
//!
//! Nothing is sent here; what is rendered is `ready`, and the lane goes on with it.

use super::{Due, State, Todo};
use crate::message::*;
use crate::store::{OutboxRow, Result, EDIT, TEXT};

/// Something has to come of the work of rendering in that time.
const RENDER_WAIT: u64 = 30_000;

impl State {
    /// Has the head's text rendered.
    pub(super) fn render(&mut self, target: &Target, row: &OutboxRow) -> Result<()> {
        let now = self.now.mono;
        let lane = self.lanes.entry(target.clone()).or_default();
        if let Some((job, until)) = lane.rendering {
            if now < until {
                self.arm(Due::Lane(target.clone()), until);
                return Ok(());
            }
            self.renders.remove(&job);
        }
        let id = self.next_job;
        self.next_job += 1;
        if let Some(lane) = self.lanes.get_mut(target) {
            lane.rendering = Some((id, now + RENDER_WAIT));
        }
        self.renders.insert(id, (target.clone(), row.id));
        let cwd = self.workspace_of(row)?;
        let job = Job::Render { target: target.clone(), content: Box::new(row.content.clone()), cwd };
        // Its own hands: those of a session may be busy.
        let whose = format!("lane:{}:{}:{}", target.channel, target.account, target.chat);
        self.emit(Effect::Job { id, session: whose.into(), job: Box::new(job), durable: false });
        self.arm(Due::Lane(target.clone()), now + RENDER_WAIT);
        Ok(())
    }

    /// Where files lie that an answer names. Others name none: what tools send is told by itself.
    fn workspace_of(&self, row: &OutboxRow) -> Result<Option<std::path::PathBuf>> {
        let Some(segment) = row.segment.filter(|_| row.kind == TEXT) else { return Ok(None) };
        let Some((key, _, _)) = self.store.segment_said(segment)? else { return Ok(None) };
        if self.store.origin_of(segment)?.as_deref() == Some("tool") {
            return Ok(None);
        }
        Ok(self.store.session(&key)?.map(|s| self.home(&s).cwd))
    }

    /// True if that job was a rendering.
    pub(super) fn on_rendered(&mut self, id: JobId, done: &JobDone) -> Result<bool> {
        let Some((target, row)) = self.renders.remove(&id) else { return Ok(false) };
        if let Some(lane) = self.lanes.get_mut(&target) {
            lane.rendering = None;
        }
        let head = self.store.outbox_head(&target)?.filter(|h| h.id == row && h.state == "raw");
        let Some(head) = head else {
            self.todo.push_back(Todo::Lane(target)); // it was taken back; another may wait
            return Ok(true);
        };
        let mut parts = match done {
            JobDone::Rendered(parts) => parts.clone(),
            // Better without form than not at all.
            _ => vec![Content { plain: None, ..head.content.clone() }],
        };
        if head.kind == EDIT && parts.len() != 1 && self.store.was_asked_for(head.id)? {
            let why = Some("the text does not fit into one message");
            self.store.set_outbox(head.id, "failed", head.attempts, None, why)?;
            self.todo.push_back(Todo::Lane(target));
            return Ok(true);
        }
        let reply_to = &head.content.reply_to;
        let all = self.rules.account_of(&target).is_some_and(|a| a.reply_to == crate::rules::ReplyTo::All);
        for part in parts.iter_mut().take(if all { usize::MAX } else { 1 }) {
            part.reply_to = reply_to.clone();
        }
        for part in &mut parts {
            part.silent = head.content.silent;
        }
        if let Some(first) = parts.first_mut() {
            first.buttons = head.content.buttons.clone();
            first.wants_reply = head.content.wants_reply;
        }
        self.store.set_rendered(&head, &parts)?;
        if let Some(segment) = head.segment {
            let texts = parts.iter().take_while(|part| part.file.is_none()).count();
            self.remove_surplus(segment, texts as i64)?;
        }
        self.todo.push_back(Todo::Lane(target));
        Ok(true)
    }
}
