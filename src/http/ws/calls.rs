//! Requests of one WebSocket to the mind: at most eight at a time, answered by its writer (R47).

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use serde_json::{json, Value};

use super::out::Outbox;
use crate::ask::{Mind, Pending};
use crate::bell::Bell;
use crate::http::fault::Fault;
use crate::http::images::Stored;
use crate::http::paging::{self, Page};
use crate::http::status::{applied, was_reset};
use crate::http::{cron, lists, roles, shapes, tools};
use crate::message::{Answer, Code, Dialog, Request};

const AT_ONCE: usize = 8;
const BACKLOG: usize = 64;

/// What becomes of the mind's answer.
#[derive(Debug)]
pub enum Finish {
    /// This payload, if the answer is `Ok`.
    Ok(Value),
    /// Of that session.
    Reset(String),
    /// `chat.send`: events waited for this. `elsewhere`: the session of the agent that the message named.
    Send {
        images: Stored,
        elsewhere: Option<String>,
    },
    /// This payload and whether the choice applies at once.
    Choice(Value),
    Sessions(Page),
    /// `roles.set`: this payload, or the text of the original.
    Role(Value),
    /// `session.reload` says in its payload what went wrong.
    Reload,
    /// The one session asked for.
    Session,
    Flag,
    /// pi's list.
    Models,
    /// What pi counts of that session.
    Usage(String),
    Commands,
    /// A tool's result; this payload around it.
    Tool(Value),
    /// Scheduled jobs; this payload if there is nothing else to say.
    Cron(Value),
    CronStatus,
    /// `session.live` of that session; the answer holds its dialogs.
    Live(String),
    /// Dialogs that were open before the client came, or, `of_others`, before it asked for sessions of other channels:
    /// events, no answer.
    Dialogs {
        of_others: bool,
    },
}

#[derive(Debug)]
pub struct Call {
    pub id: Value,
    pub request: Request,
    pub finish: Finish,
    pub wait: Duration,
    /// Does not queue behind others.
    pub urgent: bool,
}

/// A call under way.
#[derive(Debug)]
pub struct Started {
    pub id: Value,
    pub finish: Finish,
    pub end: Instant,
    pub pending: Result<Pending, Option<Answer>>,
    urgent: bool,
}

/// Calls of one connection, between its reader (who asks) and its writer (who answers).
#[derive(Debug, Default)]
pub struct Desk {
    started: Vec<Started>,
    backlog: VecDeque<Call>,
    running: usize,
}

impl Finish {
    /// All of that session's live text will be in the answer.
    pub fn holds(&self, session: &str) -> bool {
        matches!(self, Finish::Live(s) if s == session)
    }
}

impl Desk {
    /// The same of an answer that the writer has not begun to wait for.
    pub fn will_hold(&self, session: &str) -> bool {
        let (started, backlog) = (self.started.iter().map(|c| &c.finish), self.backlog.iter().map(|c| &c.finish));
        started.chain(backlog).any(|finish| finish.holds(session))
    }
}

fn start(mind: &Mind, call: Call, bell: Bell) -> Started {
    let Call { id, request, finish, wait, urgent } = call;
    let pending = mind.submit_and_ring(request, bell).map_err(Some);
    Started { id, finish, urgent, end: Instant::now() + wait, pending }
}

/// Asks now, or when a place is free.
pub fn ask(out: &Outbox, mind: &Mind, call: Call) -> Result<(), Fault> {
    let mut s = out.lock();
    if let Finish::Live(session) = &call.finish {
        s.interest.uses(session); // what is live there comes after the answer
    }
    if !call.urgent && s.desk.running >= AT_ONCE {
        if s.desk.backlog.len() >= BACKLOG {
            return Err(Fault::busy("Too many requests are under way on this connection"));
        }
        s.desk.backlog.push_back(call);
        return Ok(());
    }
    s.desk.running += usize::from(!call.urgent);
    // under the lock, so that messages of one connection reach the mind in the order they came
    let started = start(mind, call, out.bell());
    s.desk.started.push(started);
    drop(s);
    out.ring();
    Ok(())
}

/// Tells a client that just came, or asked for more sessions, of dialogs that were opened before.
pub fn pending_dialogs(out: &Outbox, mind: &Mind, of_others: bool, wait: Duration) {
    let (request, finish) = (Request::Dialogs { session: None }, Finish::Dialogs { of_others });
    let call = Call { id: Value::Null, request, finish, wait, urgent: true };
    if let Err(f) = ask(out, mind, call) {
        log::debug!("{}: open dialogs: {}", out.id, f.message);
    }
}

/// New calls, for the writer's list. A connection without any keeps no room for them.
pub fn collect(out: &Outbox, list: &mut Vec<Started>) {
    let mut new = std::mem::take(&mut out.lock().desk.started);
    if list.is_empty() {
        *list = new;
    } else {
        list.append(&mut new);
    }
}

/// One of the writer's calls is done: the next may start.
pub fn done(out: &Outbox, mind: &Mind, call: &Started) {
    if call.urgent {
        return;
    }
    let mut s = out.lock();
    match s.desk.backlog.pop_front() {
        Some(next) => {
            let next = start(mind, next, out.bell());
            s.desk.started.push(next);
        }
        None => s.desk.running = s.desk.running.saturating_sub(1),
    }
}

impl Started {
    /// The answer, if it is there or its time is over.
    pub fn ready(&mut self) -> Option<Answer> {
        match &mut self.pending {
            Err(answer) => answer.take(),
            Ok(pending) => pending.wait(Duration::ZERO).or_else(|| {
                let late = || Answer::Error { code: Code::Timeout, message: "No answer in time".into() };
                (Instant::now() >= self.end).then(late)
            }),
        }
    }
}

/// What a client gets for an answer of the mind; `Live` and `Dialogs` are the writer's.
pub fn payload(finish: Finish, answer: Answer) -> Result<Value, Fault> {
    match (finish, answer) {
        (Finish::Ok(value), Answer::Ok) => Ok(value),
        (Finish::Reset(session), Answer::Reset { events }) => Ok(was_reset(&session, events)),
        (Finish::Send { mut images, elsewhere }, Answer::Accepted { run, replayed, .. }) => {
            if !replayed {
                images.keep(); // a repeat has its pictures already
            }
            let mut payload = json!({"ok": true, "runId": run});
            if let Some(session) = elsewhere {
                payload["sessionKey"] = json!(session);
            }
            if replayed {
                payload["replayed"] = json!(true);
            }
            Ok(payload)
        }
        (Finish::Send { mut images, .. }, Answer::Error { code: Code::Timeout, message }) => {
            images.keep(); // it may still be accepted
            Err(Fault::from_code(Code::Timeout, message))
        }
        (Finish::Choice(mut value), Answer::Bool(now)) => {
            value["applied"] = json!(applied(now));
            Ok(value)
        }
        (Finish::Sessions(page), Answer::Sessions(list)) => {
            let (list, next) = paging::sessions(list, &page);
            // the array of old clients, if nobody asked for pages
            Ok(if page.asked() { paging::body("sessions", list, next) } else { list.into() })
        }
        (Finish::Role(value), Answer::Ok) => Ok(value),
        (Finish::Role(_), Answer::Error { code, .. }) => Err(Fault::from_code(code, roles::NOT_SET)),
        (Finish::Reload, Answer::Ok) => Ok(lists::reloaded()),
        (Finish::Reload, Answer::Error { message, .. }) => Ok(json!({"success": false, "error": message})),
        (Finish::Session, Answer::Sessions(list)) => {
            let one = list.first().ok_or_else(|| Fault::new(404, "not_found", "Session not found"))?;
            Ok(shapes::session(one))
        }
        (Finish::Flag, Answer::Bool(first)) => Ok(json!(first)),
        (Finish::Models, Answer::Models(raw)) => Ok(json!({"models": shapes::of_pi(&raw)?})),
        (Finish::Models, Answer::Error { code: Code::NoActiveSession, .. }) => {
            Err(Fault::from_code(Code::NoActiveSession, "No active session"))
        }
        (Finish::Usage(session), Answer::Stats { stats, .. }) => {
            Ok(json!({"sessionKey": session, "stats": shapes::of_pi(&stats)?}))
        }
        (Finish::Tool(about), Answer::Delegated(told)) => {
            let mut payload = tools::answered(about, &told);
            if told.replayed {
                payload["replayed"] = json!(true);
            }
            Ok(payload)
        }
        (Finish::Cron(done), Answer::Cron(answer)) => Ok(cron::shown(*answer, &done)),
        (Finish::CronStatus, Answer::Cron(answer)) => Ok(cron::counted(&answer)),
        (Finish::Commands, Answer::Commands(list)) => Ok(json!({"commands": shapes::commands(&list)})),
        (_, other) => Err(Fault::from_answer(other)),
    }
}

/// Dialogs of an answer; none if the mind could not say.
pub fn dialogs(answer: Answer) -> Vec<Dialog> {
    match answer {
        Answer::Dialogs(list) => list,
        _ => Vec::new(),
    }
}
