//! What the gateway adds to pi's system prompt (core.md 10): short, because it costs tokens with every request.

use std::fmt::Write as _;

/// What the segments tell of; lists are empty and flags false where there is nothing to tell.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    pub identity: bool,
    /// People read the answers; otherwise another agent does.
    pub people: bool,
    pub agent: String,
    /// Agents of this gateway.
    pub agents: usize,
    pub host: String,
    pub os: String,
    /// Progress through `send_message` only.
    pub concise: bool,
    pub heartbeat: bool,
    pub cron: bool,
    pub media: bool,
    /// Other agents this one may delegate to, with what they are good for.
    pub delegates: Vec<(String, Option<String>)>,
    /// So many of them at the same time, and so long each, seconds.
    pub at_once: usize,
    pub seconds: u64,
    /// Whose limits are told: the enabled ones. (A process serves conversations of all of them.)
    pub channels: Vec<String>,
}

/// The segments, joined by blank lines; empty if there is none.
pub fn text(f: &Facts) -> String {
    let mut all: Vec<String> = Vec::new();
    if f.identity {
        all.push(format!(
            "You run inside pi-gateway (agent {}{}, host {}, {}). {} Lines in square brackets before a message are context; ids in \
             them can be used with the tools.",
            f.agent,
            if f.agents > 1 { format!(", one of {}", f.agents) } else { String::new() },
            f.host,
            f.os,
            match f.people {
                true => {
                    "Your replies go to a chat: be concise and easy to scan. The gateway routes and splits them."
                }
                false => "Another agent gave you a task and reads nothing but your last answer.",
            }
        ));
    }
    if f.concise {
        all.push(
            "Concise mode: report progress and results with send_message. When everything was sent, answer exactly [NO_REPLY]."
                .into(),
        );
    }
    if f.heartbeat {
        all.push(
            "Heartbeat: you are woken from time to time. Read core/heartbeat.md if it exists and follow it strictly; do not repeat \
             old tasks. Nothing to do: answer exactly HEARTBEAT_OK. Done: you may end with it. Problems: describe them without it."
                .into(),
        );
    }
    if f.cron {
        all.push(
            "Cron: the cron tool keeps tasks for later: at (2026-03-01T10:00, +20m), every (30m, 2h) or cron (0 9 * * 1-5). \
             isolated jobs run in a conversation of their own, main ones in this one; delivery announce, direct or silent. A \
             message that begins with [CRON:id] is such a task: do it now, do not describe it."
                .into(),
        );
    }
    if f.media {
        all.push(
            "Media: send_message sends a text while you work, send_media a file of the working directory (kind by extension). Without \
             the tool, a line MEDIA:<relative path> in the answer sends that file. message reacts to, edits, deletes, pins or \
             reads messages. Never invent message ids."
                .into(),
        );
    }
    if !f.delegates.is_empty() {
        let mut text = format!(
            "Delegation: delegate_to_agent gives a task to another agent and waits for its answer ({} s unless timeoutMs says \
             otherwise; at most {} at once). It sees only the task. Agents:",
            f.seconds, f.at_once
        );
        for (id, about) in &f.delegates {
            let about = about.as_deref().unwrap_or("no description").split_whitespace().collect::<Vec<_>>().join(" ");
            let about: String = about.chars().take(120).collect();
            let _ = write!(text, " {id} ({about});");
        }
        text.pop();
        text.push('.');
        all.push(text);
    }
    let limits: Vec<&str> = f.channels.iter().filter_map(|channel| limits(channel)).collect();
    if !limits.is_empty() {
        all.push(format!("Channels: {}", limits.join(" ")));
    }
    all.join("\n\n")
}

fn limits(channel: &str) -> Option<&'static str> {
    Some(match channel {
        "telegram" => {
            "Telegram renders Markdown with headings, lists, links, quotes, code blocks and tables; texts are split at 4096 \
             characters."
        }
        "discord" => "Discord renders Markdown without tables; texts are split at 2000 characters.",
        "feishu" => "Feishu shows Markdown as a card.",
        "webchat" => "WebChat is a web page and renders Markdown.",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full() -> Facts {
        Facts {
            identity: true,
            people: true,
            at_once: 2,
            seconds: 120,
            agent: "main".into(),
            agents: 6,
            host: "pi".into(),
            os: "linux arm".into(),
            concise: true,
            heartbeat: true,
            cron: true,
            media: true,
            delegates: (0..5).map(|n| (format!("agent-{n}"), Some("x ".repeat(200)))).collect(),
            channels: ["telegram", "discord", "feishu", "webchat"].map(str::to_owned).to_vec(),
        }
    }

    /// About four characters make a token.
    #[test]
    fn all_segments_together_stay_under_700_tokens() {
        let text = text(&full());
        assert!(text.chars().count() / 4 < 700, "{} characters", text.chars().count());
    }

    #[test]
    fn what_is_off_is_not_spoken_of() {
        assert_eq!(text(&Facts::default()), "");
        let all = text(&full());
        let words = [
            "one of 6",
            "pi-gateway",
            "Concise mode",
            "HEARTBEAT_OK",
            "[CRON:id]",
            "MEDIA:",
            "delegate_to_agent",
            "Telegram",
        ];
        assert!(words.iter().all(|w| all.contains(w)), "{all}");
        let some = text(&Facts { identity: false, cron: false, channels: vec!["webchat".into()], ..full() });
        assert!(!some.contains("[CRON") && !some.contains("pi-gateway") && !some.contains("4096"), "{some}");
        assert!(some.contains("agent-0 (x x") && some.contains("WebChat"));
    }
}
