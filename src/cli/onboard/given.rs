//! What the user wants: the command line's options, which the wizard's answers complete.

use std::path::Path;

use crate::cli::Call;
use crate::config::types::{AuthMode, Bind};
use crate::config::Env;

/// Where secrets are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Secrets {
    /// Into the configuration, which only its owner may read.
    #[default]
    Config,
    /// Into `<data>/env`; the configuration says `${NAME}`.
    Env,
}

/// Everything that was asked for. `None`: stays as it is.
#[derive(Clone, Default, PartialEq)]
pub struct Given {
    pub workspace: Option<String>,
    pub port: Option<u16>,
    pub bind: Option<String>,
    pub auth: Option<AuthMode>,
    pub token: Option<String>,
    pub password: Option<String>,
    pub telegram: Option<String>,
    pub discord: Option<String>,
    /// Id and secret.
    pub feishu: Option<(String, String)>,
    pub pi: Option<Vec<String>>,
    pub pool_min: Option<u32>,
    pub pool_max: Option<u32>,
    pub model: Option<String>,
    pub secrets: Secrets,
}

/// Least length of a password (config.md 2).
pub const PASSWORD: usize = 8;

impl Given {
    /// Reads the options; `Err`: what is wrong with them.
    pub fn read(call: &Call, env: &Env) -> Result<Given, String> {
        let text = |name: &str| match call.value(name) {
            Some(value) => checked(name, value).map(Some),
            None => Ok(None),
        };
        let number = |name: &str, least: u32, most: u32| match call.value(name) {
            Some(value) => match value.trim().parse::<u32>() {
                Ok(n) if (least..=most).contains(&n) => Ok(Some(n)),
                _ => Err(format!("{name} must be a whole number from {least} to {most}, found \"{value}\"")),
            },
            None => Ok(None),
        };
        let auth = match text("--auth")?.as_deref() {
            None => None,
            Some("token") => Some(AuthMode::Token),
            Some("password") => Some(AuthMode::Password),
            Some("off") => Some(AuthMode::Off),
            Some(other) => return Err(format!("--auth must be token, password or off, found \"{other}\"")),
        };
        let secrets = match text("--secrets")?.as_deref() {
            None | Some("config") => Secrets::Config,
            Some("env") => Secrets::Env,
            Some(other) => return Err(format!("--secrets must be config or env, found \"{other}\"")),
        };
        let bind = text("--bind")?;
        if let Some(why) = bind.as_deref().and_then(|bind| Bind::parse(bind).err()) {
            return Err(format!("--bind {why}"));
        }
        let (token, password) = (text("--token")?, text("--password")?);
        let auth = match (auth, &token, &password) {
            (_, Some(_), Some(_)) => return Err("--token and --password exclude each other".into()),
            (None | Some(AuthMode::Token), Some(_), None) => Some(AuthMode::Token),
            (None | Some(AuthMode::Password), None, Some(_)) => Some(AuthMode::Password),
            (Some(_), Some(_), _) => return Err("--token goes with --auth token".into()),
            (Some(_), _, Some(_)) => return Err("--password goes with --auth password".into()),
            (auth, None, None) => auth,
        };
        if let Some(why) = password.as_deref().and_then(|password| weak(password, env)) {
            return Err(format!("--password {why}"));
        }
        let feishu = match (text("--feishu-app-id")?, text("--feishu-app-secret")?) {
            (Some(id), Some(secret)) => Some((id, secret)),
            (None, None) => None,
            _ => return Err("--feishu-app-id and --feishu-app-secret go together".into()),
        };
        let (pool_min, pool_max) = (number("--pool-min", 0, 100)?, number("--pool-max", 1, 100)?);
        if pool_min.zip(pool_max).is_some_and(|(min, max)| min > max) {
            return Err("--pool-min is more than --pool-max".into());
        }
        Ok(Given {
            workspace: text("--workspace")?.map(|path| absolute(&path, env)),
            port: number("--port", 1, 65535)?.and_then(|port| u16::try_from(port).ok()),
            bind,
            auth,
            token,
            password,
            telegram: text("--telegram-token")?,
            discord: text("--discord-token")?,
            feishu,
            pi: text("--pi-cli")?.map(|path| command(&path, env)),
            pool_min,
            pool_max,
            model: text("--model")?,
            secrets,
        })
    }
}

fn checked(name: &str, value: &str) -> Result<String, String> {
    match value.trim() {
        "" => Err(format!("{name} must not be empty")),
        value if value.chars().any(char::is_control) => Err(format!("{name} must be one line of text")),
        value => Ok(value.to_owned()),
    }
}

/// Why a password will not do.
pub fn weak(password: &str, env: &Env) -> Option<String> {
    let value = match variable(password) {
        Some(name) => env.var(name).unwrap_or_default(),
        None => password,
    };
    (value.chars().count() < PASSWORD).then(|| format!("must have {PASSWORD} characters or more"))
}

/// The name in `${NAME}`: such a secret stays with the environment.
pub fn variable(text: &str) -> Option<&str> {
    let name = text.strip_prefix("${")?.strip_suffix('}')?;
    let first = name.bytes().next()?;
    let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    (plain && !first.is_ascii_digit()).then_some(name)
}

/// A path as it will be found from everywhere. `~` stays.
pub fn absolute(text: &str, env: &Env) -> String {
    match text.starts_with('~') {
        true => text.to_owned(),
        false => env.resolve(text, &env.cwd).to_string_lossy().into_owned(),
    }
}

/// How pi is called: by its name, its path, or by node if it is a script without rights of its own.
pub fn command(text: &str, env: &Env) -> Vec<String> {
    let path = if text.contains('/') { absolute(text, env) } else { text.to_owned() };
    let script = Path::new(text).extension().is_some_and(|end| end == "js" || end == "mjs" || end == "cjs");
    match script {
        true => vec!["node".into(), absolute(text, env)],
        false => vec![path],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_variable_is_one() {
        for (text, name) in
            [("${A_1}", Some("A_1")), ("${}", None), ("${1}", None), ("x${A}", None), ("${A:-b}", None), ("$A", None)]
        {
            assert_eq!(variable(text), name, "{text}");
        }
    }
}
