//! Heartbeats and system events: rows of core.md 14, B14. The clock is a number here: nothing sleeps.

use super::cron::{cron_rules, minded};
use super::*;
use pi_gateway::rules::{HeartbeatRules, Hours};

pub(super) const MIN: u64 = 60_000;
pub(super) const EVERY: u64 = 30 * MIN;

pub(super) fn heart_rules(h: HeartbeatRules) -> Rules {
    let mut rules = cron_rules();
    rules.heartbeats.insert("main".into(), h);
    rules
}

pub(super) fn beating() -> Mind {
    minded(heart_rules(HeartbeatRules::default()))
}

/// What a heartbeat asks of the hands: copies that are made, files that are removed.
pub(super) fn copies(effects: &[Effect]) -> Vec<(PathBuf, PathBuf)> {
    let of = |e: &Effect| match e {
        Effect::Job { job, .. } => match &**job {
            Job::BranchFile { from, to, .. } => Some((from.clone(), to.clone())),
            _ => None,
        },
        _ => None,
    };
    effects.iter().filter_map(of).collect()
}

pub(super) fn removed(effects: &[Effect]) -> Vec<PathBuf> {
    let of = |e: &Effect| match e {
        Effect::Job { job, durable, .. } => match &**job {
            Job::RemoveFile { path } => {
                assert!(durable, "what took its place has to last first");
                Some(path.clone())
            }
            _ => None,
        },
        _ => None,
    };
    effects.iter().filter_map(of).collect()
}

impl Mind {
    pub(super) fn talk(&mut self) {
        let (proc, cmd) = self.asked("hi");
        self.finish(proc, cmd, "hello");
    }
    /// The hands say what stands in `core/heartbeat.md`.
    pub(super) fn reads(&mut self, effects: &[Effect], asks: bool) -> Vec<Effect> {
        let id = effects.iter().find_map(|e| match e {
            Effect::Job { id, job, .. } if matches!(**job, Job::ReadHeartbeat { .. }) => Some(*id),
            _ => None,
        });
        self.feed(Event::Job { id: id.expect("the file is looked at"), done: Box::new(JobDone::Asks(asks)) })
    }
    /// A whole heartbeat; gives its prompt and what came after its end.
    pub(super) fn beat(&mut self, effects: Vec<Effect>, text: &str) -> (String, Vec<Effect>) {
        let (proc, cmd, prompt) = self.prompted(effects);
        let effects = self.finish(proc, cmd, text);
        (prompt, self.lets_go(proc, effects))
    }
    /// pi turns away from the copy.
    pub(super) fn lets_go(&mut self, proc: ProcId, mut effects: Vec<Effect>) -> Vec<Effect> {
        if let Some(id) = written(&effects, |c| matches!(c, PiCmd::SwitchSession { .. })) {
            effects.extend(self.answer(proc, id, PiData::Cancelled(false)));
        }
        let jobs = effects.iter().filter_map(|e| match e {
            Effect::Job { id, job, .. } if matches!(**job, Job::RemoveFile { .. }) => Some(*id),
            _ => None,
        });
        for id in jobs.collect::<Vec<_>>() {
            self.feed(Event::Job { id, done: Box::new(JobDone::Done) });
        }
        effects
    }
    pub(super) fn ticks(&mut self) -> Vec<Effect> {
        let effects = self.wait(EVERY);
        self.reads(&effects, true)
    }
    pub(super) fn wake_up(&mut self, text: &str, now: bool) -> Vec<Effect> {
        self.ask(Request::Wake { by: None, text: text.into(), now })
    }
    pub(super) fn file(&self, key: &str) -> PathBuf {
        self.state.as_ref().unwrap().store().session(key).unwrap().unwrap().file
    }
    pub(super) fn events(&self, key: &str) -> Vec<String> {
        let all = self.state.as_ref().unwrap().store().events(key).unwrap();
        all.into_iter().map(|e| e.text).collect()
    }
    pub(super) fn pool(&mut self) -> usize {
        let answer = self.ask(Request::Snapshot).into_iter().find_map(|e| match e {
            Effect::Answer { answer, .. } => Some(*answer.0),
            _ => None,
        });
        match answer {
            Some(Answer::Snapshot(s)) => s.procs.len(),
            other => panic!("{other:?}"),
        }
    }
}

pub(super) fn looked(effects: &[Effect]) -> bool {
    effects.iter().any(|e| matches!(e, Effect::Job { job, .. } if matches!(**job, Job::ReadHeartbeat { .. })))
}

#[test]
fn b14_after_100_heartbeats_the_pool_is_as_large_as_before_and_events_are_seen_in_the_chat_s_session() {
    let mut m = beating();
    m.talk();
    let (procs, file) = (m.pool(), m.file(MAIN));
    for n in 0..100 {
        let effects = m.ticks();
        let made = copies(&effects);
        assert_eq!(made.len(), 1);
        assert_eq!(made[0].0, file);
        let (prompt, after) = m.beat(effects, "HEARTBEAT_OK");
        assert!(prompt.contains("read core/heartbeat.md"), "{prompt}");
        assert_eq!(removed(&after), [made[0].1.clone()], "heartbeat {n}");
        assert_eq!(m.pool(), procs);
    }
    assert_eq!((m.file(MAIN), m.posted()), (file, vec![]));
    let shown =
        |f: &&Frame| matches!(f, Frame::Typing { session, .. } | Frame::Reply { session, .. } if session == MAIN);
    assert_eq!(m.frames.iter().filter(shown).count(), 3, "only of the message");
    let effects = m.wake_up("the door bell rang", true);
    let (prompt, after) = m.beat(effects, "Somebody is at the door.");
    assert!(prompt.contains("[WAKE] the door bell rang") && prompt.contains("Tasks have fired"), "{prompt}");
    assert_eq!(m.posted(), [(MAIN.to_owned(), "Somebody is at the door.".to_owned())]);
    assert_eq!(m.pool(), procs);
    // What was told is part of the conversation from now on; the file before it goes.
    assert_eq!(removed(&after).len(), 1);
    let effects = m.say("who?");
    assert!(!m.prompted(effects).2.contains("WAKE"), "an event is told once");
}

#[test]
fn a_heartbeat_that_told_something_leaves_its_file_to_the_conversation() {
    let mut m = beating();
    m.talk();
    let before = m.file(MAIN);
    let effects = m.ticks();
    let made = copies(&effects);
    let (_, after) = m.beat(effects, "The disk is full.");
    assert_eq!(m.file(MAIN), made[0].1);
    assert_eq!(removed(&after), [before]);
    let effects = m.say("and now?");
    assert!(copies(&effects).is_empty());
    m.prompted(effects);
}

#[test]
fn the_first_heartbeat_comes_after_one_interval_and_a_restart_is_no_reason_for_one() {
    let mut m = beating();
    assert!(!looked(&m.wait(EVERY - 1)));
    let effects = m.wait(1);
    let effects = m.reads(&effects, true);
    m.beat(effects, "HEARTBEAT_OK");
    // 10 minutes later the gateway is restarted: the next one is due when it was.
    m.wait(10 * MIN);
    assert!(!looked(&m.down(1_000)));
    assert!(!looked(&m.wait(20 * MIN - 2_000)));
    let effects = m.wait(1_000);
    let effects = m.reads(&effects, true);
    m.beat(effects, "HEARTBEAT_OK");
    // It was down when the next one was due: not at once, but soon.
    let effects = m.down(3 * EVERY as i64);
    assert!(!looked(&effects) && !looked(&m.wait(MIN - 1)));
    assert!(looked(&m.wait(1)));
    assert!(!looked(&m.wait(EVERY - 1)), "those that were missed are not made up for");
}

#[test]
fn without_a_heartbeat_that_is_on_nothing_happens_and_another_one_begins_anew() {
    let mut m = beating();
    m.talk();
    m.wait(EVERY - MIN);
    m.ask(Request::Reload(Arc::new(cron_rules())));
    assert!(!looked(&m.wait(10 * EVERY)));
    m.ask(Request::Reload(Arc::new(heart_rules(HeartbeatRules::default()))));
    assert!(!looked(&m.wait(EVERY - 1)) && looked(&m.wait(1)));
}

#[test]
fn nothing_is_begun_outside_its_hours_while_somebody_talks_or_when_the_file_asks_for_nothing() {
    // 2027-01-15T08:00Z
    let night = Hours { start: 23 * 60, end: 8 * 60 + 20, zone: None };
    let mut m = minded(heart_rules(HeartbeatRules { hours: Some(night), ..HeartbeatRules::default() }));
    m.talk();
    assert!(!looked(&m.wait(EVERY)), "08:30");
    m.wake_up("x", true);
    assert!(m.events(MAIN).len() == 1, "it waits");
    let mut m = beating();
    m.talk();
    let effects = m.say("a long story");
    m.prompted(effects);
    assert!(!looked(&m.wait(EVERY)), "busy");
    let mut m = beating();
    m.talk();
    let effects = m.wait(EVERY);
    assert!(copies(&m.reads(&effects, false)).is_empty(), "nothing to do");
    // With something to learn of it does begin.
    m.wake_up("x", false);
    let effects = m.wait(EVERY);
    assert!(!looked(&effects));
    let (prompt, _) = m.beat(effects, "HEARTBEAT_OK");
    assert!(prompt.contains("[WAKE] x"));
    assert!(m.events(MAIN).is_empty());
}

#[test]
fn a_message_that_comes_while_the_file_is_looked_at_goes_first() {
    let mut m = beating();
    m.talk();
    let looks = m.wait(EVERY);
    let effects = m.say("quick");
    assert!(copies(&m.reads(&looks, true)).is_empty());
    m.prompted(effects);
}

#[test]
fn a_message_that_comes_before_the_heartbeat_was_asked_goes_first_and_one_that_comes_later_waits() {
    let mut m = beating();
    m.talk();
    let branch = m.ticks();
    m.say("quick");
    let (proc, cmd, prompt) = m.prompted(branch);
    assert!(prompt.contains("quick"), "{prompt}");
    let effects = m.finish(proc, cmd, "yes?");
    let (proc, cmd, prompt) = m.prompted(effects);
    assert!(prompt.contains("heartbeat.md"), "{prompt}");
    assert!(prompts(&m.say("slow")).is_empty(), "it waits for the heartbeat's end");
    m.begins(proc, cmd);
    assert!(prompts(&m.say("slower")).is_empty(), "nothing is handed into it");
    m.pi(proc, PiEvent::Assistant(said("HEARTBEAT_OK", "stop")));
    let effects = m.settles(proc);
    let effects = m.lets_go(proc, effects);
    let (_, _, prompt) = m.prompted(effects);
    assert!(prompt.contains("slow") && prompt.contains("slower"), "{prompt}");
    assert_eq!(m.replies(), ["hello", "yes?"]);
}

#[test]
fn what_is_told_depends_on_the_token_and_its_company() {
    for (event, text, told) in [
        (false, "HEARTBEAT_OK all is well", None),
        (false, "**HEARTBEAT_OK**", None),
        (false, "The disk is full.", Some("The disk is full.")),
        (true, "HEARTBEAT_OK noted", Some("noted")),
        (true, "HEARTBEAT_OK", None),
    ] {
        let mut m = beating();
        m.talk();
        let effects = if event { m.wake_up("x", true) } else { m.ticks() };
        m.beat(effects, text);
        let want: Vec<_> = told.map(|t| (MAIN.to_owned(), t.to_owned())).into_iter().collect();
        assert_eq!(m.posted(), want, "{text}");
    }
    let mut m = minded(heart_rules(HeartbeatRules { ack_max: 3, ..HeartbeatRules::default() }));
    m.talk();
    let effects = m.ticks();
    m.beat(effects, "HEARTBEAT_OK, but the disk is full");
    assert_eq!(m.posted()[0].1, "but the disk is full");
}

#[test]
fn b19_an_alert_goes_to_the_account_chat_and_thread_of_the_agent_s_last_conversation() {
    let mut m = beating();
    let source = Source {
        channel: "pa".into(),
        account: Some("work".into()),
        chat: "5".into(),
        thread: Some("7".into()),
        sender: "ann".into(),
        ..Source::default()
    };
    let chat =
        ChatRequest { session: "agent:main:pa:dm:5".into(), source, text: "hi".into(), ..ChatRequest::default() };
    let effects = m.ask(Request::Chat(Box::new(chat)));
    let (proc, cmd, _) = m.prompted(effects);
    m.finish(proc, cmd, "hello");
    let effects = m.ticks();
    let (proc, cmd, _) = m.prompted(effects);
    m.finish(proc, cmd, "The disk is full.");
    let db = rusqlite::Connection::open(&m.path).unwrap();
    let sql = "SELECT account, chat, thread, body FROM outbox ORDER BY id DESC LIMIT 1";
    let part = |r: &rusqlite::Row<'_>| Ok([r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?]);
    let owed: [String; 4] = db.query_row(sql, [], part).unwrap();
    assert_eq!(owed[..3], ["work", "5", "7"]);
    assert!(owed[3].contains("The disk is full."), "{owed:?}");
}

#[test]
fn a_heartbeat_that_hangs_is_stopped_by_its_own_limit_and_its_events_come_back() {
    let mut m = beating();
    m.talk();
    let file = m.file(MAIN);
    let effects = m.wake_up("x", true);
    let made = copies(&effects);
    let (proc, cmd, _) = m.prompted(effects);
    m.begins(proc, cmd);
    assert!(m.events(MAIN).is_empty());
    assert!(written(&m.wait(MIN - 1), |c| *c == PiCmd::Abort).is_none());
    assert!(written(&m.wait(1), |c| *c == PiCmd::Abort).is_some());
    m.pi(proc, PiEvent::Assistant(said("half", "aborted")));
    let effects = m.settles(proc);
    let effects = m.lets_go(proc, effects);
    assert_eq!(removed(&effects), [made[0].1.clone()]);
    assert_eq!((m.file(MAIN), m.events(MAIN), m.posted()), (file, vec!["[WAKE] x".to_owned()], vec![]));
    let effects = m.wait(EVERY);
    let (prompt, _) = m.beat(effects, "HEARTBEAT_OK");
    assert!(prompt.contains("[WAKE] x"), "{prompt}");
    assert!(m.events(MAIN).is_empty());
}

#[test]
fn a_kill_during_a_heartbeat_leaves_neither_a_file_nor_an_event_behind() {
    let mut m = beating();
    m.talk();
    let file = m.file(MAIN);
    // Before the copy was made.
    let effects = m.wake_up("x", true);
    let made = copies(&effects);
    let effects = m.down(1_000);
    assert_eq!(removed(&effects), [made[0].1.clone()], "nothing was begun on it");
    let again = copies(&effects);
    assert!(!again.is_empty() && again != made);
    // In its turn.
    let (proc, cmd, prompt) = m.prompted(effects);
    assert!(prompt.contains("[WAKE] x"));
    m.begins(proc, cmd);
    let effects = m.down(1_000);
    let swept = effects.iter().find_map(|e| if let Effect::Sweep { proc, .. } = e { Some(*proc) } else { None });
    let effects = m.feed(Event::Swept { proc: swept.unwrap() });
    let (id, path) = effects
        .iter()
        .find_map(|e| match e {
            Effect::Job { id, job, .. } => match &**job {
                Job::ReadFile { path, .. } => Some((*id, path.clone())),
                _ => None,
            },
            _ => None,
        })
        .unwrap();
    assert_eq!(path, again[0].1, "the turn is looked for where it ran");
    let answer = FoundEntry::Assistant(said("HEARTBEAT_OK", "stop"));
    let found = Found { user: true, head: "[turn:x]".into(), entries: vec![answer], ..Found::default() };
    let effects = m.feed(Event::Job { id, done: Box::new(JobDone::FileRead(found)) });
    let mut gone = removed(&effects);
    gone.retain(|file| *file != made[0].1); // nobody has said that it is gone
    assert_eq!(gone, [again[0].1.clone()]);
    assert_eq!((m.file(MAIN), m.events(MAIN)), (file, vec![]));
}

#[test]
fn a_heartbeat_takes_no_place_in_the_pool_while_somebody_waits() {
    let mut m =
        minded(Rules { pool_max: 1, ..heart_rules(HeartbeatRules { every: 5 * MIN, ..HeartbeatRules::default() }) });
    m.talk();
    let busy = "agent:main:pa:group:-1";
    let effects = m.say_in(busy, "api", "a long story");
    let mut effects: Vec<Effect> = effects.into_iter().collect();
    // The process of the main conversation gives way.
    let exit = |effects: &[Effect]| {
        effects.iter().find_map(|e| if let Effect::Signal { proc, .. } = e { Some(*proc) } else { None })
    };
    for _ in 0..4 {
        let ready = effects.iter().find_map(|e| match e {
            Effect::Job { id, job, .. } => match &**job {
                Job::PrepareFile { path, .. } => Some((*id, path.clone())),
                _ => None,
            },
            _ => None,
        });
        if let Some((id, path)) = ready {
            effects = m.feed(Event::Job { id, done: Box::new(JobDone::FileReady { path, len: 0, notice: None }) });
        } else if let Some(proc) = exit(&effects) {
            effects = m.feed(Event::Exit { proc, info: Box::default() });
            break;
        }
    }
    let (proc, cmd, _) = m.prompted(effects);
    // The heartbeat waits for a place, for an hour; then somebody comes.
    m.begins(proc, cmd);
    m.pi(proc, PiEvent::ToolStart { name: "bash".into() });
    let effects = m.wait(5 * MIN);
    let beat = m.reads(&effects, true);
    for (id, to) in beat.iter().filter_map(|e| match e {
        Effect::Job { id, job, .. } => match &**job {
            Job::BranchFile { to, .. } => Some((*id, to.clone())),
            _ => None,
        },
        _ => None,
    }) {
        m.feed(Event::Job { id, done: Box::new(JobDone::FileReady { path: to, len: 0, notice: None }) });
    }
    m.wait(20 * MIN);
    let effects = m.say_in("agent:main:pa:group:-2", "api", "hi");
    for e in effects {
        if let Effect::Job { id, job, .. } = e {
            if let Job::PrepareFile { path, .. } = *job {
                m.feed(Event::Job { id, done: Box::new(JobDone::FileReady { path, len: 0, notice: None }) });
            }
        }
    }
    let effects = m.finish(proc, cmd, "the end");
    let proc = exit(&effects).expect("the idle process gives way");
    let effects = m.feed(Event::Exit { proc, info: Box::default() });
    let (_, _, prompt) = m.prompted(effects);
    assert!(prompt.ends_with("hi"), "{prompt}");
}

#[test]
fn without_a_copy_the_exchange_stays_in_the_conversation() {
    let mut m = minded(heart_rules(HeartbeatRules { isolate: false, ..HeartbeatRules::default() }));
    m.talk();
    let file = m.file(MAIN);
    let effects = m.ticks();
    let (_, after) = m.beat(effects, "HEARTBEAT_OK");
    assert!(removed(&after).is_empty() && m.posted().is_empty());
    assert_eq!(m.file(MAIN), file);
    let effects = m.say("hi again");
    assert!(!m.prompted(effects).2.contains("heartbeat.md"));
}

#[test]
fn in_interrupt_mode_a_message_ends_the_heartbeat_and_its_events_wait_again() {
    let mut m = minded(Rules { mode: Mode::Interrupt, ..heart_rules(HeartbeatRules::default()) });
    m.talk();
    let file = m.file(MAIN);
    let effects = m.wake_up("x", true);
    let (proc, cmd, _) = m.prompted(effects);
    m.begins(proc, cmd);
    assert!(written(&m.say("quick"), |c| *c == PiCmd::Abort).is_some());
    m.pi(proc, PiEvent::Assistant(said("half", "aborted")));
    let effects = m.settles(proc);
    let effects = m.lets_go(proc, effects);
    let (proc, cmd, prompt) = m.prompted(effects);
    assert!(prompt.contains("quick") && !prompt.contains("[WAKE]"), "{prompt}");
    assert_eq!((m.file(MAIN), m.events(MAIN), m.posted()), (file, vec!["[WAKE] x".to_owned()], vec![]));
    m.finish(proc, cmd, "yes");
}

#[test]
fn a_reset_during_a_heartbeat_begins_the_conversation_anew_and_nothing_of_it_comes_back() {
    let mut m = beating();
    m.talk();
    let effects = m.wake_up("x", true);
    let made = copies(&effects);
    let (proc, cmd, _) = m.prompted(effects);
    m.begins(proc, cmd);
    m.ask(Request::Reset { session: MAIN.into(), all: false });
    let fresh = m.file(MAIN);
    m.pi(proc, PiEvent::Assistant(said("The disk is full.", "aborted")));
    let effects = m.settles(proc);
    let effects = m.lets_go(proc, effects);
    assert_eq!(removed(&effects), [made[0].1.clone()]);
    assert_eq!((m.file(MAIN), m.events(MAIN), m.posted()), (fresh, vec![], vec![]));
}

#[test]
fn every_agent_has_a_heartbeat_of_its_own_in_its_own_conversation() {
    let mut rules = heart_rules(HeartbeatRules::default());
    rules.routing.agents = vec!["main".into(), "garden".into()];
    rules.heartbeats.insert("garden".into(), HeartbeatRules { every: 50 * MIN, ..HeartbeatRules::default() });
    let mut m = minded(rules);
    m.talk();
    let tab = "agent:garden:webchat:g";
    let (proc, cmd) = m.asked_in(tab, "webchat", "hi");
    m.finish(proc, cmd, "hello");
    let effects = m.ticks();
    m.beat(effects, "HEARTBEAT_OK");
    let effects = m.wait(20 * MIN);
    let effects = m.reads(&effects, true);
    m.beat(effects, "Water the plants.");
    assert_eq!(m.posted(), [(tab.to_owned(), "Water the plants.".to_owned())]);
}

#[test]
fn a_clock_that_is_set_back_makes_no_heartbeat_come_early() {
    let mut m = beating();
    m.talk();
    m.now.wall -= 20 * MIN as i64;
    assert!(!looked(&m.wait(EVERY)), "ten minutes by the clock");
    assert!(!looked(&m.wait(20 * MIN - 1)));
    assert!(looked(&m.wait(1)));
}
