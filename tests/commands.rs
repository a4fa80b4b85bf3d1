//! Slash commands on WebChat: the whole gateway with the demo agent.
#![allow(clippy::unwrap_used)]

mod support;

use serde_json::{json, Value};
use support::gateway::Gateway;
use support::raw_http::Ws;

const MAIN: &str = "agent:main:webchat:default";

fn gateway(config: Value) -> Gateway {
    Gateway::demo(config).start()
}

/// What the gateway answers to one message.
fn say(ws: &mut Ws, session: &str, text: &str) -> String {
    let res = ws.call("chat.send", json!({"sessionKey": session, "text": text}));
    assert_eq!(res["ok"], true, "{res}");
    let run = res["payload"]["runId"].clone();
    loop {
        let reply = ws.event("chat.reply");
        if reply["payload"]["runId"] == run {
            return reply["payload"]["text"].as_str().unwrap().to_owned();
        }
    }
}

#[test]
fn roles_are_made_taken_on_and_thrown_away() {
    let g = gateway(json!({"roles": {"workspaceDirs": {"boss": "/tmp"}}}));
    let mut ws = g.page(MAIN);
    assert_eq!(say(&mut ws, MAIN, "/role"), "Role: default. There are: boss, default, main.");
    assert!(say(&mut ws, MAIN, "/role set coder").starts_with("There is no role coder."));
    assert!(say(&mut ws, MAIN, "/role create coder").contains("has been made"));
    assert_eq!(say(&mut ws, MAIN, "/role create coder"), "That failed: role already exists.");
    assert!(g.home.path().join(".pi/agent/roles/coder/IDENTITY.md").exists());
    assert_eq!(say(&mut ws, MAIN, "/role set coder"), "Role: coder.");
    assert_eq!(ws.event("session.role.changed")["payload"]["role"], "coder");
    assert!(say(&mut ws, MAIN, "hello").contains("demo"), "the next message is answered in the new role");
    assert!(say(&mut ws, MAIN, "/status").contains("Role coder"));
    assert_eq!(say(&mut ws, MAIN, "/role delete coder"), "The role coder is in the trash.");
    assert!(say(&mut ws, MAIN, "/status").contains("Role default"));
    assert!(say(&mut ws, MAIN, "/role delete default").contains("cannot be deleted"));
    assert!(say(&mut ws, MAIN, "/role create ../x").contains("no name for a role"));
}

#[test]
fn what_the_machine_and_the_configuration_are_is_told_without_secrets() {
    let g = gateway(json!({}));
    let mut ws = g.page(MAIN);
    let sys = say(&mut ws, MAIN, "/sys");
    assert!(sys.contains("Load:") && sys.contains("MB free"), "{sys}");
    let config = say(&mut ws, MAIN, "/config gateway.auth");
    assert!(config.contains("\"***\"") && !config.contains(&g.token), "{config}");
    assert_eq!(say(&mut ws, MAIN, "/config no.such"), "The configuration has no no.such.");
    assert!(say(&mut ws, MAIN, "/bash echo hi").starts_with("/bash is off."));
    assert!(say(&mut ws, MAIN, "/restart").starts_with("Restart is off."));
    assert!(say(&mut ws, MAIN, "/help").contains("/role"));
}

#[test]
fn a_shell_command_runs_in_the_session_s_directory_and_ends_in_time() {
    let g = gateway(json!({"gateway": {"commands": {"bash": true}}}));
    let mut ws = g.page(MAIN);
    let out = say(&mut ws, MAIN, "/bash pwd; echo oops >&2; exit 3");
    assert!(out.contains("/work\noops\n") && out.ends_with("exit code 3"), "{out}");
    assert!(say(&mut ws, MAIN, "!echo $((6*7))").contains("42"));
    assert!(say(&mut ws, MAIN, "!!x").contains("demo"), "that is ordinary text");
    // A daemon that keeps the pipe open does not hold the answer for ever; the environment tells no secrets.
    assert!(say(&mut ws, MAIN, "/bash env | grep -c PI_GATEWAY").ends_with("exit code 1"));
}

#[test]
fn c18_given_a_kill_during_bash_then_it_is_not_run_again_and_the_user_is_told() {
    let mut g = gateway(json!({"gateway": {"commands": {"bash": true}}}));
    let mut ws = g.page(MAIN);
    let (mark, gate) = (g.home.path().join("ran"), g.home.path().join("gate"));
    rustix::fs::mknodat(rustix::fs::CWD, &gate, rustix::fs::FileType::Fifo, rustix::fs::Mode::from_raw_mode(0o600), 0)
        .unwrap();
    let command = format!("/bash echo x >> {}; cat {}", mark.display(), gate.display());
    ws.call("chat.send", json!({"sessionKey": MAIN, "text": command}));
    g.wait_until("the command runs", |_| std::fs::read_to_string(&mark).is_ok_and(|t| t == "x\n"));
    g.kill9();
    g.restart();
    let told = |g: &Gateway| g.history(MAIN).iter().any(|(_, t)| t.contains("interrupted by a restart"));
    g.wait_until("the user is told", told);
    assert_eq!(std::fs::read_to_string(&mark).unwrap(), "x\n", "one effect");
}

#[test]
fn c8_c18_a_restart_happens_once_and_is_answered_once() {
    let mut g = gateway(json!({"gateway": {"commands": {"restart": true}}}));
    let pid = g.pid();
    let mut ws = g.page(MAIN);
    assert_eq!(say(&mut ws, MAIN, "/restart"), "The gateway restarts.");
    // Without a service manager it replaces itself: same process, new life.
    g.wait_until("it is back", |g| g.log().matches("listens on").count() == 2);
    assert_eq!(g.pid(), pid);
    assert!(g.chat(MAIN, "hello").contains("demo"));
    let texts: Vec<_> = g.history(MAIN).into_iter().map(|(_, t)| t).collect();
    assert_eq!(texts.iter().filter(|t| *t == "The gateway restarts.").count(), 1, "{texts:?}");
    assert_eq!(g.log().matches("listens on").count(), 2, "once");
    assert!(g.stop().success());
    // Under one, its exit code asks for a new start.
    g.set_env("INVOCATION_ID", Some("x"));
    g.restart();
    let mut ws = g.page(MAIN);
    say(&mut ws, MAIN, "/restart");
    assert_eq!(g.wait_exit().code(), Some(75));
}

#[test]
fn context_models_and_skills_come_from_pi() {
    let g = gateway(json!({}));
    let mut ws = g.page(MAIN);
    let context = say(&mut ws, MAIN, "/context"); // starts an agent by itself
    assert!(context.contains("Tokens:") && context.contains("thinking"), "{context}");
    let models = say(&mut ws, MAIN, "/model");
    assert!(models.contains("demo/"), "{models}");
    assert!(say(&mut ws, MAIN, "/skills").contains("kills"));
    assert!(say(&mut ws, MAIN, "/refresh").contains("up to date"));
    assert_eq!(say(&mut ws, MAIN, "/think"), "Thinking: minimal.");
    assert_eq!(say(&mut ws, MAIN, "/reload"), "The agent starts afresh with the next message.");
    assert!(say(&mut ws, MAIN, "hello").contains("demo"));
}

#[test]
fn another_conversation_goes_on_here() {
    let g = gateway(json!({}));
    let mut ws = g.page(MAIN);
    let other = "agent:main:webchat:other";
    say(&mut ws, MAIN, "remember the word walrus");
    say(&mut ws, other, "hello");
    let list = say(&mut ws, other, "/sessions");
    assert!(list.contains("1. agent:main:webchat:other (this one)") && list.contains(&format!("2. {MAIN}")), "{list}");
    assert!(say(&mut ws, other, "/resume 7").starts_with("There is no such"));
    assert!(say(&mut ws, other, "/resume 1").starts_with("There is no such"), "that is this one");
    assert_eq!(say(&mut ws, other, "/resume 2"), format!("This conversation goes on where {MAIN} is now."));
    assert!(say(&mut ws, other, "/context").contains("Messages: 1,"), "the history of the first one");
}
