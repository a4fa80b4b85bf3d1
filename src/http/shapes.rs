//! JSON shapes that more than one route or method uses (gateway-api.md 1.3, 1.4).

use serde_json::{json, Map, Value};

use super::fault::Fault;
use super::json;
use crate::message::{CommandInfo, Dialog, SessionInfo, Snapshot, Source};

/// A pool process is idle when no session is bound to it.
pub fn pool(s: &Snapshot) -> Value {
    let total = s.procs.len();
    let idle = s.procs.iter().filter(|p| p.session.is_none()).count();
    let waiting = s.waiting_for_pool;
    json!({
        "total": total, "active": total - idle, "idle": idle, "maxCapacity": s.pool_max,
        // Nobody's wait expires: it ends with a process, or with /stop.
        "waitingList": {
            "waiting": waiting, "totalEnqueued": s.counters.pool_waits,
            "totalDrained": s.counters.pool_waits.saturating_sub(waiting as u64), "totalExpired": 0,
        },
        "totalProcesses": total, "running": total - idle, "waiting": waiting,
    })
}

/// `per_minute`: messages accepted. `details` name sessions: only for those who have the key.
pub fn queue(s: &Snapshot, per_minute: f64, details: bool) -> Value {
    let pending: usize = s.queues.iter().map(|q| q.1).sum();
    let mut q = json!({
        "sessions": s.queues.len(), "totalPending": pending, "dropCount": s.counters.queue_drops,
        "collectMergeCount": s.counters.merged, "enqueueRate": per_minute, "queued": pending,
    });
    if details {
        let list = s.queues.iter().map(|(key, n, busy)| json!({"sessionKey": key, "pending": n, "processing": busy}));
        q["details"] = list.collect();
    }
    q
}

pub fn session(s: &SessionInfo) -> Value {
    let mut o = Map::new();
    let mut put = |key: &str, value: Value| o.insert(key.into(), value);
    put("sessionKey", json!(s.key));
    put("role", json!(s.role));
    put("isStreaming", json!(s.streaming));
    put("lastActivity", json!(s.last_activity));
    put("messageCount", json!(s.message_count));
    put("rpcProcessId", json!(s.proc.map(|p| format!("rpc-{}", p.0))));
    put("agentId", json!(s.agent));
    put("waiting", json!(s.waiting));
    if s.compacting {
        put("isCompacting", json!(true));
    }
    let name = super::names::name(s);
    let optional = [("model", &s.model), ("thinking", &s.thinking), ("title", &s.title), ("name", &name)];
    for (key, value) in optional {
        if let Some(v) = value {
            put(key, json!(v));
        }
    }
    if let Some(Source { channel, account, chat_type, chat, chat_name, thread, sender, sender_name, .. }) = &s.last {
        put("lastChatId", json!(chat));
        put("lastChannel", json!(channel));
        put("lastChatType", json!(chat_type));
        put("lastSenderId", json!(sender));
        let optional = [
            ("lastAccountId", account),
            ("lastChatName", chat_name),
            ("lastSenderName", sender_name),
            ("lastThreadId", thread),
        ];
        for (key, value) in optional {
            if let Some(v) = value {
                put(key, json!(v));
            }
        }
    }
    Value::Object(o)
}

/// pi's dialog as pages know it (1.11, R15).
pub fn dialog(d: &Dialog) -> Value {
    let method = if d.method == "input" { "text" } else { &d.method };
    let mut o = json!({
        "type": "extension_ui_request", "id": d.id, "sessionKey": d.session, "method": method, "title": d.title,
        "ttlMs": d.ttl,
    });
    let text = [("message", &d.message), ("placeholder", &d.placeholder), ("defaultValue", &d.prefill)];
    for (key, value) in text.into_iter().filter(|(_, v)| !v.is_empty()) {
        o[key] = json!(value);
    }
    if !d.options.is_empty() || d.method == "select" {
        o["options"] = d.options.iter().map(|t| json!({"value": t, "label": t})).collect();
    }
    o
}

/// An answer of pi, passed on as it is.
pub fn of_pi(raw: &str) -> Result<Value, Fault> {
    let unread = |why| Fault::new(502, "upstream_failed", format!("pi's answer cannot be read: {why}"));
    json::parse(raw.as_bytes()).map_err(unread)
}

pub fn commands(list: &[CommandInfo]) -> Value {
    let one = |c: &CommandInfo| {
        let source = if c.pi { "pi" } else { "gateway" };
        json!({"name": c.name, "args": c.args, "description": c.description, "source": source})
    };
    list.iter().map(one).collect()
}
