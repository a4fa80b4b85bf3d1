//! `pi-gw onboard` as a person at a terminal meets it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use crate::onboard::{with_bot_api, with_pi};
use crate::pty::Pty;
use crate::support::bot_api::BotApi;
use crate::support::port::free_port;
use crate::Home;
use rustix::process::Signal;

const DOWN: &str = "\x1b[B";
const CTRL_C: &str = "\x03";

fn command(home: &Home, line: &str, term: &str) -> Command {
    let mut command = home.command(&format!("onboard {line}"));
    command.env("TERM", term).env("LANG", "C.UTF-8");
    command
}

fn start(home: &Home, line: &str) -> Pty {
    Pty::start(command(home, line, "xterm-256color"), 80)
}

#[test]
fn a_quick_start_asks_little_tries_pi_and_its_model_and_writes_after_a_last_yes() {
    let home = with_pi();
    let mut pty = start(&home, &format!("--port {}", free_port()));
    pty.see("make it do so").see("Is that what you want?").keys("y\r");
    pty.see("How?").see("quick start").keys("\r");
    pty.see("ok: pi:").see("ok: model:").see("will be:").see("\"port\": ").see("Write it?");
    assert!(!home.data().exists(), "nothing is written before");
    pty.keys("\r").see("wrote ").see("pi-gw gateway");
    assert_eq!(pty.ends(), 0);
    let check = home.run("gateway --check --strict");
    assert_eq!(check.code, 0, "{}", check.err);
}

#[test]
fn every_no_and_every_ctrl_c_ends_it_with_130_and_nothing_written() {
    let home = with_pi();
    home.program("slow-pi", "#!/bin/sh\ncase \"$*\" in *--version*) echo 1; exit;; esac\nexec cat >/dev/null\n");
    let port = free_port();
    let quick = "--accept-risk --flow quickstart";
    let steps = [
        ("", "", "what you want?", "n\r"),
        ("", "", "what you want?", "\r"),
        ("", "", "what you want?", CTRL_C),
        ("--accept-risk", "", "How?", CTRL_C),
        ("--accept-risk --flow advanced", "", "works in", "/a/path\x03"),
        (quick, "--pi-cli slow-pi", "Looking for pi", CTRL_C),
        (quick, "--offline", "Write it?", "n\r"),
        (quick, "--offline --auth password", "Password", "half a pass\x03"),
    ];
    for (line, more, text, keys) in steps {
        let mut pty = start(&home, &format!("{line} {more} --port {port}"));
        pty.see(text).keys(keys);
        pty.see("cancelled: nothing was written");
        assert_eq!(pty.ends(), 130, "{line} {more}");
        assert!(!home.data().exists() && !pty.raw().contains("half a pass"), "{line} {more}");
    }
}

#[test]
fn a_signal_from_outside_cancels_like_ctrl_c_wherever_it_waits() {
    let home = with_pi();
    home.program("slow-pi", "#!/bin/sh\ncase \"$*\" in *--version*) echo 1; exit;; esac\nexec cat >/dev/null\n");
    for (line, term, text) in [
        ("", "xterm", "what you want?"),
        ("", "dumb", "what you want?"),
        ("--accept-risk", "xterm", "How?"),
        ("--accept-risk --flow quickstart --pi-cli slow-pi", "xterm", "Looking for pi"),
        ("--accept-risk --flow quickstart --auth password", "xterm", "not shown"),
        ("--accept-risk --flow quickstart --auth password", "dumb", "not shown"),
    ] {
        for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
            let mut pty = Pty::start(command(&home, line, term), 80);
            pty.see(text).signal(signal);
            pty.see("cancelled: nothing was written");
            assert_eq!(pty.ends(), 130, "{line} {term}");
        }
    }
    assert!(!home.data().exists());
}

#[test]
fn given_40_columns_a_resize_and_letters_of_all_kinds_when_everything_is_asked_then_the_answers_are_kept() {
    let (home, api) = (with_pi(), BotApi::start());
    with_bot_api(&home, &api);
    let port = free_port();
    let mut pty = Pty::start(command(&home, "--accept-risk", "xterm"), 40);
    pty.see("There is a configuration").see("What about it?").keys(DOWN).keys("\r");
    pty.see("How?").keys("\r"); // a change is advanced by itself
    let workspace = home.path().join("work-é-漢字-and-a-name-that-is-longer-than-the-terminal-is-wide");
    pty.see("works in").keys(&format!("{}\r", workspace.display()));
    pty.see("pi is called").keys("\r").see("ok: pi:");
    pty.see("Model").keys("demo/lorum").keys("\x7f\x7fem\r").see("ok: model: demo/lorem");
    pty.resize(70).see("at most").keys("x\r").see("a whole number from 1 to 100").see("at most").keys("2\r");
    pty.see("kept ready").keys("0\r");
    pty.see("Port").keys(&format!("{port}\r"));
    pty.see("Who reaches the port?").keys("\r");
    pty.see("What protects it?").keys("\r").see("make one").keys("\r");
    pty.see("A Telegram bot?").keys("y\r");
    pty.see("@BotFather").see("Token").keys("not a token\r").see("is no bot token");
    pty.see("Token")
        .keys("123456:AAthisIsNoTokenOfAnyBotAtAll-pasted\r")
        .see("error: telegram")
        .see("What now?")
        .keys("\r");
    pty.see("Token").keys(&format!("{}\r", api.token())).see("the bot is @");
    pty.see("Where do secrets go?").keys(DOWN).keys("\r");
    pty.see("Start it with the system?").keys("\r");
    pty.see("will be:").see("${TELEGRAM_BOT_TOKEN}").see("Write it?").keys("\r");
    pty.see("wrote").see("pairing approve CODE");
    assert_eq!(pty.ends(), 0);
    let raw = pty.raw();
    assert!(!raw.contains("AAthisIsNo") && !raw.contains(&api.token()), "a token was shown\n{raw}");

    let env = fs::read_to_string(home.data().join("env")).unwrap();
    assert_eq!(env, format!("TELEGRAM_BOT_TOKEN={}\n", api.token()));
    assert_eq!(fs::metadata(home.data().join("env")).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(workspace.is_dir());
    let value = |path: &str| {
        let mut command = home.command(&format!("config show --path {path}"));
        let shown = command.env("TELEGRAM_BOT_TOKEN", api.token()).output().unwrap();
        String::from_utf8(shown.stdout).unwrap().trim().to_owned()
    };
    assert_eq!(value("agents.list[0].workspace"), workspace.display().to_string());
    assert_eq!((value("agent.model"), value("gateway.port")), ("demo/lorem".into(), port.to_string()));
    assert_eq!((value("agent.pool.max"), value("agent.pool.min")), ("2".into(), "0".into()));
    assert_eq!(value("channels.telegram.enabled"), "true");
}

#[test]
fn a_dumb_terminal_gets_plain_lines() {
    let home = with_pi();
    let port = free_port();
    let mut pty = Pty::start(command(&home, "", "dumb"), 80);
    pty.see("what you want? [y/N]: ").keys("perhaps\n").see("y or n").see("[y/N]: ").keys("yes\n");
    pty.see("  2  advanced").see("How? [1]: ").keys("7\n").see("a number from 1 to 2").see("[1]: ").keys("2\n");
    pty.see("works in [~/.pi/gateway/workspace]: ").keys("\n").see("pi is called [pi]: ").keys("\n");
    pty.see("pi's own): ").keys("\n").see("ok: model").see("at most [").keys("\n").see("ready [").keys("\n");
    pty.see("Port [").keys(&format!("{port}\n")).see("1  this machine").see("[1]: ").keys("\n");
    pty.see("2  a password").see("[1]: ").keys("2\n");
    pty.see("Password (not shown): ").keys("short\n").see("8 characters or more").see("shown): ").keys("pass word é\n");
    pty.see("Once more (not shown): ").keys("pass word e\n").see("differ").see("shown): ").keys("pass word é\n");
    pty.see("Once more (not shown): ").keys("pass word é\n").see("bot? [y/N]: ").keys("\n");
    pty.see("secrets go? [1]: ").keys("\n").see("system? [y/N]: ").keys("\n");
    pty.see("\"password\": \"***\"").see("Write it? [Y/n]: ").keys("\n").see("wrote");
    assert_eq!(pty.ends(), 0);
    assert!(!pty.raw().contains('\x1b') && !pty.raw().contains("pass word"), "{}", pty.raw());
    assert!(fs::read_to_string(home.data().join("pi-gateway.jsonc")).unwrap().contains("\"pass word é\""));
    assert_eq!(home.run("gateway --check --strict").code, 0);
}

#[test]
fn a_file_that_exists_is_kept_or_begun_anew_as_the_user_says() {
    let home = with_pi();
    let old = format!(
        "{{ // mine\n  \"gateway\": {{ \"port\": {} }}, \"agent\": {{ \"model\": \"demo/echo\" }}\n}}\n",
        free_port()
    );
    home.configure(&old);
    let mut pty = start(&home, "--accept-risk");
    pty.see("What about it?").keys("\r").see("ok: model").see("stays as it is");
    assert_eq!(pty.ends(), 0);
    assert_eq!(fs::read_to_string(home.file()).unwrap(), old);
    let mut pty = start(&home, &format!("--accept-risk --port {}", free_port()));
    pty.see("What about it?")
        .keys(DOWN)
        .keys("\r")
        .see("How?")
        .keys("\r")
        .see("Write it?")
        .keys("\r")
        .see("the old one is");
    assert_eq!(pty.ends(), 0);
    assert!(!fs::read_to_string(home.file()).unwrap().contains("mine"));
    assert_eq!(fs::read_to_string(home.path().join("pi-gateway.jsonc.bak")).unwrap(), old);
    home.configure("{ \"gateway\": 1 }");
    let mut pty = start(&home, "--accept-risk");
    pty.see("error: gateway");
    assert_eq!(pty.ends(), 78);
}

#[test]
fn without_pi_a_person_may_try_again_or_go_on() {
    let home = with_pi();
    fs::rename(home.path().join("bin/pi"), home.path().join("bin/my-pi")).unwrap();
    let port = free_port();
    let mut pty = start(&home, &format!("--accept-risk --flow quickstart --port {port}"));
    pty.see("npm install -g").see("What now?").keys(DOWN).keys("\r").see("npm install -g");
    pty.see("What now?").keys("\r").see("pi is called").keys("my-pi\r").see("ok: pi:").see("ok: model");
    pty.see("allowedExecutables").see("Write it?").keys("\r").see("wrote");
    assert_eq!(pty.ends(), 0);
    assert_eq!(home.run("config show --path agent.piCliPath").out, "my-pi\n");
    assert_eq!(home.run("gateway --check").code, 0);
}

#[test]
fn ctrl_c_at_any_question_leaves_an_existing_file_as_it_is() {
    let home = with_pi();
    let port = free_port();
    let old = format!("// mine\n{{ \"gateway\": {{ \"port\": {port} /* here */, }}, }}\n");
    let real = home.path().join("real.jsonc");
    fs::write(&real, &old).unwrap();
    std::os::unix::fs::symlink(&real, home.file()).unwrap();
    let before = fs::read_dir(home.path()).unwrap().count();
    let questions = [
        ("what you want?", "y\r"),
        ("What about it?", "\x1b[B\r"),
        ("How?", "\r"),
        ("works in", "\r"),
        ("pi is called", "\r"),
        ("Model", "demo/x\r"),
        ("at most", "3\r"),
        ("kept ready", "1\r"),
        ("Port", "\r"),
        ("Who reaches the port?", "\x1b[B\r"),
        ("What protects it?", "\r"),
        ("make one", "a-token-of-my-own\r"),
        ("A Telegram bot?", "y\r"),
        ("Token", "123456:AAthisIsNoTokenOfAnyBotAtAll-pasted\r"),
        ("Where do secrets go?", "\x1b[B\r"),
        ("Start it with the system?", "y\r"),
        ("Write it?", ""),
    ];
    for (last, (text, _)) in questions.iter().enumerate() {
        let mut pty = start(&home, "--offline");
        for (text, keys) in &questions[..last] {
            pty.see(text).keys(keys);
        }
        pty.see(text).keys(CTRL_C).see("cancelled: nothing was written");
        assert_eq!(pty.ends(), 130, "{text}");
        assert_eq!(fs::read_to_string(&real).unwrap(), old, "{text}");
        assert!(!home.data().exists() && fs::read_dir(home.path()).unwrap().count() == before, "{text}");
    }
    // All the way, the link stays one and what it leads to is changed.
    let mut pty = start(&home, "--offline");
    for (text, keys) in questions.iter().take(16).chain([&("Write it?", "\r")]) {
        let keys = if *text == "Start it with the system?" { "\r" } else { keys };
        pty.see(text).keys(keys);
    }
    pty.see("wrote");
    assert_eq!(pty.ends(), 0);
    assert!(fs::symlink_metadata(home.file()).unwrap().is_symlink());
    let text = fs::read_to_string(&real).unwrap();
    assert!(text.starts_with("// mine\n") && text.contains("/* here */") && text.contains("demo/x"), "{text}");
    assert_eq!(fs::metadata(&real).unwrap().permissions().mode() & 0o777, 0o600);
    let mut pty = start(&home, "--offline --accept-risk");
    pty.see("What about it?").keys("\r").see("stays as it is");
    assert_eq!(pty.ends(), 0);
    assert_eq!(fs::read_to_string(&real).unwrap(), text);
}
