//! The loop around the mind with real threads and a real disk: batches, syncs, floods.
#![allow(clippy::unwrap_used)]

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crossbeam_channel::{bounded, Receiver};
use pi_gateway::ask::{Answers, Mind};
use pi_gateway::core::run::{Carry, Core};
use pi_gateway::message::*;
use pi_gateway::rules::Rules;
use pi_gateway::store::sync::{self, Covered, SyncStats};
use pi_gateway::store::Store;

const DEADLINE: Duration = Duration::from_secs(30);

struct Running {
    mind: Mind,
    /// What has left, in order.
    left: Arc<Mutex<Vec<Effect>>>,
    /// Effects that wait for a sync; the test is the sync thread.
    covered: Receiver<Covered<Effect>>,
    carry: Carry,
    thread: Option<std::thread::JoinHandle<()>>,
    _dir: tempfile::TempDir,
}

impl Running {
    fn new(rules: Rules, inbox: usize) -> Running {
        let dir = tempfile::tempdir().unwrap();
        let path: PathBuf = dir.path().join("gateway.db");
        let store = Store::open(&path).unwrap();
        let (tx, rx) = bounded(inbox);
        let answers = Arc::new(Answers::default());
        let mind = Mind::new(tx, answers.clone());
        let left: Arc<Mutex<Vec<Effect>>> = Arc::default();
        let carry: Carry = {
            let left = left.clone();
            Arc::new(move |effect| {
                if let Effect::Answer { id, answer, .. } = &effect {
                    answers.give(*id, (*answer.0).clone());
                }
                left.lock().unwrap().push(effect);
            })
        };
        let (sync, covered) = bounded(100_000);
        let core = Core { path, rules: Arc::new(rules), inbox: rx, sync, carry: carry.clone(), stats: Arc::default() };
        let thread = Some(std::thread::spawn(move || core.run(store)));
        Running { mind, left, covered, carry, thread, _dir: dir }
    }
    /// One sync: everything that waits leaves.
    fn sync(&self) {
        for c in self.covered.try_iter() {
            c.effects.into_iter().for_each(|e| (self.carry)(e));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.mind.tell(Event::End);
        let _ = self.thread.take().unwrap().join();
    }
}

fn chat(n: usize) -> Request {
    let session = format!("agent:main:webchat:t{}", n % 50);
    let source = Source { channel: "webchat".into(), chat: session.clone(), sender: "web".into(), ..Source::default() };
    Request::Chat(Box::new(ChatRequest { session, source, text: format!("m{n}"), ..ChatRequest::default() }))
}

#[test]
fn c9_given_a_slow_disk_then_the_turn_begins_at_once_and_the_acknowledgement_waits() {
    let r = Running::new(Rules { debounce: 0, transcripts: false, ..Rules::default() }, 64);
    let pending = r.mind.submit(chat(1)).unwrap();
    let covered = r.covered.recv_timeout(DEADLINE).unwrap();
    // The disk is still busy; the session's hands have their first job already.
    assert!(r.left.lock().unwrap().iter().any(|e| matches!(e, Effect::Job { .. })));
    assert!(matches!(r.mind.ask(Request::Ping, DEADLINE), Answer::Ok), "others are served meanwhile");
    assert!(pending.wait(Duration::ZERO).is_none(), "acknowledged before the sync");
    covered.effects.into_iter().for_each(|e| (r.carry)(e));
    assert!(matches!(pending.wait(DEADLINE), Some(Answer::Accepted { .. })));
}

#[test]
fn c3_given_a_flood_from_every_side_then_everybody_gets_a_word_and_the_mind_stays_awake() {
    let rules = Rules { max_waiting: 500, max_per_session: 100, transcripts: false, ..Rules::default() };
    let r = Running::new(rules, 16);
    let (words, busy) = (Mutex::new(0usize), Mutex::new(0usize));
    std::thread::scope(|scope| {
        for side in 0..6 {
            let (mind, words, busy) = (r.mind.clone(), &words, &busy);
            scope.spawn(move || {
                for n in 0..300 {
                    match mind.submit(chat(side * 1000 + n)) {
                        Err(Answer::Error { code: Code::Busy, .. }) => *busy.lock().unwrap() += 1,
                        Err(other) => panic!("{other:?}"),
                        Ok(pending) => {
                            let end = Instant::now() + DEADLINE;
                            while pending.wait(Duration::from_millis(1)).is_none() {
                                assert!(Instant::now() < end, "no word");
                            }
                            *words.lock().unwrap() += 1;
                        }
                    }
                }
            });
        }
        // Readers block on the full inbox; core waits for nobody.
        for reader in 0..2 {
            let mind = r.mind.clone();
            scope.spawn(move || {
                for n in 0..500 {
                    assert!(
                        mind.tell(Event::Pi { proc: ProcId(900 + reader), event: Box::new(PiEvent::Alive) }),
                        "{n}"
                    );
                }
            });
        }
        let (words, busy) = (&words, &busy);
        let r = &r;
        scope.spawn(move || {
            let end = Instant::now() + DEADLINE;
            while *words.lock().unwrap() + *busy.lock().unwrap() < 6 * 300 {
                assert!(Instant::now() < end, "the flood does not end");
                if let Ok(c) = r.covered.recv_timeout(Duration::from_millis(1)) {
                    c.effects.into_iter().for_each(|e| (r.carry)(e));
                }
                r.sync();
            }
        });
    });
    assert!(matches!(r.mind.ask(Request::Ping, Duration::from_secs(1)), Answer::Ok));
    println!("{} answered, {} told busy", words.into_inner().unwrap(), busy.into_inner().unwrap());
}

/// Core and the real sync thread; `largest` is the greatest length of the log seen after a sync.
struct Written {
    mind: Mind,
    stats: Arc<SyncStats>,
    largest: Arc<AtomicU64>,
    threads: Vec<std::thread::JoinHandle<()>>,
    path: PathBuf,
    _dir: tempfile::TempDir,
}

impl Written {
    fn new() -> Written {
        let dir = tempfile::tempdir().unwrap();
        let path: PathBuf = dir.path().join("gateway.db");
        let store = Store::open(&path).unwrap();
        let (tx, inbox) = bounded(256);
        let answers = Arc::new(Answers::default());
        let mind = Mind::new(tx, answers.clone());
        let carry: Carry = Arc::new(move |effect| {
            if let Effect::Answer { id, answer, .. } = effect {
                answers.give(id, *answer.0);
            }
        });
        let (stats, largest) = (Arc::<SyncStats>::default(), Arc::<AtomicU64>::default());
        let (sync, covered) = bounded(1024);
        let syncing = {
            let (path, stats, largest, carry) = (path.clone(), stats.clone(), largest.clone(), carry.clone());
            move || {
                let release = |effects: Vec<Effect>| {
                    largest.fetch_max(sync::wal_path(&path).metadata().map_or(0, |m| m.len()), SeqCst);
                    effects.into_iter().for_each(|e| carry(e));
                };
                sync::run(&path, &covered, &stats, release, |_| (), || ());
            }
        };
        let rules = Rules { max_waiting: 1 << 20, max_per_session: 1 << 20, transcripts: false, ..Rules::default() };
        let rules = Arc::new(rules);
        let core = Core { path: path.clone(), rules, inbox, sync, carry, stats: Arc::default() };
        let threads = vec![std::thread::spawn(move || core.run(store)), std::thread::spawn(syncing)];
        Written { mind, stats, largest, threads, path, _dir: dir }
    }

    /// So many messages of 32 KB from four sides, each acknowledged before its sender's next one.
    fn flood(&self, messages: usize) {
        let text = "long ".repeat(6 << 10);
        std::thread::scope(|scope| {
            for side in 0..4 {
                let text = &text;
                scope.spawn(move || {
                    for n in 0..messages / 4 {
                        let mut request = chat(side * 1000 + n);
                        if let Request::Chat(c) = &mut request {
                            c.text += text;
                        }
                        let answer = self.mind.ask(request, DEADLINE);
                        assert!(matches!(answer, Answer::Accepted { .. }), "{answer:?}");
                    }
                });
            }
        });
    }
    fn counts(&self) -> (u64, u64) {
        (self.stats.passive.load(SeqCst), self.stats.restarts.load(SeqCst))
    }
}

impl Drop for Written {
    fn drop(&mut self) {
        self.mind.tell(Event::End);
        for thread in self.threads.drain(..) {
            let _ = thread.join(); // a test that failed already says why
        }
    }
}

const MB: u64 = 1 << 20;

#[test]
fn c10_given_writes_without_a_pause_then_the_log_stays_small_and_nobody_waits_for_it_below_16_mb() {
    let w = Written::new();
    w.flood(2000);
    let (largest, (passive, restarts)) = (w.largest.load(SeqCst), w.counts());
    println!("64 MB: log up to {} MB, {passive} passive checkpoints, {restarts} restarts", largest >> 20);
    assert!(passive > 0, "the log is copied while writes go on");
    assert!(largest <= 32 * MB, "{largest}");
    assert!(restarts == 0 || largest > 16 * MB, "a commit had to wait at {largest}");
    assert!(w.path.metadata().unwrap().len() > 32 * MB, "what was in the log is in the store");
}

#[test]
fn c10_given_a_reader_that_stays_in_an_old_snapshot_then_writes_go_on_and_after_it_the_log_is_cut() {
    let w = Written::new();
    w.flood(40);
    let reader = rusqlite::Connection::open(&w.path).unwrap();
    reader.execute_batch("BEGIN").unwrap();
    let old: i64 = reader.query_row("SELECT count(*) FROM inbox", [], |r| r.get(0)).unwrap();
    w.flood(600);
    let (largest, (_, restarts)) = (w.largest.load(SeqCst), w.counts());
    assert!(largest > 16 * MB && restarts > 0, "{largest}, {restarts} restarts");
    assert!(restarts <= 2 + largest / MB, "{restarts} attempts for {} MB", largest / MB);
    assert_eq!(reader.query_row("SELECT count(*) FROM inbox", [], |r| r.get::<_, i64>(0)).unwrap(), old);
    reader.execute_batch("COMMIT").unwrap();
    w.flood(200);
    let now = sync::wal_path(&w.path).metadata().unwrap().len();
    assert!(now <= 16 * MB, "the log is still {} MB", now / MB);
    assert!(w.largest.load(SeqCst) <= 40 * MB);
}
