//! What only a running gateway can do or tell.

use std::time::Duration;

use serde_json::Value;

use super::exit;
use super::instance::{self, Instance};
use super::pairing::{Failed, Place};

/// Its JSON, if it answers well; else the exit code and why.
pub(super) fn ask(
    place: &Place,
    method: &str,
    path: &str,
    body: Option<&str>,
    within: Duration,
) -> Result<Value, Failed> {
    let down = |why: String| (exit::UNAVAILABLE, why);
    let pid_file = place.paths.pid_file();
    let found = instance::find(&pid_file).map_err(|e| down(format!("cannot read {}: {e}", pid_file.display())))?;
    let url = match found {
        Instance::Running { url, .. } => url,
        Instance::Starting { .. } => return Err(down("the gateway is just starting".into())),
        Instance::None => {
            let root = place.paths.data_root().display();
            return Err(down(format!("no gateway runs on {root}; start one with: pi-gw gateway")));
        }
    };
    let at = instance::reachable(&url).ok_or_else(|| down(format!("its address {url} is not understood")))?;
    let secret = instance::secret(&place.config, &place.paths, at);
    let secret = secret.as_ref().map(|secret| secret.expose());
    let answer = match body {
        Some(body) => instance::post(at, path, secret, body, within),
        None => instance::ask(at, method, path, secret, within),
    };
    let (status, body) = answer.map_err(|e| down(format!("the gateway at {url} does not answer: {e}")))?;
    let said: Value = serde_json::from_str(&body).unwrap_or_default();
    if (200..300).contains(&status) {
        return Ok(said);
    }
    if status == 401 {
        return Err((exit::PERMISSION, format!("the gateway at {url}: {}", instance::REFUSED)));
    }
    let why = said["error"]["message"].as_str().or(said["error"].as_str()).unwrap_or("no reason given");
    let code = match status {
        403 => exit::PERMISSION,
        429 | 503 | 504 => exit::TEMPORARY,
        _ => exit::FAILED,
    };
    Err((code, format!("the gateway at {url}: {why} ({status})")))
}
