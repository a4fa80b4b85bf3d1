//! The gateway's commands that need pi.

use serde_json::json;

use crate::world::{World, MAIN, OTHER};

pub fn compact_makes_room_and_the_talk_goes_on(new: bool) {
    let w = World::start(new);
    for n in 0..3 {
        w.ask(&format!("old-question-{n} [[long:3000 chars by 1000 every 0 ms]]"));
    }
    let mut page = w.page();
    let run = page.say("/compact keep the names");
    assert_eq!(page.reply(&run), "Compacting...");
    assert_eq!(page.reply(&run), "Compacted.");
    // An old pi may ask for two summaries at once; the instructions go with one of them.
    w.llm.wait_for(|r| r.summary && r.body.to_string().contains("keep the names"));
    let run = page.say("goes-on [[say:Sure.]]");
    assert_eq!(page.reply(&run), "Sure.");
    let body = w.asked("goes-on").body.to_string();
    assert!(body.contains("fake summary") && !body.contains("old-question-0"), "{body}");
}

pub fn model_is_changed_for_this_session_only(new: bool) {
    let w = World::start(new);
    let settings = std::fs::read_to_string(w.home.agent().join("settings.json")).unwrap();
    assert_eq!(w.ask("My name is Ada. [[show:model]]"), "model: fake-model effort: none");
    let before = w.pid();
    assert_eq!(w.ask("/model fake2/backup-model"), "Model: fake2/backup-model.");
    assert_eq!(w.ask("which? [[show:model]]"), "model: backup-model effort: none");
    assert!(w.asked("which?").body.to_string().contains("Ada"));
    assert_eq!(w.pid() == before, w.new, "old pi is started anew, new pi is told");
    let mut other = w.page_of(OTHER);
    let run = other.say("[[show:model]]");
    assert_eq!(other.reply(&run), "model: fake-model effort: none");
    assert_eq!(w.ask("/model default"), "Model: the configured one.");
    assert_eq!(w.ask("[[show:model]]"), "model: fake-model effort: none");
    assert_eq!(w.ask("/new"), "Session reset.");
    let reply = w.ask("/model nothing/known");
    let reply = if reply.contains("does not know") { reply } else { w.ask("[[say:hm]]") };
    assert!(!reply.is_empty());
    assert_eq!(std::fs::read_to_string(w.home.agent().join("settings.json")).unwrap(), settings, "shared settings");
}

pub fn thinking_level_is_changed(new: bool) {
    let w = World::with(new, json!({"agent": {"model": "fake/fake-think", "thinkingLevel": "low"}}));
    assert_eq!(w.ask("[[show:model]]"), "model: fake-think effort: low");
    assert_eq!(w.ask("/think high"), "Thinking: high.");
    assert_eq!(w.ask("[[show:model]]"), "model: fake-think effort: high");
    assert!(w.ask("/think hard").starts_with("Invalid level."));
}

const HELLO: &str = r#"
export default function (pi) {
  pi.registerCommand("hello", { description: "greets", handler: async (args, ctx) => ctx.ui.notify("Hello " + args, "info") });
}"#;

pub fn a_command_of_an_extension_is_recognised_at_once(new: bool) {
    let w = World::extended(new, HELLO, json!({}));
    let mut page = w.page();
    let run = page.say("/hello Ada"); // the first message of all
    assert_eq!(page.reply(&run), "Command /hello Ada executed.");
    assert_eq!(page.event("ui.notice")["payload"]["message"], "Hello Ada");
    assert_eq!(w.llm.requests().len(), 0);
    let run = page.say("[[say:Hi.]]");
    assert_eq!(page.reply(&run), "Hi.");
}

pub fn models_usage_and_reload_over_the_api(new: bool) {
    let w = World::start(new);
    let none = w.g.get("/api/models");
    assert_eq!(
        (none.status, none.json()["error"].as_str()),
        (404, Some("No active session. Send a message first.")),
        "a list starts no process"
    );
    w.ask("My name is Ada. [[say:Hello Ada.]]");
    let models = w.g.get("/api/models").json()["models"].clone();
    assert!(models.as_array().unwrap().iter().any(|m| m["id"] == "fake-model"), "{models}");
    let path = "agent%3Amain%3Awebchat%3Adefault";
    let usage = w.g.get(&format!("/api/session/usage?sessionKey={path}")).json();
    assert!(usage["stats"]["cost"].is_number() && usage["stats"]["tokens"].is_object(), "{usage}");
    let status = w.g.get(&format!("/api/session/status?sessionKey={path}")).json();
    assert_eq!(status["stats"]["cost"]["total"], usage["stats"]["cost"]);
    let before = w.pid();
    let reloaded = w.g.post("/api/reload", json!({"sessionKey": crate::world::MAIN}));
    assert_eq!(reloaded.json(), json!({"success": true, "message": "Reload command sent to agent"}));
    assert_eq!(w.ask("again [[say:yes]]"), "yes");
    assert_ne!(w.pid(), before, "a fresh process");
    assert!(w.asked("again").body.to_string().contains("Ada"), "with the same conversation");
}

/// Asks the gateway about its own session while pi compacts, and leaves the answer in a file.
const NOSY: &str = r#"
import { writeFileSync } from "node:fs";
export default function (pi) {
  pi.on("session_before_compact", async () => {
    const headers = { authorization: "Bearer " + process.env.PI_GATEWAY_INTERNAL_TOKEN };
    const r = await fetch(process.env.PI_GATEWAY_URL + "/api/session/status", { headers });
    writeFileSync("HOME/told", r.status + " " + (await r.text()));
  });
}"#;

pub fn c2_a_compaction_whose_extension_asks_about_the_session_ends_and_the_session_answers(new: bool) {
    let w = World::extended(new, NOSY, json!({}));
    let mut page = w.page();
    for n in 0..4 {
        let run = page.say(&format!("[[long:3000 chars]] {n}"));
        page.reply(&run);
    }
    let compaction = page.say("/compact");
    let status = page.say("/status");
    assert!(page.reply(&status).contains("Session"), "answered meanwhile");
    assert_eq!(page.reply(&compaction), "Compacting...");
    assert_eq!(page.reply(&compaction), "Compacted.");
    let told = std::fs::read_to_string(w.path("told")).unwrap();
    assert!(told.starts_with("200 ") && told.contains(MAIN), "{told}");
    assert_eq!(w.ask("[[say:still here]]"), "still here");
}
