//! What is in the store and in pi's session files after a fault: every message has one fate, one answer, and the
//! agent saw it once.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags};
use serde_json::Value;

use super::gateway::Gateway;

#[derive(Debug, Clone)]
pub struct Message {
    pub id: i64,
    pub text: String,
    pub state: String,
    pub turn: Option<i64>,
    pub reason: Option<String>,
    /// Texts of the replies addressed to it.
    pub replies: Vec<String>,
}

impl Message {
    pub fn settled(&self) -> bool {
        !["queued", "in_turn", "executing"].contains(&self.state.as_str())
    }
}

/// All messages of the store, or `None` while it cannot be read.
pub fn messages(g: &Gateway) -> Option<Vec<Message>> {
    let path = g.data().join("gateway.db");
    let db = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).ok()?;
    db.busy_timeout(std::time::Duration::from_secs(2)).ok()?;
    let mut q = db.prepare("SELECT id, text, state, turn, reason FROM inbox ORDER BY id").ok()?;
    let row = |r: &rusqlite::Row<'_>| {
        Ok(Message {
            id: r.get(0)?,
            text: r.get(1)?,
            state: r.get(2)?,
            turn: r.get(3)?,
            reason: r.get(4)?,
            replies: Vec::new(),
        })
    };
    let mut list: Vec<Message> = q.query_map([], row).ok()?.collect::<Result<_, _>>().ok()?;
    let mut q = db.prepare("SELECT inbox, text FROM segment WHERE origin = 'reply' ORDER BY id").ok()?;
    let replies = q.query_map([], |r| Ok((r.get::<_, Option<i64>>(0)?, r.get::<_, String>(1)?))).ok()?;
    for reply in replies {
        let (inbox, text) = reply.ok()?;
        // A damaged store may have lost the message.
        if let Some(message) = list.iter_mut().find(|m| Some(m.id) == inbox) {
            message.replies.push(text);
        }
    }
    Some(list)
}

/// pi's session files.
pub fn session_files(g: &Gateway) -> Vec<PathBuf> {
    fn walk(dir: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
            let path = entry.path();
            match path.is_dir() {
                true if path.ends_with("transcripts") => {}
                true => walk(&path, found),
                false if path.extension().is_some_and(|e| e == "jsonl") => found.push(path),
                false => {}
            }
        }
    }
    let mut found = Vec::new();
    walk(&g.data().join("sessions"), &mut found);
    found
}

/// Texts of all user entries in pi's session files.
pub fn user_entries(g: &Gateway) -> Vec<String> {
    let mut texts = Vec::new();
    for path in session_files(g) {
        for line in std::fs::read_to_string(path).unwrap_or_default().lines() {
            let Ok(entry) = serde_json::from_str::<Value>(line) else { continue };
            let message = &entry["message"];
            // The gateway's own notes, which quote what was sent already, are no messages.
            let text = message["content"].to_string();
            if message["role"] == "user"
                && !text.contains("[The gateway restarted")
                && !text.contains("[The agent process")
            {
                texts.push(text);
            }
        }
    }
    texts
}

/// Every message of `tokens` (a text that only this message has) has exactly one fate and one answer, and the
/// agent's files hold it once. The fates, counted.
pub fn check_once(g: &Gateway, tokens: &[String], case: &str) -> BTreeMap<String, usize> {
    let all = messages(g).unwrap_or_default();
    let entries = user_entries(g);
    let mut fates = BTreeMap::new();
    let mut per_turn: BTreeMap<i64, (usize, usize)> = BTreeMap::new();
    let tell = || format!("{case}\n{all:#?}\n{entries:#?}\n{}", g.log());
    for token in tokens {
        let rows: Vec<&Message> = all.iter().filter(|m| m.text.contains(token.as_str())).collect();
        assert_eq!(rows.len(), 1, "{token} is stored {} times: {}", rows.len(), tell());
        let m = rows[0];
        *fates.entry(m.state.clone()).or_default() += 1;
        let fine = match m.state.as_str() {
            "answered" => m.replies.len() <= 1,
            "merged" => m.replies.is_empty(),
            "injected" => m.replies.len() <= 1,
            _ => false,
        };
        assert!(fine, "{token}: {m:?}: {}", tell());
        let seen = entries.iter().filter(|e| e.contains(token.as_str())).count();
        assert_eq!(seen, 1, "the agent has {token} {seen} times: {}", tell());
        let turn = per_turn.entry(m.turn.unwrap_or(0)).or_default();
        turn.0 += 1;
        turn.1 += m.replies.len();
    }
    for (turn, (messages, replies)) in &per_turn {
        assert!(*turn > 0 && *replies >= 1 && replies <= messages, "turn {turn}: {replies} replies: {}", tell());
    }
    // No text was sent twice, in one reply or in two.
    // (The stand-in answers a resumed turn with the gateway's own note, which lists what was sent.)
    let own = |t: &String| t.split("were sent already").next().unwrap_or_default().to_owned();
    let texts: Vec<String> = all.iter().flat_map(|m| &m.replies).map(own).collect();
    for token in tokens {
        let said = format!("re:{token}");
        let times: usize = texts.iter().map(|t| t.matches(&said).count()).sum();
        assert!(times <= 1, "{said} was sent {times} times: {}", tell());
    }
    fates
}
