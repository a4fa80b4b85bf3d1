//! A pi that is missing, dies, says nonsense, or leaves something behind.

use std::path::Path;

use serde_json::json;

use super::support::fake_pi::{FakePi, Flavour};
use super::support::gateway::{read, Gateway};
use super::support::patient::Patient;
use super::support::process::ProcessWatch;
use super::support::store_view::{check_once, messages, session_files};
use super::{with_pi, MAIN};

#[test]
fn given_no_pi_then_the_chat_says_so_and_the_gateway_runs() {
    let g = Gateway::new(json!({"agent": {"piCliPath": "/nowhere/pi"}})).start();
    for _ in 0..2 {
        let reply = g.chat(MAIN, "hello");
        assert!(reply.contains("/nowhere/pi") && reply.contains("could not be started"), "{reply}");
    }
    assert_eq!(g.get("/health").status, 200);
}

#[test]
fn given_a_pi_that_exits_at_start_then_its_last_words_are_in_the_reply() {
    let pi = FakePi::with(Flavour::New, &[("FAKE_PI_EXIT_AT_START", "Error: no API key for provider acme")]);
    let g = with_pi(&pi, json!({})).start();
    let reply = g.chat(MAIN, "hello");
    assert!(reply.contains("no API key for provider acme"), "{reply}");
    assert!(pi.starts().is_empty());
    assert_eq!(g.get("/health").status, 200);
}

#[test]
fn given_garbage_and_half_a_line_from_pi_then_the_turn_is_still_answered() {
    for flavour in [Flavour::Old, Flavour::New] {
        let pi = FakePi::new(flavour);
        let g = with_pi(&pi, json!({})).start();
        assert_eq!(g.chat(MAIN, "[[garbage]] [[say:fine]]"), "fine");
        // Refused: that process is not trusted any more, another one goes on with the turn.
        assert!(!g.chat(MAIN, "[[deep:100000]] [[say:never]]").is_empty());
        assert!(g.log().contains("nested deeper"), "{}", g.log());
        // Half a line, then it is gone: the turn goes on in another process.
        let reply = g.chat(MAIN, "[[say:half]] [[crash:3]]");
        assert!(!reply.is_empty());
        assert_eq!(g.chat(MAIN, "[[say:afterwards]]"), "afterwards");
        assert_eq!(g.get("/health").json()["status"], "ok");
    }
}

#[test]
fn c30_given_a_line_of_100_mb_then_that_pi_is_ended_and_the_memory_stays() {
    let pi = FakePi::new(Flavour::New);
    let g = with_pi(&pi, json!({})).start();
    assert_eq!(g.chat(MAIN, "[[say:warm]]"), "warm");
    let before = g.status_kb("VmHWM:");
    let reply = g.chat(MAIN, "[[hugeline:100000000]] [[say:never]]");
    let after = g.status_kb("VmHWM:");
    println!("100 MB line: peak {before} -> {after} kB; reply: {reply:.60}");
    assert!(after - before < 10 << 10, "the peak rose from {before} to {after} kB");
    assert_eq!(g.chat(MAIN, "[[say:fine]]"), "fine");
}

#[test]
fn c30_given_an_agent_end_of_60_mb_then_the_memory_hardly_grows() {
    let pi = FakePi::new(Flavour::New);
    let g = with_pi(&pi, json!({})).start();
    assert_eq!(g.chat(MAIN, "[[say:warm]]"), "warm");
    let before = g.status_kb("VmHWM:");
    assert_eq!(g.chat(MAIN, "[[fatend:60000000]] [[say:fine]]"), "fine");
    let after = g.status_kb("VmHWM:");
    println!("60 MB agent_end: peak {before} -> {after} kB");
    assert!(after - before < 1 << 10, "the peak rose from {before} to {after} kB");
    assert_eq!(pi.starts().len(), 1);
}

/// States of all children of a process.
fn children(pid: u32) -> Vec<char> {
    let mut states = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let Some((_, rest)) = stat.rsplit_once(") ") else { continue };
        let mut fields = rest.split(' ');
        let state = fields.next().and_then(|s| s.chars().next());
        if fields.next().and_then(|p| p.parse().ok()) == Some(pid) {
            states.extend(state);
        }
    }
    states
}

#[test]
fn c25_given_fifty_spawns_of_pi_then_there_are_no_zombies() {
    let pi = FakePi::new(Flavour::New);
    let g = with_pi(&pi, json!({"agent": {"pool": {"min": 0, "max": 2}}})).start();
    std::thread::scope(|scope| {
        for half in 0..2 {
            let g = &g;
            scope.spawn(move || {
                for n in 0..25 {
                    let session = format!("agent:main:webchat:s{half}-{n}");
                    assert_eq!(g.chat(&session, "[[say:fine]]"), "fine");
                }
            });
        }
    });
    assert_eq!(pi.starts().len(), 50);
    g.wait_until("the end of all zombies", |g| !children(g.pid()).contains(&'Z'));
    let left = children(g.pid());
    assert!(left.len() <= 2, "{left:?}");
}

#[test]
fn c24_given_a_daemon_of_a_crashed_turn_then_it_is_dead_before_the_session_goes_on() {
    let pi = FakePi::new(Flavour::New);
    let g = with_pi(&pi, json!({})).start();
    let note = |name: &str| g.home.path().join(name);
    let daemon = |name: &str| {
        let note = note(name);
        let script = format!(
            "setsid sh -c 'sleep 1000 & echo $! > {0}.part; mv {0}.part {0}' </dev/null >/dev/null 2>&1 &",
            note.display()
        );
        json!({"command": format!("({script}) ; while [ ! -e {} ]; do sleep 0.01; done", note.display())})
    };
    let pid = |name: &str| -> i32 { read(&note(name)).trim().parse().unwrap() };
    // A server that an earlier turn left on purpose lives on.
    g.chat(MAIN, &format!("[[tool:bash {}]] [[say:started]]", daemon("server")));
    let server = ProcessWatch::new(pid("server"));
    // /proc tells start times by the hundredth of a second: what starts in one tick cannot be told apart.
    let tick = pi_gateway::clock::mono() + 20;
    g.wait_until("a later tick", |_| pi_gateway::clock::mono() > tick);
    let client = Patient { addr: g.addr, token: g.token.clone() };
    client.send(MAIN, "k", &format!("tok-a [[tool:bash {}]] [[gate:mid]] [[crash:1]]", daemon("daemon")));
    pi.wait_gate("mid");
    let watch = ProcessWatch::new(pid("daemon"));
    assert!(!watch.is_gone());
    pi.open("mid");
    g.wait_until("the answer", |g| messages(g).is_some_and(|l| l.iter().all(|m| m.settled())));
    assert!(watch.is_gone(), "the daemon outlives its turn:\n{}", g.log());
    assert!(!server.is_gone(), "the earlier turn's server was killed");
    let kill = |pid| {
        rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), rustix::process::Signal::KILL)
    };
    kill(pid("server")).unwrap();
}

#[test]
fn given_a_killed_gateway_whose_pi_does_not_end_then_the_next_start_kills_it_before_the_session_goes_on() {
    let pi = FakePi::new(Flavour::New);
    let mut g = with_pi(&pi, json!({})).start();
    let client = Patient { addr: g.addr, token: g.token.clone() };
    // A stopped process does not even heed SIGTERM.
    client.send(MAIN, "k", "tok-a [[gate:mid]] [[say:never]]");
    let pid = pi.wait_gate("mid") as i32;
    let watch = ProcessWatch::new(pid);
    let stopped = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(stopped, rustix::process::Signal::STOP).unwrap();
    pi.open("mid");
    g.kill9();
    assert!(!watch.is_gone(), "the test needs a pi that stays");
    g.restart();
    g.wait_until("the answer", |g| messages(g).is_some_and(|l| l[0].settled()));
    assert!(watch.is_gone(), "two pi on one session:\n{}", g.log());
    check_once(&g, &["tok-a".into()], "frozen pi");
}

#[test]
fn given_a_damaged_session_file_then_it_is_put_aside_and_the_user_is_told() {
    let pi = FakePi::new(Flavour::New);
    let mut g = with_pi(&pi, json!({})).start();
    assert_eq!(g.chat(MAIN, "[[say:one]]"), "one");
    assert_eq!(g.stop().code(), Some(0));
    let files = session_files(&g);
    assert_eq!(files.len(), 1, "{files:?}");
    std::fs::write(&files[0], "\u{0}\u{0}\u{0} this is no session\n{}\n").unwrap();
    g.restart();
    let mut ws = g.page(MAIN);
    ws.call("chat.send", json!({"sessionKey": MAIN, "text": "[[say:two]]", "idempotencyKey": "k2"}));
    let notice = ws.event("ui.notice");
    assert!(notice.to_string().contains("damaged"), "{notice}");
    assert_eq!(ws.event("chat.reply")["payload"]["text"], "two");
    let name = files[0].file_name().unwrap().to_string_lossy().into_owned();
    let aside = std::fs::read_dir(files[0].parent().unwrap()).unwrap().flatten();
    let aside: Vec<String> = aside.map(|e| e.file_name().to_string_lossy().into_owned()).collect();
    assert!(aside.iter().any(|f| f.starts_with(&format!("{name}.bad-"))), "{aside:?}");
}

#[test]
fn given_the_working_directory_is_gone_then_it_is_made_again_or_the_chat_says_why_not() {
    let pi = FakePi::new(Flavour::New);
    let mut g = with_pi(&pi, json!({})).start();
    assert_eq!(g.chat(MAIN, "[[say:one]]"), "one");
    let work = g.home.path().join("work");
    g.stop();
    std::fs::remove_dir_all(&work).unwrap();
    g.restart();
    assert_eq!(g.chat(MAIN, "[[say:two]]"), "two");
    g.stop();
    std::fs::remove_dir_all(&work).unwrap();
    std::fs::write(&work, "a file").unwrap();
    g.restart();
    let reply = g.chat(MAIN, "[[say:three]]");
    assert!(reply.contains(&work.display().to_string()) && reply.contains("could not be started"), "{reply}");
    assert!(Path::new(&work).is_file());
    std::fs::remove_file(&work).unwrap();
    assert_eq!(g.chat(MAIN, "[[say:four]]"), "four");
}
