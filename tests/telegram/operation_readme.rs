//! The chapter "Telegram" of the README, done as it says.

use serde_json::{json, Value};

use crate::operation::cli;
use crate::support::bot_api::BotApi;
use crate::support::fake_pi::{FakePi, Flavour};
use crate::support::gateway::{merge, read, Gateway};

const README: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");

/// Blocks of that language in the chapter, in order, without their indentation.
fn blocks(language: &str) -> Vec<String> {
    let text = read(README.as_ref());
    let chapter = text.split("\n## ").find(|c| c.starts_with("Telegram\n")).unwrap().to_owned();
    let mut blocks = Vec::new();
    let mut open: Option<String> = None;
    for line in chapter.lines().map(str::trim) {
        match &mut open {
            None if line == format!("```{language}") => open = Some(String::new()),
            None => {}
            Some(_) if line == "```" => blocks.extend(open.take()),
            Some(block) => *block += &format!("{line}\n"),
        }
    }
    blocks
}

/// The commands of a block, without the program's name.
fn commands(block: &str) -> Vec<String> {
    block.lines().map(|l| l.strip_prefix("pi-gw ").unwrap_or_else(|| panic!("{l}")).to_owned()).collect()
}

#[track_caller]
fn done(g: &Gateway, line: &str) -> String {
    let ran = cli(g, line);
    assert_eq!(ran.code, 0, "pi-gw {line}: {}{}", ran.out, ran.err);
    ran.out
}

#[test]
fn the_five_steps_lead_to_an_answer_and_every_command_works() {
    let (api, pi) = (BotApi::start(), FakePi::new(Flavour::New));
    let (configs, shells) = (blocks("json"), blocks("sh"));
    let mut config = json!({"agent": {"piCliPath": pi.program()}});
    merge(&mut config, serde_json::from_str(&configs[0]).unwrap());
    merge(&mut config, json!({"channels": {"telegram": {"apiRoot": api.root(), "streamMode": "off"}}}));
    let mut g = Gateway::new(config).env("TELEGRAM_BOT_TOKEN", api.token());
    std::fs::create_dir_all(g.data()).unwrap();
    let start = commands(&shells[0]);
    assert_eq!(start, ["doctor --online", "gateway"]);
    g.restart();
    api.wait_polling();

    let code = |who: i64| {
        api.user_writes(who, "hello");
        api.wait_message(who, |m| m.text().starts_with("Pairing required.")).parts("code")[0].to_string()
    };
    let mine = code(7);
    let approve = commands(&shells[1]);
    assert!(done(&g, &approve[0]).contains(&mine));
    done(&g, &approve[1].replace("CODE", &mine));
    api.wait_text(7, "You may write to me now.");
    api.user_writes(7, "[[say:Here I am.]]");
    api.wait_text(7, "Here I am.");

    let other = code(8);
    for line in commands(&shells[2]) {
        done(&g, &line.replace("OTHERCODE", &other).replace("USER", "9"));
    }
    // The doctor, unlike the rest, needs the token; here it does not share the gateway's environment.
    g.reconfigure(json!({"channels": {"telegram": {"botToken": api.token()}}}));
    assert_eq!(cli(&g, &start[0]).code, 0, "{}", cli(&g, &start[0]).out);
    api.assert_clean();
}

#[test]
fn the_webhook_s_settings_are_accepted() {
    let mut config: Value = serde_json::from_str(&blocks("json")[0]).unwrap();
    merge(&mut config, serde_json::from_str(&blocks("json")[1]).unwrap());
    merge(&mut config, json!({"channels": {"telegram": {"botToken": "123456:TEST-token"}}}));
    config["channels"]["telegram"]["webhookSecret"] = json!("s3cret");
    let g = Gateway::new(config);
    done(&g, "config check");
}
