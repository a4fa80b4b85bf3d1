//! A gateway with a real pi and a scripted model, and a page that talks to it.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::process::{kill_process, Pid, Signal};
use serde_json::{json, Value};

use crate::support::gateway::{merge, Gateway};
use crate::support::home::PiHome;
use crate::support::llm::{Llm, Request};
use crate::support::raw_http::{Client, Ws};
use crate::support::{pi, DEADLINE};

pub const MAIN: &str = "agent:main:webchat:default";
pub const OTHER: &str = "agent:main:webchat:other";

/// Fields are dropped in this order: the gateway first.
pub struct World {
    pub g: Gateway,
    pub llm: Llm,
    pub home: PiHome,
    pub new: bool,
}

impl World {
    pub fn start(new: bool) -> World {
        World::with(new, json!({}))
    }

    pub fn with(new: bool, config: Value) -> World {
        World::made(new, |_| config)
    }

    /// With a configuration that needs paths of the home.
    pub fn made(new: bool, config: impl FnOnce(&PiHome) -> Value) -> World {
        let llm = Llm::start();
        let home = PiHome::new(&llm);
        let program = if new { pi::new() } else { pi::old() };
        let mut all = json!({"agent": {"piCliPath": program, "model": "fake/fake-model"}});
        merge(&mut all, config(&home));
        let mut g = Gateway::new(all);
        for (name, value) in home.env() {
            let (name, value) = (name.into_string().unwrap(), value.into_string().unwrap());
            if name != "PATH" && name != "HOME" {
                g.set_env(&name, Some(&value));
            }
        }
        World { g: g.start(), llm, home, new }
    }

    /// A world with an extension of pi.
    pub fn extended(new: bool, code: &str, config: Value) -> World {
        World::made(new, |home| {
            let file = home.path().join("extension.ts");
            std::fs::write(&file, code.replace("HOME", home.path().to_str().unwrap())).unwrap();
            let mut all = json!({"agent": {"extensions": [file]}});
            merge(&mut all, config);
            all
        })
    }

    pub fn page(&self) -> Page {
        self.page_of(MAIN)
    }

    pub fn page_of(&self, session: &str) -> Page {
        let ws = self.g.page(session);
        ws.c.sock.set_read_timeout(Some(2 * DEADLINE)).unwrap(); // old pi takes seconds to start on a busy machine
        Page { ws, session: session.into() }
    }

    /// Says it on a new page and waits for the reply's text.
    pub fn ask(&self, text: &str) -> String {
        let mut page = self.page();
        let run = page.say(text);
        page.reply(&run)
    }

    /// Asks over the API, where nobody watches.
    pub fn ask_api(&self, session: &str, text: &str) -> String {
        let mut c = Client::new(self.g.addr);
        c.sock.set_read_timeout(Some(2 * DEADLINE)).unwrap();
        let auth = format!("Authorization: Bearer {}\r\n", self.g.token);
        c.request("POST", "/api/chat", &auth, &json!({"message": text, "sessionKey": session}).to_string());
        c.response().json()["reply"].as_str().unwrap().to_owned()
    }

    /// pids of all pi processes: they are the gateway's children.
    pub fn pids(&self) -> Vec<u32> {
        let pid = self.g.pid();
        let list = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
        list.split_whitespace().map(|p| p.parse().unwrap()).collect()
    }

    pub fn pid(&self) -> u32 {
        let pids = self.pids();
        assert_eq!(pids.len(), 1, "one pi");
        pids[0]
    }

    pub fn kill(&self) {
        kill_process(Pid::from_raw(self.pid() as i32).unwrap(), Signal::KILL).unwrap();
    }

    /// Waits between pi's retries long enough to be met (for the next pi started).
    pub fn slow_retries(&self) {
        let settings = self.home.agent().join("settings.json");
        let text = std::fs::read_to_string(&settings).unwrap().replace("\"baseDelayMs\": 50", "\"baseDelayMs\": 6000");
        std::fs::write(&settings, text).unwrap();
    }

    /// `kill -9`; returns when the gateway has noticed, and how long that took.
    pub fn kill_pi(&self) -> Duration {
        let begun = Instant::now();
        self.kill();
        self.g.wait_until("the gateway sees that pi is gone", |g| g.log().contains("pi ended during turn"));
        begun.elapsed()
    }

    /// Waits until pi has recorded a failed message: it is about to try again. (Viewers are not told of it.)
    pub fn failed_once(&self) {
        let failed = |dir: &std::path::Path| {
            let files = std::fs::read_dir(dir).into_iter().flatten().flatten();
            files.filter_map(|f| std::fs::read_to_string(f.path()).ok()).any(|t| t.contains(r#""stopReason":"error""#))
        };
        self.g.wait_until("a failed message", |g| {
            let sessions = std::fs::read_dir(g.data().join("sessions")).into_iter().flatten().flatten();
            sessions.map(|d| d.path()).any(|d| failed(&d))
        });
    }

    /// A path in the home, for tools of the model.
    pub fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// A fifo: a tool that reads it waits until the test writes.
    pub fn fifo(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &path,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::from_raw_mode(0o600),
            0,
        )
        .unwrap();
        path
    }

    /// The request whose last user message holds this.
    pub fn asked(&self, words: &str) -> Request {
        self.llm.wait_for(|r| r.last_user.contains(words) && !r.summary)
    }

    /// Parts of the session's answers.
    pub fn parts(&self, raw: bool) -> Vec<Vec<Value>> {
        let res = self.g.page(MAIN).call("chat.history", json!({"sessionKey": MAIN, "raw": raw}));
        let list = res["payload"]["messages"].as_array().unwrap().clone();
        let answers = list.iter().filter(|m| m["role"] == "assistant");
        answers.map(|m| m["parts"].as_array().unwrap().clone()).collect()
    }

    /// pi's session files, which the gateway keeps a folder a session.
    pub fn session_files(&self) -> Vec<PathBuf> {
        let mut folders = vec![self.g.data()];
        let mut files = Vec::new();
        while let Some(folder) = folders.pop() {
            for path in std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()) {
                let of_pi = || std::fs::read_to_string(&path).is_ok_and(|t| t.starts_with("{\"type\":\"session\""));
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|e| e == "jsonl") && of_pi() {
                    files.push(path);
                }
            }
        }
        files
    }

    /// Texts of the session's history by role.
    pub fn said(&self, role: &str) -> Vec<String> {
        self.g.history(MAIN).into_iter().filter(|(r, _)| r == role).map(|(_, text)| text).collect()
    }
}

/// One page on one session.
pub struct Page {
    pub ws: Ws,
    session: String,
}

impl Page {
    /// Sends; the run's id, when the gateway has it safe.
    pub fn say(&mut self, text: &str) -> String {
        self.send(json!({"text": text}))
    }

    /// Two messages in one breath: the second is there before pi can have answered to the first.
    pub fn say_both(&mut self, first: &str, second: &str) -> String {
        let ids = [first, second].map(|text| {
            let params = json!({"text": text, "sessionKey": self.session});
            self.ws.ask("chat.send", params)
        });
        let [first, _] = ids.map(|id| self.ws.res(id));
        first["payload"]["runId"].as_str().unwrap().to_owned()
    }

    pub fn send(&mut self, mut params: Value) -> String {
        params["sessionKey"] = self.session.as_str().into();
        let res = self.ws.call("chat.send", params);
        assert_eq!(res["ok"], true, "{res}");
        res["payload"]["runId"].as_str().unwrap().to_owned()
    }

    pub fn abort(&mut self) {
        let res = self.ws.call("chat.abort", json!({"sessionKey": self.session}));
        assert_eq!(res["ok"], true, "{res}");
    }

    /// The first event, past or to come, for which `want` holds; it is taken, others stay.
    pub fn wait(&mut self, what: &str, want: impl Fn(&Value) -> bool) -> Value {
        if let Some(at) = self.ws.passed.iter().position(&want) {
            return self.ws.passed.remove(at);
        }
        let end = Instant::now() + 2 * DEADLINE;
        loop {
            assert!(Instant::now() < end, "{what} did not come; seen: {:#?}", self.ws.passed);
            let v = self.ws.json();
            if want(&v) {
                return v;
            }
            self.ws.passed.push(v);
        }
    }

    /// The text of the last reply to that message.
    pub fn reply(&mut self, run: &str) -> String {
        let is_it = |v: &Value| {
            let runs = v["payload"]["runIds"].as_array();
            v["event"] == "chat.reply" && runs.is_some_and(|r| r.iter().any(|r| r == run))
        };
        let v = self.wait("the reply", is_it);
        v["payload"]["text"].as_str().unwrap().to_owned()
    }

    pub fn event(&mut self, name: &str) -> Value {
        self.wait(name, |v| v["event"] == name)
    }

    /// An event of pi of that type.
    pub fn pi_event(&mut self, kind: &str) -> Value {
        self.wait(kind, |v| v["event"] == "agent" && v["payload"]["type"] == kind)["payload"].clone()
    }

    /// All `agent` events of a run so far, also those that a `live.reset` took back.
    pub fn told(&self, run: &str) -> Vec<Value> {
        let of = |v: &&Value| v["event"] == "agent" && v["payload"]["runId"] == run;
        self.ws.passed.iter().filter(of).map(|v| v["payload"].clone()).collect()
    }

    /// Waits until that text was shown live (and leaves the events where they are).
    pub fn sees(&mut self, run: &str, text: &str) {
        while !self.shown(run, "text_delta").contains(text) {
            let v = self.ws.json();
            self.ws.passed.push(v);
        }
    }

    /// What was shown live of a run so far: deltas of that kind since the last `live.reset`.
    pub fn shown(&self, run: &str, kind: &str) -> String {
        let mut text = String::new();
        for v in self.ws.passed.iter().filter(|v| v["payload"]["runId"] == run) {
            let e = &v["payload"]["assistantMessageEvent"];
            if v["event"] == "live.reset" {
                text.clear();
            } else if e["type"] == kind {
                text += e["delta"].as_str().unwrap_or_default();
            }
        }
        text
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- events of the page that nobody took");
            self.ws.passed.iter().for_each(|v| eprintln!("{v}"));
        }
    }
}

/// Releases a tool that reads this fifo.
pub fn release(fifo: &std::path::Path) {
    std::fs::write(fifo, "go\n").unwrap();
}
