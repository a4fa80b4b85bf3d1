//! The parameters of `connect`, checked as a whole before anything is done (R28, R40).

use serde_json::{Map, Value};

use crate::http::fault::Fault;
use crate::http::json::Members;

#[derive(Debug, Default, PartialEq)]
pub struct Hello {
    /// `token`, `auth.token` or `auth.password`.
    pub secret: Option<String>,
    pub subscribe: Option<Vec<String>>,
    /// Errors as objects (R52).
    pub objects: bool,
    /// Events with everything that is known of the message at hand (R14).
    pub raw: bool,
    /// Epoch and number of the last event that the client has.
    pub resume: Option<(String, u64)>,
}

impl Hello {
    /// A member of the wrong type is an error; one that is unknown is none.
    pub fn read(params: Value) -> Result<Hello, Fault> {
        let mut m = Members::params(params)?;
        let auth = object(&mut m, "auth")?;
        let resume = object(&mut m, "resume")?;
        object(&mut m, "client")?;
        let raw = m.flag("raw")?;
        let secret = m.text("token")?.or(auth.text("token")?).or(auth.text("password")?).map(str::to_owned);
        let resume = match (resume.text("epoch")?, resume.number("eid")?) {
            (Some(epoch), Some(eid)) => Some((epoch.to_owned(), eid)),
            (None, None) => None,
            _ => return Err(Fault::invalid("resume must have an epoch and an eid")),
        };
        Ok(Hello {
            secret,
            subscribe: m.get("subscribe").map(|list| session_keys("subscribe", list)).transpose()?,
            objects: m.text("errors")? == Some("object"),
            raw,
            resume,
        })
    }
}

/// A member that is an object; absent, it is an empty one.
fn object(m: &mut Members, name: &str) -> Result<Members, Fault> {
    let value = m.take(name).unwrap_or_else(|| Map::new().into());
    Members::params(value).map_err(|_| Fault::invalid(format!("{name} must be an object")))
}

/// A list of session keys, as a client may name them to hear of these sessions only.
pub fn session_keys(name: &str, list: &Value) -> Result<Vec<String>, Fault> {
    let list = list.as_array();
    let keys = list.and_then(|l| l.iter().map(|key| key.as_str().map(str::to_owned)).collect::<Option<Vec<_>>>());
    keys.ok_or_else(|| Fault::invalid(format!("{name} must be an array of session keys")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_member_of_the_wrong_type_is_named() {
        for (params, why) in [
            (json!([]), "params must be an object"),
            (json!({"token": 5}), "token must be a string"),
            (json!({"auth": "x"}), "auth must be an object"),
            (json!({"auth": {"token": {}}}), "token must be a string"),
            (json!({"auth": {"password": 1}}), "password must be a string"),
            (json!({"subscribe": "a"}), "subscribe must be an array of session keys"),
            (json!({"subscribe": ["a", 1]}), "subscribe must be an array of session keys"),
            (json!({"resume": "x"}), "resume must be an object"),
            (json!({"resume": {"epoch": 1, "eid": 2}}), "epoch must be a string"),
            (json!({"resume": {"epoch": "e", "eid": -2}}), "eid must be a whole number"),
            (json!({"resume": {"epoch": "e"}}), "resume must have an epoch and an eid"),
            (json!({"errors": true}), "errors must be a string"),
            (json!({"raw": "yes"}), "raw must be true or false"),
            (json!({"client": "web"}), "client must be an object"),
        ] {
            assert_eq!(Hello::read(params).unwrap_err().message, why);
        }
        assert_eq!(Hello::read(Value::Null), Ok(Hello::default()));
        let all = json!({
            "auth": {"password": "p"}, "subscribe": ["a"], "resume": {"epoch": "e", "eid": 7}, "errors": "object",
            "client": {"name": "n"}, "raw": null, "more": 1,
        });
        let expected = Hello {
            secret: Some("p".into()),
            subscribe: Some(vec!["a".into()]),
            objects: true,
            raw: false,
            resume: Some(("e".into(), 7)),
        };
        assert_eq!(Hello::read(all), Ok(expected));
    }
}
