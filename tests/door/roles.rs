//! Roles over the WebSocket: what the mind is asked, what happens to their directories, and who hears of it.

use pi_gateway::message::*;
use serde_json::{json, Value};

use crate::house::*;
use crate::raw_http::*;
use crate::MAIN;

struct Roles {
    h: House,
    ws: Ws,
    dir: tempfile::TempDir,
}

/// A house with the roles `coder` (a directory) and `poet` (of the configuration).
fn roles() -> Roles {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(dir.path().join("coder/memory")).unwrap();
    let mut s = settings();
    s.auth = pi_gateway::http::Auth::Off;
    s.allow_unauthenticated = true;
    s.roles_dir = dir.path().to_owned();
    s.role_names = vec!["poet".into()];
    let mut rest = well();
    let script: Script = Box::new(move |request| match request {
        Request::SetRole { session, .. } if session == MAIN => Some(Answer::Ok),
        Request::SetRole { session, .. } if session == "agent:busy" => {
            Some(Answer::Error { code: Code::Busy, message: "The role was not changed".into() })
        }
        Request::SetRole { .. } => Some(Answer::Error { code: Code::NotFound, message: "Session not found".into() }),
        other => rest(other),
    });
    let h = House::with(s, script);
    let ws = Ws::open(h.addr, "/", "").unwrap_or_else(|r| panic!("{}", r.text()));
    Roles { h, ws, dir }
}

impl Roles {
    fn ok(&mut self, method: &str, params: Value) -> Value {
        let r = self.ws.call(method, params);
        assert_eq!(r["ok"], true, "{r}");
        r["payload"].clone()
    }
    fn error(&mut self, method: &str, params: Value) -> (String, String) {
        let r = self.ws.call(method, params);
        assert_eq!(r["ok"], false, "{r}");
        let text = |key: &str| r[key].as_str().unwrap().to_owned();
        (text("error"), text("code"))
    }
}

fn said(error: &str, code: &str) -> (String, String) {
    (error.into(), code.into())
}

#[test]
fn roles_are_listed_sorted_with_default_among_them() {
    let mut r = roles();
    let all = json!({"roles": ["coder", "default", "poet"]});
    assert_eq!(r.ok("roles.list", json!({})), all);
    assert_eq!(r.ok("session.listRoles", json!({})), all);
}

#[test]
fn a_session_takes_a_role_that_exists_and_no_other() {
    let mut r = roles();
    for method in ["roles.set", "session.setRole"] {
        let done = r.ok(method, json!({"sessionKey": MAIN, "role": "poet"}));
        assert_eq!(done, json!({"ok": true, "sessionKey": MAIN, "role": "poet"}));
    }
    let asked =
        r.h.asked
            .lock()
            .unwrap()
            .iter()
            .filter(|a| matches!(a, Request::SetRole { role, .. } if role == "poet"))
            .count();
    assert_eq!(asked, 2);
    assert_eq!(r.error("roles.set", json!({"role": "poet"})), said("sessionKey required", "invalid_request"));
    assert_eq!(r.error("roles.set", json!({"sessionKey": MAIN})), said("role required", "invalid_request"));
    let unknown = json!({"sessionKey": MAIN, "role": "nobody"});
    assert_eq!(r.error("roles.set", unknown), said("failed to set role", "not_found"));
    let other = json!({"sessionKey": "agent:x", "role": "poet"});
    assert_eq!(r.error("roles.set", other), said("failed to set role", "not_found"));
    let busy = json!({"sessionKey": "agent:busy", "role": "poet"});
    assert_eq!(r.error("roles.set", busy), said("failed to set role", "busy"));
}

#[test]
fn a_role_is_created_and_every_page_hears_of_it() {
    let mut r = roles();
    let mut other = Ws::open(r.h.addr, "/", "").unwrap_or_else(|r| panic!("{}", r.text()));
    assert_eq!(r.ok("roles.create", json!({"role": "cook"})), json!({"ok": true, "role": "cook"}));
    assert_eq!(other.event("role.created")["payload"], json!({"role": "cook"}));
    assert!(r.dir.path().join("cook/core/identity.md").is_file());
    assert_eq!(r.ok("roles.list", json!({}))["roles"][1], "cook");
    assert_eq!(r.error("roles.create", json!({})), said("role required", "invalid_request"));
    assert_eq!(r.error("roles.create", json!({"role": "../x"})), said("invalid role name", "invalid_request"));
    assert_eq!(r.error("roles.create", json!({"role": "coder"})), said("role already exists", "conflict"));
    assert_eq!(r.error("roles.create", json!({"role": 7})), said("role must be a string", "invalid_request"));
}

#[test]
fn a_deleted_role_is_in_the_trash_and_the_mind_knows() {
    let mut r = roles();
    assert_eq!(r.ok("roles.delete", json!({"role": "coder"})), json!({"ok": true, "role": "coder"}));
    assert!(!r.dir.path().join("coder").exists() && r.dir.path().join(".trash").is_dir());
    assert!(r.h.asked.lock().unwrap().iter().any(|a| matches!(a, Request::RoleDeleted { role } if role == "coder")));
    assert_eq!(r.error("roles.delete", json!({})), said("role required", "invalid_request"));
    let default = said("default role cannot be deleted", "invalid_request");
    assert_eq!(r.error("roles.delete", json!({"role": "default"})), default);
    assert_eq!(r.error("roles.delete", json!({"role": "coder"})), said("role not found", "not_found"));
    assert_eq!(r.error("roles.delete", json!({"role": ".trash"})), said("invalid role name", "invalid_request"));
}
