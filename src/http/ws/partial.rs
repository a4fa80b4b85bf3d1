//! The message so far, for clients that asked for `raw` (R14). pi's own `partial` is skipped unread, so it is made
//! of what was shown: text and thinking. Tool calls come with `message_end`.

use serde_json::{json, Value};

use crate::live::{part, Item, News};

/// The longest message that is repeated with each of its updates, bytes: every update repeats all of it, so what a
/// message costs grows with the square of its length.
pub const MOST: usize = 32 << 10;

/// What one client has seen of the message that is open.
#[derive(Debug, Default)]
pub struct Partial {
    /// Thinking (`true`) and text, in order. `None`: no message, too long, or its beginning was not seen.
    parts: Option<Vec<(bool, String)>>,
    bytes: usize,
    /// Text of this run was seen.
    said: bool,
    /// The next text may have the blank line in front that joins it to the message before.
    joined: bool,
}

impl Partial {
    /// What all of a view says.
    pub fn of(items: &[Item]) -> Partial {
        let mut p = Partial::default();
        for item in items {
            match item {
                Item::Start { .. } => p.start(),
                Item::Text(text) => p.grow(false, text),
                Item::Thinking(text) => p.grow(true, text),
                _ => {}
            }
        }
        p
    }

    /// Takes the next piece; the message so far, if it is an update of one.
    pub fn take(&mut self, news: &News) -> Option<Value> {
        match news {
            News::Restart { .. } => *self = Partial::default(),
            News::Text { delta, .. } => self.grow(false, delta),
            News::Thinking { delta, .. } => self.grow(true, delta),
            News::Event { json, .. } if json.starts_with(r#"{"type":"message_start""#) => self.start(),
            _ => {}
        }
        let update = matches!(news, News::Text { .. } | News::Thinking { .. } | News::ThinkingEnd { .. });
        let parts = self.parts.as_ref().filter(|_| update)?;
        let content: Vec<Value> = parts.iter().map(|(thinking, text)| part((*thinking, text))).collect();
        Some(json!({"role": "assistant", "content": content}))
    }

    fn start(&mut self) {
        *self = Partial { parts: Some(Vec::new()), bytes: 0, said: self.said, joined: self.said };
    }

    fn grow(&mut self, thinking: bool, mut text: &str) {
        if !thinking {
            self.said = true;
            if std::mem::take(&mut self.joined) {
                text = text.strip_prefix("\n\n").unwrap_or(text);
            }
        }
        self.bytes += text.len();
        let Some(parts) = self.parts.as_mut().filter(|_| self.bytes <= MOST) else {
            self.parts = None;
            return;
        };
        match parts.last_mut() {
            Some((kind, all)) if *kind == thinking => all.push_str(text),
            _ if text.is_empty() => {}
            _ => parts.push((thinking, text.to_owned())),
        }
    }
}
