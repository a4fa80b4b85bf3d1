//! Methods about sessions and what pi offers them (1.11, R42, R69, R77).

use std::time::Duration;

use serde_json::{json, Value};

use super::calls::{self, Call, Finish};
use super::methods::{Given, Session};
use crate::http::fault::Fault;
use crate::http::json::{session_key, Members};
use crate::http::paging::{self, Page};
use crate::http::status;
use crate::message::Request;

/// A compaction is a call of the model; the mind gives up on it sooner.
const COMPACTION: Duration = Duration::from_secs(330);
/// Longest title, characters.
const TITLE: usize = 120;

impl Session {
    pub(super) fn session_method(&self, id: &Value, method: &str, m: &Members) -> Given {
        match method {
            "sessions.list" => {
                let page = Page::of_params(m)?;
                self.ask(id, paging::ask_sessions(&page)?, Finish::Sessions(page), false)
            }
            "sessions.get" | "session.resume" => {
                let session = needed(m, "sessionKey is required")?;
                self.out.lock().interest.uses(&session);
                self.ask(id, Request::Session { key: session }, Finish::Session, false)
            }
            "sessions.delete" => {
                let session = needed(m, "sessionKey required")?;
                self.ask(id, Request::Delete { session }, done(), false)
            }
            "sessions.reset" => {
                let (session, all) = (self.web_session(m)?, m.flag("all")?);
                self.ask(id, Request::Reset { session: session.clone(), all }, Finish::Reset(session), false)
            }
            "sessions.rename" => {
                let (session, title) = (needed(m, "sessionKey required")?, title(m)?);
                let payload = json!({"ok": true, "sessionKey": session, "title": title});
                self.ask(id, Request::Rename { session, title }, Finish::Ok(payload), false)
            }
            "sessions.compact" => {
                let session = needed(m, "sessionKey required")?;
                let instructions = m.text("instructions")?.map(str::to_owned);
                let request = Request::Compact { session, instructions };
                let call = Call { id: id.clone(), request, finish: done(), wait: COMPACTION, urgent: true };
                calls::ask(&self.out, &self.port.mind, call)?;
                Ok(None)
            }
            "session.close" => {
                let session = needed(m, "sessionKey required")?;
                self.ask(id, Request::Renew { session }, done(), false)
            }
            "session.think" => {
                let (session, level) = (self.web_session(m)?, status::think_level(m)?);
                let payload = json!({"ok": true, "sessionKey": session, "level": level});
                self.ask(id, Request::SetThinking { session, level }, Finish::Choice(payload), false)
            }
            "session.model" => {
                let (session, model) = (self.web_session(m)?, status::model_name(m)?);
                let payload = model.payload(&session);
                self.ask(id, Request::SetModel { session, model: model.name() }, Finish::Choice(payload), false)
            }
            "models.list" => self.ask(id, Request::Models, Finish::Models, false),
            "usage.status" => {
                let session =
                    m.text("sessionKey")?.map_or_else(|| self.port.settings.get().main_session.clone(), str::to_owned);
                session_key(&session)?;
                self.ask(id, Request::Stats { session: session.clone() }, Finish::Usage(session), false)
            }
            "commands.list" => self.ask(id, Request::Commands, Finish::Commands, false),
            _ => {
                let name: String = method.chars().take(64).collect();
                Err(Fault::new(404, "not_found", format!("Unknown method: {name}")))
            }
        }
    }
}

fn done() -> Finish {
    Finish::Ok(json!({"ok": true}))
}

pub(super) fn needed(m: &Members, message: &str) -> Result<String, Fault> {
    let key = m.text("sessionKey")?.ok_or_else(|| Fault::invalid(message))?;
    Ok(session_key(key)?.to_owned())
}

fn title(m: &Members) -> Result<String, Fault> {
    let title = m.text("title")?.ok_or_else(|| Fault::invalid("title required"))?.trim();
    if title.chars().count() > TITLE || title.chars().any(char::is_control) {
        return Err(Fault::invalid(format!("title: one line of at most {TITLE} characters")));
    }
    Ok(title.to_owned())
}
