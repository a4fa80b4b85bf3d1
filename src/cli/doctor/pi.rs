//! pi: where it is, whether it starts and answers, what it needs.

use std::ffi::{OsStr, OsString};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use super::check::Check;
use super::{probe, Context};
use crate::agent::profile::{self, FindError, Instance, LaunchSettings};
use crate::message::{ProcId, Profile};

/// A Raspberry Pi needs some seconds for a first start.
const ANSWER: Duration = Duration::from_secs(20);
/// A model may think, and a provider be slow.
const MODEL: Duration = Duration::from_secs(60);
/// If there is no PATH; the gateway's own.
const PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// pi as this configuration has it.
struct Pi {
    settings: LaunchSettings,
    /// Where programs are looked for.
    path: OsString,
    program: PathBuf,
    /// The program and its own words.
    command: Vec<OsString>,
}

fn found(context: &Context) -> Result<Pi, FindError> {
    let settings = settings_of(context);
    let path: OsString = context.env.var("PATH").unwrap_or(PATH).into();
    let program = profile::find(&settings, &path)?;
    let words = settings.command.iter().skip(1).map(OsString::from);
    let command = std::iter::once(program.clone().into()).chain(words).collect();
    Ok(Pi { settings, path, program, command })
}

/// Is it there, does it run, does it answer?
pub fn check(context: &Context) -> Vec<Check> {
    let Pi { settings, path, program, command } = match found(context) {
        Ok(pi) => pi,
        Err(error) => {
            let check = Check::error("pi", error.to_string());
            return vec![match error {
                FindError::NotFound(_) => check.remedy(
                    "npm install -g @earendil-works/pi-coding-agent, or set agent.piCliPath; without pi: pi-gw gateway --demo",
                ),
                FindError::NotExecutable(_) | FindError::Empty => check.remedy("set agent.piCliPath"),
                FindError::NotAllowed(_) => check.remedy("add it there if it is what you want to run"),
            }];
        }
    };
    let shown = program.display();
    let mut checks = node(&settings, &program, &path);
    // A machine that is slow, or busy, may still start it in time for the gateway.
    let version = profile::version(&command).map(|text| text.lines().last().unwrap_or_default().trim().to_owned());
    let about = match &version {
        Ok(version) => format!("{shown}, version {version}"),
        Err(error) => format!("{shown} (--version: {error})"),
    };
    let env = environment(&settings, &program);
    checks.push(match probe::get_state(&command, env, ANSWER) {
        Ok(answer) => {
            let took = answer.took.as_secs_f64();
            let about = format!("{about}, answered after {took:.1} s");
            match model(&answer.data) {
                _ if version.is_err() => Check::warning("pi", about).remedy("the machine may be busy: try again later"),
                Some(model) => Check::ok("pi", format!("{about}, model {model}")),
                None if context.loaded.config.agent.model.is_some() => Check::ok("pi", about),
                None => Check::warning("pi", format!("{about}, but has no model"))
                    .remedy("run pi and /login, or set agent.model and the provider's key"),
            }
        }
        Err(failure) => Check::error("pi", format!("{about}: {}", failure.text))
            .remedy(format!("run it yourself: {shown} --mode rpc --no-session"))
            .details(failure.stderr),
    });
    checks
}

/// Whether the model answers a short question, in how many seconds. Costs a few tokens.
pub fn answers(context: &Context) -> Check {
    let Pi { settings, program, command, .. } = match found(context) {
        Ok(pi) => pi,
        Err(error) => return Check::error("model", error.to_string()).remedy("set agent.piCliPath"),
    };
    let model = context.loaded.config.agent.model.as_deref();
    let env = environment(&settings, &program);
    match probe::question(&command, profile::model_arguments(model), env, MODEL) {
        Ok(took) => Check::ok("model", format!("{} answered after {:.1} s", model.unwrap_or("it"), took.as_secs_f64())),
        Err(failure) => Check::error("model", format!("no answer: {}", failure.text))
            .remedy("run pi and ask it something; its login, key or model name may be wrong")
            .details(failure.stderr),
    }
}

/// What counts for finding and starting pi.
fn settings_of(context: &Context) -> LaunchSettings {
    let config = &context.loaded.config;
    LaunchSettings {
        command: config.agent.pi_cli.clone(),
        allowed: config.security.exec.names(&config.agent.pi_cli),
        agent_dir: config.agent.runtime.agent_dir.clone(),
        package_dir: config.agent.runtime.package_dir.clone(),
        used_variables: config.vars_to_hide_from_pi().into_iter().map(str::to_owned).collect(),
        ..LaunchSettings::default()
    }
}

/// The environment that a pi of the gateway gets, but for the way back into the gateway.
fn environment(settings: &LaunchSettings, program: &Path) -> Vec<(OsString, OsString)> {
    let nobody = Profile::default();
    let instance = Instance { id: ProcId(0), mark: String::new(), token: "", session_file: Path::new("") };
    let spec = profile::spawn_spec(&nobody, settings, program, instance, std::env::vars_os());
    let ours = |name: &OsStr| name.to_str().is_some_and(|name| name.starts_with("PI_GATEWAY_"));
    spec.env.into_iter().filter(|(name, _)| !ours(name)).collect()
}

/// `provider/id`; nothing if pi has none.
fn model(state: &Value) -> Option<String> {
    let part = |name: &str| state["model"][name].as_str().filter(|text| *text != "unknown");
    Some(format!("{}/{}", part("provider")?, part("id")?))
}

// ---------------------------------------------------------------- node

/// The node that pi needs, if it is a script for node. Asked only if node may be started.
fn node(settings: &LaunchSettings, program: &Path, path: &OsStr) -> Vec<Check> {
    let named = program.file_name().is_some_and(|name| name == "node");
    let script = if named { settings.command.get(1).map(PathBuf::from) } else { Some(program.to_path_buf()) };
    let Some(script) = script.and_then(|script| script.canonicalize().ok()) else { return Vec::new() };
    if !named && !for_node(&script) {
        return Vec::new();
    }
    let finder =
        LaunchSettings { command: vec!["node".into()], allowed: vec!["node".into()], ..LaunchSettings::default() };
    let node = match named {
        true => program.to_path_buf(),
        false => match profile::find(&finder, path) {
            Ok(node) => node,
            Err(_) => {
                return vec![Check::error("node", "pi needs node, which is not in PATH").remedy("install nodejs")];
            }
        },
    };
    let needed = needed(&script);
    let about = needed.as_ref().map_or(String::new(), |needed| format!(" (pi needs {needed})"));
    if !settings.allowed.iter().any(|allowed| allowed == "node") {
        return vec![Check::ok("node", format!("{}{about}; its version is not asked for", node.display()))];
    }
    match profile::version(&[node.clone().into()]) {
        Ok(version) if needed.as_deref().is_some_and(|needed| older(&version, needed)) => {
            let text = format!("{} is {version}, too old{about}", node.display());
            vec![Check::error("node", text).remedy("install a newer nodejs")]
        }
        Ok(version) => vec![Check::ok("node", format!("{}, {version}{about}", node.display()))],
        Err(error) => {
            vec![Check::error("node", format!("{} --version: {error}", node.display())).remedy("install nodejs anew")]
        }
    }
}

/// Whether a file says that node runs it.
fn for_node(script: &Path) -> bool {
    let mut head = Vec::new();
    let read = std::fs::File::open(script).and_then(|file| file.take(128).read_to_end(&mut head));
    let line = head.split(|byte| *byte == b'\n').next().unwrap_or_default();
    read.is_ok() && line.starts_with(b"#!") && String::from_utf8_lossy(line).contains("node")
}

/// What the package of a script says about node, such as `>=20.6.0`.
fn needed(script: &Path) -> Option<String> {
    let package = script.ancestors().skip(1).map(|dir| dir.join("package.json")).find(|file| file.exists())?;
    let package: Value = serde_json::from_slice(&std::fs::read(package).ok()?).ok()?;
    package["engines"]["node"].as_str().map(str::to_owned)
}

/// Whether a version is below the first one that a range of the form `>=X.Y.Z` names.
fn older(version: &str, range: &str) -> bool {
    let numbers = |text: &str| -> Vec<u32> {
        let text = text.trim().trim_start_matches(|c: char| !c.is_ascii_digit());
        let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        text[..end].split('.').map_while(|part| part.parse().ok()).collect()
    };
    range.trim().starts_with(">=") && numbers(version) < numbers(range)
}

// ---------------------------------------------------------------- pi's own settings

/// Settings of pi that long conversations suffer from.
pub fn settings(context: &Context) -> Vec<Check> {
    let env = &context.env;
    let dir = match (&context.loaded.config.agent.runtime.agent_dir, env.var("PI_CODING_AGENT_DIR")) {
        (Some(dir), _) => dir.clone(),
        (None, Some(dir)) => env.resolve(dir, &env.cwd),
        (None, None) => env.home.join(".pi/agent"),
    };
    let file = dir.join("settings.json");
    let shown = file.display();
    let text = match std::fs::read_to_string(&file) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Vec::new(),
        Err(error) => {
            return vec![Check::warning("pi settings", format!("cannot read {shown}: {error}"))
                .remedy("change its owner or rights")];
        }
    };
    let Ok(settings) = serde_json::from_str::<Value>(&text) else {
        return vec![Check::warning("pi settings", format!("{shown} is not valid JSON: pi ignores it"))
            .remedy("correct or delete it")];
    };
    let off = [
        ("retry", "a provider's hiccup ends the turn"),
        ("compaction", "long conversations end when the model's context is full"),
    ];
    let off = off.into_iter().filter(|(name, _)| settings[*name]["enabled"] == false).map(|(name, effect)| {
        Check::warning("pi settings", format!("{shown}: {name}.enabled is false: {effect}")).remedy("set it to true")
    });
    let off: Vec<Check> = off.collect();
    match off.is_empty() {
        true => vec![Check::ok("pi settings", shown.to_string())],
        false => off,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn versions_are_compared_by_number() {
        for (version, range, want) in [
            ("v20.5.1", ">=20.6.0", true),
            ("v20.19.0", ">=20.6.0", false),
            ("v9.0.0", ">=20", true),
            ("v22.19.0", ">= 22.19", false),
            ("v18", "^20", false),
            ("what", "whatever", false),
        ] {
            assert_eq!(older(version, range), want, "{version} {range}");
        }
    }

    #[test]
    fn a_placeholder_is_no_model() {
        assert_eq!(model(&json!({"model": {"provider": "a", "id": "b/c"}})).as_deref(), Some("a/b/c"));
        assert_eq!(model(&json!({"model": {"provider": "unknown", "id": "unknown"}})), None);
        assert_eq!(model(&json!({"model": null})), None);
    }
}
