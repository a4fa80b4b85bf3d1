//! Disks that are full, directories that are none, stores that are damaged or from the future.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;

use super::support::fake_pi::{FakePi, Flavour};
use super::support::gateway::Gateway;
use super::support::patient::Patient;
use super::support::store_view::{check_once, messages};
use super::{with_pi, MAIN};

/// A small file system of its own; unmounted when dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(at: &Path, size: &str) -> SmallDisk {
        fs::create_dir_all(at).unwrap();
        let options = format!("size={size},mode=0700");
        let out = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(at).output();
        let out =
            out.unwrap_or_else(|e| panic!("`mount` cannot be run ({e}); install util-linux (apt-get install mount)"));
        assert!(
            out.status.success(),
            "this test needs a small file system of its own, and mounting a tmpfs is not permitted here: {}\n\
             Run it as root with CAP_SYS_ADMIN, or in a user namespace: `unshare --map-root-user --mount cargo test --test bad_input`",
            String::from_utf8_lossy(&out.stderr)
        );
        SmallDisk(at.to_owned())
    }

    /// Fills what is left, to the last byte.
    fn fill(&self) {
        use std::io::Write;
        let mut file = fs::OpenOptions::new().create(true).append(true).open(self.0.join("filler")).unwrap();
        for step in [1 << 16, 1 << 12, 1] {
            while file.write_all(&vec![1; step]).is_ok() {}
        }
    }

    fn free(&self) {
        fs::remove_file(self.0.join("filler")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn c11_given_a_full_disk_then_nothing_is_acknowledged_and_after_that_everything_owed_is_answered_once() {
    for size in ["24m", "3m"] {
        full_disk(size);
    }
}

fn full_disk(size: &str) {
    let pi = FakePi::new(Flavour::New);
    let mut g = with_pi(&pi, json!({}));
    let disk = SmallDisk::mount(&g.data(), size);
    // pi's own files are elsewhere: here it is the gateway's disk that is full.
    let elsewhere = g.home.path().join("pi-sessions");
    fs::create_dir_all(&elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, g.data().join("sessions")).unwrap();
    g.restart();
    let send = |g: &Gateway, key: &str, text: &str| {
        g.page(MAIN).call("chat.send", json!({"sessionKey": MAIN, "text": text, "idempotencyKey": key}))
    };
    let res = send(&g, "k1", "tok-a [[say:re:tok-a]] [[gate:mid]] [[say: done]]");
    assert_eq!(res["ok"], true, "{res}");
    pi.wait_gate("mid");
    disk.fill();
    // The disk may have room in pages that exist already: refused at the latest when they are used up.
    let mut taken = vec!["tok-a".to_owned()];
    let refused = (0..2000).find_map(|n| {
        disk.fill();
        let token = format!("tok-x{n}.");
        let res = send(&g, &token, &format!("{token} [[say:re:{token}]] {}", "long ".repeat(800)));
        if res["ok"] == true {
            taken.push(token);
            return None;
        }
        Some(res)
    });
    let refused = refused.expect("a full disk refuses something");
    assert_eq!(refused["code"].as_str().or(refused["error"]["code"].as_str()), Some("store_failing"), "{refused}");
    let body = json!({"message": "over http", "sessionKey": MAIN});
    assert_eq!(g.post("/api/chat", body.clone()).refusal(), (503, "store_failing".to_owned()));
    g.wait_until("a word in health", |g| g.get("/health").json()["status"] == "degraded");
    // The running turn ends meanwhile: its answer cannot be stored now.
    pi.open("mid");
    disk.fill();
    assert_eq!(g.post("/api/chat", body).refusal(), (503, "store_failing".to_owned()));
    disk.free();
    g.wait_until("recovery", |g| g.get("/health").json()["status"] == "ok");
    let n = taken.len();
    g.wait_until("what is owed", |g| messages(g).is_some_and(|l| l.len() == n && l.iter().all(|m| m.settled())));
    let fates = check_once(&g, &taken, "full disk");
    println!(
        "full disk of {size}: {n} messages were taken before it was full: {fates:?}; {} starts of pi",
        pi.starts().len()
    );
    assert!(pi.starts().len() < 20, "pi was started again and again while nothing could be stored");
    assert_eq!(g.chat(MAIN, "[[say:after]]"), "after");
    g.kill9();
    drop(disk);
}

#[test]
fn given_a_file_in_place_of_the_data_directory_then_73_and_the_path_is_named() {
    let mut g = Gateway::demo(json!({}));
    fs::write(g.data(), "a file").unwrap();
    let (code, said) = g.refused();
    assert_eq!(code, 73, "{said}");
    assert!(said.contains(&g.data().display().to_string()), "{said}");
}

#[test]
fn given_a_full_disk_at_start_then_73_says_so() {
    let mut g = Gateway::demo(json!({}));
    let disk = SmallDisk::mount(&g.data(), "1m");
    for dir in ["sessions", "credentials", "run"] {
        fs::create_dir_all(g.data().join(dir)).unwrap();
    }
    disk.fill();
    let (code, said) = g.refused();
    assert_eq!(code, 73, "{said}");
}

#[test]
fn given_a_damaged_store_then_it_is_put_aside_loudly_and_the_gateway_starts() {
    let mut g = Gateway::demo(json!({})).start();
    assert!(!g.chat(MAIN, "hello").is_empty());
    g.stop();
    let store = g.data().join("gateway.db");
    let mut bytes = fs::read(&store).unwrap();
    bytes[..64].fill(0x41);
    fs::write(&store, bytes).unwrap();
    g.restart();
    assert!(!g.chat(MAIN, "hello again").is_empty());
    let names: Vec<String> =
        fs::read_dir(g.data()).unwrap().flatten().map(|e| e.file_name().to_string_lossy().into_owned()).collect();
    let aside = names
        .iter()
        .find(|n| n.starts_with("gateway.db.corrupt-") && !n.ends_with("wal") && !n.ends_with("shm"))
        .unwrap_or_else(|| panic!("{names:?}"));
    assert!(g.log().contains(aside.as_str()) && g.log().contains("ERROR"), "{}", g.log());
}

#[test]
fn given_a_store_damaged_in_its_middle_then_it_is_put_aside_too() {
    let mut g = Gateway::demo(json!({})).start();
    assert!(!g.chat(MAIN, "hello").is_empty());
    g.stop();
    let store = g.data().join("gateway.db");
    let mut bytes = fs::read(&store).unwrap();
    assert!(bytes.len() > 8192);
    bytes[4096..].fill(0x5a); // the header is fine, the tables are not
    fs::write(&store, bytes).unwrap();
    g.restart();
    assert!(!g.chat(MAIN, "hello again").is_empty());
    assert!(g.log().contains("gateway.db.corrupt-"), "{}", g.log());
}

#[test]
fn given_damage_that_only_shows_in_mid_life_then_it_ends_with_70_and_the_next_start_puts_the_store_aside() {
    let mut g = Gateway::demo(json!({})).start();
    for n in 0..40 {
        g.chat(MAIN, &format!("message {n} {}", "long ".repeat(400)));
    }
    g.stop();
    // An index that only a new message asks is damaged; everything a start looks at is not.
    let store = g.data().join("gateway.db");
    let db = rusqlite::Connection::open(&store).unwrap();
    let page = |name: &str| -> usize {
        db.query_row("SELECT rootpage FROM sqlite_schema WHERE name = ?", [name], |r| r.get(0)).unwrap()
    };
    let size: usize = db.query_row("PRAGMA page_size", [], |r| r.get(0)).unwrap();
    let page = page("inbox_key");
    drop(db);
    let mut bytes = fs::read(&store).unwrap();
    bytes[(page - 1) * size..page * size].fill(0x5a);
    fs::write(&store, bytes).unwrap();
    g.launch();
    g.wait_port();
    let client = Patient { addr: g.addr, token: g.token.clone() };
    let body = json!({"message": "hello", "sessionKey": MAIN});
    assert!(client.try_post("/api/chat", "k", &body).is_none_or(|(status, _)| status >= 500));
    assert_eq!(g.wait_exit().code(), Some(70), "{}", g.log());
    g.restart();
    assert!(g.log().contains("gateway.db.corrupt-"), "{}", g.log());
    assert!(!g.chat(MAIN, "hello again").is_empty());
}

#[test]
fn given_a_store_of_a_newer_program_then_it_is_left_alone_and_the_error_says_so() {
    let mut g = Gateway::demo(json!({})).start();
    g.stop();
    let db = rusqlite::Connection::open(g.data().join("gateway.db")).unwrap();
    db.pragma_update(None, "user_version", 9999).unwrap();
    drop(db);
    let (code, said) = g.refused();
    assert_ne!(code, 0);
    assert!(said.contains("9999") && said.contains("newer"), "exit {code}: {said}");
    assert!(g.data().join("gateway.db").exists());
}

#[test]
fn given_another_program_that_looks_into_the_store_then_its_leaving_takes_nothing_along() {
    let mut g = Gateway::demo(json!({})).start(); // a new store: the first life has its own way of opening it
    for text in ["one", "two"] {
        assert!(!g.chat(MAIN, text).is_empty());
        let db = rusqlite::Connection::open(g.data().join("gateway.db")).unwrap();
        assert!(db.query_row("SELECT count(*) FROM inbox", [], |r| r.get::<_, i64>(0)).unwrap() > 0);
        db.close().unwrap(); // the last to leave removes the log
        assert!(g.data().join("gateway.db-wal").exists(), "the gateway's log is gone");
    }
    assert!(!g.chat(MAIN, "three").is_empty());
    g.kill9();
    g.restart();
    let texts: Vec<String> = messages(&g).unwrap().into_iter().map(|m| m.text).collect();
    assert!(["one", "two", "three"].iter().all(|t| texts.contains(&t.to_string())), "{texts:?}");
}
