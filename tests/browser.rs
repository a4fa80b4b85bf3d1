//! The real page in a real browser on the real gateway.
#![allow(clippy::unwrap_used)]

mod support;

#[path = "browser/answers.rs"]
mod answers;
#[path = "browser/conversations.rs"]
mod conversations;
#[path = "browser/history.rs"]
mod history;
#[path = "browser/interrupted.rs"]
mod interrupted;
#[path = "browser/login.rs"]
mod login;
#[path = "browser/pickers.rs"]
mod pickers;

use serde_json::{json, Value};
use support::browser::{Browser, Lent};
use support::fake_pi::{FakePi, Flavour};
use support::gateway::Gateway;
use support::DEADLINE;

const MAIN: &str = "agent:main:webchat:default";
const ENTER: &str = "\u{e007}";

/// With the demo agent, so many milliseconds between two words.
fn demo(delay: u32) -> Gateway {
    Gateway::demo(json!({"gateway": {"drainMs": 100}})).env("PI_GW_DEMO_DELAY_MS", delay.to_string()).start()
}

/// With the pi stand-in, which says what the message tells it to.
fn scripted() -> (FakePi, Gateway) {
    let pi = FakePi::new(Flavour::New);
    let g = Gateway::new(json!({"agent": {"piCliPath": pi.program()}})).start();
    (pi, g)
}

/// A browser that shows a gateway's page.
struct Page(Lent);

impl std::ops::Deref for Page {
    type Target = Browser;
    fn deref(&self) -> &Browser {
        &self.0
    }
}

impl Page {
    /// Logged in by the one-click link, with the history on view.
    fn open(g: &Gateway) -> Page {
        let page = Page(Browser::lend());
        page.goto(&format!("http://{}/?token={}", g.addr, g.token));
        page.ready();
        page
    }

    fn until(&self, js: &str) {
        self.wait_until(js, DEADLINE);
    }

    /// Connected, and the history is there.
    fn ready(&self) {
        self.until(
            "document.querySelector('#connection')?.dataset.state === 'connected' && \
             (!document.querySelector('#empty').hidden || document.querySelector('.item[data-id]:not([data-id=\"\"])'))",
        );
    }

    fn says(&self, text: &str) {
        self.send_keys("#composer", &format!("{text}{ENTER}"));
    }

    /// Waits until so many answers are complete, and nothing runs any more.
    fn answers(&self, n: usize) {
        self.until(&format!(
            "document.querySelectorAll('.assistant[data-state=done]').length === {n} && document.querySelector('#abort').hidden"
        ));
    }

    /// Waits for the beginning of an answer that goes on.
    fn streams(&self) {
        self.until("document.querySelector('.assistant[data-state=live] .md')?.textContent.length > 20");
    }

    /// `role: text` of everything in the conversation.
    fn lines(&self) -> Vec<String> {
        let js = "[...document.querySelectorAll('#messages > .item')].map(i => \
                  `${i.dataset.role}: ${(i.querySelector('.md, .text') ?? i).innerText.trim()}`)";
        serde_json::from_value(self.eval(js)).unwrap()
    }

    fn roles(&self) -> Vec<String> {
        self.lines().iter().map(|l| l.split(':').next().unwrap().to_owned()).collect()
    }

    /// The visible text of the newest answer.
    fn last(&self) -> String {
        let js = "[...document.querySelectorAll('.assistant .md')].at(-1)?.innerText ?? ''";
        self.eval(js).as_str().unwrap().to_owned()
    }

    /// What is on view is what the gateway has stored: a reload changes nothing.
    fn same_after_reload(&self) {
        let before = self.lines();
        self.reload();
        self.ready();
        let want = serde_json::to_string(&before).unwrap();
        self.until(&format!("document.querySelectorAll('#messages > .item').length === {}", before.len()));
        assert_eq!(serde_json::to_string(&self.lines()).unwrap(), want);
    }

    /// Nothing was blocked, nothing failed. A browser cannot be kept from reporting a connection that broke.
    fn calm(&self) {
        let of_ours = |l: &String| !l.contains("WebSocket connection to") && !l.contains("ERR_CONNECTION_REFUSED");
        let errors: Vec<_> = self.console().into_iter().filter(of_ours).collect();
        assert_eq!(errors, [""; 0], "in the console");
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
