//! A door over a scripted mind: a thread that answers requests the way a test says.
#![allow(dead_code, clippy::unwrap_used)]

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crossbeam_channel::{bounded, Sender};
use pi_gateway::ask::{Answers, Mind};
use pi_gateway::http::{Auth, Door, HistoryMessage, Limits, Mailbox, NoRestart, Operator, Parts, Settings, Times};
use pi_gateway::live::Board;
use pi_gateway::message::*;

pub const SECRET: &str = "correct horse battery staple";

/// Gives the answer to a request, or keeps it waiting.
pub type Script = Box<dyn FnMut(&Request) -> Option<Answer> + Send>;

pub struct House {
    pub door: Door,
    pub board: Arc<Board>,
    pub addr: SocketAddr,
    pub asked: Arc<Mutex<Vec<Request>>>,
    /// Requests without an answer yet.
    pub waiting: Arc<Mutex<Vec<(ReqId, Request)>>>,
    pub answers: Arc<Answers>,
    pub dir: tempfile::TempDir,
    pub settings: Settings,
    _inbox: Sender<Event>,
}

#[derive(Default)]
pub struct Box1 {
    /// What fetches for it.
    fetcher: Option<pi_gateway::net::Agent>,
}

impl Mailbox for Box1 {
    fn history(&self, session: &str, limit: usize, before: Option<&str>) -> Result<Vec<HistoryMessage>, String> {
        if session.ends_with("broken") {
            return Err("the disk is gone".into());
        }
        let all = (1..=5).map(|n| HistoryMessage {
            id: format!("m{n}"),
            role: if n % 2 == 1 { "user" } else { "assistant" }.into(),
            content: format!("text {n}"),
            run_id: format!("r{}", (n + 1) / 2),
            at: n,
            key: (n == 1).then(|| "k1".into()),
            images: Vec::new(),
            file: None,
            failed: false,
        });
        let older: Vec<_> = all.take_while(|m| before.is_none_or(|b| m.id != b)).collect();
        Ok(older[older.len().saturating_sub(limit)..].to_vec())
    }

    /// `m2` thought and called a tool; of `m4` nothing is known.
    fn parts(&self, ids: &[&str], results: bool) -> Vec<Vec<serde_json::Value>> {
        let of = |id: &&str| {
            if *id != "m2" {
                return Vec::new();
            }
            let result = serde_json::json!({"type": "toolResult", "toolCallId": "c1", "toolName": "bash", "isError": false,
                "content": [{"type": "text", "text": "hi"}]});
            let mut all = vec![
                serde_json::json!({"type": "thinking", "thinking": "well"}),
                serde_json::json!({"type": "toolCall", "id": "c1", "name": "bash", "arguments": {"command": "echo hi"}}),
            ];
            all.extend(results.then_some(result));
            all.push(serde_json::json!({"type": "text", "text": "text 2"}));
            all
        };
        ids.iter().map(of).collect()
    }
}

impl Operator for Box1 {
    fn config(&self) -> serde_json::Value {
        serde_json::json!({"gateway": {"port": 52134, "auth": {"token": "***"}}})
    }
    fn reload(&self) -> Result<(), String> {
        Ok(())
    }
    fn fetcher(&self) -> Result<pi_gateway::net::Agent, String> {
        self.fetcher.clone().ok_or("nothing is fetched here".into())
    }
    fn restart(&self) -> Result<(), NoRestart> {
        Err(NoRestart::Disabled)
    }
}

pub fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

pub fn settings() -> Settings {
    Settings {
        listen: vec![SocketAddr::from(([127, 0, 0, 1], 0))],
        auth: Auth::Token(SECRET.into()),
        version: "1.2.3".into(),
        channels: vec!["webchat".into()],
        times: Times { peek: ms(50), wrong: ms(1), linger: ms(500), ..Times::default() },
        limits: Limits { per_address: 1000, ..Limits::default() },
        ..Settings::default()
    }
}

/// Answers the way a well mind does: chats are accepted as row 1, 2, … and replied to with `echo: <text>`;
/// a text that begins with `wait` is never replied to.
pub fn well() -> Script {
    let mut texts: Vec<String> = Vec::new();
    Box::new(move |request| match request {
        Request::Chat(c) => {
            texts.push(c.text.clone());
            let row = texts.len() as Row;
            Some(Answer::Accepted { row, run: format!("run{row}"), replayed: false })
        }
        Request::Wait { row } => {
            let text = &texts[*row as usize - 1];
            let run = format!("run{row}");
            let reply = |text: String| ChatReply { run: run.clone(), id: "seg1".into(), text, ..ChatReply::default() };
            match text.as_str() {
                t if t.starts_with("wait") => None,
                "fail" => Some(Answer::Reply(Box::new(ChatReply {
                    error: Some((Code::UpstreamFailed, "the model is down".into())),
                    ..reply("The model is down.".into())
                }))),
                "full" => Some(Answer::Reply(Box::new(ChatReply {
                    error: Some((Code::QueueFull, "Too many messages queued. Please wait.".into())),
                    ..reply(String::new())
                }))),
                t => Some(Answer::Reply(Box::new(reply(format!("echo: {t}"))))),
            }
        }
        Request::Snapshot => Some(Answer::Snapshot(Box::new(snapshot()))),
        Request::Sessions { .. } => Some(Answer::Sessions(vec![info("agent:main:main:main")])),
        Request::Session { key: k } if k == "agent:main:main:main" => Some(Answer::Sessions(vec![info(k)])),
        Request::Session { .. } => Some(Answer::Sessions(Vec::new())),
        Request::Dialogs { .. } => Some(Answer::Dialogs(Vec::new())),
        Request::Ui { id, .. } => Some(Answer::Bool(id == "d1")),
        Request::SetModel { model, .. } if model.starts_with("no/") => {
            Some(Answer::Error { code: Code::NotFound, message: "Session not found".into() })
        }
        Request::SetModel { .. } | Request::SetThinking { .. } => Some(Answer::Bool(true)),
        Request::Models => Some(Answer::Models(r#"[{"id":"m1","provider":"p"}]"#.into())),
        Request::Stats { session } if session.ends_with("main") => {
            Some(Answer::Stats { stats: r#"{"cost":0.5}"#.into(), state: r#"{"isStreaming":false}"#.into() })
        }
        Request::Stats { .. } => {
            Some(Answer::Error { code: Code::NoActiveSession, message: "No active session".into() })
        }
        Request::Commands => {
            let new = CommandInfo { name: "new".into(), args: "[all]".into(), description: "begin".into(), pi: false };
            let skill = CommandInfo { name: "skill:x".into(), args: String::new(), pi: true, ..new.clone() };
            Some(Answer::Commands(vec![new, skill]))
        }
        Request::Compact { session, .. } if session.ends_with("busy") => {
            Some(Answer::Error { code: Code::Busy, message: "The session is busy".into() })
        }
        Request::Rename { session, .. } | Request::Renew { session } | Request::ReloadPi { session }
            if session.ends_with("none") =>
        {
            Some(Answer::Error { code: Code::NotFound, message: "Session not found".into() })
        }
        Request::Reset { .. } => Some(Answer::Reset { events: 0 }),
        _ => Some(Answer::Ok),
    })
}

pub fn info(key: &str) -> SessionInfo {
    let last = Source { channel: "webchat".into(), chat: "default".into(), sender: "web".into(), ..Source::default() };
    SessionInfo {
        key: key.into(),
        agent: "main".into(),
        last_activity: 1000,
        message_count: 3,
        proc: Some(ProcId(7)),
        last: Some(last),
        ..SessionInfo::default()
    }
}

pub fn snapshot() -> Snapshot {
    let proc = |id, session: Option<&str>| ProcInfo {
        id: ProcId(id),
        pid: std::process::id(),
        session: session.map(Into::into),
        state: "ready",
        since: 0,
        used: 0,
        new_pi: true,
    };
    Snapshot {
        procs: vec![proc(1, Some("agent:main:main:main")), proc(2, None)],
        pool_max: 4,
        pool_min: 1,
        queues: vec![("agent:main:main:main".into(), 2, true)],
        sessions: 5,
        clock_confirmed: true,
        counters: Counters { channels: [("webchat".to_owned(), 3)].into(), accepted: 3, ..Counters::default() },
        ..Snapshot::default()
    }
}

impl House {
    pub fn new() -> House {
        House::with(settings(), well())
    }
    /// Mode `off`: for tests that are not about secrets.
    pub fn open() -> House {
        House::set(|_| ())
    }
    /// Mode `off`, with changed settings.
    pub fn set(change: impl FnOnce(&mut Settings)) -> House {
        let mut s = settings();
        s.auth = Auth::Off;
        s.allow_unauthenticated = true;
        change(&mut s);
        House::with(s, well())
    }
    pub fn with(settings: Settings, script: Script) -> House {
        House::made(settings, script, None)
    }
    /// Mode `off`, with what fetches from the network.
    pub fn fetching(agent: pi_gateway::net::Agent, change: impl FnOnce(&mut Settings)) -> House {
        let mut s = Settings { auth: Auth::Off, allow_unauthenticated: true, ..settings() };
        change(&mut s);
        House::made(s, well(), Some(agent))
    }
    fn made(mut settings: Settings, mut script: Script, fetcher: Option<pi_gateway::net::Agent>) -> House {
        let dir = tempfile::tempdir().unwrap();
        settings.media_dir = dir.path().join("media");
        settings.logins_file = Some(dir.path().join("logins.json"));
        let (inbox, events) = bounded(256);
        let answers: Arc<Answers> = Arc::default();
        let (asked, waiting): (Arc<Mutex<Vec<Request>>>, Arc<Mutex<Vec<_>>>) = Default::default();
        let (to, seen, kept) = (answers.clone(), asked.clone(), waiting.clone());
        std::thread::spawn(move || {
            for event in events {
                if let Event::Request { id, req } = event {
                    seen.lock().unwrap().push((*req).clone());
                    match script(&req) {
                        Some(answer) => to.give(id, answer),
                        None => kept.lock().unwrap().push((id, *req)),
                    }
                }
            }
        });
        let board = Arc::new(Board::default());
        let mind = Mind::new(inbox.clone(), answers.clone());
        let parts =
            Parts { mind, board: board.clone(), mailbox: Arc::<Box1>::default(), operator: Arc::new(Box1 { fetcher }) };
        let door = Door::open(settings.clone(), parts).unwrap();
        let addr = door.addresses()[0];
        House { door, board, addr, asked, waiting, answers, dir, settings, _inbox: inbox }
    }
    /// Waits until the mind has an unanswered request of that kind, and takes it.
    pub fn unanswered(&self, kind: impl Fn(&Request) -> bool) -> (ReqId, Request) {
        let mut found = None;
        eventually("a request waits for its answer", || {
            let mut list = self.waiting.lock().unwrap();
            found = list.iter().position(|(_, r)| kind(r)).map(|at| list.remove(at));
            found.is_some()
        });
        found.unwrap()
    }
    pub fn all_gone(&self) {
        eventually("all connections ended", || self.door.connections() == 0);
    }
}

/// Looks again until it is so, for at most twenty seconds.
pub fn eventually(what: &str, mut so: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !so() {
        assert!(Instant::now() < end, "not in time: {what}");
        std::thread::park_timeout(ms(5));
    }
}
