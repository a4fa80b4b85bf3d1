//! Agents, roles and their working directories.

use std::path::Path;

use serde_json::{json, Value};

use crate::world::{World, MAIN};

const PWD: &str = r#"[[tool:bash {"command":"pwd"}]]"#;

fn world(new: bool) -> World {
    World::made(new, |home| {
        let ws = |name: &str| home.path().join(name);
        json!({
            "agents": {"list": [
                {"id": "main", "workspace": ws("ws-main")},
                {"id": "coder", "workspace": ws("ws-coder"), "model": "fake2/backup-model", "role": "dev"},
            ]},
            "roles": {"workspaceDirs": {"boss": ws("ws-boss")}},
        })
    })
}

fn tool_said(w: &World, text: &str) -> String {
    let mut page = w.page();
    let run = page.say(text);
    page.reply(&run)
}

fn mapped(w: &World, cwd: &Path) -> Option<String> {
    let text = std::fs::read_to_string(w.g.home.path().join(".pi/agent/roles/config.json")).ok()?;
    let config: Value = serde_json::from_str(&text).unwrap();
    config["mappings"][cwd.to_str().unwrap()].as_str().map(str::to_owned)
}

pub fn an_agent_named_in_front_answers_in_its_own_directory_and_session(new: bool) {
    let w = world(new);
    assert!(tool_said(&w, PWD).contains("/ws-main"));
    assert_eq!(tool_said(&w, "/coder"), "Send a message after /coder.");

    let mut page = w.page();
    let res = page.ws.call("chat.send", json!({"sessionKey": MAIN, "text": format!("/coder {PWD}")}));
    let coder = "agent:coder:webchat:default";
    assert_eq!(res["payload"]["sessionKey"], coder, "the page is told where it went");
    let run = res["payload"]["runId"].as_str().unwrap();
    assert!(page.reply(run).contains("/ws-coder"));
    assert!(w.asked("pwd").body.to_string().contains("fake-model"));
    assert!(w.ask_api(MAIN, "/coder [[show:model]]").contains("backup-model"), "the agent's own model");
    assert_eq!(w.g.history(coder).len(), 4);
    assert_eq!(mapped(&w, &w.path("ws-coder")).as_deref(), Some("dev"));
}

pub fn a_conversation_follows_its_role_into_another_directory(new: bool) {
    let w = world(new);
    assert!(tool_said(&w, &format!("My name is Ada. {PWD}")).contains("/ws-main"));
    let agents = |role: &str| {
        json!({"agents": {"list": [
            {"id": "main", "workspace": w.path("ws-main"), "role": role},
            {"id": "coder", "workspace": w.path("ws-coder")},
        ]}})
    };
    w.g.reconfigure(agents("boss"));
    w.g.wait_until("the new configuration", |g| g.log().contains("configuration reloaded"));
    assert!(tool_said(&w, &format!("and-now? {PWD}")).contains("/ws-boss"));
    assert!(w.asked("and-now?").body.to_string().contains("Ada"), "the history goes on");
    assert_eq!(mapped(&w, &w.path("ws-boss")).as_deref(), Some("boss"));
}
