//! A real browser for tests of the page: headless Chromium, steered through chromedriver with the WebDriver
//! protocol (W3C), which is plain HTTP with JSON. Nothing is skipped: without the two programs a test fails.
//!
//! A browser takes a second to start, so [`Browser::lend`] hands out used ones, emptied of cookies and tabs.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use base64::Engine;
use serde_json::{json, Value};
use tempfile::TempDir;

use super::DEADLINE;

/// The key under which WebDriver hides the id of an element.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";
/// Between two looks at a page that cannot tell us that it changed.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Browsers nobody uses at the moment.
static IDLE: Mutex<Vec<Browser>> = Mutex::new(Vec::new());

/// Starts the driver and ends it with all its children as soon as nobody holds the other end of stdin: when the
/// value is dropped, and also when the test program ends or is killed with browsers in [`IDLE`].
const KEEPER: &str = r#"
"$@" & cat >/dev/null; trap : TERM; kill -TERM 0; wait; rm -rf "$PROFILE"; kill -KILL 0
"#;

/// A browser for one test; afterwards it is kept for another one, unless the test failed.
pub struct Lent(Option<Browser>);

impl std::ops::Deref for Lent {
    type Target = Browser;
    fn deref(&self) -> &Browser {
        self.0.as_ref().expect("taken only by drop")
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let Some(browser) = self.0.take() else { return };
        if !std::thread::panicking() {
            browser.clean();
            IDLE.lock().unwrap_or_else(|e| e.into_inner()).push(browser);
        }
    }
}

pub struct Browser {
    driver: Child,
    port: u16,
    session: String,
    _profile: TempDir,
}

/// One element of the page.
pub struct Element<'a> {
    browser: &'a Browser,
    id: String,
}

impl Browser {
    /// An empty page without cookies, in a browser that another test may have used before.
    pub fn lend() -> Lent {
        let idle = IDLE.lock().unwrap_or_else(|e| e.into_inner()).pop();
        Lent(Some(idle.unwrap_or_else(Browser::start)))
    }

    /// As [`Browser::lend`] found it.
    fn clean(&self) {
        let tabs = self.tabs();
        for tab in &tabs[1..] {
            self.switch(tab);
            self.delete("window");
        }
        self.switch(&tabs[0]);
        self.delete("cookie");
        self.cdp("Network.clearBrowserCookies", &json!({}));
        self.cdp("Emulation.clearDeviceMetricsOverride", &json!({}));
        self.cdp("Emulation.setEmulatedMedia", &json!({"features": []}));
        self.goto("about:blank");
        self.console();
    }

    /// An empty page in a fresh profile.
    pub fn start() -> Browser {
        let profile = tempfile::tempdir().expect("temporary folder");
        // A port that was free a moment ago; the driver says on stdout when it listens.
        let port =
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|l| l.local_addr()).expect("a free port").port();
        let mut driver = Command::new("/bin/sh")
            .args(["-c", KEEPER, "keeper", "/usr/bin/chromedriver"])
            .arg(format!("--port={port}"))
            .env("PROFILE", profile.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .expect("a shell");
        let stdout = driver.stdout.take().expect("piped");
        let mut lines = BufReader::new(stdout).lines().map_while(Result::ok);
        let started = lines.any(|line| line.contains("started successfully"));
        assert!(started, "chromedriver does not listen on port {port}: install chromium and chromium-driver");
        let mut browser = Browser { driver, port, session: String::new(), _profile: profile };
        let args = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-dev-shm-usage",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--window-size=1100,800",
        ];
        let mut args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
        args.push(format!("--user-data-dir={}", browser._profile.path().join("profile").display()));
        let answer = browser.request(
            "POST",
            "/session",
            &json!({"capabilities": {"alwaysMatch": {
            "browserName": "chrome", "goog:loggingPrefs": {"browser": "ALL"}, "goog:chromeOptions": {"args": args}}}}),
        );
        browser.session = answer["sessionId"].as_str().unwrap_or_else(|| panic!("no browser: {answer}")).to_owned();
        browser
    }

    /// Loads a page; returns when it is loaded.
    pub fn goto(&self, url: &str) {
        self.command("url", &json!({"url": url}));
    }

    /// The first element for a CSS selector, as soon as there is one.
    pub fn find(&self, css: &str) -> Element<'_> {
        self.poll(&format!("an element {css:?}"), || {
            let found = self.try_command("element", &json!({"using": "css selector", "value": css})).ok()?;
            Some(Element { browser: self, id: found[ELEMENT].as_str()?.to_owned() })
        })
    }

    pub fn click(&self, css: &str) {
        self.find(css).click();
    }

    pub fn send_keys(&self, css: &str, text: &str) {
        self.find(css).send_keys(text);
    }

    /// The visible text of an element.
    pub fn text(&self, css: &str) -> String {
        self.find(css).text()
    }

    /// The value of a JavaScript expression.
    pub fn eval(&self, js: &str) -> Value {
        self.command("execute/sync", &json!({"script": format!("return ({js});"), "args": []}))
    }

    /// Waits until a JavaScript expression is true.
    pub fn wait_until(&self, js: &str, deadline: Duration) {
        let script = json!({"script": format!("return !!({js});"), "args": []});
        self.poll_for(&format!("{js} to be true"), deadline, || {
            let value = self.try_command("execute/sync", &script).ok()?;
            (value == true).then_some(())
        });
    }

    /// What the page wrote to its console, and what the browser reported about it, since the last call.
    pub fn console(&self) -> Vec<String> {
        let entries = self.try_command("se/log", &json!({"type": "browser"})).unwrap_or_default();
        let entries = entries.as_array().cloned().unwrap_or_default();
        entries
            .iter()
            .map(|e| format!("{} {}", e["level"].as_str().unwrap_or(""), e["message"].as_str().unwrap_or("")))
            .collect()
    }

    /// A PNG of what is to be seen.
    pub fn screenshot(&self, path: &Path) {
        let path_in_session = format!("/session/{}/screenshot", self.session);
        let data = self.request("GET", &path_in_session, &Value::Null);
        let png =
            base64::engine::general_purpose::STANDARD.decode(data.as_str().unwrap_or("")).expect("base64 of a PNG");
        fs::write(path, png).unwrap_or_else(|e| panic!("cannot write {}: {e}", path.display()));
    }

    /// A window of this size in pixels.
    pub fn resize(&self, width: u32, height: u32) {
        self.command("window/rect", &json!({"width": width, "height": height}));
    }

    /// Loads the page again.
    pub fn reload(&self) {
        self.command("refresh", &json!({}));
    }

    /// What the address bar says.
    pub fn address(&self) -> String {
        self.eval("location.href").as_str().unwrap_or("").to_owned()
    }

    /// The open tabs; commands go to the one last switched to.
    pub fn tabs(&self) -> Vec<String> {
        let path = format!("/session/{}/window/handles", self.session);
        serde_json::from_value(self.request("GET", &path, &Value::Null)).expect("a list of tabs")
    }

    /// Opens an empty tab and goes there.
    pub fn new_tab(&self) -> String {
        let tab = self.command("window/new", &json!({"type": "tab"}))["handle"].as_str().unwrap_or("").to_owned();
        self.switch(&tab);
        tab
    }

    pub fn switch(&self, tab: &str) {
        self.command("window", &json!({"handle": tab}));
    }

    /// A command of Chromium's own protocol.
    pub fn cdp(&self, cmd: &str, params: &Value) -> Value {
        self.command("goog/cdp/execute", &json!({"cmd": cmd, "params": params}))
    }

    fn delete(&self, what: &str) {
        self.request("DELETE", &format!("/session/{}/{what}", self.session), &Value::Null);
    }

    fn poll<T>(&self, what: &str, look: impl FnMut() -> Option<T>) -> T {
        self.poll_for(what, DEADLINE, look)
    }

    fn poll_for<T>(&self, what: &str, deadline: Duration, mut look: impl FnMut() -> Option<T>) -> T {
        let end = Instant::now() + deadline;
        loop {
            if let Some(found) = look() {
                return found;
            }
            if Instant::now() > end {
                let page =
                    self.eval("(document.querySelector('main') ?? document.documentElement).outerHTML.slice(0, 5000)");
                panic!(
                    "the page did not come to {what} within {deadline:?}; console: {:#?}; page: {page}",
                    self.console()
                );
            }
            std::thread::sleep(LOOK_AGAIN);
        }
    }

    fn command(&self, name: &str, body: &Value) -> Value {
        self.try_command(name, body).unwrap_or_else(|error| panic!("{name} {body}: {error}"))
    }

    fn try_command(&self, name: &str, body: &Value) -> Result<Value, String> {
        let value = self.request("POST", &format!("/session/{}/{name}", self.session), body);
        match value["error"].as_str() {
            Some(error) => Err(format!("{error}: {}", value["message"].as_str().unwrap_or(""))),
            None => Ok(value),
        }
    }

    /// One WebDriver call; the `value` of its answer.
    fn request(&self, method: &str, path: &str, body: &Value) -> Value {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let exchange = || -> std::io::Result<Value> {
            let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port))?;
            stream.set_read_timeout(Some(DEADLINE))?;
            write!(
                stream,
                "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nContent-Type: application/json; charset=utf-8\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                self.port,
                body.len()
            )?;
            // chromedriver may keep the connection open all the same, so the length decides.
            let mut reader = BufReader::new(stream);
            let (mut line, mut length) = (String::new(), 0);
            while reader.read_line(&mut line)? > 2 {
                if let Some((name, value)) = line.split_once(':') {
                    if name.eq_ignore_ascii_case("content-length") {
                        length = value.trim().parse().map_err(std::io::Error::other)?;
                    }
                }
                line.clear();
            }
            let mut answer = vec![0; length];
            reader.read_exact(&mut answer)?;
            Ok(serde_json::from_slice::<Value>(&answer)?["value"].take())
        };
        exchange().unwrap_or_else(|error| panic!("chromedriver, {method} {path}: {error}"))
    }
}

impl Element<'_> {
    pub fn click(&self) {
        self.act("click", &json!({}));
    }

    pub fn send_keys(&self, text: &str) {
        self.act("value", &json!({"text": text}));
    }

    pub fn text(&self) -> String {
        let path = format!("/session/{}/element/{}/text", self.browser.session, self.id);
        self.browser.request("GET", &path, &Value::Null).as_str().unwrap_or("").to_owned()
    }

    fn act(&self, what: &str, body: &Value) {
        self.browser.command(&format!("element/{}/{what}", self.id), body);
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Not `request`: that panics, and this may run because of a panic.
        if let Ok(mut stream) = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)) {
            let _ = stream.set_read_timeout(Some(Duration::from_secs(5)));
            let _ = write!(
                stream,
                "DELETE /session/{} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 0\r\n\r\n",
                self.session
            );
            let _ = stream.read(&mut [0; 512]);
        }
        if let Some(group) = rustix::process::Pid::from_raw(self.driver.id() as i32) {
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        }
        let _ = self.driver.wait();
    }
}
