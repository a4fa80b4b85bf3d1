//! Checks of what is sent that need no chat: texts, keyboards.

use serde_json::{json, Value};

use super::args::Refusal;
use super::entities::{parse_html, settable};
use super::methods::Ask;
use super::tidy::{tidy, Limit};

const TEXT: usize = 4096;
const CAPTION: usize = 1024;
/// Bytes of a text before its markup is parsed.
const RAW: usize = 32 << 10;

const BUTTON_KINDS: [&str; 9] = [
    "url",
    "callback_data",
    "web_app",
    "login_url",
    "copy_text",
    "pay",
    "switch_inline_query",
    "switch_inline_query_current_chat",
    "callback_game",
];

impl Ask<'_> {
    pub fn text(&mut self, too_long: &'static str, may_be_empty: bool) -> Result<(String, Vec<Value>), Refusal> {
        self.formatted("text", "entities", TEXT, too_long, may_be_empty)
    }

    pub fn caption(&mut self, too_long: &'static str) -> Result<(String, Vec<Value>), Refusal> {
        self.formatted("caption", "caption_entities", CAPTION, too_long, true)
    }

    fn formatted(
        &mut self,
        key: &str,
        entities_key: &str,
        most: usize,
        too_long: &'static str,
        may_be_empty: bool,
    ) -> Result<(String, Vec<Value>), Refusal> {
        let raw = self.args.text(key);
        if raw.is_empty() && !may_be_empty {
            self.violation("empty_text", key);
            return Err(Refusal::bad("Message text is empty"));
        }
        if raw.len() > RAW {
            self.violation("text_over_32k_bytes", format!("{} bytes", raw.len()));
            return Err(Refusal::bad("Text is too long"));
        }
        let (plain, entities) = match self.parsed(&raw, entities_key) {
            Ok(parsed) => parsed,
            Err(refusal) => {
                self.violation("entity_parse_error", format!("{}: {raw:.300}", refusal.description));
                return Err(refusal);
            }
        };
        let limit = Limit { most, utf16: self.world.options.count_utf16, too_long, may_be_empty };
        tidy(&plain, entities, limit).inspect_err(|refusal| {
            self.violation("text_rejected", format!("{} ({} bytes)", refusal.description, plain.len()))
        })
    }

    fn parsed(&mut self, raw: &str, entities_key: &str) -> Result<(String, Vec<Value>), Refusal> {
        match self.args.text("parse_mode").to_lowercase().as_str() {
            "html" => return parse_html(raw),
            "" | "none" => {}
            "markdown" | "markdownv2" => {
                // This client never uses them, so there is no parser; the text is taken as it is.
                self.violation("markdown_parse_mode", self.method);
            }
            _ => return Err(Refusal::bad("Unsupported parse_mode")),
        }
        let given = self.args.array(entities_key, "MessageEntity")?.unwrap_or_default();
        for entity in &given {
            if !entity["offset"].is_i64() || !entity["length"].is_i64() || !entity["type"].is_string() {
                return Err(Refusal::bad("Can't parse MessageEntity: wrong fields"));
            }
        }
        let kept = given.into_iter().filter(|e| settable(e["type"].as_str().unwrap_or("")));
        Ok((raw.to_owned(), kept.collect()))
    }

    /// The inline keyboard to store. Other markups are checked and not kept, as in reality.
    pub fn markup(&mut self) -> Result<Option<Value>, Refusal> {
        let Some(markup) = self.args.object("reply_markup", "reply markup")? else { return Ok(None) };
        let Some(rows) = markup.get("inline_keyboard") else {
            if ["keyboard", "remove_keyboard", "force_reply"].iter().all(|key| markup.get(key).is_none()) {
                self.violation("markup_without_effect", markup.to_string());
            }
            return Ok(None);
        };
        let wrong = "Field \"inline_keyboard\" of the InlineKeyboardMarkup must be an Array of Arrays";
        let rows = rows.as_array().ok_or_else(|| Refusal::bad(wrong))?;
        let mut buttons = 0;
        for row in rows {
            let row = row.as_array().ok_or_else(|| Refusal::bad(wrong))?;
            if row.len() > 8 {
                self.violation("row_of_more_than_8_buttons", row.len().to_string());
            }
            for button in row {
                buttons += 1;
                self.button(button)?;
            }
        }
        if buttons > 100 || markup.to_string().len() > 10_000 {
            self.violation("markup_too_long", format!("{buttons} buttons"));
            return Err(Refusal::bad("reply markup is too long"));
        }
        let rows: Vec<&Value> = rows.iter().filter(|row| row.as_array().is_some_and(|r| !r.is_empty())).collect();
        Ok((!rows.is_empty()).then(|| json!({"inline_keyboard": rows})))
    }

    fn button(&mut self, button: &Value) -> Result<(), Refusal> {
        let refuse = |what: &str| Err(Refusal::bad(&format!("Can't parse inline keyboard button: {what}")));
        if !button.is_object() {
            return refuse("InlineKeyboardButton must be an Object");
        }
        match button["text"].as_str() {
            None => return refuse("Can't find field \"text\""),
            Some("") => return Err(Refusal::bad("Inline keyboard button text must be non-empty")),
            Some(_) => {}
        }
        if BUTTON_KINDS.iter().all(|key| button[*key].is_null()) {
            return refuse("Text buttons are unallowed in the inline keyboard");
        }
        let Some(data) = button["callback_data"].as_str() else { return Ok(()) };
        if data.is_empty() || data.len() > 64 {
            self.violation("callback_data_too_long", data);
            return Err(Refusal::bad("BUTTON_DATA_INVALID"));
        }
        Ok(())
    }
}
