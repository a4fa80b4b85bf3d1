//! The gateway's own tools in the real pi: the model calls them, people see what they do.

use serde_json::{json, Value};

use crate::support::bot_api::{BotApi, Message};
use crate::world::{World, MAIN};

const ANN: i64 = 7;
const FORUM: i64 = -1007;
const TOPIC: i64 = 3;
const PNG: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg==";

/// What the model says to make pi call a tool.
fn call(tool: &str, params: Value) -> String {
    format!("[[tool:{tool} {params}]]")
}

/// Makes a picture in the working directory, with pi's own tool.
fn picture() -> String {
    call("bash", json!({"command": format!("echo {PNG} | base64 -d > dot.png")}))
}

/// Two accounts, and a forum where Ann talks to the second in a topic.
fn forum(new: bool) -> (World, BotApi, BotApi) {
    forum_with(new, json!({}))
}

fn forum_with(new: bool, more: Value) -> (World, BotApi, BotApi) {
    let first = BotApi::start();
    let second = first.add_bot("654321:second-token-of-this-test-aaaaaaaaaa", "second_bot");
    second.add_forum(FORUM, "Forum", &[(TOPIC, "three"), (4, "four")]);
    second.add_member(FORUM, ANN, "member");
    second.set_bot_status(FORUM, "administrator"); // it may pin
    first.set_bot_status(FORUM, "left");
    let account = |api: &BotApi| json!({"botToken": api.token(), "apiRoot": api.root()});
    let telegram = json!({
        "enabled": true, "streamMode": "off", "pollTimeoutS": 5, "allowFrom": [ANN.to_string()],
        "groupAllowFrom": ["*"], "groups": {"*": {"requireMention": false}},
        "accounts": {"first": account(&first), "second": account(&second)},
    });
    let mut config = json!({"channels": {"telegram": telegram}});
    crate::support::gateway::merge(&mut config, more);
    let w = World::with(new, config);
    first.wait_polling();
    second.wait_polling();
    (w, first, second)
}

fn said(api: &BotApi) -> Vec<Message> {
    api.messages(FORUM).into_iter().filter(|m| m.bot.is_some() && !m.deleted).collect()
}

/// Every tool acts on the account, the chat and the topic that the conversation is in.
pub fn tools_act_in_the_account_chat_and_topic_of_the_conversation(new: bool) {
    let (w, first, second) = forum(new);
    let say = |text: &str| second.user_says(FORUM, ANN).topic(TOPIC).text(text).send();
    let wish = [
        call("send_message", json!({"text": "Half **way**"})),
        picture(),
        call("send_media", json!({"path": "dot.png", "caption": "A dot"})),
        "[[say:All done.]]".to_owned(),
    ];
    let asked = say(&wish.join(" "));
    second.wait_text(FORUM, "All done.");
    let all = said(&second);
    let texts: Vec<&str> = all.iter().map(Message::text).collect();
    assert_eq!(texts, ["Half way", "A dot", "All done."]);
    assert!(all.iter().all(|m| m.topic() == Some(TOPIC)), "{all:?}");
    assert_eq!((all[0].parts("bold"), all[1].media()), (vec!["way".to_owned()], Some("photo")));

    let acts = [
        call("message", json!({"action": "react", "messageId": asked.message_id.to_string(), "emoji": "👍"})),
        call("message", json!({"action": "edit", "messageId": all[0].id().to_string(), "text": "Whole way"})),
        call("message", json!({"action": "delete", "messageId": all[1].id().to_string()})),
        call("message", json!({"action": "pin", "messageId": all[2].id().to_string()})),
        call("message", json!({"action": "edit", "messageId": "424242", "text": "no"})),
    ];
    say(&acts.join(" "));
    let end = second.wait_message(FORUM, |m| m.text().starts_with("tool said: "));
    assert!(end.text().contains("the message is not there"), "a refusal is told to the model: {}", end.text());
    assert_eq!(second.calls("setMessageReaction").len(), 1);
    assert_eq!(second.pins(FORUM), [all[2].id()]);
    let texts: Vec<String> = said(&second).iter().map(|m| m.text().to_owned()).collect();
    assert_eq!(texts[..2], ["Whole way", "All done."]);

    let options = json!([{"id": "r", "text": "Red"}, {"id": "b", "text": "Blue"}]);
    say(&call("keyboard_select", json!({"title": "Which one?", "options": options})));
    let question = second.wait_message(FORUM, |m| m.text().contains("Which one?"));
    assert_eq!(question.topic(), Some(TOPIC));
    second.user_presses(FORUM, ANN, question.id(), "Blue");
    second.wait_text(FORUM, "tool said: Selected: Blue (id b).");

    say(&call("session_status", json!({})));
    second.wait_message(FORUM, |m| m.text().contains("\"sessionKey\":\"agent:main:telegram:"));
    say(&call("gateway", json!({"action": "config.get"})));
    let heard = w.llm.wait_for(|r| r.body.to_string().contains("botToken")).body.to_string();
    assert!(!heard.contains(&second.token()), "secrets stay here");
    say(&call("gateway", json!({"action": "restart"})));
    second.wait_message(FORUM, |m| m.text().contains("gateway.commands.restart"));
    assert!(first.messages(ANN).is_empty() && first.calls("sendMessage").is_empty(), "the other account said nothing");
    second.assert_clean();
}

/// On the page: a message and a picture come while the turn runs, and a question is answered there.
pub fn tools_speak_on_the_page(new: bool) {
    let w = World::start(new);
    let mut page = w.page();
    let wish = [
        call("send_message", json!({"text": "Half way"})),
        picture(),
        call("send_media", json!({"path": "dot.png"})),
        call("keyboard_select", json!({"title": "Go on?", "options": [{"id": "y", "text": "Yes"}]})),
    ];
    let run = page.say(&wish.join(" "));
    assert_eq!(page.event("message_event")["payload"]["text"], "Half way");
    let url = page.event("media_event")["payload"]["url"].as_str().unwrap().to_owned();
    assert!(w.g.get(&url).body.starts_with(b"\x89PNG"), "{url}");
    let dialog = page.event("extension_ui_request")["payload"].clone();
    assert_eq!(dialog["title"], "Go on?");
    page.ws.call("extension_ui_response", json!({"id": dialog["id"], "value": "Yes"}));
    assert_eq!(page.reply(&run), "tool said: Selected: Yes (id y).");
}

/// What the tools have sent is the answer; a turn without them has its own.
pub fn in_concise_mode_what_was_sent_is_the_answer(new: bool) {
    let api = BotApi::start();
    let telegram = json!({
        "enabled": true, "botToken": api.token(), "apiRoot": api.root(), "pollTimeoutS": 5, "allowFrom": [ANN.to_string()],
    });
    let concise = json!({"config": {"concise-mode": {"enabled": true}}});
    let w = World::with(new, json!({"channels": {"telegram": telegram}, "plugins": concise}));
    api.wait_polling();
    let sent = || -> Vec<String> {
        api.messages(ANN).into_iter().filter(|m| m.bot.is_some() && !m.deleted).map(|m| m.text().to_owned()).collect()
    };
    api.user_writes(ANN, &format!("{} [[say:You have it now.]]", call("send_message", json!({"text": "Here it is."}))));
    api.wait_text(ANN, "Here it is.");
    // Whether it waits for the end of that turn or is put into it: it has an answer of its own.
    api.user_writes(ANN, "[[say:Without tools.]]");
    api.wait_text(ANN, "Without tools.");
    let mut sent = sent();
    sent.retain(|text| text != "You have it now."); // said before the second message was put in
    assert_eq!(sent, ["Here it is.", "Without tools."]);
    let before = w.llm.requests().len();
    api.user_writes(ANN, &format!("{} [[say:Not said.]]", call("send_message", json!({"text": "Again."}))));
    api.wait_text(ANN, "Again.");
    w.g.wait_until("the turn is over", |g| {
        let db = rusqlite::Connection::open(g.data().join("gateway.db")).unwrap();
        let sql = "SELECT count(*) FROM inbox WHERE state = 'silent' AND text LIKE '%Not said%'";
        w.llm.requests().len() > before + 1 && db.query_row(sql, [], |r| r.get::<_, i64>(0)).unwrap() == 1
    });
    assert!(!api.messages(ANN).iter().any(|m| m.bot.is_some() && m.text().contains("Not said.")));
    assert!(w.asked("Without tools.").system.contains("Concise mode"));
    assert!(api.calls("editMessageText").is_empty(), "nothing is shown while it grows");
    api.assert_clean();
}

/// The model is told where it is, briefly; tools that the configuration denies are not there.
pub fn the_model_knows_its_tools_and_where_it_is(new: bool) {
    let w = World::with(new, json!({"agent": {"tools": {"deny": ["send_media", "gateway"]}}}));
    assert_eq!(w.ask("[[say:hi]]"), "hi");
    let request = w.asked("[[say:hi]]");
    let own = ["send_message", "keyboard_select", "session_status"];
    let denied = ["send_media", "gateway", "cron", "message", "delegate_to_agent"];
    assert!(own.iter().all(|t| request.tools.contains(&(*t).to_owned())), "{:?}", request.tools);
    assert!(!denied.iter().any(|t| request.tools.contains(&(*t).to_owned())), "{:?}", request.tools);
    assert!(request.tools.contains(&"bash".to_owned()));
    assert!(request.system.contains("pi-gateway (agent main"), "{}", request.system);
}

/// A job that the model makes in a topic runs by itself, and its result comes back there (B19).
pub fn a_job_made_with_the_cron_tool_is_answered_where_it_was_asked_for(new: bool) {
    let (w, first, second) = forum_with(new, json!({"cron": {"enabled": true}}));
    let task = r"\u005b\u005bsay:Water the plants.\u005d\u005d"; // brackets that do not end the tool's
    let add = format!(
        r#"[[tool:cron {{"action":"add","id":"water","schedule":{{"kind":"every","expr":"6h"}},"task":"{task}"}}]]"#
    );
    let run = call("cron", json!({"action": "run", "id": "water"}));
    second.user_says(FORUM, ANN).topic(TOPIC).text(&format!("{add} {run} [[say:Planned.]]")).send();
    second.wait_text(FORUM, "Planned.");
    second.wait_text(FORUM, "[CRON:water] Water the plants.");
    let result = said(&second).into_iter().find(|m| m.text().starts_with("[CRON:water]")).unwrap();
    assert_eq!(result.topic(), Some(TOPIC));
    assert!(said(&first).is_empty());
    drop(w);
}

/// Jobs, the status and the gateway's configuration from the page; what a page cannot do is told to the model.
pub fn the_other_tools_work_on_the_page(new: bool) {
    let w = World::with(new, json!({"cron": {"enabled": true}}));
    let mut page = w.page();
    let mut ask = |text: &str| {
        let run = page.say(text);
        page.reply(&run)
    };
    let status = ask(&call("session_status", json!({})));
    assert!(status.contains("\"sessionKey\":\"agent:main:webchat:default\""), "{status}");
    let config = ask(&call("gateway", json!({"action": "config.get"})));
    assert!(config.contains("\"port\"") && !config.contains("test-token-"), "{config}");
    let refused = ask(&call("message", json!({"action": "pin", "messageId": "x"})));
    assert!(refused.contains("message"), "not offered, or told that it cannot: {refused}");
    let task = r"\u005b\u005bsay:Water the plants.\u005d\u005d"; // brackets that do not end the tool's
    let add = format!(
        r#"[[tool:cron {{"action":"add","id":"water","schedule":{{"kind":"every","expr":"6h"}},"task":"{task}"}}]]"#
    );
    let run = call("cron", json!({"action": "run", "id": "water"}));
    assert_eq!(ask(&format!("{add} {run} [[say:Planned.]]")), "Planned.");
    w.g.wait_until("the result is on the page", |g| {
        g.history(MAIN).iter().any(|(_, text)| text == "[CRON:water] Water the plants.")
    });
    assert!(ask(&call("cron", json!({"action": "list"}))).contains("water"));
}

/// A job for a moment at which no gateway runs, made by the model: done once, after the next start, and never again.
pub fn a_job_of_the_model_outlives_a_kill_across_its_time(new: bool) {
    let (mut w, first, second) = forum_with(new, json!({"cron": {"enabled": true}}));
    let task = r"\u005b\u005bsay:Now.\u005d\u005d";
    let add = format!(
        r#"[[tool:cron {{"action":"add","id":"now","schedule":{{"kind":"at","expr":"+5s"}},"task":"{task}"}}]]"#
    );
    second.user_says(FORUM, ANN).topic(TOPIC).text(&format!("{add} [[say:Planned.]]")).send();
    second.wait_text(FORUM, "Planned.");
    let due = |w: &World| {
        let db = rusqlite::Connection::open(w.g.data().join("gateway.db")).unwrap();
        db.query_row("SELECT next_at FROM cron_job WHERE id = 'now'", [], |r| r.get::<_, i64>(0)).unwrap()
    };
    let due = due(&w);
    w.g.kill9();
    let ahead = due + 500 - pi_gateway::clock::now().wall;
    assert!(ahead > 0, "killed too late");
    std::thread::sleep(std::time::Duration::from_millis(ahead as u64)); // its time passes while nobody is there
    w.g.set_env("PI_GW_CLOCK_OK", Some("1")); // else it waits until somebody says what time it is
    w.g.restart();
    second.wait_text(FORUM, "[CRON:now] Now.");
    w.g.wait_until("it is known to be delivered", |g| {
        let db = rusqlite::Connection::open(g.data().join("gateway.db")).unwrap();
        db.query_row("SELECT count(*) FROM outbox WHERE state IN ('raw', 'ready', 'sending')", [], |r| {
            r.get::<_, i64>(0)
        }) == Ok(0)
    });
    w.g.kill9();
    w.g.restart();
    second.user_says(FORUM, ANN).topic(TOPIC).text("[[say:Still here.]]").send();
    second.wait_text(FORUM, "Still here.");
    let results: Vec<Message> = said(&second).into_iter().filter(|m| m.text().contains("[CRON:now]")).collect();
    assert_eq!(results.len(), 1, "{results:?}");
    assert_eq!(results[0].topic(), Some(TOPIC));
    assert!(said(&first).is_empty());
}

/// The original gateway's extension has tools of the same names: pi starts, and the user's own go first.
pub fn an_extension_with_a_tool_of_ours_goes_first(new: bool) {
    let code = r#"export default function (pi) {
        pi.registerTool({ name: "session_status", label: "Mine", description: "Mine.",
            parameters: { type: "object", properties: {} },
            async execute() { return { content: [{ type: "text", text: "the user's own" }], details: {} }; } });
    }"#;
    let w = World::extended(new, code, json!({}));
    assert_eq!(w.ask(&call("session_status", json!({}))), "tool said: the user's own");
    let request = w.asked("session_status");
    for tool in ["session_status", "send_message", "gateway"] {
        assert_eq!(request.tools.iter().filter(|t| *t == tool).count(), 1, "{:?}", request.tools);
    }
}
