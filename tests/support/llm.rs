//! A scripted model provider: OpenAI chat completions, streamed or whole, on a free loopback port, run by
//! threads of the test itself and gone when it is dropped.
//!
//! The last user message says what the model answers (`directives.rs`, CONTRIBUTING.md). Beside the
//! directives that take time there are gates, which take none: `[[gate:NAME]]` holds the answer at this
//! place until the test says [`Llm::open`]; [`Llm::wait_gate`] returns when a request stands there.

use std::collections::{HashMap, HashSet};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde_json::{json, Value};

use super::directives::{self, number, words, Directive};
use super::DEADLINE;

/// What one request asked for and how it ended.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// Number of the request, from 1.
    pub n: usize,
    pub path: String,
    pub authorization: Option<String>,
    pub model: String,
    pub stream: bool,
    /// Text of the last user message, whole.
    pub last_user: String,
    /// Tool calls answered since that message.
    pub turn: usize,
    /// A request for a summary of the conversation (compaction), not a turn.
    pub summary: bool,
    pub roles: Vec<String>,
    pub tools: Vec<String>,
    /// Images since the last user message, that one included.
    pub images: usize,
    pub system: String,
    pub reasoning_effort: Option<String>,
    pub prompt_tokens: usize,
    /// HTTP status, once it was decided.
    pub status: Option<u16>,
    /// The client closed the connection before the answer was complete: so does an abort look.
    pub client_gone: bool,
    /// The answer was cut off by `[[drop]]`.
    pub dropped: bool,
    /// Nothing more will happen with this request.
    pub done: bool,
    /// The whole body.
    pub body: Value,
}

#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Refuse prompts of more than this many tokens (a quarter of the characters).
    pub context_window: Option<usize>,
    /// Refuse requests without this bearer token.
    pub api_key: Option<String>,
}

/// A running provider.
pub struct Llm {
    shared: Arc<Shared>,
    address: SocketAddr,
    accept: Option<JoinHandle<()>>,
}

struct Shared {
    options: Options,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    requests: Vec<Request>,
    open: HashSet<String>,
    /// (gate, request number), in order of arrival.
    arrivals: Vec<(String, usize)>,
    failed: HashMap<String, u32>,
    sockets: Vec<TcpStream>,
    stopped: bool,
}

impl Llm {
    pub fn start() -> Llm {
        Llm::with(Options::default())
    }

    pub fn with(options: Options) -> Llm {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free loopback port");
        let address = listener.local_addr().expect("address of the listener");
        let shared = Arc::new(Shared { options, state: Mutex::default(), changed: Condvar::new() });
        let for_thread = Arc::clone(&shared);
        let accept = thread::Builder::new()
            .name("llm-accept".into())
            .spawn(move || accept_loop(&listener, &for_thread))
            .expect("thread");
        Llm { shared, address, accept: Some(accept) }
    }

    /// What goes into `baseUrl` of models.json.
    pub fn base_url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Everything asked so far, running requests included.
    pub fn requests(&self) -> Vec<Request> {
        self.shared.lock().requests.clone()
    }

    /// Opens a gate, for those who stand there and for all who come later.
    pub fn open(&self, gate: &str) {
        self.shared.lock().open.insert(gate.to_owned());
        self.shared.changed.notify_all();
    }

    /// The request that first reached `gate`, as soon as one did.
    pub fn wait_gate(&self, gate: &str) -> Request {
        self.wait(&format!("a request at gate {gate:?}"), |state| {
            let (_, n) = state.arrivals.iter().find(|(name, _)| name == gate)?;
            Some(state.requests[n - 1].clone())
        })
    }

    /// The first request, past or to come, for which `want` holds. A request is looked at again whenever
    /// something about it changes, so `want` may ask for `done` or `client_gone`.
    pub fn wait_for(&self, want: impl Fn(&Request) -> bool) -> Request {
        self.wait("a request of the wanted kind", |state| state.requests.iter().find(|r| want(r)).cloned())
    }

    fn wait<T>(&self, what: &str, find: impl Fn(&State) -> Option<T>) -> T {
        let end = Instant::now() + DEADLINE;
        let mut state = self.shared.lock();
        loop {
            if let Some(found) = find(&state) {
                return found;
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let seen: Vec<_> = state.requests.iter().map(summary_line).collect();
                drop(state);
                panic!("the model waited {DEADLINE:?} for {what}; it saw {seen:#?}");
            }
            state = self.shared.changed.wait_timeout(state, left).expect("no panic under the lock").0;
        }
    }
}

impl Drop for Llm {
    fn drop(&mut self) {
        {
            let mut state = self.shared.lock();
            state.stopped = true;
            for socket in &state.sockets {
                let _ = socket.shutdown(Shutdown::Both);
            }
        }
        self.shared.changed.notify_all();
        // The connection wakes the acceptor, which then sees that it shall stop.
        let _ = TcpStream::connect(self.address);
        if let Some(accept) = self.accept.take() {
            let _ = accept.join();
        }
    }
}

fn summary_line(r: &Request) -> String {
    let text: String = r.last_user.chars().take(120).collect();
    format!("#{} {} turn {} status {:?} gone {} done {}: {text}", r.n, r.model, r.turn, r.status, r.client_gone, r.done)
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn note(&self, n: usize, change: impl FnOnce(&mut Request)) {
        change(&mut self.lock().requests[n - 1]);
        self.changed.notify_all();
    }

    /// Waits until `over` or until `limit`; an error if the client hung up or the server stops.
    fn hold(&self, n: usize, limit: Option<Duration>, over: impl Fn(&State) -> bool) -> io::Result<()> {
        let end = limit.map(|limit| Instant::now() + limit);
        let mut state = self.lock();
        loop {
            if state.stopped || state.requests[n - 1].client_gone {
                return Err(io::ErrorKind::ConnectionReset.into());
            }
            if over(&state) {
                return Ok(());
            }
            let left = match end {
                None => DEADLINE,
                Some(end) => end.saturating_duration_since(Instant::now()),
            };
            if left.is_zero() {
                return Ok(());
            }
            state = self.changed.wait_timeout(state, left).expect("no panic under the lock").0;
        }
    }

    fn pause(&self, n: usize, length: Duration) -> io::Result<()> {
        if length.is_zero() {
            Ok(())
        } else {
            self.hold(n, Some(length), |_| false)
        }
    }

    /// Fails the first `k` requests with this key (`None`: all), lets one through, starts over.
    fn should_fail(&self, key: String, k: Option<u32>) -> bool {
        let Some(k) = k else { return true };
        let mut state = self.lock();
        let done = state.failed.entry(key.clone()).or_default();
        if *done < k {
            *done += 1;
            return true;
        }
        state.failed.remove(&key);
        false
    }
}

fn accept_loop(listener: &TcpListener, shared: &Arc<Shared>) {
    let mut threads = Vec::new();
    for socket in listener.incoming().map_while(Result::ok) {
        {
            let mut state = shared.lock();
            if state.stopped {
                break;
            }
            state.sockets.push(socket.try_clone().expect("a second handle"));
        }
        let shared = Arc::clone(shared);
        threads.push(thread::spawn(move || {
            let _ = socket.set_nodelay(true);
            let _ = serve(&socket, &shared);
            let _ = socket.shutdown(Shutdown::Both);
        }));
    }
    for thread in threads {
        let _ = thread.join();
    }
}

/// One request per connection: `Connection: close` keeps the "client gone" check simple.
fn serve(socket: &TcpStream, shared: &Arc<Shared>) -> io::Result<()> {
    let mut reader = BufReader::new(socket);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut words = line.split_whitespace();
    let (method, path) = (words.next().unwrap_or("").to_owned(), words.next().unwrap_or("").to_owned());
    let (mut length, mut authorization) = (0, None);
    loop {
        let mut header = String::new();
        if reader.read_line(&mut header)? == 0 {
            return Ok(());
        }
        let Some((name, value)) = header.trim_end().split_once(':') else {
            break;
        };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.trim().parse().unwrap_or(0),
            "authorization" => authorization = Some(value.trim().to_owned()),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;

    if method == "GET" && path.trim_end_matches('/').ends_with("/models") {
        let ids = ["fake-model", "fake-think", "fake-small", "backup-model"];
        let data: Vec<_> = ids.iter().map(|id| json!({"id": id, "object": "model", "owned_by": "fake"})).collect();
        return send_json(socket, 200, &json!({"object": "list", "data": data}), "");
    }
    let body: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
    let n = {
        let mut state = shared.lock();
        let n = state.requests.len() + 1;
        state.requests.push(read_request(n, path, authorization, body));
        n
    };
    // The client sends nothing after its request, so a read that returns means that it hung up.
    let watched = socket.try_clone()?;
    let for_watcher = Arc::clone(shared);
    let watcher = thread::spawn(move || {
        let _ = watched.peek(&mut [0]);
        for_watcher.note(n, |r| r.client_gone = !r.done && !r.dropped);
    });
    shared.changed.notify_all();
    let outcome = Answer { socket, shared, n }.give();
    shared.note(n, |r| {
        r.client_gone |= outcome.is_err() && !r.dropped;
        r.done = true;
    });
    let _ = socket.shutdown(Shutdown::Both);
    let _ = watcher.join();
    outcome
}

fn read_request(n: usize, path: String, authorization: Option<String>, body: Value) -> Request {
    let empty = Vec::new();
    let messages = body["messages"].as_array().unwrap_or(&empty);
    let role = |m: &Value| m["role"].as_str().unwrap_or("").to_owned();
    let last = messages.iter().rposition(|m| m["role"] == "user");
    let after = last.map_or(&[][..], |at| &messages[at + 1..]);
    let system: Vec<_> = messages
        .iter()
        .filter(|m| m["role"] == "system" || m["role"] == "developer")
        .map(|m| content_text(&m["content"]))
        .collect();
    let system = system.join("\n");
    let tools: Vec<_> = body["tools"]
        .as_array()
        .unwrap_or(&empty)
        .iter()
        .filter_map(|t| t["function"]["name"].as_str().map(str::to_owned))
        .collect();
    let chars: usize = messages
        .iter()
        .map(|m| {
            content_text(&m["content"]).len()
                + if m["tool_calls"].is_null() { 2 } else { m["tool_calls"].to_string().len() }
        })
        .sum();
    Request {
        n,
        path,
        authorization,
        model: body["model"].as_str().unwrap_or("").to_owned(),
        stream: body["stream"] == true,
        last_user: last.map(|at| content_text(&messages[at]["content"])).unwrap_or_default(),
        turn: after.iter().filter(|m| m["role"] == "assistant" && m["tool_calls"].is_array()).count(),
        summary: tools.is_empty() && system.to_lowercase().contains("summar"),
        roles: messages.iter().map(role).collect(),
        tools,
        images: images_of(&messages[last.unwrap_or(0).min(messages.len())..]).len(),
        system,
        reasoning_effort: body["reasoning_effort"].as_str().map(str::to_owned),
        prompt_tokens: chars / 4 + 10,
        body,
        ..Request::default()
    }
}

fn content_text(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts.iter().filter_map(|p| p["text"].as_str()).collect(),
        _ => String::new(),
    }
}

/// (media type, characters of base64) of each inline image.
fn images_of(messages: &[Value]) -> Vec<(String, usize)> {
    let parts = messages.iter().filter_map(|m| m["content"].as_array()).flatten();
    parts
        .filter_map(|p| p["image_url"]["url"].as_str())
        .map(|url| match url.strip_prefix("data:").and_then(|url| url.split_once(";base64,")) {
            Some((kind, data)) => (kind.to_owned(), data.len()),
            None => ("url".to_owned(), url.len()),
        })
        .collect()
}

enum Step {
    Text(String, u64),
    Think(String),
    Tool(String, String),
    Gate(String),
    Pause(f64),
    Drop,
    Garbage,
    Finish(&'static str),
}

struct Answer<'a> {
    socket: &'a TcpStream,
    shared: &'a Shared,
    n: usize,
}

impl Answer<'_> {
    fn give(&self) -> io::Result<()> {
        let r = self.shared.lock().requests[self.n - 1].clone();
        if !r.path.trim_end_matches('/').ends_with("/chat/completions") {
            return self.refuse(404, "invalid_request_error", &format!("no such endpoint {}", r.path), "");
        }
        if let Some(key) = &self.shared.options.api_key {
            if r.authorization.as_deref() != Some(&format!("Bearer {key}")) {
                return self.refuse(401, "invalid_api_key", "Incorrect API key provided", "");
            }
        }
        if !r.body["messages"].is_array() {
            return self.refuse(400, "invalid_request_error", "body is not a chat completion request", "");
        }
        let prefix = if r.summary { "summary-" } else { "" };
        let all = directives::parse_prefixed(&r.last_user, prefix, directives::COMMON);
        let plan = directives::split_turns(&all).into_iter().nth(r.turn).unwrap_or_default();
        let mut usage = None;
        for directive in &plan {
            let Directive::Other { name, arg } = directive else {
                continue;
            };
            let key = || format!("{name}|{}|{}|{}", r.turn, r.summary, r.last_user);
            // `model=ID` lets one model fail and another answer, for failover tests.
            let model = arg.split_whitespace().find_map(|word| word.strip_prefix("model="));
            if model.is_some_and(|model| model != r.model) {
                continue;
            }
            match name.as_str() {
                "hang" => self.shared.pause(self.n, seconds(number(arg, "").unwrap_or(1.0)))?,
                "status" if self.shared.should_fail(key(), directives::times(arg)) => {
                    let status = number(arg, "").unwrap_or(500.0) as u16;
                    let message = match arg.split_once("msg=\"").and_then(|(_, m)| m.split_once('"')) {
                        Some((message, _)) => message.to_owned(),
                        None => format!("fake failure {status}"),
                    };
                    let retry = arg.split_once("retry-after:").and_then(|(_, a)| a.split_whitespace().next());
                    let headers = retry.map(|a| format!("Retry-After: {a}\r\n")).unwrap_or_default();
                    let kind = match status {
                        429 => "rate_limit_error",
                        401 => "authentication_error",
                        400 => "invalid_request_error",
                        529 => "overloaded_error",
                        _ => "server_error",
                    };
                    return self.refuse(status, kind, &message, &headers);
                }
                "overflow" if self.shared.should_fail(key(), directives::times(arg)) => return self.overflow(&r),
                "usage" => {
                    let input = number(arg, "").unwrap_or(0.0) as u64;
                    usage = Some((input, number(arg, ",").unwrap_or(1.0) as u64));
                }
                _ => {}
            }
        }
        if !r.summary && self.shared.options.context_window.is_some_and(|window| r.prompt_tokens > window) {
            return self.overflow(&r);
        }
        self.shared.note(self.n, |r| r.status = Some(200));
        let steps = steps(&plan, &all, &r);
        if r.stream {
            self.stream(&r, steps, usage)
        } else {
            self.whole(&r, steps, usage)
        }
    }

    fn refuse(&self, status: u16, kind: &str, message: &str, headers: &str) -> io::Result<()> {
        self.shared.note(self.n, |r| r.status = Some(status));
        send_json(self.socket, status, &json!({"error": {"message": message, "type": kind, "code": kind}}), headers)
    }

    fn overflow(&self, r: &Request) -> io::Result<()> {
        self.shared.note(self.n, |r| r.status = Some(400));
        let window = self.shared.options.context_window.unwrap_or(8192);
        let tokens = r.prompt_tokens.max(window + 1);
        let message = format!("This model's maximum context length is {window} tokens. However, your messages resulted in {tokens} tokens.");
        let code = "context_length_exceeded";
        let error = json!({"message": message, "type": "invalid_request_error", "param": "messages", "code": code});
        send_json(self.socket, 400, &json!({"error": error}), "")
    }

    fn gate(&self, name: &str) -> io::Result<()> {
        self.shared.lock().arrivals.push((name.to_owned(), self.n));
        self.shared.changed.notify_all();
        self.shared.hold(self.n, None, |state| state.open.contains(name))
    }

    fn whole(&self, r: &Request, steps: Vec<Step>, usage: Option<(u64, u64)>) -> io::Result<()> {
        let (mut text, mut thinking, mut calls, mut finish) = (String::new(), String::new(), Vec::new(), None);
        for step in steps {
            match step {
                Step::Text(t, _) => text += &t,
                Step::Think(t) => thinking += &t,
                Step::Tool(name, args) => calls.push(json!({"id": self.id("call", calls.len()), "type": "function",
                    "function": {"name": name, "arguments": args}})),
                Step::Gate(name) => self.gate(&name)?,
                Step::Pause(s) => self.shared.pause(self.n, seconds(s))?,
                Step::Finish(reason) => finish = Some(reason),
                Step::Drop => return self.cut(),
                Step::Garbage => {}
            }
        }
        let finish = finish.unwrap_or(if calls.is_empty() { "stop" } else { "tool_calls" });
        let counted = text.len() + thinking.len();
        let mut message = json!({"role": "assistant", "content": text});
        if !thinking.is_empty() {
            message["reasoning_content"] = thinking.into();
        }
        if !calls.is_empty() {
            message["tool_calls"] = calls.into();
        }
        send_json(
            self.socket,
            200,
            &json!({"id": self.id("chatcmpl", 0), "object": "chat.completion", "created": 1,
            "model": r.model, "choices": [{"index": 0, "message": message, "finish_reason": finish}],
            "usage": usage_of(r, counted, usage)}),
            "",
        )
    }

    fn stream(&self, r: &Request, steps: Vec<Step>, usage: Option<(u64, u64)>) -> io::Result<()> {
        let mut socket = self.socket;
        socket.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n")?;
        self.delta(r, json!({"role": "assistant", "content": ""}), None)?;
        let (mut chars, mut calls, mut finish) = (0, 0, None);
        for step in steps {
            match step {
                Step::Text(text, gap) => {
                    self.shared.pause(self.n, Duration::from_millis(gap))?;
                    chars += text.len();
                    self.delta(r, json!({"content": text}), None)?;
                }
                Step::Think(text) => {
                    chars += text.len();
                    self.delta(r, json!({"reasoning_content": text}), None)?;
                }
                Step::Tool(name, args) => {
                    let call = |function: Value| json!({"tool_calls": [{"index": calls, "function": function}]});
                    let mut first = call(json!({"name": name, "arguments": ""}));
                    first["tool_calls"][0]["id"] = self.id("call", calls).into();
                    first["tool_calls"][0]["type"] = "function".into();
                    self.delta(r, first, None)?;
                    for piece in directives::pieces(&args, 24) {
                        self.delta(r, call(json!({"arguments": piece})), None)?;
                    }
                    chars += args.len();
                    calls += 1;
                }
                Step::Gate(name) => self.gate(&name)?,
                Step::Pause(s) => self.shared.pause(self.n, seconds(s))?,
                Step::Garbage => self.chunk("data: {not json\n\n")?,
                Step::Drop => return self.cut(),
                Step::Finish(reason) => finish = Some(reason),
            }
        }
        let finish = finish.unwrap_or(if calls == 0 { "stop" } else { "tool_calls" });
        self.delta(r, json!({}), Some(finish))?;
        if r.body["stream_options"]["include_usage"] == true {
            let mut last = self.base(r);
            last["choices"] = json!([]);
            last["usage"] = usage_of(r, chars, usage);
            self.chunk(&format!("data: {last}\n\n"))?;
        }
        self.chunk("data: [DONE]\n\n")?;
        socket.write_all(b"0\r\n\r\n")
    }

    fn base(&self, r: &Request) -> Value {
        json!({"id": self.id("chatcmpl", 0), "object": "chat.completion.chunk", "created": 1, "model": r.model})
    }

    fn delta(&self, r: &Request, delta: Value, finish: Option<&str>) -> io::Result<()> {
        let mut chunk = self.base(r);
        chunk["choices"] = json!([{"index": 0, "delta": delta, "finish_reason": finish}]);
        self.chunk(&format!("data: {chunk}\n\n"))
    }

    fn chunk(&self, data: &str) -> io::Result<()> {
        let mut socket = self.socket;
        socket.write_all(format!("{:x}\r\n{data}\r\n", data.len()).as_bytes())
    }

    fn cut(&self) -> io::Result<()> {
        self.shared.note(self.n, |r| r.dropped = true);
        self.socket.shutdown(Shutdown::Both)
    }

    fn id(&self, prefix: &str, i: usize) -> String {
        format!("{prefix}_{}_{i}", self.n)
    }
}

fn steps(plan: &[Directive], all: &[Directive], r: &Request) -> Vec<Step> {
    let mut out = Vec::new();
    let mut said = false;
    let speak = |text: &str| words(text).into_iter().map(|w| Step::Text(w, 0)).collect::<Vec<_>>();
    for directive in plan {
        let (name, arg) = match directive {
            Directive::Tool { name, args } => {
                let args = args.as_ref().map_or_else(String::clone, Value::to_string);
                out.push(Step::Tool(name.clone(), args));
                said = true;
                continue;
            }
            Directive::Other { name, arg } => (name.as_str(), arg.as_str()),
        };
        if let Some(pieces) = directives::spoken(name, arg, &r.last_user) {
            out.extend(pieces.into_iter().map(|(text, gap)| Step::Text(text, gap)));
            said = true;
            continue;
        }
        match name {
            "think" => out.extend(words(&directives::unescape(arg)).into_iter().map(Step::Think)),
            "show" => {
                out.extend(speak(&show(arg, r)));
                said = true;
            }
            "gate" => out.push(Step::Gate(arg.to_owned())),
            "pause" => out.push(Step::Pause(number(arg, "").unwrap_or(1.0))),
            "drop" => out.push(Step::Drop),
            "garbage" => out.push(Step::Garbage),
            "length" => out.push(Step::Finish("length")),
            "filter" => out.push(Step::Finish("content_filter")),
            _ => {}
        }
    }
    if !said {
        let result = r.body["messages"].as_array().and_then(|m| m.last()).filter(|m| m["role"] == "tool");
        let text = match result {
            _ if r.summary => "## Goal\nfake summary of the conversation\n## Next Steps\n1. go on".to_owned(),
            Some(m) => {
                let text: String = content_text(&m["content"]).chars().take(200).collect();
                format!("tool said: {}", text.trim())
            }
            None if all.is_empty() => r.last_user.clone(),
            None => "ok".to_owned(),
        };
        let at = out.iter().position(|s| matches!(s, Step::Drop | Step::Finish(_))).unwrap_or(out.len());
        out.splice(at..at, speak(&text));
    }
    out
}

fn show(what: &str, r: &Request) -> String {
    let messages = r.body["messages"].as_array().cloned().unwrap_or_default();
    match what {
        "tools" => format!("tools: {}", r.tools.join(",")),
        "roles" => format!("roles: {}", r.roles.join(",")),
        "system" => r.system.clone(),
        "model" => format!("model: {} effort: {}", r.model, r.reasoning_effort.as_deref().unwrap_or("none")),
        "images" => {
            let from = messages.iter().rposition(|m| m["role"] == "user").unwrap_or(0);
            let list: Vec<_> = images_of(&messages[from..]).iter().map(|(kind, n)| format!("{kind}/{n}")).collect();
            format!("images: {} {}", list.len(), list.join(" "))
        }
        "users" => {
            let users = messages.iter().filter(|m| m["role"] == "user");
            let heads: Vec<String> = users.map(|m| content_text(&m["content"]).chars().take(80).collect()).collect();
            heads.join(" | ")
        }
        _ => format!("unknown show {what}"),
    }
}

fn usage_of(r: &Request, chars: usize, forced: Option<(u64, u64)>) -> Value {
    let (input, output) = forced.unwrap_or((r.prompt_tokens as u64, (chars as u64 / 4).max(1)));
    json!({"prompt_tokens": input, "completion_tokens": output, "total_tokens": input + output})
}

fn seconds(s: f64) -> Duration {
    Duration::from_secs_f64(s.clamp(0.0, 3600.0))
}

fn send_json(mut socket: &TcpStream, status: u16, body: &Value, headers: &str) -> io::Result<()> {
    let body = body.to_string();
    let head = format!(
        "HTTP/1.1 {status} Fake\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n{headers}\r\n",
        body.len()
    );
    socket.write_all((head + &body).as_bytes())
}
