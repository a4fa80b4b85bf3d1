//! `pi-gw config show`.

use std::collections::BTreeMap;
use std::io;

use serde_json::{json, Value};

use super::{complain, load};
use crate::cli::{exit, Call, Io};
use crate::config::{self, Env, Origin};

pub(super) fn show(call: &Call, env: &Env, io: &mut Io<'_>) -> io::Result<u8> {
    if call.has("--reveal") && !io.terminal {
        io.tell("--reveal prints secrets on a terminal only");
        return Ok(exit::FAILED);
    }
    let loaded = match call.has("--defaults") {
        true => config::defaults(env),
        false => match load(call, env, true) {
            Ok(loaded) => loaded,
            Err(issues) => return Ok(complain(&issues, io)),
        },
    };
    let shown = if call.has("--reveal") { loaded.revealed().clone() } else { loaded.redacted() };
    if let Some(path) = call.value("--path") {
        return match lookup(&shown, path) {
            Ok(value) => {
                match value {
                    Value::String(text) if !call.has("--json") => io.say(text)?,
                    Value::Null if !call.has("--json") => io.say("")?,
                    value => io.say(value)?,
                }
                Ok(exit::OK)
            }
            Err(text) => {
                io.tell(text);
                Ok(exit::FAILED)
            }
        };
    }
    if call.has("--json") {
        let path = (!call.has("--defaults")).then(|| loaded.path.to_string_lossy().into_owned());
        io.say(format_args!("{:#}", json!({"path": path, "config": shown})))?;
        return Ok(exit::OK);
    }
    match (call.has("--defaults"), loaded.path.exists()) {
        (true, _) => io.say("# built-in defaults")?,
        (false, true) => io.say(format_args!("# {}", loaded.path.display()))?,
        (false, false) => io.say(format_args!("# {} (does not exist: defaults)", loaded.path.display()))?,
    }
    lines(&shown, "", &loaded.origins, io)?;
    Ok(exit::OK)
}

/// One line per value: `key: value  (from NAME)`. What is not set is left out.
fn lines(value: &Value, path: &str, origins: &BTreeMap<String, Origin>, io: &mut Io<'_>) -> io::Result<()> {
    match value {
        Value::Null => Ok(()),
        Value::Object(entries) if !entries.is_empty() => {
            entries.iter().try_for_each(|(name, value)| lines(value, &config::key_path(path, name), origins, io))
        }
        Value::Array(items) if items.iter().any(Value::is_object) => {
            items.iter().enumerate().try_for_each(|(i, item)| lines(item, &format!("{path}[{i}]"), origins, io))
        }
        value => {
            let prefix = format!("{path}[");
            let inside = origins.range(prefix.clone()..).take_while(|(key, _)| key.starts_with(&prefix));
            let vars: Vec<&str> = origins
                .get(path)
                .into_iter()
                .chain(inside.map(|(_, origin)| origin))
                .flat_map(|origin| origin.vars.iter().map(String::as_str))
                .collect();
            match vars.is_empty() || value.as_str().is_some_and(|text| text.starts_with("${")) {
                true => io.say(format_args!("{path}: {value}")),
                false => io.say(format_args!("{path}: {value}  (from {})", vars.join(", "))),
            }
        }
    }
}

/// The value at a key path as it is printed: `a.b`, `a["x.y"]`, `a[0]`.
fn lookup<'a>(root: &'a Value, path: &str) -> Result<&'a Value, String> {
    let mut at = root;
    let mut seen = String::new();
    for name in names(path).ok_or_else(|| format!("\"{path}\" is no key path"))? {
        let next = match at {
            Value::Array(items) => name.parse::<usize>().ok().and_then(|i| items.get(i)),
            _ => at.get(&name),
        };
        at = next.ok_or_else(|| {
            let siblings = at.as_object().into_iter().flat_map(|entries| entries.keys().map(String::as_str));
            let meant = config::closest(&name, siblings).map(|name| format!(" (did you mean \"{name}\"?)"));
            format!("no key \"{}\"{}", config::key_path(&seen, &name), meant.unwrap_or_default())
        })?;
        seen = config::key_path(&seen, &name);
    }
    Ok(at)
}

fn names(path: &str) -> Option<Vec<String>> {
    let mut names = Vec::new();
    let mut rest = path;
    while !rest.is_empty() {
        if let Some(inside) = rest.strip_prefix('[') {
            let mut values = serde_json::Deserializer::from_str(inside).into_iter::<Value>();
            names.push(match values.next()?.ok()? {
                Value::String(text) => text,
                Value::Number(number) => number.to_string(),
                _ => return None,
            });
            rest = inside[values.byte_offset()..].strip_prefix(']')?;
        } else {
            let name = rest.strip_prefix('.').filter(|_| !names.is_empty()).unwrap_or(rest);
            let end = name.find(['.', '[']).unwrap_or(name.len());
            if end == 0 {
                return None;
            }
            names.push(name[..end].to_owned());
            rest = &name[end..];
        }
    }
    Some(names).filter(|names| !names.is_empty())
}
