//! The loop around the mind with real threads and a real disk: batches, syncs, floods.
#![allow(clippy::unwrap_used)]

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crossbeam_channel::{bounded, Receiver};
use pi_gateway::ask::{Answers, Mind};
use pi_gateway::core::run::{Carry, Core};
use pi_gateway::message::*;
use pi_gateway::rules::Rules;
use pi_gateway::store::sync::Covered;
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
