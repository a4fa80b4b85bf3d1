//! Parameters of a call, however they came, and what a method takes (telegram.md 1, 20).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{json, Value};

/// A refusal as the server words it.
#[derive(Debug, Clone)]
pub struct Refusal {
    pub status: u16,
    pub description: String,
    /// `parameters` of the answer, or null.
    pub parameters: Value,
    /// The answer is held back so long.
    pub delay: Duration,
}

impl Refusal {
    pub fn new(status: u16, description: &str) -> Refusal {
        Refusal { status, description: description.to_owned(), parameters: Value::Null, delay: Duration::ZERO }
    }

    /// 400: the first letter becomes small, unless the text is a constant in capitals.
    pub fn bad(what: &str) -> Refusal {
        let mut letters = what.chars();
        let (first, second) = (letters.next().unwrap_or(' '), letters.next().unwrap_or(' '));
        let text = if second.is_uppercase() || second == '_' {
            what.to_owned()
        } else {
            format!("{}{}", first.to_lowercase(), &what[first.len_utf8()..])
        };
        Refusal::new(400, &format!("Bad Request: {text}"))
    }

    pub fn flood(left: Duration) -> Refusal {
        let seconds = left.as_millis().div_ceil(1000).max(1) as u64;
        let mut refusal = Refusal::new(429, &format!("Too Many Requests: retry after {seconds}"));
        refusal.parameters = json!({"retry_after": seconds});
        refusal
    }

    pub fn body(&self) -> Value {
        let mut body = json!({"ok": false, "error_code": self.status, "description": self.description});
        if !self.parameters.is_null() {
            body["parameters"] = self.parameters.clone();
        }
        body
    }
}

/// A file in a multipart body.
#[derive(Debug, Clone)]
pub struct Upload {
    pub name: String,
    pub mime: Option<String>,
    pub data: Arc<Vec<u8>>,
}

#[derive(Debug, Clone)]
pub enum Arg {
    Json(Value),
    /// From a form, a multipart part or the query.
    Text(String),
    File(Upload),
}

/// How the parameters came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Form {
    #[default]
    None,
    Json,
    Urlencoded,
    Multipart,
}

#[derive(Debug, Clone, Default)]
pub struct Args {
    pub fields: BTreeMap<String, Arg>,
    pub form: Form,
}

impl Args {
    pub fn of_json(object: &Value) -> Args {
        let fields = object.as_object().into_iter().flatten().filter(|(_, v)| !v.is_null());
        Args { fields: fields.map(|(k, v)| (k.clone(), Arg::Json(v.clone()))).collect(), form: Form::Json }
    }

    pub fn has(&self, key: &str) -> bool {
        self.fields.contains_key(key)
    }

    /// The parameter as text; empty when it is missing.
    pub fn text(&self, key: &str) -> String {
        match self.fields.get(key) {
            Some(Arg::Json(Value::String(text))) | Some(Arg::Text(text)) => text.clone(),
            Some(Arg::Json(value)) => value.to_string(),
            _ => String::new(),
        }
    }

    /// The parameter as a number; 0 when it is missing or none, as the server reads it.
    pub fn int(&self, key: &str) -> i64 {
        self.text(key).trim().parse().unwrap_or(0)
    }

    pub fn flag(&self, key: &str) -> bool {
        matches!(self.text(key).to_lowercase().as_str(), "true" | "yes" | "1")
    }

    pub fn file(&self, key: &str) -> Option<&Upload> {
        match self.fields.get(key) {
            Some(Arg::File(upload)) => Some(upload),
            _ => None,
        }
    }

    /// A nested value, which may also come as a string of JSON. `what` names it in the error.
    pub fn nested(&self, key: &str, what: &str) -> Result<Option<Value>, Refusal> {
        let value = match self.fields.get(key) {
            Some(Arg::Json(Value::String(text))) | Some(Arg::Text(text)) if text.is_empty() => return Ok(None),
            Some(Arg::Json(Value::String(text))) | Some(Arg::Text(text)) => {
                serde_json::from_str(text).map_err(|_| Refusal::bad(&format!("Can't parse {what} JSON object")))?
            }
            Some(Arg::Json(value)) => value.clone(),
            _ => return Ok(None),
        };
        Ok(Some(value))
    }

    pub fn object(&self, key: &str, what: &str) -> Result<Option<Value>, Refusal> {
        match self.nested(key, what)? {
            Some(value) if !value.is_object() => Err(Refusal::bad(&format!("Object expected as {what}"))),
            other => Ok(other),
        }
    }

    pub fn array(&self, key: &str, what: &str) -> Result<Option<Vec<Value>>, Refusal> {
        match self.nested(key, what)? {
            Some(Value::Array(items)) => Ok(Some(items)),
            Some(_) => Err(Refusal::bad(&format!("Expected an Array of {what}"))),
            None => Ok(None),
        }
    }

    /// What the log keeps.
    pub fn describe(&self) -> Value {
        let show = |arg: &Arg| match arg {
            Arg::Json(value) => value.clone(),
            Arg::Text(text) => json!(text),
            Arg::File(u) => json!({"upload": {"name": u.name, "mime": u.mime, "size": u.data.len()}}),
        };
        Value::Object(self.fields.iter().map(|(k, v)| (k.clone(), show(v))).collect())
    }
}

const SEND: &str = "business_connection_id:s chat_id:c message_thread_id:i disable_notification:b protect_content:b \
    message_effect_id:s reply_parameters:j reply_markup:j";
const CAPTION: &str = "caption:s parse_mode:s caption_entities:j show_caption_above_media:b has_spoiler:b thumbnail:f";
const EDIT: &str = "business_connection_id:s chat_id:c message_id:i inline_message_id:s reply_markup:j";

/// Name; with `send` and `caption` fields or those of an edit; its own fields.
/// Types: c chat, i integer, n number, b boolean, s string, j nested JSON, f file.
const METHODS: &[(&str, &str, &str)] = &[
    ("getMe", "", ""),
    ("getUpdates", "", "offset:i limit:i timeout:i allowed_updates:j"),
    (
        "setWebhook",
        "",
        "url:s certificate:f ip_address:s max_connections:i allowed_updates:j drop_pending_updates:b secret_token:s",
    ),
    ("deleteWebhook", "", "drop_pending_updates:b"),
    ("getWebhookInfo", "", ""),
    ("sendMessage", "send", "text:s parse_mode:s entities:j link_preview_options:j"),
    ("sendPhoto", "caption", "photo:f"),
    ("sendDocument", "caption", "document:f disable_content_type_detection:b"),
    ("sendAudio", "caption", "audio:f duration:i performer:s title:s"),
    ("sendVoice", "caption", "voice:f duration:i"),
    ("sendVideo", "caption", "video:f duration:i width:i height:i cover:f start_timestamp:i supports_streaming:b"),
    ("sendAnimation", "caption", "animation:f duration:i width:i height:i"),
    ("sendVideoNote", "send", "video_note:f duration:i length:i thumbnail:f"),
    ("sendSticker", "send", "sticker:f emoji:s"),
    ("sendMediaGroup", "send", "media:j"),
    (
        "sendMessageDraft",
        "",
        "chat_id:c message_thread_id:i draft_id:i text:s parse_mode:s entities:j can_stop:b keep_on_stop:b",
    ),
    ("editMessageText", "edit", "text:s parse_mode:s entities:j link_preview_options:j"),
    ("editMessageCaption", "edit", "caption:s parse_mode:s caption_entities:j show_caption_above_media:b"),
    ("editMessageReplyMarkup", "edit", ""),
    ("deleteMessage", "", "chat_id:c message_id:i"),
    ("deleteMessages", "", "chat_id:c message_ids:j"),
    ("sendChatAction", "", "business_connection_id:s chat_id:c message_thread_id:i action:s"),
    ("setMessageReaction", "", "chat_id:c message_id:i reaction:j is_big:b"),
    ("pinChatMessage", "", "business_connection_id:s chat_id:c message_id:i disable_notification:b"),
    ("unpinChatMessage", "", "business_connection_id:s chat_id:c message_id:i"),
    ("answerCallbackQuery", "", "callback_query_id:s text:s show_alert:b url:s cache_time:i"),
    ("getFile", "", "file_id:s"),
    ("setMyCommands", "", "commands:j scope:j language_code:s"),
    ("getMyCommands", "", "scope:j language_code:s"),
    ("deleteMyCommands", "", "scope:j language_code:s"),
    ("getChat", "", "chat_id:c"),
    ("getChatMember", "", "chat_id:c user_id:i"),
    ("createForumTopic", "", "chat_id:c name:s icon_color:i icon_custom_emoji_id:s"),
];

/// Still understood by the server, not to be used any more.
const DEPRECATED: [&str; 3] = ["reply_to_message_id", "allow_sending_without_reply", "disable_web_page_preview"];

/// The method's name as documented. Names are read in any case.
pub fn method_named(name: &str) -> Option<&'static str> {
    METHODS.iter().map(|(known, _, _)| *known).find(|known| known.eq_ignore_ascii_case(name))
}

/// What is wrong with the parameters of `method` beside their content: (kind of violation, detail).
pub fn check(method: &str, args: &Args) -> Vec<(&'static str, String)> {
    let Some((_, family, own)) = METHODS.iter().find(|(name, _, _)| *name == method) else {
        return Vec::new();
    };
    let shared = match *family {
        "send" => [SEND, ""],
        "caption" => [SEND, CAPTION],
        "edit" => [EDIT, ""],
        _ => ["", ""],
    };
    let fields = shared.iter().chain([own]).flat_map(|list| list.split_whitespace());
    let types: BTreeMap<&str, &str> = fields.filter_map(|field| field.split_once(':')).collect();
    let mut found = Vec::new();
    let attached = attachments(args);
    for (key, arg) in &args.fields {
        match types.get(key.as_str()) {
            _ if DEPRECATED.contains(&key.as_str()) => found.push(("deprecated_parameter", format!("{method}: {key}"))),
            None if matches!(arg, Arg::File(_)) && attached.contains(&format!("attach://{key}")) => {}
            None => found.push(("unknown_parameter", format!("{method}: {key}"))),
            Some(kind) if !fits(kind, arg) => {
                found.push(("wrong_type", format!("{method}: {key} is {}", args.describe()[key])))
            }
            Some(_) => {}
        }
    }
    let files = args.fields.values().any(|arg| matches!(arg, Arg::File(_)));
    match args.form {
        Form::Urlencoded => found.push(("not_json", format!("{method}: urlencoded form"))),
        Form::Multipart if !files => found.push(("not_json", format!("{method}: multipart without a file"))),
        _ => {}
    }
    found
}

/// Every text of the parameters in which an upload may be named, in one piece.
fn attachments(args: &Args) -> String {
    args.fields.keys().map(|key| args.text(key) + "\n").collect()
}

fn fits(kind: &str, arg: &Arg) -> bool {
    match arg {
        Arg::File(_) => kind == "f",
        Arg::Json(value) => match kind {
            "i" => value.is_i64(),
            "c" => value.is_i64() || value.as_str().is_some_and(|s| s.starts_with('@')),
            "b" => value.is_boolean(),
            "j" => value.is_object() || value.is_array(),
            _ => value.is_string(),
        },
        Arg::Text(text) => match kind {
            "i" => text.parse::<i64>().is_ok(),
            "c" => text.starts_with('@') || text.parse::<i64>().is_ok(),
            "b" => text == "true" || text == "false",
            "j" => serde_json::from_str::<Value>(text).is_ok_and(|v| v.is_object() || v.is_array()),
            _ => true,
        },
    }
}
