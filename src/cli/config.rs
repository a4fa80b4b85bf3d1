//! `pi-gw config show|path|check|migrate|reload`.

mod show;

use std::io;
use std::path::PathBuf;

use pico_args::Arguments;
use serde_json::{json, Value};

use super::{exit, written, Io};
use crate::config::{self, files, redact, Env, Issue, Loaded, Options};

/// What the command can do, for help.
pub const USAGE: &str = "usage: pi-gw config show [--path KEY] [--defaults] [--reveal] [--json] | path | \
                         check [--strict] [--json] | migrate [--write] | reload";

/// Asks the running gateway to load its file again. Gives its answer, or an exit code and what went wrong.
pub type Reload<'a> = &'a mut dyn FnMut(&Loaded) -> Result<String, (u8, String)>;

/// Without a way to reach a gateway.
pub fn no_gateway(_: &Loaded) -> Result<String, (u8, String)> {
    Err((exit::UNAVAILABLE, "the gateway is not reachable; is it running? start it with: pi-gw gateway".into()))
}

#[derive(Default)]
struct Flags {
    file: Option<PathBuf>,
    path: Option<String>,
    json: bool,
    defaults: bool,
    reveal: bool,
    strict: bool,
    write: bool,
    quiet: bool,
}

/// Runs the command. `args` are those after `config`, global options among them. Gives the exit code.
pub fn run(args: Arguments, env: &Env, io: &mut Io<'_>, reload: Reload<'_>) -> u8 {
    let (command, flags) = match parse(args) {
        Ok(parsed) => parsed,
        Err(text) => {
            io.tell(text);
            io.tell(USAGE);
            return exit::USAGE;
        }
    };
    let result = match command {
        Command::Help => io.say(USAGE).map(|()| exit::OK),
        Command::Show => show::show(&flags, env, io),
        Command::Path => io.say(config::find(env, flags.file.as_deref()).path.display()).map(|()| exit::OK),
        Command::Check => check(&flags, env, io),
        Command::Migrate => migrate(&flags, env, io),
        Command::Reload => ask_to_reload(&flags, env, io, reload),
    };
    written(result, io)
}

#[derive(Clone, Copy)]
enum Command {
    Help,
    Show,
    Path,
    Check,
    Migrate,
    Reload,
}

fn parse(mut args: Arguments) -> Result<(Command, Flags), String> {
    let wrong = |error: pico_args::Error| error.to_string();
    // Nothing here says more or less, but a global option is never wrong.
    let _ = args.contains(["-v", "--verbose"]);
    let flags = Flags {
        file: args.opt_value_from_str("--config").map_err(wrong)?,
        path: args.opt_value_from_str("--path").map_err(wrong)?,
        json: args.contains("--json"),
        defaults: args.contains("--defaults"),
        reveal: args.contains("--reveal"),
        strict: args.contains("--strict"),
        write: args.contains("--write"),
        quiet: args.contains(["-q", "--quiet"]),
    };
    if args.contains(["-h", "--help"]) {
        return Ok((Command::Help, flags));
    }
    let name: Option<String> = args.opt_free_from_str().map_err(wrong)?;
    if let Some(extra) = args.finish().first() {
        return Err(format!("unexpected \"{}\"", extra.to_string_lossy()));
    }
    let (command, own): (Command, &[&str]) = match name.as_deref() {
        Some("show") => (Command::Show, &["--path", "--defaults", "--reveal"]),
        Some("path") => (Command::Path, &[]),
        Some("check") => (Command::Check, &["--strict"]),
        Some("migrate") => (Command::Migrate, &["--write"]),
        Some("reload") => (Command::Reload, &[]),
        Some(other) => {
            let meant = config::closest(other, ["show", "path", "check", "migrate", "reload"]);
            let meant = meant.map(|name| format!(" (did you mean \"{name}\"?)")).unwrap_or_default();
            return Err(format!("unknown command \"config {other}\"{meant}"));
        }
        None => return Err("\"config\" needs to know what to do".into()),
    };
    let given = [
        ("--path", flags.path.is_some()),
        ("--defaults", flags.defaults),
        ("--reveal", flags.reveal),
        ("--strict", flags.strict),
        ("--write", flags.write),
    ];
    match given.iter().find(|(option, given)| *given && !own.contains(option)) {
        Some((option, _)) => Err(format!("{option} is no option of \"config {}\"", name.unwrap_or_default())),
        None => Ok((command, flags)),
    }
}

fn load(flags: &Flags, env: &Env, allow_missing: bool) -> Result<Loaded, Vec<Issue>> {
    let options = Options { file: flags.file.clone(), strict: flags.strict, allow_missing, ..Options::default() };
    config::load(env, &options)
}

fn complain(issues: &[Issue], io: &mut Io<'_>) -> u8 {
    issues.iter().for_each(|issue| io.tell(issue));
    exit::CONFIG
}

fn check(flags: &Flags, env: &Env, io: &mut Io<'_>) -> io::Result<u8> {
    let (issues, code) = match load(flags, env, false) {
        Ok(loaded) => (loaded.issues, exit::OK),
        Err(issues) => (issues, exit::CONFIG),
    };
    if flags.json {
        let issues: Vec<Value> = issues.iter().map(issue_json).collect();
        io.say(format_args!("{:#}", Value::from(issues)))?;
        return Ok(code);
    }
    for issue in &issues {
        io.say(issue)?;
    }
    if issues.is_empty() && !flags.quiet {
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

fn migrate(flags: &Flags, env: &Env, io: &mut Io<'_>) -> io::Result<u8> {
    let path = config::find(env, flags.file.as_deref()).path;
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
    if !flags.write {
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

fn ask_to_reload(flags: &Flags, env: &Env, io: &mut Io<'_>, reload: Reload<'_>) -> io::Result<u8> {
    let loaded = match load(flags, env, true) {
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
    use std::path::Path;
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
            let args = Arguments::from_vec(line.split_whitespace().map(Into::into).collect());
            let mut io = Io { out: &mut out, err: &mut err, terminal: self.terminal };
            let code = run(args, &self.env, &mut io, &mut no_gateway);
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
            ("cron", "{\"enabled\":false,\"jobs\":[],\"maxConcurrent\":1}\n"),
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
        assert!(code == 78 && out.contains("run `pi-gw onboard`"), "{out}");
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
        assert!(code == 69 && err.contains("not reachable"), "{err}");
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let mut io = Io { out: &mut out, err: &mut err, terminal: false };
        let args = Arguments::from_vec(vec!["reload".into()]);
        assert_eq!(run(args, &home.env, &mut io, &mut |_| Ok("reloaded".into())), 0);
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
        assert!(home.run("shwo").2.contains("did you mean \"show\""));
        assert_eq!(home.run("--help").0, 0);
    }
}
