//! The command line as its users meet it: the built binary, a clean environment, a home of its own.
#![allow(clippy::unwrap_used)]

mod doctor;
mod onboard;
mod onboard_asks;
mod pty;
mod robust;
mod service;
#[path = "../support/mod.rs"]
mod support;

use std::fs::{self, Permissions};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use pi_gateway::store::Store;
use serde_json::Value;
use support::port::free_port;

/// A pi that says its version and answers `get_state`.
const WELL: &str = r#"#!/bin/sh
case "$*" in *--version*) echo 1.2.3; exit;; esac
[ "$*" = "--mode rpc --no-session" ] || { echo "called with: $*" >&2; exit 9; }
[ -z "$PI_GATEWAY_AUTH_TOKEN$PI_GATEWAY_URL" ] || { echo "leaked" >&2; exit 9; }
read -r line
echo '{"type":"response","id":"doctor","command":"get_state","success":true,"data":{"model":{"provider":"acme","id":"big"}}}'
read -r line
"#;

/// A home directory with a `bin` of its own in front of the system's.
struct Home {
    dir: tempfile::TempDir,
    vars: Vec<(&'static str, String)>,
}

struct Ran {
    code: i32,
    out: String,
    err: String,
}

impl Ran {
    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|e| panic!("{e}: {}{}", self.out, self.err))
    }

    /// The checks of a doctor's JSON as `name status text`.
    fn checks(&self) -> Vec<String> {
        let part = |check: &Value, name: &str| check[name].as_str().unwrap().to_owned();
        let json = self.json();
        let checks = json["checks"].as_array().unwrap().iter();
        // Whatever is found: what is wrong comes with what to do about it.
        for check in checks.clone().filter(|check| check["status"] != "ok") {
            assert!(check["remedy"].as_str().is_some_and(|remedy| !remedy.is_empty()), "{check:#}");
        }
        checks.map(|c| format!("{} {} {}", part(c, "name"), part(c, "status"), part(c, "text"))).collect()
    }

    #[track_caller]
    fn check(&self, start: &str) -> String {
        let checks = self.checks();
        let found = checks.iter().find(|check| check.starts_with(start));
        found.unwrap_or_else(|| panic!("no {start:?} in {checks:#?}")).clone()
    }
}

impl Home {
    fn new() -> Home {
        let home = Home { dir: tempfile::tempdir().unwrap(), vars: Vec::new() };
        fs::create_dir(home.path().join("bin")).unwrap();
        home
    }

    /// With a configuration whose port is free, and a pi that is well.
    fn ready() -> Home {
        let home = Home::new();
        home.configure(&format!("{{\"gateway\": {{\"port\": {}}}}}", free_port()));
        home.program("pi", WELL);
        home
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn data(&self) -> PathBuf {
        self.path().join(".pi/gateway")
    }

    fn file(&self) -> PathBuf {
        self.path().join("pi-gateway.jsonc")
    }

    fn configure(&self, text: &str) {
        fs::write(self.file(), text).unwrap();
        fs::set_permissions(self.file(), Permissions::from_mode(0o600)).unwrap();
    }

    fn program(&self, name: &str, text: &str) {
        let file = self.path().join("bin").join(name);
        fs::write(&file, text).unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o755)).unwrap();
    }

    fn command(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pi-gw"));
        let path = format!("{}:/usr/bin:/bin", self.path().join("bin").display());
        command.args(line.split_whitespace()).env_clear().env("PATH", path).env("HOME", self.path());
        command.envs(self.vars.iter().map(|(name, value)| (name, value)));
        command.current_dir(self.path()).stdin(Stdio::null());
        command
    }

    fn run(&self, line: &str) -> Ran {
        let Output { status, stdout, stderr } = self.command(line).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Ran { code: status.code().unwrap(), out: text(stdout), err: text(stderr) }
    }
}

// ---------------------------------------------------------------- frame

#[test]
fn help_lists_the_commands() {
    let home = Home::new();
    for line in ["help", "--help", "-h", "help --config x"] {
        let ran = home.run(line);
        assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{line}");
        for part in [
            "usage: pi-gw [options] COMMAND",
            "\n  gateway           run the gateway",
            "\n  -q, --quiet",
            "\n  --config PATH",
        ] {
            assert!(ran.out.contains(part), "{line}: {part}\n{}", ran.out);
        }
        assert!(!ran.out.contains("demo-agent") && !ran.out.contains('\x1b'));
    }
}

#[test]
fn help_about_a_command_has_three_ways() {
    let home = Home::new();
    let help = home.run("help gateway").out;
    assert!(help.contains("usage: pi-gw gateway [--port N]") && help.contains("Also: start, run"), "{help}");
    for line in ["gateway --help", "--help run", "start -h --port 3"] {
        assert_eq!(home.run(line).out, help, "{line}");
    }
    let show = home.run("help config show").out;
    assert!(show.contains("usage: pi-gw config show [--path KEY]"), "{show}");
    assert_eq!(home.run("config show --help").out, show);
    assert!(home.run("config --help").out.contains("\n  migrate "));
    let ran = home.run("help confg");
    assert!(ran.code == 64 && ran.err.contains("did you mean \"config\"?"), "{}", ran.err);
}

#[test]
fn version_is_said_in_words_and_json() {
    let home = Home::new();
    let line = format!("pi-gw {} (", env!("CARGO_PKG_VERSION"));
    for args in ["version", "--version", "-V", "gateway --version"] {
        let ran = home.run(args);
        assert!(ran.code == 0 && ran.out.starts_with(&line), "{args}: {}", ran.out);
    }
    let json = home.run("version --json").json();
    assert_eq!(json["version"], env!("CARGO_PKG_VERSION"));
    assert!(json["target"].as_str().unwrap().contains("linux") && json["features"].is_array());
}

#[test]
fn wrong_usage_is_64_with_a_line_of_usage() {
    let home = Home::new();
    for (line, text, usage) in [
        ("", "needs to know what to do", "usage: pi-gw [options] COMMAND"),
        ("gatway", "did you mean \"gateway\"?", "usage: pi-gw [options] COMMAND"),
        ("doctor --fxi", "unknown option --fxi (did you mean --fix?)", "usage: pi-gw doctor"),
        ("gateway --port", "--port needs a value", "usage: pi-gw gateway"),
        ("gateway --port 0", "from 1 to 65535", "usage: pi-gw gateway"),
        ("gateway --port=many --check", "found \"many\"", "usage: pi-gw gateway"),
        ("config", "needs to know what to do", "usage: pi-gw config show|path|"),
        ("doctor extra", "unexpected \"extra\"", "usage: pi-gw doctor"),
        ("session show", "\"session show\" needs KEY", "usage: pi-gw session show KEY"),
        (
            "outbox list --limit 0",
            "--limit must be a whole number, at least 1, found \"0\"",
            "usage: pi-gw outbox list",
        ),
        ("media clean --days x", "--days must be a whole number, at least 0, found \"x\"", "usage: pi-gw media clean"),
        ("help sticker", "\"sticker\" is not in this version yet", "usage: pi-gw"),
    ] {
        let ran = home.run(line);
        assert_eq!((ran.code, ran.out.as_str()), (64, ""), "{line}");
        assert!(ran.err.contains(text) && ran.err.contains(usage), "{line}: {}", ran.err);
    }
}

#[test]
fn commands_of_other_versions_say_so_with_1() {
    let home = Home::new();
    for (line, name) in [("plugin list", "plugin"), ("sticker x", "sticker")] {
        let ran = home.run(line);
        assert_eq!((ran.code, ran.out.as_str()), (1, ""), "{line}");
        assert_eq!(ran.err, format!("\"{name}\" is not in this version yet\n"));
    }
}

#[test]
fn a_reader_that_leaves_is_no_error() {
    let home = Home::ready();
    for line in ["help", "version", "config show", "doctor --json"] {
        let (read, write) = std::io::pipe().unwrap();
        drop(read);
        let output = home.command(line).stdout(write).output().unwrap();
        assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), b"".as_slice()), "{line}");
    }
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = home.command("version").stdout(full).output().unwrap();
    assert_eq!(output.status.code(), Some(73));
}

#[test]
fn config_commands_are_reached() {
    let home = Home::ready();
    assert_eq!(home.run("config path").out, format!("{}\n", home.file().display()));
    assert_eq!(home.run("--json config show --path gateway.bind").out, "\"loopback\"\n");
    assert_eq!(home.run("config check").code, 0);
    home.configure("{\"gateway\": {\"port\": \"x\"}}");
    let ran = home.run("config check --json");
    let keys: Vec<Value> = ran.json().as_array().unwrap().iter().map(|issue| issue["key"].clone()).collect();
    assert!(ran.code == 78 && keys.contains(&"gateway.port".into()), "{keys:?}");
    let ran = home.run("config reload --config nope.jsonc");
    assert!(ran.code == 78 && ran.err.contains("nope.jsonc"), "{}", ran.err);
    home.configure("{}");
    let ran = home.run("config reload");
    assert!(ran.code == 69 && ran.err.contains("no gateway is running"), "{}", ran.err);
}

#[test]
fn gateway_check_validates_and_ends() {
    let home = Home::ready();
    assert_eq!(home.run("gateway --check").code, 0);
    home.configure("{");
    assert_eq!(home.run("run --check").code, 78);
}

#[test]
fn the_demo_agent_gets_its_arguments_untouched() {
    let home = Home::new();
    let ran = home.run("demo-agent --version");
    assert!(ran.code == 0 && ran.out.starts_with("demo agent of pi-gw"), "{}", ran.out);
    let (read, write) = std::io::pipe().unwrap();
    std::io::Write::write_all(&mut { write }, b"{\"id\":\"1\",\"type\":\"get_state\"}\n").unwrap();
    let output = home.command("demo-agent --mode rpc --no-session --json -q --nope").stdin(read).output().unwrap();
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((answer["id"].as_str(), answer["success"].as_bool()), (Some("1"), Some(true)));
}

// ---------------------------------------------------------------- doctor

#[test]
fn given_a_healthy_home_then_doctor_says_so() {
    let mut home = Home::ready();
    home.vars.push(("PI_GATEWAY_AUTH_TOKEN", "a-long-secret-token".into()));
    let ran = home.run("doctor --json --online");
    let json = ran.json();
    assert_eq!((ran.code, json["ok"].as_bool(), json["errors"].as_u64()), (0, Some(true), Some(0)), "{}", ran.out);
    for start in [
        "config ok",
        "data ok",
        "store ok",
        "port ok",
        "auth ok",
        "pi ok",
        "memory ",
        "open files ",
        "clock ",
        "time zone ",
        "online ok",
    ] {
        ran.check(start);
    }
    assert!(
        ran.check("pi ok").contains("version 1.2.3, answered after") && ran.check("pi ok").ends_with("model acme/big")
    );
    assert!(ran.check("auth ok").contains("PI_GATEWAY_AUTH_TOKEN") && !ran.out.contains("a-long-secret-token"));
    assert!(!home.data().exists(), "nothing is changed without --fix");
    let plain = home.run("doctor");
    assert!(
        plain.out.contains("\nok    pi") && !plain.out.contains('✓') && !plain.out.contains('\x1b'),
        "{}",
        plain.out
    );
}

#[test]
fn without_pi_doctor_says_what_to_do() {
    let home = Home::ready();
    home.configure(&format!("{{\"agent\": {{\"piCliPath\": \"{}/nowhere/pi\"}}}}", home.path().display()));
    let ran = home.run("doctor --json");
    assert_eq!(ran.code, 1);
    assert!(ran.check("pi error").contains("was not found"), "{}", ran.out);
    let text = home.run("doctor -q").out;
    assert!(text.starts_with("error pi") || text.contains("\nerror pi"), "{text}");
    assert!(text.contains("-> npm install") && !text.contains("ok    data"), "{text}");
}

#[test]
fn a_pi_that_ends_at_start_shows_its_last_words_without_secrets() {
    let mut home = Home::ready();
    home.vars.push(("PI_GATEWAY_AUTH_TOKEN", "a-long-secret-token".into()));
    let script = "#!/bin/sh\ncase $1 in --version) echo 1; exit;; esac\n\
                  echo 'Error: no key for a-long-secret-token' >&2\nexit 3\n";
    home.program("pi", script);
    let ran = home.run("doctor");
    assert_eq!(ran.code, 1);
    assert!(ran.out.contains("it ended instead of answering (exit status: 3)"), "{}", ran.out);
    assert!(ran.out.contains("| Error: no key for ***\n"), "{}", ran.out);
}

#[test]
fn a_pi_without_a_version_that_answers_is_a_warning() {
    let home = Home::ready();
    home.program("pi", &WELL.replace("echo 1.2.3; exit", "exit 1"));
    let ran = home.run("doctor --json");
    assert_eq!(ran.code, 0, "{}", ran.out);
    assert!(ran.check("pi warning").contains("(--version: it printed nothing"), "{}", ran.out);
}

#[test]
fn a_program_that_is_not_allowed_is_not_started() {
    let home = Home::ready();
    home.program("mine", "#!/bin/sh\ntouch \"$HOME/started\"\n");
    home.configure("{\"agent\": {\"piCliPath\": \"mine\"}}");
    let ran = home.run("doctor --json");
    assert_eq!(ran.code, 78);
    assert!(ran.check("pi error").contains("allowedExecutables") && !home.path().join("started").exists());
}

#[test]
fn a_broken_configuration_is_78() {
    let home = Home::ready();
    home.configure("{\n \"a\" 1}");
    let ran = home.run("doctor");
    assert_eq!(ran.code, 78);
    assert!(ran.out.contains("line 2, column 6: expected colon") && ran.out.contains("|    \"a\" 1}\n"), "{}", ran.out);
    assert!(ran.out.contains("clock"), "the machine is looked at anyway");
    let named = home.run("doctor --json --config nope.jsonc");
    assert!(named.code == 78 && named.check("config error").contains("nope.jsonc: cannot read"), "{}", named.out);
    home.configure("{\"gateway\": {\"port\": \"x\"}}");
    let ran = home.run("doctor --json");
    assert!(ran.code == 78 && ran.check("config error").contains("gateway.port"));
    ran.check("pi ok");
}

#[test]
fn a_file_in_place_of_the_data_directory_is_an_error() {
    let home = Home::ready();
    fs::create_dir(home.path().join(".pi")).unwrap();
    fs::write(home.data(), "").unwrap();
    let ran = home.run("doctor --json");
    assert_eq!(ran.code, 78, "the gateway refuses the configuration for it");
    assert!(ran.check("data error").contains("is not a directory"), "{}", ran.out);
    assert!(ran.check("config error").contains("session.dataDir"), "{}", ran.out);
}

#[test]
fn a_port_in_use_is_named_with_a_free_one() {
    let home = Home::ready();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    home.configure(&format!("{{\"gateway\": {{\"port\": {}}}}}", taken.local_addr().unwrap().port()));
    let ran = home.run("doctor");
    assert_eq!(ran.code, 1);
    assert!(ran.out.contains("is used by another program") && ran.out.contains(" is free"), "{}", ran.out);
}

#[test]
fn fix_makes_directories_and_tightens_rights() {
    let home = Home::ready();
    home.configure(&format!(
        "{{\"gateway\": {{\"port\": {}, \"auth\": {{\"token\": \"a-long-secret-token\"}}}}, // mine\n \"agent\": {{\"pool\": {{\"min\": 3, \"max\": 2}}}}}}",
        free_port()
    ));
    fs::set_permissions(home.file(), Permissions::from_mode(0o644)).unwrap();
    fs::create_dir_all(home.data().join("credentials")).unwrap();
    fs::set_permissions(home.data().join("credentials"), Permissions::from_mode(0o755)).unwrap();
    let ran = home.run("doctor --json");
    assert_eq!(ran.code, 78);
    assert!(ran.checks().iter().any(|c| c.starts_with("rights warning") && c.contains("credentials")), "{}", ran.out);
    let ran = home.run("doctor --fix --json");
    assert_eq!(ran.code, 0, "{}", ran.out);
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    for dir in ["", "credentials", "sessions", "run", "logs"] {
        assert_eq!(mode(&home.data().join(dir)), 0o700, "{dir}");
    }
    assert_eq!(mode(&home.file()), 0o600);
    let text = fs::read_to_string(home.file()).unwrap();
    assert!(text.contains("// mine") && text.contains("\"min\": 2, \"max\": 2"), "{text}");
    assert!(ran.check("fix ok agent.pool.min").contains("3 is now 2"));
    assert!(home.run("doctor --fix --json").check("fix ok").contains("nothing to correct"));
}

#[test]
fn doctor_looks_into_the_store() {
    let home = Home::ready();
    fs::create_dir_all(home.data()).unwrap();
    let path = home.data().join("gateway.db");
    Store::open(&path).unwrap().close().unwrap();
    let ran = home.run("doctor --json");
    assert!(ran.check("owed ok").contains("0 messages waiting, 0 turns being answered, 0 reply parts to be delivered"));
    assert!(!ran.checks().iter().any(|check| check.starts_with("last run")), "{}", ran.out);
    drop(Store::open(&path).unwrap()); // as after a crash
    assert!(home.run("doctor --json").check("last run warning").contains("without closing the store"));
    fs::write(&path, "not a database at all, but long enough to be looked at").unwrap();
    let ran = home.run("doctor --json");
    assert_eq!(ran.code, 1);
    ran.check("store error");
}

#[test]
fn settings_of_pi_that_end_conversations_are_warned_about() {
    let mut home = Home::ready();
    let agent = home.path().join("agent");
    fs::create_dir(&agent).unwrap();
    fs::write(agent.join("settings.json"), r#"{"retry": {"enabled": false}, "compaction": {"enabled": true}}"#)
        .unwrap();
    home.vars.push(("PI_CODING_AGENT_DIR", agent.display().to_string()));
    fs::create_dir(home.path().join("~")).unwrap();
    let ran = home.run("doctor --json");
    assert_eq!(ran.code, 0, "warnings are no errors: {}", ran.out);
    assert!(ran.check("pi settings warning").contains("retry.enabled is false"));
    assert!(ran.check("data warning").contains("literally named ~"));
}

// ---------------------------------------------------------------- a running gateway

/// A gateway with the demo agent; it ends with the value.
struct Running(std::process::Child);

impl Running {
    fn start(home: &Home) -> Running {
        use std::io::BufRead;
        let mut child = home.command("gateway --demo").stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let err = std::io::BufReader::new(child.stderr.take().unwrap());
        let running = Running(child);
        let mut lines = err.lines().map_while(Result::ok);
        let found = lines.find(|line| line.contains("listens on"));
        assert!(found.is_some(), "the gateway ended");
        // Somebody has to read on.
        std::thread::spawn(move || lines.count());
        running
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_running_gateway_is_found_and_told_to_reload() {
    let home = Home::ready();
    let running = Running::start(&home);
    let pid = running.0.id();
    let ran = home.run("doctor --json");
    assert_eq!(ran.code, 0, "{}", ran.out);
    assert!(ran.check("gateway ok").contains(&format!("runs well (pid {pid}, http://127.0.0.1:")), "{}", ran.out);
    assert!(ran.check("auth ok").contains("credentials/gateway-token"));
    let ran = home.run("config reload");
    assert!(ran.code == 0 && ran.out.contains(&format!("(pid {pid})")), "{}{}", ran.out, ran.err);
    // The file that it will ask for a restart about.
    home.configure(&format!("{{\"gateway\": {{\"port\": {}}}}}", free_port()));
    assert!(home.run("doctor --json").check("port warning").contains("the configuration says"));
    drop(running);
    let ran = home.run("doctor --json");
    assert!(ran.check("gateway ok").contains("not running") && ran.check("last run warning").contains("killed"));
    assert_eq!(home.run("config reload").code, 69);
}

// ---------------------------------------------------------------- pairing

#[test]
fn pairing_works_without_a_gateway_and_before_its_first_start() {
    let home = Home::ready();
    let ran = home.run("pairing list");
    assert_eq!((ran.code, ran.out.as_str()), (0, "No pending pairing requests.\n"));
    assert_eq!(home.run("pairing list --json").json(), serde_json::json!([]));
    let ran = home.run("pairing approve telegram abcd-2345");
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains("no open request has the code ABCD2345"), "{}", ran.err);
    assert!(!home.data().join("gateway.db").exists(), "looking makes nothing");

    let ran = home.run("pairing allow telegram 7 --json");
    assert_eq!((ran.code, ran.json()["new"].clone()), (0, Value::Bool(true)), "{}", ran.err);
    assert!(home.run("pairing allow telegram 7").out.contains("already"));
    let listed = home.run("pairing list --approved --json").json();
    assert_eq!((&listed[0]["account"], &listed[0]["sender"]), (&"default".into(), &"7".into()));
    assert!(!home.run("doctor --json").check("store ").contains("error"));
    assert_eq!(home.run("pairing revoke telegram 7").code, 0);
    assert_eq!(home.run("pairing revoke telegram 7").code, 1);
    assert_eq!(home.run("pairing list --approved").out, "Nobody is approved.\n");
}

#[test]
fn wrong_calls_of_pairing_say_what_is_right() {
    let home = Home::ready();
    for (line, code, text) in [
        ("pairing", 64, "\"pairing\" needs to know what to do"),
        ("pairing aprove X", 64, "did you mean \"pairing approve\"?"),
        ("pairing approve", 64, "usage: pi-gw pairing approve [CHANNEL] CODE [--account NAME]"),
        ("pairing revoke telegram", 64, "usage: pi-gw pairing revoke CHANNEL SENDER"),
        ("pairing allow telegram @ann", 65, "it is a number"),
        ("pairing allow email 7", 1, "\"email\" is no channel with pairing; there is: telegram"),
        ("pairing allow telegram 7 --account nobody", 1, "there is no account \"nobody\"; there is: default"),
        ("pairing list --config nowhere.jsonc", 78, "nowhere.jsonc"),
    ] {
        let ran = home.run(line);
        assert_eq!(ran.code, code, "{line}: {}{}", ran.out, ran.err);
        assert!(ran.err.contains(text), "{line}: {}", ran.err);
    }
}

// ---------------------------------------------------------------- cron

#[test]
fn cron_jobs_are_made_and_changed_without_a_gateway_and_the_next_times_are_printed() {
    let home = Home::new();
    assert_eq!(home.run("cron list").out, "No scheduled jobs.\n");
    let ran = home.run("cron add news --schedule 15m --text look --delivery direct");
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(
        ran.out.starts_with("job news is due (no gateway runs now):\n") && ran.out.lines().count() == 4,
        "{}",
        ran.out
    );
    assert!(ran.err.contains("cron.enabled is false"), "{}", ran.err);
    assert_eq!(home.run("cron add news --schedule 15m --text look").code, 1);
    assert_eq!(home.run("cron add news --schedule @daily --text see --replace --tz Europe/Berlin").code, 0);
    let list = home.run("cron list --json").json();
    assert_eq!((&list[0]["schedule"]["kind"], &list[0]["payload"]["text"]), (&"cron".into(), &"see".into()));
    assert!(list[0]["nextRunAt"].is_number());
    assert_eq!(home.run("cron pause news").code, 0);
    assert_eq!(
        home.run("cron status --json").json(),
        serde_json::json!({"total": 1, "active": 0, "paused": 1, "disabled": 0})
    );
    let ran = home.run("cron list");
    let line = ran.out.lines().nth(1).unwrap();
    assert!(line.starts_with("news  cron:@daily") && line.contains("paused"), "{}", ran.out);
    assert_eq!(home.run("cron resume news").code, 0);
    assert_eq!(home.run("cron runs news").out, "No runs of news are known.\n");
    assert_eq!(home.run("cron run news").code, 69);
    assert_eq!(home.run("cron remove news").code, 0);
    assert_eq!(home.run("cron remove news").code, 1);
    for (line, code) in [
        ("cron add a --schedule 5s --text t", 65),
        ("cron add a --schedule 61_*_*_*_* --text t", 65),
        ("cron add a --schedule 15m", 65),
        ("cron add a --schedule +0s --text t", 65),
        ("cron add a --schedule 15m --text t --tz Mars/Base", 65),
        ("cron add", 64),
        ("cron add a b", 64),
        ("cron", 64),
    ] {
        let ran = home.run(line);
        assert_eq!(ran.code, code, "{line}: {}", ran.err);
    }
}
