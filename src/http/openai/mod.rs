//! The OpenAI-compatible API: `/v1/chat/completions`, `/v1/models` (gateway-api.md 1.6, 2.6). A request is one
//! message of a session and has its turn for itself; everything it may ask of tools and sampling is the agent's own
//! business and ignored.

mod answer;
mod messages;
mod pictures;

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::{json, Value};

use crate::message::{Answer, ChatRequest, Code, Request, Solo, Source};
use crate::routing::{agent_of, fleeting, fleeting_prefix, main_session};

use self::answer::{check, Chunks, Stamp};
use self::messages::Prompt;
use super::exchange::{Call, Exchange, Handled, Reply};
use super::fault::Fault;
use super::guard::wall;
use super::images::body_hash;
use super::json::{idempotency_key, session_key, Members};
use super::logins::hash;
use super::port::Port;
use super::settings::Settings;
use super::turn::{self, Asked, Watch};

/// The model that means "whatever is configured".
const OURS: &str = "pi-gateway";
/// A user's name in a session key, bytes; longer ones end in their hash.
const USER: usize = 128;
/// Longest name of a model.
const MODEL: usize = 200;

/// What `model` of a request means (R63).
#[derive(Clone, Debug, Default, PartialEq)]
struct Choice {
    agent: Option<String>,
    /// `provider/id`, for one turn.
    model: Option<String>,
}

/// A checked body.
struct Wanted {
    stamp_model: String,
    choice: Choice,
    stream: bool,
    include_usage: bool,
}

/// POST `/v1/chat/completions`
pub fn completions(port: &Port, ex: &mut dyn Exchange) -> Handled {
    let (mut asked, wanted) = prepare(port, ex)?;
    let watch = wanted.stream.then(|| Watch::open(port, &asked));
    let created = wall() / 1000;
    let accepted = asked.accept(port)?;
    let stamp = Stamp { id: format!("chatcmpl-{}", accepted.run), created, model: wanted.stamp_model };
    match watch {
        Some(watch) => {
            let mut chunks = Chunks::new(stamp, port.settings.get().openai.thinking, wanted.include_usage);
            turn::stream(port, ex, &asked, &accepted, watch, &mut chunks)
        }
        None => {
            let reply = check(turn::wait(port, ex, &asked, &accepted)?)?;
            Ok(turn::named(Reply::json(&stamp.completion(&reply)), &accepted))
        }
    }
}

/// Checks everything about the request before anything is asked.
fn prepare(port: &Port, ex: &mut dyn Exchange) -> Result<(Asked, Wanted), Fault> {
    let (s, call) = (port.settings.get(), ex.call());
    let permit = turn::permit(port)?;
    let m = Members::body(&call.body, "Invalid JSON body")?;
    let mut wanted = wanted(&s, &m)?;
    let said = messages::read(m.get("messages"))?;
    let place = place(&s, call, &m, &wanted.choice)?;
    let Prompt { text, images } = match place.fleeting {
        true => messages::whole(said),
        false => messages::last(said),
    };
    if text.trim().is_empty() && images.is_empty() {
        return Err(Fault::invalid("messages: the last user message is empty").param("messages"));
    }
    let (session, text) = match wanted.choice.agent.is_none() && !place.named && !place.fleeting {
        true => s.addressed(&place.session, text),
        false => (place.session, text),
    };
    if let Some(name) = &wanted.choice.model {
        if !known(port, name)? {
            wanted.choice.model = None; // accepted and echoed, like any name (R63)
        }
    }
    let key = match call.head.field("idempotency-key") {
        Some(key) => Some(key),
        None => m.text("idempotencyKey")?,
    };
    let key = key.map(idempotency_key).transpose()?;
    let images = pictures::store(port, &s, images)?;
    let model = wanted.choice.model.clone().unwrap_or_default();
    let source = Source { channel: "api".into(), chat: session.clone(), sender: "api".into(), ..Source::default() };
    let request = ChatRequest {
        body_hash: body_hash(&format!("{session}\n{model}\n{text}"), &images),
        images: images.images.clone(),
        session,
        source: Source { agent: wanted.choice.agent.clone(), ..source },
        text,
        dkey: key.map(|key| format!("http:v1:{}:{key}", call.access.class())),
        solo: Some(Solo { model: wanted.choice.model.clone() }),
        fleeting: place.fleeting,
        known_only: false,
    };
    // Who gives a key means to come back for the answer (R50).
    let abort_when_gone = s.openai.abort_on_disconnect && request.dkey.is_none();
    Ok((Asked { request, images, abort_when_gone, _permit: permit }, wanted))
}

fn wanted(s: &Settings, m: &Members) -> Result<Wanted, Fault> {
    let of = |name: &'static str| move |f: Fault| f.param(name);
    let model = m.text("model").map_err(of("model"))?.filter(|name| !name.is_empty());
    if model.is_some_and(|name| name.len() > MODEL || name.chars().any(char::is_control)) {
        return Err(Fault::invalid("model: not a name of a model").param("model"));
    }
    match m.get("n") {
        None => {}
        Some(n) if n.as_f64() == Some(1.0) => {}
        Some(_) => return Err(Fault::invalid("n: only one answer can be given").param("n")),
    }
    let include_usage = match m.get("stream_options") {
        None => false,
        Some(Value::Object(o)) => match o.get("include_usage") {
            None | Some(Value::Null) => false,
            Some(Value::Bool(b)) => *b,
            Some(_) => {
                return Err(Fault::invalid("stream_options.include_usage must be true or false")
                    .param("stream_options.include_usage"))
            }
        },
        Some(_) => return Err(Fault::invalid("stream_options must be an object").param("stream_options")),
    };
    Ok(Wanted {
        choice: choice(&s.openai.agents, model.unwrap_or(OURS)),
        stamp_model: model.unwrap_or(&s.openai.model).to_owned(),
        stream: m.flag("stream").map_err(of("stream"))?,
        include_usage,
    })
}

/// A name that is none of ours means nothing.
fn choice(agents: &[String], name: &str) -> Choice {
    match name.split_once('/') {
        Some(("agent", id)) => Choice { agent: agents.iter().find(|a| *a == id).cloned(), model: None },
        Some((provider, id)) if !provider.is_empty() && !id.is_empty() && !name.contains(char::is_whitespace) => {
            Choice { agent: None, model: Some(name.to_owned()) }
        }
        _ => Choice::default(),
    }
}

/// Where a request is answered (R64).
struct Place {
    /// For a fleeting one: how its key begins.
    session: String,
    fleeting: bool,
    /// The client named the session itself.
    named: bool,
}

fn place(s: &Settings, call: &Call, m: &Members, choice: &Choice) -> Result<Place, Fault> {
    if let Some(key) = call.head.field("x-session-key") {
        let named = |why: String| Fault::invalid(format!("X-Session-Key: {why}"));
        let key = session_key(key).map_err(|f| named(f.message))?;
        if fleeting(key) {
            return Err(named("the session of a single request cannot be named".into()));
        }
        return match (agent_of(key), &choice.agent) {
            (Some(a), Some(b)) if a != b => {
                Err(named(format!("it is a session of the agent {a}, but the model is agent/{b}")))
            }
            _ => Ok(Place { session: key.to_owned(), fleeting: false, named: true }),
        };
    }
    let agent = choice.agent.as_ref().unwrap_or(&s.openai.agent);
    let user = m.text("user").map_err(|f| f.param("user"))?.filter(|user| !user.is_empty());
    let place = |session: String, fleeting: bool| Ok(Place { session, fleeting, named: false });
    match (user, &choice.agent) {
        (Some(user), _) => place(format!("agent:{agent}:api:user:{}", key_part(user)), false),
        (None, _) if s.openai.stateless => place(fleeting_prefix(agent), true),
        (None, Some(agent)) => place(main_session(agent), false),
        (None, None) => place(s.main_session.clone(), false),
    }
}

/// A name from outside as a part of a session key: no two names are alike there.
fn key_part(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for b in name.bytes() {
        match b {
            b'.' if out.ends_with('.') => out += "%2E",
            b if b.is_ascii_alphanumeric() || b"._-@+".contains(&b) => out.push(b as char),
            b => out += &format!("%{b:02X}"),
        }
    }
    if out.len() > USER {
        out.truncate(USER - 44);
        out = format!("{out}-{}", hash(name.as_bytes()));
    }
    out
}

/// pi has that model, or nobody knows what pi has.
fn known(port: &Port, name: &str) -> Result<bool, Fault> {
    let list = of_pi(port)?;
    Ok(list.is_empty() || list.iter().any(|m| m == name))
}

/// `provider/id` of pi's models; empty: not known yet. Starts no process.
fn of_pi(port: &Port) -> Result<Vec<String>, Fault> {
    let raw = match port.mind.ask(Request::Models, port.settings.get().times.ask) {
        Answer::Models(raw) => raw,
        Answer::Error { code: Code::NoActiveSession | Code::UpstreamFailed | Code::Timeout, .. } => {
            return Ok(Vec::new())
        }
        other => return Err(Fault::from_answer(other)),
    };
    let list: Vec<OfPi> = serde_json::from_str(&raw).unwrap_or_default(); // pi's, and read once already
    Ok(list.iter().map(|m| format!("{}/{}", m.provider, m.id)).collect())
}

/// What counts of pi's long description of a model.
#[derive(Deserialize)]
struct OfPi<'a> {
    #[serde(borrow)]
    provider: Cow<'a, str>,
    #[serde(borrow)]
    id: Cow<'a, str>,
}

fn shown(port: &Port, id: &str, owner: &str) -> Value {
    json!({"id": id, "object": "model", "created": port.born, "owned_by": owner})
}

/// All models that there are to choose (R62).
fn list(port: &Port) -> Result<Vec<Value>, Fault> {
    let s = port.settings.get();
    let mut list = vec![shown(port, OURS, OURS)];
    list.extend(s.openai.agents.iter().map(|a| shown(port, &format!("agent/{a}"), OURS)));
    list.extend(of_pi(port)?.iter().map(|m| shown(port, m, m.split('/').next().unwrap_or_default())));
    Ok(list)
}

/// GET `/v1/models`
pub fn models(port: &Port, _: &mut dyn Exchange) -> Handled {
    Ok(Reply::json(&json!({"object": "list", "data": list(port)?})))
}

/// GET `/v1/models/{id}`, where the id may hold slashes
pub fn model(port: &Port, ex: &mut dyn Exchange) -> Handled {
    let id = &ex.call().args[0];
    match list(port)?.into_iter().find(|m| m["id"] == **id) {
        Some(m) => Ok(Reply::json(&m)),
        None => {
            let id: String = id.chars().filter(|c| !c.is_control()).take(MODEL).collect();
            Err(Fault::new(404, "not_found", format!("The model '{id}' does not exist")).param("model"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_models_choose_an_agent_a_model_or_nothing() {
        let agents = ["main".to_owned(), "coder".to_owned()];
        let of = |name: &str| choice(&agents, name);
        assert_eq!(of("agent/coder").agent.as_deref(), Some("coder"));
        assert_eq!(of("openrouter/anthropic/claude").model.as_deref(), Some("openrouter/anthropic/claude"));
        for name in ["pi-gateway", "gpt-4o", "agent/nobody", "/x", "x/", "a b/c", ""] {
            assert_eq!(of(name), Choice::default(), "{name}");
        }
    }

    #[test]
    fn no_two_users_share_a_session_and_every_key_is_one() {
        let long = "x".repeat(300);
        let names = ["ada", "a b", "a_b", "a:b", "..", "...", "ü", "a%20b", &long, &(long.clone() + "y")];
        let keys: std::collections::BTreeSet<String> = names.iter().map(|n| key_part(n)).collect();
        assert_eq!(keys.len(), names.len());
        for key in keys {
            let key = format!("agent:main:api:user:{key}");
            assert!(session_key(&key).is_ok(), "{key}");
        }
    }
}
