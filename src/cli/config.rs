//! `pi-gw config show|path|check|migrate|reload`.

mod show;

use std::io;

use serde_json::{json, Value};

use super::{exit, written, Call, Io};
use crate::config::{self, files, redact, Env, Issue, Loaded, Options};

/// Asks the running gateway to load its file again. Gives its answer, or an exit code and what went wrong.
pub type Reload<'a> = &'a mut dyn FnMut(&Loaded) -> Result<String, (u8, String)>;

/// `pi-gw config show`
pub fn show(call: &Call, env: &Env, io: &mut Io<'_>) -> u8 {
    written(show::show(call, env, io), io)
}

/// `pi-gw config path`
pub fn path(call: &Call, env: &Env, io: &mut Io<'_>) -> u8 {
    written(io.say(config::find(env, call.config().as_deref()).path.display()).map(|()| exit::OK), io)
}

/// `pi-gw config check`
pub fn check(call: &Call, env: &Env, io: &mut Io<'_>) -> u8 {
    written(list_issues(call, env, io), io)
}

/// `pi-gw config migrate`
pub fn migrate(call: &Call, env: &Env, io: &mut Io<'_>) -> u8 {
    written(rewrite(call, env, io), io)
}

/// `pi-gw config reload`
pub fn reload(call: &Call, env: &Env, io: &mut Io<'_>, reload: Reload<'_>) -> u8 {
    written(ask_to_reload(call, env, io, reload), io)
}

fn load(call: &Call, env: &Env, allow_missing: bool) -> Result<Loaded, Vec<Issue>> {
    let options = Options { file: call.config(), strict: call.has("--strict"), allow_missing, ..Options::default() };
    config::load(env, &options)
}

fn complain(issues: &[Issue], io: &mut Io<'_>) -> u8 {
    issues.iter().for_each(|issue| io.tell(issue));
    exit::CONFIG
}

fn list_issues(call: &Call, env: &Env, io: &mut Io<'_>) -> io::Result<u8> {
    let (issues, code) = match load(call, env, false) {
        Ok(loaded) => (loaded.issues, exit::OK),
        Err(issues) => (issues, exit::CONFIG),
    };
    if call.has("--json") {
        let issues: Vec<Value> = issues.iter().map(issue_json).collect();
        io.say(format_args!("{:#}", Value::from(issues)))?;
        return Ok(code);
    }
    for issue in &issues {
        io.say(issue)?;
    }
    if issues.is_empty() && !call.has("--quiet") {
        io.tell("no issues");
    }
    Ok(code)
}

fn issue_json(issue: &Issue) -> Value {
    json!({
        "severity": issue.severity.as_str(),
        "file": issue.file.to_string_lossy(),
        "line": issue.pos.map(|pos| pos.line),
        "column": issue.pos.map(|pos| pos.column),
        "key": issue.key,
        "text": issue.text,
        "hint": issue.hint,
    })
}

fn rewrite(call: &Call, env: &Env, io: &mut Io<'_>) -> io::Result<u8> {
    let path = config::find(env, call.config().as_deref()).path;
    let old = match std::fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) => {
            io.tell(format_args!("cannot read {}: {error}", path.display()));
            return Ok(exit::CONFIG);
        }
    };
    let migrated = match config::migrate(&path, old.clone()) {
        Ok(migrated) => migrated,
        Err(issue) => return Ok(complain(&[*issue], io)),
    };
    for (key, notice) in &migrated.notices {
        io.say(format_args!("{key}: {notice}"))?;
    }
    if migrated.notices.is_empty() {
        io.tell(format_args!("{}: nothing to migrate", path.display()));
        return Ok(exit::OK);
    }
    if !call.has("--write") {
        io.tell("nothing was written; --write does it");
        return Ok(exit::OK);
    }
    let mut backup = path.clone().into_os_string();
    backup.push(".bak");
    let saved = files::write_atomic(backup.as_ref(), &old);
    match saved.and_then(|()| files::write_atomic(&path, migrated.text.as_bytes())) {
        Ok(()) => {
            io.tell(format_args!("{} rewritten, the old one is {}", path.display(), backup.to_string_lossy()));
            Ok(exit::OK)
        }
        Err(error) => {
            io.tell(format_args!("cannot write {}: {error}", path.display()));
            Ok(exit::CANNOT_WRITE)
        }
    }
}

fn ask_to_reload(call: &Call, env: &Env, io: &mut Io<'_>, reload: Reload<'_>) -> io::Result<u8> {
    let loaded = match load(call, env, true) {
        Ok(loaded) => loaded,
        Err(issues) => return Ok(complain(&issues, io)),
    };
    match reload(&loaded) {
        Ok(answer) => io.say(answer).map(|()| exit::OK),
        Err((code, text)) => {
            io.tell(redact::text(&text));
            Ok(code)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use std::fs;
    use std::path::{Path, PathBuf};
    use std::time::{Duration, SystemTime};

    struct Home {
        dir: tempfile::TempDir,
        env: Env,
        terminal: bool,
    }

    impl Home {
        fn with(text: Option<&str>) -> Home {
            let dir = tempfile::tempdir().unwrap();
            let env = Env {
                vars: BTreeMap::new(),
                home: dir.path().to_path_buf(),
                cwd: dir.path().to_path_buf(),
                mem_total: None,
                now: SystemTime::UNIX_EPOCH + Duration::from_secs(1_900_000_000),
            };
            if let Some(text) = text {
                files::write_atomic(&dir.path().join("pi-gateway.jsonc"), text.as_bytes()).unwrap();
            }
            Home { dir, env, terminal: false }
        }

        fn run(&self, line: &str) -> (u8, String, String) {
            let (mut out, mut err) = (Vec::new(), Vec::new());
            let args = std::iter::once("config").chain(line.split_whitespace()).map(Into::into).collect();
            let mut io = Io { out: &mut out, err: &mut err, terminal: self.terminal, colour: false };
            let code = crate::cli::run(args, &self.env, &mut io);
            (code, String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
        }

        fn file(&self) -> PathBuf {
            self.dir.path().join("pi-gateway.jsonc")
        }
    }

    #[test]
    fn show_prints_the_effective_configuration_without_secrets() {
        let mut home = Home::with(Some(
            r#"{"gateway": {"port": "${PORT}", "auth": {"token": "${TOK}"}}, "plugins": {"config": {"x": {"apiKey": "hush"}}},
                "channels": {"telegram": {"enabled": false, "allowFrom": ["${ME}"], "groups": {"-1": {"role": "r"}}}}}"#,
        ));
        for (name, value) in [("PORT", "8080"), ("TOK", "a-long-secret-token"), ("ME", "7")] {
            home.env.vars.insert(name.into(), value.into());
        }
        let (code, out, err) = home.run("show");
        assert_eq!((code, err.as_str()), (0, ""));
        assert!(out.starts_with(&format!("# {}\n", home.file().display())), "{out}");
        for line in [
            "gateway.port: 8080  (from PORT)\n",
            "gateway.auth.token: \"${TOK}\"\n",
            "plugins.config.x.apiKey: \"***\"\n",
            "channels.telegram.allowFrom: [\"7\"]  (from ME)\n",
            "channels.telegram.groups.-1.role: \"r\"\n",
            "agent.thinkingLevel: \"off\"\n",
        ] {
            assert!(out.contains(line), "{line}{out}");
        }
        assert!(!out.contains("hush") && !out.contains("a-long-secret"));
        let (_, json, _) = home.run("--json show");
        let json: Value = serde_json::from_str(&json).unwrap();
        assert_eq!(
            (&json["config"]["gateway"]["port"], &json["config"]["gateway"]["auth"]["token"]),
            (&json!(8080), &json!("${TOK}"))
        );
    }

    #[test]
    fn show_prints_single_values_bare() {
        let home = Home::with(Some(
            r#"{"agents": {"list": [{"id": "a"}, {"id": "b"}], "default": "a"}, "roles": {"workspaceDirs": {"x.y": "/w"}}}"#,
        ));
        for (path, want) in [
            ("gateway.port", "52134\n"),
            ("agent.model", "\n"),
            ("agents.list[1].id", "b\n"),
            ("roles.workspaceDirs[\"x.y\"]", "/w\n"),
            ("cron", "{\"enabled\":false,\"maxConcurrent\":1,\"jobs\":[]}\n"),
        ] {
            assert_eq!(home.run(&format!("show --path {path}")), (0, want.into(), String::new()), "{path}");
        }
        assert_eq!(home.run("show --path=gateway.bind --json").1, "\"loopback\"\n");
        let (code, out, err) = home.run("show --path gateway.prot");
        assert_eq!((code, out.as_str(), err.as_str()), (1, "", "no key \"gateway.prot\" (did you mean \"port\"?)\n"));
        for path in ["", ".", "a..b", "a[", "a[x]"] {
            assert_ne!(home.run(&format!("show --path={path}")).0, 0, "{path}");
        }
        assert_eq!(home.run("show --defaults --path agents.default").1, "main\n");
    }

    #[test]
    fn secrets_are_revealed_on_a_terminal_only() {
        let mut home = Home::with(Some(r#"{"gateway": {"auth": {"token": "a-long-secret-token"}}}"#));
        let line = "show --path gateway.auth.token --reveal";
        assert_eq!(home.run(line).0, 1);
        assert_eq!(home.run("show --path gateway.auth.token").1, "***\n");
        home.terminal = true;
        assert_eq!(home.run(line).1, "a-long-secret-token\n");
    }

    #[test]
    fn path_names_the_file_in_use() {
        let mut home = Home::with(Some("{}"));
        let at = |path: &Path| format!("{}\n", path.display());
        assert_eq!(home.run("path").1, at(&home.file()));
        assert_eq!(home.run("path --config other.json").1, at(&home.dir.path().join("other.json")));
        home.env.vars.insert("PI_GATEWAY_CONFIG".into(), "/named.json".into());
        assert_eq!(home.run("path").1, "/named.json\n");
        home.env.vars.clear();
        fs::remove_file(home.file()).unwrap();
        assert_eq!(home.run("path").1, at(&home.dir.path().join(".pi/gateway/pi-gateway.jsonc")));
    }

    #[test]
    fn check_lists_every_issue() {
        let home = Home::with(Some("{\"gateway\": {\"prot\": 1},\n \"queue\": {\"mode\": \"colect\"}}"));
        let file = home.file();
        let (code, out, _) = home.run("check");
        assert_eq!(code, 78);
        let line = format!(
            "{}:1:14: warning: gateway.prot: unknown key \"gateway.prot\" (did you mean \"port\"?)\n",
            file.display()
        );
        assert!(out.contains(&line), "{out}");
        let line = format!(
            "{}:2:20: error: queue.mode: must be one of collect, individual, found \"colect\" (did you mean \"collect\"?)\n",
            file.display()
        );
        assert!(out.contains(&line), "{out}");
        fs::write(&file, "{\"gateway\": {\"prot\": 1}}").unwrap();
        assert_eq!(home.run("check").0, 0);
        assert_eq!(home.run("check --strict").0, 78);
        let (_, json, _) = home.run("check --json");
        let issues: Vec<Value> = serde_json::from_str(&json).unwrap();
        assert!(issues.iter().any(|issue| issue["key"] == "gateway.prot" && issue["column"] == 14), "{json}");
        fs::write(&file, "{\n \"a\" 1}").unwrap();
        let (code, out, _) = home.run("check");
        assert_eq!(code, 78);
        assert!(out.contains(":2:6: error: expected colon") && out.contains("\n   \"a\" 1}\n       ^"), "{out}");
    }

    #[test]
    fn a_missing_file_is_said() {
        let home = Home::with(None);
        let (code, out, _) = home.run("check");
        assert!(code == 78 && out.contains("or give --allow-defaults"), "{out}");
        let (code, out, _) = home.run("check --config nope.jsonc");
        assert!(code == 78 && out.contains("nope.jsonc: error: cannot read"), "{out}");
        assert_eq!(home.run("show --config nope.jsonc").0, 78);
        let (code, out, _) = home.run("show");
        assert!(code == 0 && out.contains("(does not exist: defaults)"), "{out}");
    }

    #[test]
    fn migrate_shows_then_writes_and_keeps_the_old_file() {
        let old = "{ // mine\n  \"telegram\": {\"enabled\": false}\n}\n";
        let home = Home::with(Some(old));
        let (code, out, _) = home.run("migrate");
        assert_eq!((code, out.as_str()), (0, "telegram: moved to \"channels.telegram\"; keys already there win\n"));
        assert_eq!(fs::read_to_string(home.file()).unwrap(), old);
        assert_eq!(home.run("migrate --write").0, 0);
        let new = fs::read_to_string(home.file()).unwrap();
        assert!(
            new.contains("// mine") && new.contains("\"channels\": { \"telegram\": {\"enabled\": false} }"),
            "{new}"
        );
        assert_eq!(fs::read_to_string(home.dir.path().join("pi-gateway.jsonc.bak")).unwrap(), old);
        let (code, out, err) = home.run("migrate --write");
        assert!(code == 0 && out.is_empty() && err.contains("nothing to migrate"), "{err}");
    }

    #[test]
    fn reload_asks_the_gateway() {
        let home = Home::with(Some("{}"));
        let (code, _, err) = home.run("reload");
        assert!(code == 69 && err.contains("no gateway is running"), "{err}");
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let mut io = Io { out: &mut out, err: &mut err, terminal: false, colour: false };
        let call = crate::cli::parse::parse(vec!["config".into(), "reload".into()]).unwrap();
        assert_eq!(reload(&call, &home.env, &mut io, &mut |_| Ok("reloaded".into())), 0);
        assert_eq!(out, b"reloaded\n");
        fs::write(home.file(), "{").unwrap();
        assert_eq!(home.run("reload").0, 78, "a broken file is not handed on");
    }

    #[test]
    fn wrong_usage_is_64() {
        let home = Home::with(Some("{}"));
        for line in ["", "shwo", "show extra", "show --nope", "path --write", "show --path", "reload --strict"] {
            let (code, out, err) = home.run(line);
            assert_eq!((code, out.as_str()), (64, ""), "{line}");
            assert!(err.contains("usage: pi-gw config"), "{err}");
        }
        assert!(home.run("shwo").2.contains("did you mean \"config show\""));
        assert_eq!(home.run("--help").0, 0);
    }
}
