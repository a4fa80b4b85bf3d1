//! Where messages and turns begin and end (pi-rpc.md 6). Kept small: what a message said stands in the view
//! already, so its `message_end` is put together when a viewer comes to it.

use std::sync::Arc;

use serde_json::{json, Value};

use super::{Cursor, Item, Live, Mark, Tool, View, MAX_BYTES, MAX_EVENTS, MAX_ITEMS};
use crate::message::AssistantMessage;

const JOIN: &str = "\n\n";

impl Live {
    /// An assistant message begins; `joined` as in [`Item::Start`].
    pub fn message_start(&self, joined: bool) {
        self.change(|v| v.told(Item::Start { joined }));
    }
    /// It is complete, and this is what counts of it.
    pub fn message_end(&self, message: &AssistantMessage) {
        self.change(|v| v.message_end(message));
    }
    pub fn turn_end(&self) {
        self.change(|v| v.told(Item::TurnEnd));
    }
    /// A message failed. pi may try again, so its end is not shown before that is known: events wait until
    /// [`Live::release`] or [`Live::end`], or are forgotten by [`Live::forget`].
    pub fn hold(&self) {
        self.change(|v| v.holding = true);
    }
    /// No new attempt came: what was held is shown.
    pub fn release(&self) {
        self.change(View::release);
    }
    /// The new attempt begins: the failed one leaves no trace.
    pub fn forget(&self) {
        self.change(View::forget);
    }
}

impl View {
    /// Adds an event, or holds it.
    pub(super) fn told(&mut self, item: Item) {
        if self.holding {
            self.held.push(item);
        } else if self.events < MAX_EVENTS {
            self.items.push(item);
            self.events += 1;
        }
    }

    pub(super) fn release(&mut self) {
        self.holding = false;
        for item in std::mem::take(&mut self.held) {
            self.told(item);
        }
    }

    pub(super) fn forget(&mut self) {
        self.holding = false;
        self.held = Vec::new();
    }

    /// No more pieces are taken.
    pub(super) fn full(&self) -> bool {
        self.items.len() - self.events >= MAX_ITEMS
    }

    pub(super) fn count_events(&mut self) {
        let piece = |i: &&Item| matches!(i, Item::Text(_) | Item::Thinking(_) | Item::Tool(_));
        self.events = self.items.len() - self.items.iter().filter(piece).count();
    }

    /// Drops the items behind the mark. `None`: the view is as it was then; else whether a message began since.
    pub(super) fn cut(&mut self, to: &Mark) -> Option<bool> {
        let grown = match to.items.checked_sub(1).and_then(|last| self.items.get(last)) {
            Some(Item::Text(t) | Item::Thinking(t)) => t.len() > to.text,
            _ => false,
        };
        let since = self.items.get(to.items..).unwrap_or_default();
        if since.is_empty() && !grown {
            return None;
        }
        let began = since.iter().any(|i| matches!(i, Item::Start { .. }));
        self.items.truncate(to.items);
        self.count_events();
        Some(began)
    }

    /// A cursor that has seen everything so far.
    pub(super) fn seen(&self) -> Cursor {
        let mut at = Cursor { generation: self.generation, brief: true, ..Cursor::default() };
        self.read(&mut at, usize::MAX);
        Cursor { brief: false, ..at }
    }

    fn message_end(&mut self, message: &AssistantMessage) {
        let mut left = message.text.as_str();
        let mut same = true;
        for (_, text) in self.said(self.items.len()).iter().filter(|(thinking, _)| !thinking) {
            match left.strip_prefix(text) {
                Some(rest) => left = rest,
                None => same = false,
            }
        }
        // What a failed message showed may be taken back.
        let mut shown = same && left.is_empty() && message.stop != "error";
        if !shown {
            // pi changed it, or did not stream it. Over the limit it is told as far as it was shown.
            self.bytes += message.text.len();
            shown = self.bytes > MAX_BYTES;
        }
        let text = if shown { String::new() } else { message.text.clone() };
        let message = AssistantMessage {
            text,
            stop: message.stop.clone(),
            error: message.error.clone(),
            model: message.model.clone(),
            provider: message.provider.clone(),
            calls: message.calls.clone(),
            usage: message.usage,
        };
        self.told(Item::End { message: Arc::new(message), shown });
    }

    /// Thinking (`true`) and text of the message that is open, or ends, at that item.
    fn said(&self, end: usize) -> Vec<(bool, &str)> {
        let before = self.items.get(..end).unwrap_or_default();
        let start = before.iter().rposition(|i| matches!(i, Item::Start { .. } | Item::End { .. }));
        let mut joined = matches!(start.and_then(|at| before.get(at)), Some(Item::Start { joined: true }));
        let mut said = Vec::new();
        for item in before.iter().skip(start.map_or(0, |at| at + 1)) {
            match item {
                Item::Text(text) => {
                    let own = if joined { text.strip_prefix(JOIN) } else { None };
                    joined = false;
                    said.push((false, own.unwrap_or(text)));
                }
                Item::Thinking(text) => said.push((true, text.as_str())),
                _ => {}
            }
        }
        said
    }

    /// What a viewer is told at that item, as JSON; `brief`: nothing that repeats.
    pub(super) fn event(&self, at: usize, item: &Item, brief: bool) -> Option<Arc<str>> {
        match item {
            Item::Event(json) => Some(json.clone()),
            Item::Start { .. } => {
                Some(r#"{"type":"message_start","message":{"role":"assistant","content":[]}}"#.into())
            }
            Item::End { message, shown } if !brief => {
                let message = self.message(at, message, *shown);
                Some(json!({"type": "message_end", "message": message}).to_string().into())
            }
            Item::TurnEnd if !brief => {
                let end = self.items.get(..at)?.iter().rposition(|i| matches!(i, Item::End { .. }));
                let mut event = json!({"type": "turn_end"});
                if let Some((end, Item::End { message, shown })) = end.and_then(|end| Some((end, self.items.get(end)?)))
                {
                    event["message"] = self.message(end, message, *shown);
                }
                let tools = self.items.get(end.map_or(0, |end| end + 1)..at).unwrap_or_default();
                event["toolResults"] = tools
                    .iter()
                    .filter_map(|i| if let Item::Tool(t) = i { Some(tool_result(t)) } else { None })
                    .collect();
                Some(event.to_string().into())
            }
            _ => None,
        }
    }

    /// A complete message in pi's shape. Parts that follow each other without anything else between are one.
    fn message(&self, end: usize, m: &AssistantMessage, shown: bool) -> Value {
        let mut content: Vec<Value> =
            self.said(end).into_iter().filter(|(thinking, _)| *thinking || shown).map(part).collect();
        if !shown && !m.text.is_empty() {
            content.push(part((false, &m.text)));
        }
        content.extend(m.calls.iter().map(|c| {
            // Arguments that were cut are no JSON any more: then they are shown as text.
            let arguments = serde_json::from_str(&c.args).unwrap_or_else(|_| json!(c.args));
            json!({"type": "toolCall", "id": c.id, "name": c.name, "arguments": arguments})
        }));
        let u = &m.usage;
        let mut message = json!({
            "role": "assistant", "content": content,
            "usage": {
                "input": u.input, "output": u.output, "cacheRead": u.cache_read, "cacheWrite": u.cache_write,
                "totalTokens": u.input + u.output + u.cache_read + u.cache_write, "cost": {"total": u.cost},
            },
            "stopReason": m.stop,
        });
        for (key, value) in [("provider", &m.provider), ("model", &m.model)] {
            if !value.is_empty() {
                message[key] = json!(value);
            }
        }
        if let Some(why) = &m.error {
            message["errorMessage"] = json!(why);
        }
        message
    }
}

/// A part of a message's content in pi's shape: thinking (`true`) or text.
pub fn part((thinking, text): (bool, &str)) -> Value {
    match thinking {
        true => json!({"type": "thinking", "thinking": text}),
        false => json!({"type": "text", "text": text}),
    }
}

/// As in pi's `toolResult` message; the text is what the view has of it (its end, at most 4 KiB).
fn tool_result(t: &Tool) -> Value {
    json!({
        "role": "toolResult", "toolCallId": t.id, "toolName": t.name,
        "content": [{"type": "text", "text": t.output}], "isError": t.error,
    })
}
