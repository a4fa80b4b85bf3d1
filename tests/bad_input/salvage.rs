//! A damaged store is put aside, and what can still be read of it is not lost.

use std::fs;
use std::path::PathBuf;

use serde_json::json;

use super::support::fake_pi::{FakePi, Flavour};
use super::support::gateway::Gateway;
use super::support::patient::Patient;
use super::support::store_view::{check_once, messages};
use super::{with_pi, MAIN};

/// Overwrites the pages that hold one of these texts, in the file as a kill left it.
fn zero_pages(g: &Gateway, texts: &[&str]) {
    let path = g.data().join("gateway.db");
    let db = rusqlite::Connection::open(&path).unwrap();
    let size: usize = db.query_row("PRAGMA page_size", [], |r| r.get(0)).unwrap();
    db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    drop(db);
    let mut bytes = fs::read(&path).unwrap();
    for text in texts {
        let at = memchr::memmem::find(&bytes, text.as_bytes()).unwrap() / size * size;
        bytes[at..at + size].fill(0);
    }
    fs::write(&path, bytes).unwrap();
    fs::write(path.with_extension("db.damaged"), "").unwrap(); // as a gateway leaves it that met the damage
}

fn aside(g: &Gateway) -> PathBuf {
    let names = fs::read_dir(g.data()).unwrap().flatten().map(|e| e.path());
    let found = |p: &PathBuf| p.extension().is_some_and(|e| e.to_string_lossy().starts_with("corrupt-"));
    names.filter(found).min().unwrap_or_else(|| panic!("{}", g.log()))
}

#[test]
fn given_a_damaged_store_with_an_owed_message_then_it_is_answered_once_and_the_operator_is_told() {
    for flavour in [Flavour::Old, Flavour::New] {
        let pi = FakePi::new(flavour);
        let mut g = with_pi(&pi, json!({})).start();
        for n in 0..20 {
            g.chat(MAIN, &format!("older {n}. {}", "long ".repeat(100)));
        }
        let client = Patient { addr: g.addr, token: g.token.clone() };
        client.send(MAIN, "k1", "tok-a [[say:re:tok-a]] [[gate:mid]] [[say: done]]");
        pi.wait_gate("mid");
        client.send("agent:main:webchat:other", "k2", "tok-b [[say:re:tok-b]]");
        g.kill9();
        zero_pages(&g, &["older 7."]);
        pi.open("mid");
        g.restart();
        g.wait_until("what is owed", |g| messages(g).is_some_and(|l| l.len() > 15 && l.iter().all(|m| m.settled())));
        check_once(&g, &["tok-a".into(), "tok-b".into(), "older 3.".into()], "salvaged");
        let all = messages(&g).unwrap();
        assert!(!all.iter().any(|m| m.text.contains("older 7.")), "its page was lost");
        // The same key is still known: no second answer.
        client.send(MAIN, "k1", "tok-a [[say:re:tok-a]] [[gate:mid]] [[say: done]]");
        assert_eq!(messages(&g).unwrap().iter().filter(|m| m.text.contains("tok-a")).count(), 1);
        let said = "some messages could not be read";
        assert!(g.log().contains("ERROR") && g.log().contains(said), "{}", g.log());
        let health = g.get("/health").json();
        assert_eq!(health["status"], "degraded");
        assert!(health["problems"][0].as_str().unwrap().contains(said), "{health}");
        let doctor = || {
            let mut c = std::process::Command::new(env!("CARGO_BIN_EXE_pi-gw"));
            c.arg("doctor").arg("--config").arg(g.config_file()).env("HOME", g.home.path());
            String::from_utf8_lossy(&c.output().unwrap().stdout).into_owned()
        };
        assert!(doctor().contains(said), "{}", doctor());
        fs::remove_file(aside(&g)).unwrap();
        assert!(!doctor().contains("salvage"), "{}", doctor());
        g.stop();
        g.restart();
        assert_eq!(g.get("/health").json()["status"], "ok", "the operator has seen it");
    }
}

#[test]
fn given_damage_that_took_the_message_of_a_running_turn_then_the_session_goes_on() {
    let pi = FakePi::new(Flavour::New);
    let mut g = with_pi(&pi, json!({})).start();
    g.chat(MAIN, "hello");
    let client = Patient { addr: g.addr, token: g.token.clone() };
    client.send(MAIN, "k1", "tok-a [[say:re:tok-a]] [[gate:mid]] [[say: done]]");
    pi.wait_gate("mid");
    g.kill9();
    let path = g.data().join("gateway.db");
    let db = rusqlite::Connection::open(&path).unwrap();
    let size: usize = db.query_row("PRAGMA page_size", [], |r| r.get(0)).unwrap();
    let sql = "SELECT rootpage FROM sqlite_schema WHERE name = 'inbox'";
    let root: usize = db.query_row(sql, [], |r| r.get(0)).unwrap();
    drop(db);
    let mut bytes = fs::read(&path).unwrap();
    bytes[(root - 1) * size..root * size].fill(0);
    fs::write(&path, bytes).unwrap();
    fs::write(path.with_extension("db.damaged"), "").unwrap();
    pi.open("mid");
    g.restart();
    g.wait_until("the turn", |g| g.history(MAIN).iter().any(|(_, text)| text.contains("done")));
    assert_eq!(g.chat(MAIN, "[[say:after]]"), "after");
}
