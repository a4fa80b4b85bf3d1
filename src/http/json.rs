//! JSON from strangers: nesting is measured before it is parsed into types (deep input would need deep stacks).

use serde_json::{Map, Value};

use super::fault::Fault;

/// Deepest nesting that is parsed.
pub const MAX_DEPTH: usize = 64;

/// Deepest nesting of arrays and objects in this text; linear, without recursion.
pub fn depth(text: &[u8]) -> usize {
    let (mut depth, mut deepest) = (0usize, 0usize);
    let mut bytes = text.iter();
    while let Some(b) = bytes.next() {
        match b {
            b'[' | b'{' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            b'"' => loop {
                match bytes.next() {
                    Some(b'\\') => {
                        bytes.next();
                    }
                    Some(b'"') | None => break,
                    Some(_) => {}
                }
            },
            _ => {}
        }
    }
    deepest
}

/// Text cut in the middle of a character, as JavaScript sends it: half of a surrogate pair, which `JSON.parse` takes.
/// It becomes U+FFFD.
fn repaired(text: &[u8]) -> Option<Value> {
    std::str::from_utf8(text).ok().filter(|text| text.contains("\\u"))?;
    serde_json::from_str(&crate::plain_json::clean(text)?).ok()
}

/// Parses text whose nesting is within bounds.
pub fn parse(text: &[u8]) -> Result<Value, String> {
    if depth(text) > MAX_DEPTH {
        return Err(format!("JSON nested deeper than {MAX_DEPTH} levels"));
    }
    serde_json::from_slice(text).or_else(|e| repaired(text).ok_or_else(|| format!("Invalid JSON: {e}")))
}

/// The members of a request's object; a member of the wrong type is an error, an absent or null one is `None`.
#[derive(Debug, Default)]
pub struct Members(Map<String, Value>);

impl Members {
    /// A body. `message`: what to say when it is not a JSON object.
    pub fn body(text: &[u8], message: &str) -> Result<Members, Fault> {
        match parse(text) {
            Ok(Value::Object(m)) => Ok(Members(m)),
            Ok(_) => Err(Fault::invalid(message)),
            Err(why) => Err(Fault::invalid(if message.is_empty() { why } else { format!("{message}: {why}") })),
        }
    }
    /// Parameters of a method: nothing is an empty object.
    pub fn params(value: Value) -> Result<Members, Fault> {
        match value {
            Value::Object(m) => Ok(Members(m)),
            Value::Null => Ok(Members::default()),
            _ => Err(Fault::invalid("params must be an object")),
        }
    }
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.0.get(key).filter(|v| !v.is_null())
    }
    /// The object itself.
    pub fn all(&self) -> Value {
        Value::Object(self.0.clone())
    }
    pub fn take(&mut self, key: &str) -> Option<Value> {
        self.0.remove(key).filter(|v| !v.is_null())
    }
    pub fn text(&self, key: &str) -> Result<Option<&str>, Fault> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::String(s)) => Ok(Some(s)),
            Some(_) => Err(Fault::invalid(format!("{key} must be a string"))),
        }
    }
    pub fn flag(&self, key: &str) -> Result<bool, Fault> {
        match self.get(key) {
            None => Ok(false),
            Some(Value::Bool(b)) => Ok(*b),
            Some(_) => Err(Fault::invalid(format!("{key} must be true or false"))),
        }
    }
    pub fn number(&self, key: &str) -> Result<Option<u64>, Fault> {
        match self.get(key) {
            None => Ok(None),
            Some(v) => v.as_u64().map(Some).ok_or_else(|| Fault::invalid(format!("{key} must be a whole number"))),
        }
    }
}

/// A session key as clients may write it (R23, core.md 3.1). A WebChat key has one part after the channel; the
/// original's page and console put `dm` before it (`agent:main:webchat:dm:x1`), and that is let in as well.
pub fn session_key(key: &str) -> Result<&str, Fault> {
    let chars = |s: &str, more: &[u8]| s.bytes().all(|b| b.is_ascii_alphanumeric() || more.contains(&b));
    let mut fine = (1..=256).contains(&key.len()) && chars(key, b"_.:@+%-") && !key.contains("..");
    let parts: Vec<&str> = key.split(':').collect();
    if let ["agent", agent, "webchat", tab @ ..] = &parts[..] {
        fine &= !agent.is_empty() && matches!(tab, [t] | ["dm", t] if (1..=64).contains(&t.len()) && chars(t, b"._-"));
    }
    if fine {
        Ok(key)
    } else {
        Err(Fault::invalid("sessionKey: not a session key (letters, digits and _.:@+%- only; no \"..\")"))
    }
}

/// An idempotency key: 1 to 128 printable characters (R50).
pub fn idempotency_key(key: &str) -> Result<&str, Fault> {
    if (1..=128).contains(&key.len()) && key.bytes().all(|b| (0x20..0x7f).contains(&b)) {
        Ok(key)
    } else {
        Err(Fault::invalid("Idempotency-Key: 1 to 128 printable ASCII characters"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_counts_brackets_outside_of_strings() {
        for (text, deep) in [("1", 0), ("[[]]", 2), (r#"{"a":"[[[\"[["}"#, 1), ("\"[", 0), ("[{}]]]]", 2)] {
            assert_eq!(depth(text.as_bytes()), deep, "{text}");
        }
        let deep = "[".repeat(64) + &"]".repeat(64);
        assert!(parse(deep.as_bytes()).is_ok());
        assert!(parse(format!("[{deep}]").as_bytes()).unwrap_err().contains("nested"));
    }

    #[test]
    fn session_keys_are_checked() {
        for good in [
            "agent:main:main:main",
            "agent:main:webchat:default",
            "agent:main:webchat:dm:mk2x9",
            "agent:main:webchat:dm",
            "agent:a:telegram:default:dm:1",
        ] {
            assert!(session_key(good).is_ok(), "{good}");
        }
        let long = format!("agent:main:webchat:{}", "x".repeat(65));
        let long_dm = long.replace("webchat:", "webchat:dm:");
        for bad in [
            "",
            "a/b",
            "a..b",
            "agent:main:webchat:",
            "agent:main:webchat:a:b",
            "agent:main:webchat:dm:",
            "agent:main:webchat:dm:a:b",
            "agent:main:webchat:dm:a+b",
            "agent::webchat:a",
            "ä",
            &long,
            &long_dm,
        ] {
            assert!(session_key(bad).is_err(), "{bad}");
        }
    }
}
