//! What became of a row's call, and what the lane does then (core.md 22.3).
//!
//! Nothing is called here: the lane is asked to go on.

use super::chats::{is_large, says};
use super::lanes::AGAIN;
use super::{State, Todo};
use crate::message::*;
use crate::store::{is_act, Result, DELETE, EDIT, MEDIA};

const BACKOFF_MAX: u64 = 300_000;

enum Wait {
    None,
    Given(u64),
    Backoff,
}

impl State {
    pub(super) fn on_outcome(&mut self, call: CallId, outcome: Outcome) -> Result<()> {
        if let CallId::Passing(id) = call {
            return self.on_passing(id, outcome);
        }
        let Some(target) = self.lanes.iter().find(|(_, l)| l.flying == Some(call)).map(|(t, _)| t.clone()) else {
            return Ok(()); // a repeat, or of a lane that was rebuilt: the store decides
        };
        // Not always the head: what another id of the chat was owed may have come before it meanwhile.
        let CallId::Row(row) = call else { return Ok(()) };
        let Some(head) = self.store.outbox_row(row)? else {
            self.lane_rests(&target);
            return Ok(());
        };
        let edit = head.how.as_deref() == Some("edit");
        let repeat_safe = edit || self.repeat_safe(&target);
        let mut wait = Wait::None;
        let outcome = match outcome {
            Outcome::Reformat => match head.content.plain.clone() {
                Some(text) => {
                    let content = Content { text, plain: None, ..head.content.clone() };
                    self.store.set_outbox_body(head.id, &content)?;
                    self.store.set_outbox(head.id, "ready", head.attempts, None, Some("formatting refused"))?;
                    self.lane_rests(&target);
                    return Ok(());
                }
                None => Outcome::Refused { why: "refused even without formatting".into() },
            },
            outcome => outcome,
        };
        let (state, id, error) = match outcome {
            Outcome::Sent { id } => ("sent", Some(id), None),
            Outcome::SentAll { ids } => {
                let mut ids = ids.into_iter();
                let first = ids.next();
                self.store.add_sent_along(head.id, ids)?;
                ("sent", first, None)
            }
            Outcome::Shown { id, .. } => ("sent", id, None),
            Outcome::Grown { .. } | Outcome::Reformat => ("ready", None, None), // of no row: a caller's mistake; seen above
            Outcome::RateLimited { account_wide, ms } => {
                self.limited(&target, account_wide, ms);
                ("ready", None, Some("rate limited".to_owned()))
            }
            Outcome::Retry { why } => {
                wait = Wait::Backoff;
                ("ready", None, Some(why))
            }
            Outcome::Ambiguous { why } if repeat_safe => {
                wait = Wait::Backoff;
                ("ready", None, Some(why))
            }
            // Once more; a second time it counts as taken.
            Outcome::Ambiguous { why } if head.how.as_deref() == Some(AGAIN) => ("sent", None, Some(why)),
            Outcome::Ambiguous { why }
                if self.rules.resend_ambiguous && !is_large(&head) && head.content.buttons.is_empty() =>
            {
                self.store.set_outbox_how(head.id, AGAIN)?;
                wait = Wait::Given(3_000);
                ("ready", None, Some(why))
            }
            Outcome::Ambiguous { why } => ("skipped", None, Some(why)),
            Outcome::Moved { to } if self.on_moved(&target, &to)? => ("ready", None, Some("the chat has moved".into())),
            Outcome::Moved { .. } => ("failed", None, Some("the chat has moved to nowhere".into())),
            Outcome::Barred { why, ms } => {
                self.bar(&target, ms, &why)?;
                self.undelivered(&head, &why)?;
                ("failed", None, Some(why))
            }
            Outcome::TopicGone { why } if !target.thread.is_empty() => {
                self.lose_topic(&target);
                ("ready", None, Some(why))
            }
            Outcome::Gone if head.kind == DELETE => ("sent", None, None),
            Outcome::Gone if head.kind == EDIT && head.content.text.is_empty() => ("sent", None, None),
            Outcome::Gone if head.kind == EDIT && !self.store.was_asked_for(head.id)? => {
                self.sent_anew(&target, &head)?;
                ("ready", None, None)
            }
            Outcome::Gone if is_act(&head.kind) => ("failed", None, Some("the message is not there".into())),
            Outcome::Gone if edit => {
                if let Some(live) = head.segment.map_or(Ok(None), |s| self.store.live_for(s, head.chunk, &target))? {
                    self.store.forget_live(&live)?;
                }
                ("ready", None, None) // as a message of its own
            }
            Outcome::Gone => ("failed", None, Some("the chat is gone".into())),
            Outcome::Unauthorized { why } => {
                self.refused(&target.channel, &target.account, &why);
                ("ready", None, Some(why))
            }
            Outcome::Refused { why } | Outcome::TopicGone { why } if !says(&head) => ("failed", None, Some(why)),
            Outcome::Refused { why } | Outcome::TopicGone { why } => {
                if head.kind == MEDIA {
                    self.tell_unsent(&head, &why)?;
                } else {
                    self.undelivered(&head, &why)?;
                }
                self.emit(Effect::Notice(format!("a reply to {} was refused: {why}", target.channel).into()));
                ("failed", None, Some(why))
            }
        };
        self.store.set_outbox(head.id, state, head.attempts, id.as_deref(), error.as_deref())?;
        if state != "ready" {
            self.question_known(head.id, id.as_deref())?;
            self.question_stayed(&head)?;
        }
        match state {
            "sent" => self.delivered(&head)?,
            "failed" => self.question_unsent(head.id, error.as_deref().unwrap_or_default())?,
            _ => {}
        }
        let now = self.now.mono;
        if let Some(lane) = self.lanes.get_mut(&target) {
            lane.flying = None;
            match wait {
                Wait::None => lane.failures = 0,
                Wait::Given(ms) => lane.not_before = now + ms,
                Wait::Backoff => {
                    lane.failures += 1;
                    lane.not_before = now + (1000u64 << (lane.failures - 1).min(9)).min(BACKOFF_MAX);
                }
            }
        }
        self.todo.push_back(Todo::Lane(target));
        Ok(())
    }
}
