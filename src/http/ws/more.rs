//! Methods whose answers come from files and lists: roles, memory, transcripts, what happened, plugins, tools. The
//! reader's thread reads the files; they are small or read in part.

use serde_json::{json, Value};

use super::calls::{self, Call, Finish};
use super::methods::{Given, Session};
use super::sessions::needed;
use crate::http::fault::Fault;
use crate::http::json::{session_key, Members};
use crate::http::tools::{self, Called};
use crate::http::{channels, lists, memory, observability, roles, transcripts};
use crate::message::Request;

/// Names of these methods, for `features`. Those of scheduled jobs are in `cron`.
pub const METHODS: [&str; 18] = [
    "roles.list",
    "roles.set",
    "roles.create",
    "roles.delete",
    "session.listRoles",
    "session.setRole",
    "session.reload",
    "memory.search",
    "memory.stats",
    "memory.roles",
    "observability.events",
    "transcript.get",
    "plugins.list",
    "plugins.reload",
    "tools.list",
    "tools.call",
    "channels.status",
    "channels.restart",
];

impl Session {
    /// Serves a method of these; `None`: it is none.
    pub(super) fn call_more(&self, id: &Value, method: &str, m: &Members) -> Option<Given> {
        let port = &self.port;
        let now = |value: Result<Value, Fault>| Some(value.map(Some));
        match method {
            "roles.list" | "session.listRoles" => now(Ok(roles::list(port))),
            "roles.set" | "session.setRole" => Some(self.set_role(id, m)),
            "roles.create" => now(roles::create(port, m)),
            "roles.delete" => Some(roles::remove(port, m).and_then(|role| {
                let done = json!({"ok": true, "role": role});
                self.ask(id, Request::RoleDeleted { role }, Finish::Ok(done), false)
            })),
            "session.reload" => Some(self.reload(id, m)),
            "memory.search" => now(memory::search_method(port, m)),
            "memory.stats" => now(memory::stats_method(port, m)),
            "memory.roles" => now(Ok(memory::all(port))),
            "observability.events" => now(observability::method(port, m)),
            "transcript.get" => now(transcripts::method(port, m)),
            "plugins.list" => now(Ok(lists::plugins_method(port))),
            "plugins.reload" => now(lists::plugin_method(m)),
            "tools.list" => now(Ok(lists::tool_list())),
            "tools.call" => Some(self.call_tool(id, m)),
            "channels.status" => now(Ok(channels::of(port))),
            "channels.restart" => now(channels::restart_method(port, m)),
            _ => self.cron_method(id, method, m),
        }
    }

    fn set_role(&self, id: &Value, m: &Members) -> Given {
        let session = needed(m, "sessionKey required")?;
        let role = roles::existing(&self.port, m)?;
        let done = json!({"ok": true, "sessionKey": session, "role": role});
        self.ask(id, Request::SetRole { session, role }, Finish::Role(done), false)
    }

    fn call_tool(&self, id: &Value, m: &Members) -> Given {
        let Called { request, about } = tools::method(&self.port, m)?;
        let (request, finish) = (Request::Delegate(Box::new(request)), Finish::Tool(about));
        let call = Call { id: id.clone(), request, finish, wait: tools::HELD, urgent: false };
        calls::ask(&self.out, &self.port.mind, call)?;
        Ok(None)
    }

    /// Also what is wrong with the request is said in the payload.
    fn reload(&self, id: &Value, m: &Members) -> Given {
        let refused = |why: &str| Ok(Some(json!({"success": false, "error": why})));
        let session = match m.text("sessionKey") {
            Ok(Some(key)) if !key.is_empty() => match session_key(key) {
                Ok(key) => key.to_owned(),
                Err(fault) => return refused(&fault.message),
            },
            Ok(_) => return refused("sessionKey required"),
            Err(fault) => return refused(&fault.message),
        };
        self.ask(id, Request::ReloadPi { session }, Finish::Reload, false)
    }
}
