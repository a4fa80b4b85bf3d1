//! Commands on a data directory that is not as it should be, and in poor surroundings.

use std::fs;
use std::process::Stdio;
use std::time::Instant;

use pi_gateway::store::Store;

use crate::support::port::free_port;
use crate::support::DEADLINE;
use crate::{Home, Running};

/// A store that a later version wrote.
fn newer(home: &Home) {
    fs::create_dir_all(home.data()).unwrap();
    let path = home.data().join("gateway.db");
    Store::open(&path).unwrap().close().unwrap();
    let mut bytes = fs::read(&path).unwrap();
    bytes[60..64].copy_from_slice(&9999u32.to_be_bytes()); // user_version, in SQLite's file header
    fs::write(&path, bytes).unwrap();
}

fn damaged(home: &Home) {
    fs::create_dir_all(home.data()).unwrap();
    fs::write(home.data().join("gateway.db"), [b'x'; 50_000]).unwrap();
}

#[test]
fn what_does_without_the_store_works_beside_one_that_is_damaged_or_newer() {
    for (spoil, word) in [(newer as fn(&Home), "use the newer pi-gw"), (damaged, "pi-gw doctor says what to do")] {
        let home = Home::ready();
        home.configure("{\"logging\": {\"file\": true}}");
        spoil(&home);
        fs::create_dir_all(home.data().join("logs")).unwrap();
        fs::write(home.data().join("logs/gateway-2026-01-01.log"), "2026-01-01T00:00:00Z [ERROR] the last words\n")
            .unwrap();
        let ran = home.run("logs");
        assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{}", ran.out);
        assert!(ran.out.contains("the last words"), "{}", ran.out);
        assert_eq!(home.run("media stats").code, 0);
        let ran = home.run("status");
        assert_eq!(ran.code, 69, "{}", ran.err);
        assert!(ran.out.contains("what is owed cannot be read") && ran.out.contains(word), "{}", ran.out);
        assert!(home.run("status --json").json()["owed"]["error"].is_string());
        for line in ["pairing list", "session list", "outbox list", "cron list", "pairing allow telegram 7"] {
            let ran = home.run(line);
            assert_eq!((ran.code, ran.out.as_str()), (1, ""), "{line}");
            assert!(ran.err.contains(word) && ran.err.lines().count() == 1, "{line}: {}", ran.err);
        }
        let ran = home.run("doctor --json");
        assert_eq!(ran.code, 1, "{}", ran.out);
        ran.check("store error");
    }
}

#[test]
fn in_the_surroundings_of_cron_everything_is_found_and_nothing_is_asked() {
    let home = Home::ready();
    for (line, code) in [
        ("version", 0),
        ("config check", 0),
        ("status", 69),
        ("pairing list", 0),
        ("cron list", 0),
        ("session list", 0),
        ("outbox list", 0),
        ("media stats", 0),
        ("logs", 1),
        ("send --to webchat:default --message x", 69),
        ("onboard", 64),
    ] {
        let mut command = home.command(line);
        // No PATH, no locale, and none of the three standard streams leads anywhere.
        command.env_clear().env("HOME", home.path()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        assert_eq!(command.status().unwrap().code(), Some(code), "{line}");
    }
}

#[test]
fn a_full_disk_behind_standard_output_is_73() {
    let home = Home::ready();
    for line in
        ["help", "config show", "man", "completions bash", "pairing list", "doctor", "media stats", "outbox list"]
    {
        let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let output = home.command(line).stdout(full).output().unwrap();
        assert_eq!(output.status.code(), Some(73), "{line}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains("cannot write: ") && said.matches("cannot write").count() == 1, "{line}: {said}");
    }
}

#[test]
fn a_file_that_is_saved_while_the_gateway_starts_counts() {
    let home = Home::new();
    let fifo = home.path().join("token");
    rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, 0o600.into()).unwrap();
    let port = free_port();
    home.configure(&format!("{{\"gateway\": {{\"port\": {port}, \"auth\": {{\"tokenFile\": \"token\"}}}}}}"));
    let child = home.command("gateway --demo").stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let _running = Running(child);
    // It has read the configuration by the time it reads the token.
    let mut token = fs::OpenOptions::new().write(true).open(&fifo).unwrap();
    let more = "\"limits\": {\"maxConnections\": 99}, \"auth\": {\"token\": \"a-long-secret-token\"}";
    home.configure(&format!("{{\"gateway\": {{\"port\": {port}, {more}}}}}"));
    std::io::Write::write_all(&mut token, b"a-long-secret-token").unwrap();
    drop(token);
    let begun = Instant::now();
    while !home.run("status").out.contains("\nrestart   takes effect only after one: gateway.limits.maxConnections\n") {
        assert!(begun.elapsed() < DEADLINE, "{}", home.run("status").out);
    }
}
