//! The table of routes: what exists, who may call it, how large a body may be.

use super::exchange::{Exchange, Handled};
use super::fault::Fault;
use super::head::percent;
use super::port::Port;
use super::settings::Limits;
use super::{
    agent, channels, chat, cron, hooks, inlet, keyboard, lists, media, memory, observability, openai, operate, page,
    send, status, tools, transcripts, wake, ws,
};

/// Who may call a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// Anybody.
    Open,
    /// The gateway's secret, the cookie, or mode `off`.
    Key,
    /// As `Key`, or loopback with `gateway.metrics.public`.
    Metrics,
    /// A pi process's token.
    Pi,
    /// A webhook's token or signature, or the gateway's secret (R6).
    Hook,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// For strangers.
    Tiny,
    Small,
    /// Webhooks.
    Hook,
    /// What platforms deliver.
    Delivery,
    Chat,
}

impl Size {
    pub fn limit(self, l: &Limits) -> usize {
        match self {
            Size::Tiny => 8 << 10,
            Size::Small => l.body,
            Size::Hook => 256 << 10,
            Size::Delivery => 1 << 20,
            Size::Chat => l.chat_body,
        }
    }
}

pub type Handler = fn(&Port, &mut dyn Exchange) -> Handled;

pub struct Route {
    pub method: &'static str,
    /// `{}` stands for one part, a last `*` for one that is a file's name, a last `**` for all the rest.
    pub pattern: &'static str,
    pub door: Door,
    pub size: Size,
    /// Goes on while the port drains (health says so itself).
    pub draining: bool,
    pub handler: Handler,
}

const fn route(method: &'static str, pattern: &'static str, door: Door, handler: Handler) -> Route {
    Route { method, pattern, door, size: Size::Small, draining: false, handler }
}
const fn chat(pattern: &'static str, handler: Handler) -> Route {
    Route { size: Size::Chat, ..route("POST", pattern, Door::Key, handler) }
}
/// `{hooks}` stands for `hooks.path`; no path of a client begins like that.
const fn hook(pattern: &'static str, handler: Handler) -> Route {
    Route { size: Size::Hook, ..route("POST", pattern, Door::Hook, handler) }
}
const fn health(pattern: &'static str, handler: Handler) -> Route {
    Route { draining: true, ..route("GET", pattern, Door::Open, handler) }
}

const fn tool(method: &'static str, pattern: &'static str, handler: Handler) -> Route {
    route(method, pattern, Door::Pi, handler)
}

/// What platforms deliver: at the paths of the channels' accounts, for who has an account's key.
pub static DELIVERY: Route = Route { size: Size::Delivery, ..route("POST", "{channel}", Door::Open, inlet::take) };

/// At the public door.
pub static PUBLIC: &[Route] = &[
    route("GET", "/", Door::Open, page::index),
    route("GET", "/web/*", Door::Open, page::file),
    route("GET", "/favicon.ico", Door::Open, page::favicon),
    route("GET", "/robots.txt", Door::Open, page::robots),
    Route { size: Size::Tiny, ..route("POST", "/login", Door::Open, page::login) },
    route("POST", "/logout", Door::Key, page::logout),
    health("/health", status::health),
    health("/api/health", status::health),
    health("/health/live", status::live),
    health("/health/ready", status::ready),
    route("GET", "/metrics", Door::Metrics, status::prometheus),
    route("GET", "/api/metrics", Door::Key, status::metrics),
    route("GET", "/api/pool", Door::Key, status::pool),
    route("GET", "/api/sessions", Door::Key, status::sessions),
    route("GET", "/api/sessions/{}", Door::Key, status::session),
    route("POST", "/api/session/reset", Door::Key, status::reset),
    route("POST", "/api/session/think", Door::Key, status::think),
    route("POST", "/api/session/model", Door::Key, status::model),
    route("GET", "/api/session/status", Door::Key, status::of_session),
    route("GET", "/api/config", Door::Key, operate::config),
    route("GET", "/api/gateway/config", Door::Key, operate::config),
    route("POST", "/api/gateway/reload", Door::Key, operate::reload),
    route("POST", "/api/gateway/restart", Door::Key, operate::restart),
    route("GET", "/api/transcripts", Door::Key, transcripts::list),
    route("GET", "/api/transcript/{}", Door::Key, transcripts::one),
    route("GET", "/api/models", Door::Key, lists::models),
    route("GET", "/api/session/usage", Door::Key, lists::usage),
    route("POST", "/api/reload", Door::Key, lists::reload),
    route("GET", "/api/memory/search", Door::Key, memory::search),
    route("GET", "/api/memory/stats", Door::Key, memory::stats),
    route("GET", "/api/memory/roles", Door::Key, memory::roles),
    route("GET", "/api/observability/events", Door::Key, observability::events),
    route("GET", "/api/observability/summary", Door::Key, observability::summary),
    route("GET", "/api/observability/exec", Door::Key, observability::exec),
    route("GET", "/api/plugins", Door::Key, lists::plugins),
    route("POST", "/api/plugins/reload", Door::Key, lists::reload_plugin),
    route("GET", "/api/channels", Door::Key, channels::list),
    route("POST", "/api/channels/restart", Door::Key, channels::restart),
    route("GET", "/api/tools", Door::Key, lists::tools),
    route("POST", "/api/tools/call", Door::Key, tools::call),
    route("GET", "/api/cron/jobs", Door::Key, cron::list),
    route("POST", "/api/cron/jobs", Door::Key, cron::add),
    route("DELETE", "/api/cron/jobs/{}", Door::Key, cron::remove),
    route("PATCH", "/api/cron/jobs/{}", Door::Key, cron::patch),
    route("POST", "/api/cron/jobs/{}/run", Door::Key, cron::run),
    route("GET", "/api/cron/jobs/{}/runs", Door::Key, cron::runs),
    route("GET", "/api/cron/status", Door::Key, cron::status),
    route("POST", "/api/wake", Door::Key, wake::wake),
    hook("{hooks}/wake", hooks::wake),
    hook("{hooks}/event", hooks::event),
    route("GET", "/api/media/*", Door::Open, media::unsigned),
    route("GET", "/api/media/{}/{}", Door::Open, media::serve),
    route("POST", "/api/send", Door::Key, send::send),
    route("POST", "/api/message/send", Door::Key, send::message),
    route("POST", "/api/message/action", Door::Key, send::action),
    route("POST", "/api/keyboard", Door::Key, keyboard::keyboard),
    route("POST", "/api/media/send", Door::Key, send::media),
    route("GET", "/api/events", Door::Key, ws::stream::events),
    chat("/api/chat", chat::whole),
    chat("/api/chat/stream", chat::stream),
    chat("/v1/chat/completions", openai::completions),
    route("GET", "/v1/models", Door::Key, openai::models),
    route("GET", "/v1/models/**", Door::Key, openai::model),
];

/// At the agent door: what pi's tools need (gateway-api.md 1.7), nothing else.
pub static AGENT: &[Route] = &[
    tool("GET", "/api/agent/setup", agent::setup),
    tool("GET", "/api/session/status", status::of_session),
    tool("GET", "/api/tools", lists::tools),
    tool("POST", "/api/tools/call", tools::call),
    tool("GET", "/api/gateway/config", operate::config),
    tool("POST", "/api/gateway/reload", operate::reload),
    tool("POST", "/api/gateway/restart", operate::restart),
    tool("POST", "/api/message/send", send::message),
    tool("POST", "/api/message/action", send::action),
    tool("POST", "/api/keyboard", keyboard::keyboard),
    tool("POST", "/api/media/send", send::media),
    tool("GET", "/api/cron/jobs", cron::list),
    tool("POST", "/api/cron/jobs", cron::add),
    tool("DELETE", "/api/cron/jobs/{}", cron::remove),
    tool("PATCH", "/api/cron/jobs/{}", cron::patch),
    tool("POST", "/api/cron/jobs/{}/run", cron::run),
    tool("GET", "/api/cron/jobs/{}/runs", cron::runs),
    tool("GET", "/api/cron/status", cron::status),
    tool("POST", "/api/wake", wake::wake),
];

/// The `{}` parts of a path that fits the pattern, not yet decoded.
fn fits<'a>(pattern: &str, path: &'a str) -> Option<Vec<&'a str>> {
    if let Some(start) = pattern.strip_suffix("**") {
        return path.strip_prefix(start).filter(|rest| !rest.is_empty()).map(|rest| vec![rest]);
    }
    let mut args = Vec::new();
    let (mut pattern, mut path) = (pattern.split('/'), path.split('/'));
    loop {
        match (pattern.next(), path.next()) {
            (None, None) => return Some(args),
            (Some("*"), Some(first)) if !first.is_empty() => {
                args.push(first);
                return path.next().is_none().then_some(args);
            }
            (Some("{}"), Some(part)) if !part.is_empty() => args.push(part),
            (Some(a), Some(b)) if a == b => {}
            _ => return None,
        }
    }
}

/// The route and its arguments; 404, 405 with `Allow`, or 400 for an argument that is not percent-encoded.
pub fn find(routes: &'static [Route], method: &str, path: &str) -> Result<(&'static Route, Vec<String>), Fault> {
    let method = if method == "HEAD" { "GET" } else { method };
    let mut allow = Vec::new();
    let named = routes.iter().any(|route| route.pattern == path);
    for route in routes {
        if named && route.pattern != path {
            continue; // a path that is written out belongs to no pattern
        }
        let Some(args) = fits(route.pattern, path) else { continue };
        if route.method == method {
            let args: Option<Vec<String>> = args.into_iter().map(percent).collect();
            return Ok((route, args.ok_or_else(|| Fault::invalid("The path is not percent-encoded UTF-8"))?));
        }
        allow.push(route.method);
        if route.method == "GET" {
            allow.push("HEAD");
        }
    }
    if allow.is_empty() {
        return Err(Fault::not_found());
    }
    allow.push("OPTIONS");
    let mut fault = Fault::new(405, "method_not_allowed", format!("{path} knows only {}", allow.join(", ")));
    fault.allow = Some(allow.join(", "));
    Err(fault)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_matched_exactly() {
        for (method, path, expected) in [
            ("GET", "/", Ok("/")),
            ("HEAD", "/health", Ok("/health")),
            ("GET", "/health/", Err(404)),
            ("GET", "/api/sessions/agent%3Amain", Ok("/api/sessions/{}")),
            ("GET", "/api/sessions/%zz", Err(400)),
            ("GET", "/api/sessions/", Err(404)),
            ("GET", "/web/app.js", Ok("/web/*")),
            ("GET", "/web/", Err(404)),
            ("DELETE", "/api/chat", Err(405)),
            ("HEAD", "/api/chat", Err(405)),
            ("GET", "/v1/models/a/b%2Fc", Ok("/v1/models/**")),
            ("GET", "/v1/models/", Err(404)),
        ] {
            let found = find(PUBLIC, method, path).map(|(r, _)| r.pattern).map_err(|f| f.status);
            assert_eq!(found, expected, "{method} {path}");
        }
        for table in [PUBLIC, AGENT] {
            for post in table.iter().filter(|r| r.method == "POST") {
                if table.iter().any(|r| r.method == "GET" && r.pattern == post.pattern) {
                    continue;
                }
                for method in ["GET", "HEAD", "DELETE"] {
                    let refused = find(table, method, post.pattern).map(|(r, _)| r.pattern).unwrap_err();
                    let told = (refused.status, refused.allow.as_deref());
                    assert_eq!(told, (405, Some("POST, OPTIONS")), "{method} {}", post.pattern);
                }
            }
        }
        assert_eq!(find(PUBLIC, "PUT", "/health").err().unwrap().allow.as_deref(), Some("GET, HEAD, OPTIONS"));
    }
}
