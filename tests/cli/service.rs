//! `install-daemon`, `completions`, `man`.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use crate::Home;

/// A `systemctl` that notes what it is asked.
fn systemctl(home: &Home, end: &str) {
    let log = home.path().join("asked");
    home.program("systemctl", &format!("#!/bin/sh\necho \"$*\" >> '{}'\n{end}\n", log.display()));
}

fn asked(home: &Home) -> Vec<String> {
    let log = fs::read_to_string(home.path().join("asked")).unwrap_or_default();
    log.lines().map(str::to_owned).collect()
}

#[test]
fn install_daemon_writes_a_unit_and_starts_it_and_uninstall_undoes_that() {
    let home = Home::ready();
    systemctl(&home, "");
    let ran = home.run("install-daemon --port 4711");
    assert_eq!((ran.code, ran.out.as_str()), (0, ""), "{}", ran.err);
    assert_eq!(
        asked(&home),
        ["--user daemon-reload", "--user enable pi-gateway.service", "--user restart pi-gateway.service"]
    );
    let file = home.path().join(".config/systemd/user/pi-gateway.service");
    let unit = fs::read_to_string(&file).unwrap();
    let config = home.file();
    for line in [
        "Type=notify",
        "Restart=always",
        "WatchdogSec=60",
        "TimeoutStopSec=120",
        "KillMode=mixed",
        "OOMPolicy=continue",
        "WantedBy=default.target",
        &format!("EnvironmentFile=-{}/env", home.data().display()),
        &format!("ExecStart=\"{}\" gateway --config \"{}\" --port 4711", env!("CARGO_BIN_EXE_pi-gw"), config.display()),
    ] {
        assert!(unit.lines().any(|l| l == line), "{line} is not in\n{unit}");
    }
    let bin = home.path().join("bin");
    assert!(unit.contains(&format!("Environment=\"PATH={}:", bin.display())), "pi is found\n{unit}");
    assert!(ran.err.contains("journalctl --user -u pi-gateway -f"), "{}", ran.err);

    assert_eq!(home.run("install-daemon").code, 0);
    assert!(!fs::read_to_string(&file).unwrap().contains("--port"), "run again, it replaces the unit");
    let ran = home.run("uninstall-daemon");
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(!file.exists() && config.exists());
    assert_eq!(
        asked(&home)[6..],
        ["--user disable --now pi-gateway.service", "--user daemon-reload", "--user reset-failed pi-gateway.service"]
    );
    assert_eq!(home.run("uninstall-daemon").code, 0, "nothing to undo");
}

#[test]
fn install_daemon_says_what_it_cannot_do() {
    let home = Home::ready();
    systemctl(&home, "echo no bus >&2; exit 1");
    let ran = home.run("install-daemon");
    assert_eq!(ran.code, 1);
    assert!(
        ran.err.contains("no bus") && ran.err.contains("do it yourself: systemctl --user daemon-reload &&"),
        "{}",
        ran.err
    );
    for (line, code, why) in [
        ("install-daemon --user pi", 64, "--user goes with --system"),
        ("install-daemon --port x", 64, "from 1 to 65535"),
        ("install-daemon --system --user no-such-user", 1, "there is no user no-such-user"),
    ] {
        let ran = home.run(line);
        assert_eq!(ran.code, code, "{line}: {}", ran.err);
        assert!(ran.err.contains(why), "{line}: {}", ran.err);
    }
    systemctl(&home, "case \"$*\" in *restart*) echo it failed >&2; exit 1; esac");
    let ran = home.run("install-daemon");
    assert!(ran.code == 1 && ran.err.contains("it failed") && ran.err.contains("why it does not start: journalctl"));
    home.configure("{\"gateway\": {\"port\": \"x\"}}");
    assert_eq!(home.run("install-daemon --dry-run").code, 78, "a service that cannot start");
}

#[test]
fn given_secrets_that_only_this_shell_has_then_install_daemon_says_so_and_where_they_go() {
    let mut home = Home::ready();
    systemctl(&home, "");
    home.configure(r#"{"gateway": {"auth": {"token": "${MY_TOKEN}"}}}"#);
    home.vars.push(("MY_TOKEN", "0123456789-of-the-shell".into()));
    home.vars.push(("ACME_API_KEY", "k".into()));
    let ran = home.run("install-daemon");
    let file = home.data().join("env");
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(ran.err.contains("MY_TOKEN is not set") && ran.err.contains(&file.display().to_string()), "{}", ran.err);
    assert!(ran.err.contains("if pi needs ACME_API_KEY"), "{}", ran.err);
    fs::create_dir_all(home.data()).unwrap();
    fs::write(&file, "MY_TOKEN=0123456789-of-the-file\nACME_API_KEY=k\n").unwrap();
    let ran = home.run("install-daemon");
    assert!(ran.code == 0 && !ran.err.contains("MY_TOKEN") && !ran.err.contains("ACME"), "{}", ran.err);
}

#[test]
fn doctor_sees_a_service_whose_program_is_gone_or_that_ends_with_the_login() {
    let mut home = Home::ready();
    systemctl(&home, "");
    assert!(!home.run("doctor").out.contains("pi-gateway.service"), "none is installed");
    home.vars.push(("USER", "nobody-of-this-name".into()));
    let ran = home.run("install-daemon");
    let linger = "sudo loginctl enable-linger nobody-of-this-name";
    assert!(ran.code == 0 && ran.err.contains("the gateway runs now\n") && ran.err.contains(linger), "{}", ran.err);
    let ran = home.run("doctor");
    assert!(
        ran.code == 0 && ran.out.contains("only while you are logged in") && ran.out.contains(linger),
        "{}",
        ran.out
    );
    let file = home.path().join(".config/systemd/user/pi-gateway.service");
    let unit = fs::read_to_string(&file).unwrap();
    fs::write(&file, unit.replace(env!("CARGO_BIN_EXE_pi-gw"), "/nowhere/pi-gw")).unwrap();
    let ran = home.run("doctor");
    assert_eq!(ran.code, 1, "{}", ran.out);
    assert!(ran.out.contains("starts /nowhere/pi-gw, which is not there"), "{}", ran.out);
    home.vars.push(("SUDO_USER", "me".into()));
    let ran = home.run("install-daemon");
    assert!(ran.code == 64 && ran.err.contains("with sudo and --system"), "{}", ran.err);
}

#[test]
fn a_program_that_systemd_would_refuse_gets_no_unit() {
    let home = Home::ready();
    systemctl(&home, "");
    let odd = home.path().join("it's mine");
    fs::copy(env!("CARGO_BIN_EXE_pi-gw"), &odd).unwrap();
    let ran =
        Command::new(&odd).arg("install-daemon").env("HOME", home.path()).current_dir(home.path()).output().unwrap();
    assert_eq!(ran.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&ran.stderr).contains("quotes or backslashes"));
    assert!(!home.path().join(".config").exists());
}

#[test]
fn the_journal_gets_levels_and_no_second_time() {
    let home = Home::ready();
    home.configure(&format!("{{\"odd\": 1, \"gateway\": {{\"port\": {}}}}}", crate::support::port::free_port()));
    let (read, write) = std::io::pipe().unwrap();
    let stat = rustix::fs::fstat(&read).unwrap();
    let mut command = home.command("gateway --demo");
    command.env("JOURNAL_STREAM", format!("{}:{}", stat.st_dev, stat.st_ino)).stdout(Stdio::null());
    let mut child = command.stderr(write).spawn().unwrap();
    drop(command); // its end of the pipe
    let mut lines = BufReader::new(read).lines().map_while(Result::ok);
    let odd = lines.find(|line| line.contains("odd"));
    let listens = lines.find(|line| line.contains("listens on"));
    let demo = lines.find(|line| line.contains("demo agent"));
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(odd.as_ref().is_some_and(|line| line.starts_with("<4>")), "{odd:?}");
    assert!(listens.as_ref().is_some_and(|line| line.starts_with("<6>[INFO] pi-gw")), "{listens:?}");
    assert!(demo.as_ref().is_some_and(|line| line.starts_with("<4>[WARN] answers")), "{demo:?}");
}

#[test]
fn install_daemon_finds_what_npm_installed_for_this_user_and_says_what_is_missing() {
    let home = Home::ready();
    systemctl(&home, "");
    let dir = home.path().join(".npm-global/bin");
    home.configure(r#"{"agent": {"piCliPath": "my-pi"}, "security": {"exec": {"allowedExecutables": ["my-pi"]}}}"#);
    let ran = home.run("install-daemon --dry-run");
    assert!(ran.code == 0 && ran.err.contains("my-pi is not found"), "{}", ran.err);
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join("my-pi"), "").unwrap();
    let ran = home.run("install-daemon --dry-run");
    assert!(!ran.err.contains("my-pi"), "{}", ran.err);
    assert!(ran.out.contains(&format!("Environment=\"PATH={}:", dir.display())), "{}", ran.out);
}

#[test]
fn the_machines_unit_names_every_directory_that_the_agents_write_to_and_those_that_have_to_be_made() {
    let home = Home::ready();
    systemctl(&home, "");
    let (there, missing) = (home.path().join("is there"), home.path().join("missing"));
    fs::create_dir(&there).unwrap();
    // Not below the directory of the file, which is named already.
    let file = home.path().join("etc/conf.jsonc");
    fs::create_dir(file.parent().unwrap()).unwrap();
    let list = [("main", &there), ("b", &missing)].map(|(id, dir)| serde_json::json!({"id": id, "workspace": dir}));
    fs::write(&file, serde_json::json!({"agents": {"list": list}}).to_string()).unwrap();
    let ran = home.run("install-daemon --system --user root --dry-run --config etc/conf.jsonc");
    assert_eq!(ran.code, 0, "{}", ran.err);
    let dirs = format!("\"-{}\" \"-{}\"", there.display(), missing.display());
    let line = ran.out.lines().find(|line| line.starts_with("ReadWritePaths=")).unwrap();
    assert!(line.starts_with("ReadWritePaths=\"-/") && line.ends_with(&dirs), "{line}");
    let made = |dir: &std::path::Path| ran.err.contains(&format!("sudo install -d -o root '{}'", dir.display()));
    assert!(made(&missing) && !made(&there), "{}", ran.err);
    assert!(ran.out.contains("\nUser=root\n") && ran.out.contains("\nProtectSystem=strict\n"), "{}", ran.out);
}

#[test]
fn a_dry_run_of_install_daemon_changes_nothing() {
    let home = Home::ready();
    systemctl(&home, "");
    let ran = home.run("install-daemon --dry-run");
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(ran.out.contains("Type=notify") && ran.out.contains("# systemctl --user enable pi-gateway.service"));
    assert!(asked(&home).is_empty() && !home.path().join(".config").exists());
}

#[test]
fn completions_and_the_manual_page_are_printed() {
    let home = Home::new();
    for (line, word) in [
        ("completions bash", "complete -o bashdefault -o default -F _pi_gw pi-gw"),
        ("completions zsh", "#compdef pi-gw"),
        ("completions fish", "complete -c pi-gw"),
        ("man", ".TH PI\\-GW 1"),
    ] {
        let ran = home.run(line);
        assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{line}");
        assert!(ran.out.contains(word), "{line}: {}", ran.out);
    }
    assert_eq!(home.run("completions tcsh").code, 64);
}
