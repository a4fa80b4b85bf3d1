//! `messages` of a chat completion: read, checked, and made one prompt (gateway-api.md R64, R65). Pure.

use serde_json::{Map, Value};

use super::pictures::Picture;
use crate::http::fault::Fault;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// `system`, `developer`.
    System,
    User,
    Assistant,
    /// `tool`, `function`.
    Tool,
}

/// One message.
#[derive(Clone, Debug, PartialEq)]
pub struct Said {
    pub role: Role,
    pub text: String,
    pub images: Vec<Picture>,
}

/// What goes to the agent.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Prompt {
    pub text: String,
    pub images: Vec<Picture>,
}

fn wrong(param: impl Into<String>, why: impl std::fmt::Display) -> Fault {
    let param = param.into();
    Fault::invalid(format!("{param}: {why}")).param(param)
}

/// Reads `messages`; at least one is of a user.
pub fn read(list: Option<&Value>) -> Result<Vec<Said>, Fault> {
    let list = match list {
        Some(Value::Array(list)) if !list.is_empty() => list,
        None | Some(Value::Array(_)) => return Err(Fault::invalid("messages is required").param("messages")),
        Some(_) => return Err(wrong("messages", "must be an array")),
    };
    let said = list.iter().enumerate().map(|(n, m)| message(n, m)).collect::<Result<Vec<_>, _>>()?;
    match said.iter().any(|m| m.role == Role::User) {
        true => Ok(said),
        false => Err(Fault::invalid("No user message found").param("messages")),
    }
}

fn message(n: usize, m: &Value) -> Result<Said, Fault> {
    let at = |member: &str| format!("messages[{n}]{member}");
    let m = m.as_object().ok_or_else(|| wrong(at(""), "must be an object"))?;
    let role = match m.get("role").and_then(Value::as_str) {
        Some("system" | "developer") => Role::System,
        Some("user") => Role::User,
        Some("assistant") => Role::Assistant,
        Some("tool" | "function") => Role::Tool,
        _ => return Err(wrong(at(".role"), "must be one of system, developer, user, assistant, tool")),
    };
    let mut said = Said { role, text: String::new(), images: Vec::new() };
    match m.get("content") {
        Some(Value::String(text)) => said.text = text.clone(),
        Some(Value::Array(parts)) => {
            for (k, part) in parts.iter().enumerate() {
                part_of(&mut said, &at(&format!(".content[{k}]")), part)?;
            }
        }
        // an assistant that only called tools
        None | Some(Value::Null) => {}
        Some(_) => return Err(wrong(at(".content"), "must be a string or an array of parts")),
    }
    Ok(said)
}

fn part_of(said: &mut Said, at: &str, part: &Value) -> Result<(), Fault> {
    let part = part.as_object().ok_or_else(|| wrong(at, "must be an object"))?;
    let text = |part: &Map<String, Value>, name: &str| {
        let text = part.get(name).and_then(Value::as_str).map(str::to_owned);
        text.ok_or_else(|| wrong(format!("{at}.{name}"), "must be a string"))
    };
    let words = match part.get("type").and_then(Value::as_str) {
        Some("text") => text(part, "text")?,
        Some("refusal") if said.role == Role::Assistant => text(part, "refusal")?,
        Some("image_url") if said.role == Role::User => {
            let url = part.get("image_url");
            let url = url.and_then(|u| u.as_str().or_else(|| u.get("url")?.as_str()));
            let url = url.ok_or_else(|| wrong(format!("{at}.image_url.url"), "must be a string"))?;
            let at = format!("{at}.image_url.url");
            if Picture::remote(url).is_none() {
                return Err(wrong(at, "only data:, http: and https: URLs are taken"));
            }
            said.images.push(Picture { at, url: url.to_owned() });
            return Ok(());
        }
        Some(kind) => {
            let kind: String = kind.chars().take(40).collect();
            return Err(wrong(at, format!("a part of type \"{kind}\" is not supported here")));
        }
        None => return Err(wrong(format!("{at}.type"), "must be a string")),
    };
    if !said.text.is_empty() && !words.is_empty() {
        said.text.push('\n');
    }
    said.text += &words;
    Ok(())
}

/// The conversation is pi's: only what the user said last goes to it.
pub fn last(said: Vec<Said>) -> Prompt {
    let last = said.into_iter().rev().find(|m| m.role == Role::User);
    last.map(|m| Prompt { text: m.text, images: m.images }).unwrap_or_default()
}

/// pi knows nothing: instructions and history go to it in one prompt, with the pictures of all of it.
pub fn whole(said: Vec<Said>) -> Prompt {
    let images = said.iter().flat_map(|m| m.images.iter().cloned()).collect();
    let (system, talk): (Vec<Said>, Vec<Said>) = said.into_iter().partition(|m| m.role == Role::System);
    let system: Vec<&str> = system.iter().map(|m| m.text.trim()).filter(|t| !t.is_empty()).collect();
    let at = talk.iter().rposition(|m| m.role == Role::User).unwrap_or(0);
    let (before, rest) = talk.split_at(at);
    let (asked, after) = rest.split_first().map_or(("", rest), |(m, after)| (m.text.as_str(), after));
    let lines = |list: &[Said]| {
        let line = |m: &Said| match m.role {
            Role::Assistant => format!("Assistant: {}", m.text),
            Role::Tool => format!("Tool: {}", m.text),
            Role::User | Role::System => format!("User: {}", m.text),
        };
        list.iter().filter(|m| !m.text.is_empty()).map(line).collect::<Vec<_>>().join("\n\n")
    };
    let (system, before, after) = (system.join("\n\n"), lines(before), lines(after));
    if [&system, &before, &after].iter().all(|t| t.is_empty()) {
        return Prompt { text: asked.to_owned(), images };
    }
    let sections = [
        ("Instructions", system.as_str()),
        ("Conversation so far", &before),
        ("Message to answer", asked),
        ("Said after it", &after),
    ];
    let section = |(title, body): (&str, &str)| format!("[{title}]\n{body}");
    let text = sections.into_iter().filter(|(_, body)| !body.is_empty()).map(section).collect::<Vec<_>>();
    Prompt { text: text.join("\n\n"), images }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::fault::Shape;
    use serde_json::json;

    fn said(list: Value) -> Vec<Said> {
        read(Some(&list)).unwrap()
    }

    #[test]
    fn the_last_user_message_is_the_prompt_of_a_conversation() {
        let list = said(json!([
            {"role": "system", "content": "be brief"},
            {"role": "user", "content": "first"},
            {"role": "assistant", "content": null, "tool_calls": []},
            {"role": "user", "content": [
                {"type": "text", "text": "look"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}},
                {"type": "text", "text": "here"},
            ]},
            {"role": "assistant", "content": "begun"},
        ]));
        let prompt = last(list);
        assert_eq!((prompt.text.as_str(), prompt.images.len()), ("look\nhere", 1));
    }

    #[test]
    fn a_whole_history_is_one_prompt() {
        assert_eq!(whole(said(json!([{"role": "user", "content": "hi"}]))).text, "hi");
        let list = said(json!([
            {"role": "developer", "content": "be brief"},
            {"role": "user", "content": [{"type": "image_url", "image_url": "data:image/png;base64,AA"}]},
            {"role": "user", "content": "one"},
            {"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]},
            {"role": "tool", "content": "42"},
            {"role": "user", "content": "two"},
        ]));
        let prompt = whole(list);
        assert_eq!(
            prompt.text,
            "[Instructions]\nbe brief\n\n[Conversation so far]\nUser: one\n\nAssistant: no\n\nTool: 42\n\n\
             [Message to answer]\ntwo"
        );
        assert_eq!(prompt.images.len(), 1);
        let list = said(json!([{"role": "user", "content": "q"}, {"role": "assistant", "content": "It is"}]));
        assert_eq!(whole(list).text, "[Message to answer]\nq\n\n[Said after it]\nAssistant: It is");
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        let user = |content: Value| json!([{"role": "user", "content": content}]);
        let part = |part: Value| user(json!([part]));
        for (list, param, words) in [
            (json!([]), "messages", "messages is required"),
            (json!({}), "messages", "must be an array"),
            (json!([{"role": "system", "content": "x"}]), "messages", "No user message found"),
            (json!(["x"]), "messages[0]", "object"),
            (json!([{"role": "robot"}]), "messages[0].role", "must be one of"),
            (user(json!(5)), "messages[0].content", "a string or an array"),
            (part(json!({"type": "input_audio"})), "messages[0].content[0]", "\"input_audio\" is not supported"),
            (part(json!({"type": "text"})), "messages[0].content[0].text", "string"),
            (part(json!({"text": "x"})), "messages[0].content[0].type", "string"),
            (part(json!({"type": "image_url"})), "messages[0].content[0].image_url.url", "string"),
            (
                part(json!({"type": "image_url", "image_url": {"url": "file:///etc/passwd"}})),
                "messages[0].content[0].image_url.url",
                "only data:, http: and https: URLs",
            ),
        ] {
            let fault = read(Some(&list)).unwrap_err();
            let told = fault.json("", Shape::OpenAi)["error"]["param"].clone();
            assert_eq!((fault.status, told), (400, json!(param)), "{list}");
            assert!(fault.message.contains(words), "{}", fault.message);
        }
        assert_eq!(read(None).unwrap_err().message, "messages is required");
    }
}
