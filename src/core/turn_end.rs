//! What the end of a run means: a reply, a failure, another model, recovery (core.md 8.2, 9).

use super::failover::{classify, Category};
use super::prompt;
use super::reply::End;
use super::session::{Session, Stage, Work};
use super::turn::{AbortWhy, Turn};
use super::State;
use crate::message::*;
use crate::store::Result;

impl State {
    /// Decides what the turn's end means: reply, failure, another model.
    pub(super) fn end_turn(&mut self, s: &mut Session) -> Result<()> {
        let Stage::Turn(t) = std::mem::replace(&mut s.stage, Stage::Idle) else { return Ok(()) };
        let model = self.model_in_use(s, &t);
        let failed = t.error();
        if t.aborting.is_none() && t.give_up.is_none() {
            if let Some(error) = &failed {
                let category = classify(error);
                if let Some(m) = &model {
                    self.health.failed(m, category, self.rules.cooldown, self.now.mono);
                }
                if self.can_fail_over(&t, category) {
                    return self.fail_over(s, t, model, category);
                }
            } else if let Some(m) = &model {
                self.health.succeeded(m);
            }
        }
        let end = self.end_of(&t, failed.as_deref());
        self.finish(s, *t, end)
    }

    pub(super) fn model_in_use(&self, s: &Session, t: &Turn) -> Option<String> {
        t.model.clone().or_else(|| self.wanted(s, None).model)
    }

    pub(super) fn can_fail_over(&self, t: &Turn, category: Category) -> bool {
        category.cooldown(1).is_some()
            && !self.rules.fallbacks.is_empty()
            && t.fallbacks < self.rules.max_fallbacks
            && !t.row.plain
    }

    pub(super) fn fail_over(
        &mut self,
        s: &mut Session,
        mut t: Box<Turn>,
        failed: Option<String>,
        category: Category,
    ) -> Result<()> {
        let primary = self.rules.model.clone().unwrap_or_default();
        let next = self.health.choose(&primary, &self.rules.fallbacks, self.now.mono).to_owned();
        if Some(&next) == failed.as_ref() || next.is_empty() {
            let end = self.end_of(&t, t.error().as_deref());
            return self.finish(s, *t, end);
        }
        log::warn!(
            "{}: {} failed ({}); trying {next}",
            s.key,
            failed.as_deref().unwrap_or("the model"),
            category.as_str()
        );
        t.fallbacks += 1;
        t.model = Some(next);
        // Refused before it ran: pi's history does not hold the message yet.
        t.note = if t.refused.is_some() {
            String::new()
        } else {
            prompt::resume_note(&t.ext, t.tools_ran, &self.already_sent(&t)?, prompt::Why::Provider)
        };
        t.row.attempts -= 1; // not the gateway's nor the process's fault
        self.begin(s, Work::Resume(t))
    }

    /// What a resumed prompt lists.
    pub(super) fn already_sent(&self, t: &Turn) -> Result<Vec<String>> {
        let said = |text: &str| if text.is_empty() { "(a file)".to_owned() } else { prompt::head(text, 80) };
        Ok(self.store.segments_of(t.row.id)?.iter().map(|g| said(&g.text)).collect())
    }

    pub(super) fn end_of(&self, t: &Turn, failed: Option<&str>) -> End {
        let said = t.said.join("\n\n");
        let with = |note: &str| {
            let text = if said.trim().is_empty() { String::new() } else { format!("{said}\n\n{note}") };
            End { text, failed: None, silent: false }
        };
        if let Some((why, _)) = t.aborting {
            return match why {
                AbortWhy::User => with("(stopped)"),
                AbortWhy::Interrupt => with("(interrupted)"),
                AbortWhy::Timeout => with("(stopped: it took too long)"),
                AbortWhy::Reset => End { text: String::new(), failed: None, silent: true },
                AbortWhy::Inactive => {
                    let text = format!("(stopped after {} min without activity)", self.rules.inactivity / 60_000);
                    let text = if said.is_empty() { text } else { format!("{said}\n\n{text}") };
                    End { text, failed: None, silent: false }
                }
                AbortWhy::TooLong => {
                    let text = format!("(stopped after {} min)", self.rules.turn_max / 60_000);
                    let text = if said.is_empty() { text } else { format!("{said}\n\n{text}") };
                    End { text, failed: None, silent: false }
                }
            };
        }
        if let Some(error) = failed {
            let category = classify(error).as_str();
            let line = match &t.refused {
                Some(why) => format!("The agent refused the message: {}", prompt::head(why, 300)),
                None => format!("The model provider failed ({category}): {}", prompt::head(error, 200)),
            };
            let text = if said.trim().is_empty() { line.clone() } else { format!("{said}\n\n{line}") };
            return End { text, failed: Some((Code::UpstreamFailed, line)), silent: false };
        }
        let text = match said.trim() {
            "" if t.row.plain => format!("Command {} executed.", prompt::head(&t.row.prompt, 40)),
            "" if t.tools_ran => "Done.".to_owned(),
            "" if t.sent => String::new(),
            "" => "(The model gave no answer.)".to_owned(),
            "[NO_REPLY]" | "NO_REPLY" => return End { text: String::new(), failed: None, silent: true },
            _ => said.replace("[NO_REPLY]", "").trim_end().to_owned(),
        };
        let text = match &t.model {
            Some(m) if !text.is_empty() && t.fallbacks > 0 => format!("{text}\n\n(answered by {m})"),
            _ => text,
        };
        End { text, failed: None, silent: false }
    }

    /// The process of this turn is gone.
    pub(super) fn turn_lost_proc(&mut self, s: &mut Session, info: &ExitInfo) -> Result<()> {
        let Stage::Turn(mut t) = std::mem::replace(&mut s.stage, Stage::Idle) else { return Ok(()) };
        t.proc = None;
        self.end_delegations_of(t.row.id);
        if t.aborting.is_some() || t.give_up.is_some() {
            if t.injected.iter().any(|i| !i.seen) {
                return self.recover_turn(s, t, false); // pi's file says whether the model got it
            }
            let end = self.end_of(&t, None);
            return self.finish(s, *t, end);
        }
        self.counters.crashes += 1;
        let how = match (info.code, info.signal) {
            (_, Some(signal)) => format!("signal {signal}"),
            (Some(code), None) => format!("exit code {code}"),
            (None, None) => "nobody knows how".to_owned(),
        };
        let message = format!("pi ended in the middle of a turn ({how})");
        self.observe(Level::Error, Area::Rpc, "crash", message, &s.key);
        log::warn!("{}: pi ended during turn {} (code {:?}, signal {:?})", s.key, t.ext, info.code, info.signal);
        self.recover_turn(s, t, false)
    }
}
