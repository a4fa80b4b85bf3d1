//! Tasks of one agent for another (core.md 15): limits, depth, a pool that is full, time, ends, restarts.

use super::*;
use pi_gateway::delegation::{self, Delegation, Limits};

/// `main` may ask `coder` and `writer`, two at a time; `coder` may ask `writer` down to the second level.
fn house() -> Rules {
    let names = ["main", "coder", "writer"];
    let own = Limits { allow: Some(vec!["writer".into()]), most: 1, depth: 2 };
    let mut rules = Rules { pool_idle: 1 << 40, ..rules() };
    rules.delegation = Delegation {
        own: [("coder".to_owned(), own)].into(),
        agents: names.map(|name| (name.to_owned(), None)).into(),
        ..Delegation::default()
    };
    rules.routing.agents = names.map(str::to_owned).into();
    rules
}

/// `main` is at a turn that runs a tool.
fn asking() -> (Mind, ProcId) {
    let mut m = Mind::new(house());
    let parent = m.busy(MAIN);
    (m, parent)
}

/// The task of these tests.
fn apples(session: &str, proc: Option<ProcId>, to: &str) -> DelegateRequest {
    let (session, to, task) = (session.into(), to.into(), "count the apples".into());
    DelegateRequest { session, proc, to, task, ..DelegateRequest::default() }
}

/// Who hears what of tasks.
fn delegated(effects: &[Effect]) -> Vec<(ReqId, Delegated)> {
    let told = |e: &Effect| match e {
        Effect::Answer { id, answer, .. } => match &*answer.0 {
            Answer::Delegated(told) => Some((*id, (**told).clone())),
            _ => None,
        },
        _ => None,
    };
    effects.iter().filter_map(told).collect()
}

/// The same, and nobody hears anything else.
fn told(effects: &[Effect]) -> Vec<(ReqId, Delegated)> {
    let told = delegated(effects);
    let answers = effects.iter().filter(|e| matches!(e, Effect::Answer { .. })).count();
    assert_eq!(told.len(), answers, "{effects:?}");
    told
}

/// The one answer: its status and text.
fn only(effects: &[Effect]) -> (DelegateStatus, String) {
    match &told(effects)[..] {
        [(_, one)] => (one.status, one.text.clone()),
        other => panic!("{other:?}"),
    }
}

/// Nothing happened but one answer.
fn only_answer(effects: &[Effect]) -> Answer {
    match effects {
        [Effect::Answer { answer, .. }] => (*answer.0).clone(),
        other => panic!("{other:?}"),
    }
}

fn refusal(effects: &[Effect]) -> Code {
    match only_answer(effects) {
        Answer::Error { code, .. } => code,
        other => panic!("{other:?}"),
    }
}

fn signalled(effects: &[Effect]) -> Vec<ProcId> {
    effects.iter().filter_map(|e| if let Effect::Signal { proc, .. } = e { Some(*proc) } else { None }).collect()
}

impl Mind {
    /// A turn of that session that runs a tool.
    fn busy(&mut self, session: &str) -> ProcId {
        let (proc, cmd) = self.asked_in(session, "webchat", "go");
        self.at_work(proc, cmd);
        proc
    }
    fn at_work(&mut self, proc: ProcId, cmd: CmdId) {
        self.begins(proc, cmd);
        self.pi(proc, PiEvent::ToolStart { name: "delegate_to_agent".into() });
    }
    fn delegate(&mut self, session: &str, proc: Option<ProcId>, to: &str) -> Vec<Effect> {
        self.delegate_as(apples(session, proc, to))
    }
    /// The other agent gets the task.
    fn tasked(&mut self, session: &str, by: ProcId, to: &str) -> (ProcId, CmdId) {
        let effects = self.delegate(session, Some(by), to);
        let (child, cmd, _) = self.prompted(effects);
        (child, cmd)
    }
    /// It is at it.
    fn working_on(&mut self, session: &str, by: ProcId, to: &str) -> ProcId {
        let (child, cmd) = self.tasked(session, by, to);
        self.at_work(child, cmd);
        child
    }
    fn delegate_as(&mut self, req: DelegateRequest) -> Vec<Effect> {
        self.ask(Request::Delegate(Box::new(req)))
    }
    fn figures(&mut self) -> DelegateFigures {
        self.snapshot().delegation
    }
    fn snapshot(&mut self) -> Snapshot {
        match only_answer(&self.ask(Request::Snapshot)) {
            Answer::Snapshot(s) => *s,
            other => panic!("{other:?}"),
        }
    }
    fn children(&mut self) -> Vec<SessionInfo> {
        let mut list = match only_answer(&self.ask(Request::Sessions { after: None, limit: 100 })) {
            Answer::Sessions(list) => list,
            other => panic!("{other:?}"),
        };
        list.retain(|s| delegation::is_delegated(&s.key));
        list
    }
    /// An aborted turn of an old pi comes to its end.
    fn aborted(&mut self, proc: ProcId, half: &str) -> Vec<Effect> {
        let mut all = self.pi(proc, PiEvent::Assistant(said(half, "aborted")));
        all.extend(self.settles(proc));
        all
    }
}

#[test]
fn given_a_task_then_the_other_agent_works_on_it_in_its_own_place_and_its_answer_comes_back() {
    let (mut m, parent) = asking();
    let effects = m.delegate(MAIN, Some(parent), "coder");
    assert!(told(&effects).is_empty(), "it waits");
    let (child, cmd, prompt) = m.prompted(effects);
    assert_ne!(child, parent);
    let task = "[Delegated task from agent \"main\". Respond concisely to the task below.]\n\ncount the apples";
    assert!(prompt.ends_with(task), "{prompt}");
    let session = m.children().remove(0);
    assert_eq!(session.key, format!("delegate:{MAIN}:coder:{}", m.now.wall));
    assert_eq!((session.agent.as_str(), session.proc), ("coder", Some(child)));
    assert!(session.title.unwrap().contains("count the apples"));

    let effects = m.finish(child, cmd, "seven");
    assert_eq!(only(&effects), (DelegateStatus::Completed, "seven".into()));
    assert_eq!(signalled(&effects), [child], "what it holds is nobody else's business");
    assert!(!effects.iter().any(|e| matches!(e, Effect::Call { .. })), "no platform hears of it");
    m.feed(Event::Exit { proc: child, info: Box::default() });
    let f = m.figures();
    assert_eq!((f.count, f.success, f.active), (1, 1, 0));
}

#[test]
fn given_two_tasks_in_the_same_millisecond_then_each_has_its_own_conversation() {
    let (mut m, parent) = asking();
    m.delegate(MAIN, Some(parent), "coder");
    m.delegate(MAIN, Some(parent), "coder");
    assert_eq!(m.children().len(), 2);
    let (status, text) = only(&m.delegate(MAIN, Some(parent), "writer"));
    assert_eq!(status, DelegateStatus::Rejected, "two at a time");
    assert!(text.contains("maxConcurrent 2"), "{text}");
}

#[test]
fn what_the_rules_do_not_allow_is_rejected_with_words_for_the_model() {
    let (mut m, parent) = asking();
    for (to, words) in [("nobody", "there is no agent \"nobody\"; you may ask: coder, writer"), ("main", "may not")] {
        let (status, text) = only(&m.delegate(MAIN, Some(parent), to));
        assert_eq!(status, DelegateStatus::Rejected);
        assert!(text.contains(words), "{text}");
    }
    let empty = DelegateRequest { task: String::new(), ..apples(MAIN, None, "coder") };
    assert!(only(&m.delegate_as(empty)).1.contains("the task is empty"));
    assert_eq!(m.figures().rejected, 3);
    assert!(m.children().is_empty());
    // Another session's process, and no session at all.
    for (session, proc) in [("agent:main:webchat:x", Some(parent)), ("agent:main:webchat:x", None)] {
        let effects = m.delegate(session, proc, "coder");
        assert_eq!(refusal(&effects), Code::NotFound);
    }
}

#[test]
fn given_a_delegate_then_it_delegates_only_as_deep_as_its_own_rule_says() {
    let (mut m, parent) = asking();
    let coder = m.working_on(MAIN, parent, "coder");
    let first = m.children().remove(0).key;
    // `coder` may: its rule says 2.
    let writer = m.working_on(&first, coder, "writer");
    let second = m.children().into_iter().find(|s| s.agent == "writer").unwrap().key;
    assert_eq!(delegation::depth(&second), 2);
    let (status, text) = only(&m.delegate(&second, Some(writer), "coder"));
    assert_eq!(status, DelegateStatus::Rejected);
    assert!(text.contains("depth 2"), "{text}");
    // A restart does not make it shallower: the key is the record.
    m.start();
    let effects = m.delegate(&second, None, "coder");
    assert_eq!(only(&effects).0, DelegateStatus::Rejected);
}

#[test]
fn given_a_pool_of_one_then_the_parent_s_own_process_is_not_waited_for() {
    let mut m = Mind::new(Rules { pool_max: 1, ..house() });
    let parent = m.busy(MAIN);
    let mut effects = m.delegate(MAIN, Some(parent), "coder");
    let job = effects.iter().find_map(|e| match e {
        Effect::Job { id, job, .. } => match &**job {
            Job::PrepareFile { path, .. } => Some((*id, path.clone())),
            _ => None,
        },
        _ => None,
    });
    let (id, path) = job.unwrap();
    effects.extend(m.feed(Event::Job { id, done: Box::new(JobDone::FileReady { path, len: 0, notice: None }) }));
    assert!(told(&effects).is_empty());
    assert!(signalled(&effects).is_empty(), "a process with a turn gives no place");
    assert!(told(&m.wait(9_900)).is_empty());
    let (status, text) = only(&m.wait(200));
    assert_eq!(status, DelegateStatus::Error);
    assert!(text.contains("No agent process was free within 10 s") && text.contains("agent.pool.max is 1"), "{text}");
    let f = m.figures();
    assert_eq!((f.error, f.pool_exhausted, f.active), (1, 1, 0));
    // The parent goes on, and nothing of the task begins later.
    let effects = m.aborted(parent, "so be it");
    assert!(prompts(&effects).is_empty());
    assert!(m.wait(60_000).iter().all(|e| !matches!(e, Effect::Spawn { .. })));
}

#[test]
fn given_a_task_that_takes_too_long_then_it_is_stopped_and_the_caller_is_told() {
    for partial in [false, true] {
        let mut rules = house();
        rules.delegation.partial = partial;
        let mut m = Mind::new(rules);
        let parent = m.busy(MAIN);
        let effects = m.delegate_as(DelegateRequest { timeout: Some(60_000), ..apples(MAIN, Some(parent), "coder") });
        let (child, cmd, _) = m.prompted(effects);
        m.begins(child, cmd);
        assert!(told(&m.wait(59_000)).is_empty());
        let effects = m.wait(1_100);
        assert!(written(&effects, |c| *c == PiCmd::Abort).is_some());
        assert!(told(&effects).is_empty(), "what it had said is waited for");
        let (status, text) = only(&m.aborted(child, "one, two"));
        assert_eq!(status, DelegateStatus::Timeout);
        match partial {
            true => assert!(text.starts_with("one, two\n\n(Agent \"coder\" was stopped after 60 s"), "{text}"),
            false => assert_eq!(text, "Agent \"coder\" did not finish within 60 s and was stopped."),
        }
        assert_eq!(m.figures().timeout, 1);
    }
}

#[test]
fn given_a_pi_that_does_not_stop_then_the_caller_is_told_all_the_same() {
    let (mut m, parent) = asking();
    let child = m.working_on(MAIN, parent, "coder");
    m.wait(10_000);
    assert!(told(&m.wait(110_000)).is_empty());
    let (status, _) = only(&m.wait(3_000));
    assert_eq!(status, DelegateStatus::Timeout);
    assert_eq!(m.figures().active, 1, "it still runs, and counts");
    let mut ended = m.wait(7_100);
    ended.extend(m.wait(3_100));
    assert!(signalled(&ended).contains(&child));
    assert!(told(&ended).is_empty(), "told once");
}

#[test]
fn no_answer_is_held_longer_than_290_s() {
    let (mut m, parent) = asking();
    let effects = m.delegate_as(DelegateRequest { timeout: Some(3_600_000), ..apples(MAIN, Some(parent), "coder") });
    let (child, cmd, _) = m.prompted(effects);
    m.at_work(child, cmd);
    m.wait(10_000);
    m.wait(275_000);
    assert_eq!(only(&m.wait(3_000)).0, DelegateStatus::Timeout, "two seconds are left");
}

#[test]
fn given_a_parent_that_is_stopped_then_all_tasks_below_it_are() {
    let stops = |m: &mut Mind| m.say("/stop");
    let resets = |m: &mut Mind| m.say("/new");
    let deletes = |m: &mut Mind| m.ask(Request::Delete { session: MAIN.into() });
    for stop in [stops, resets, deletes] as [fn(&mut Mind) -> Vec<Effect>; 3] {
        let (mut m, parent) = asking();
        let coder = m.working_on(MAIN, parent, "coder");
        let first = m.children().remove(0).key;
        let writer = m.working_on(&first, coder, "writer");
        let effects = stop(&mut m);
        let cancelled: Vec<_> =
            delegated(&effects).iter().map(|(_, t)| (t.status, t.text.contains("cancelled"))).collect();
        assert_eq!(cancelled, [(DelegateStatus::Error, true), (DelegateStatus::Error, true)]);
        let aborts = effects.iter().filter(|e| matches!(e, Effect::Write { cmd, .. } if **cmd == PiCmd::Abort));
        assert_eq!(aborts.count(), 3, "{effects:#?}");
        m.aborted(writer, "");
        m.aborted(coder, "");
        assert_eq!(m.figures().active, 0);
    }
}

#[test]
fn given_a_caller_that_leaves_or_a_parent_that_dies_then_the_task_is_ended() {
    for leaves in [true, false] {
        let (mut m, parent) = asking();
        let id = ReqId(m.next);
        let child = m.working_on(MAIN, parent, "coder");
        let effects = match leaves {
            true => m.feed(Event::Gone { id }),
            false => m.feed(Event::Exit { proc: parent, info: Box::default() }),
        };
        assert!(written(&effects, |c| *c == PiCmd::Abort).is_some());
        m.aborted(child, "half");
        assert_eq!(m.figures().active, 0);
    }
}

#[test]
fn given_a_stop_of_the_gateway_then_what_has_not_begun_is_cancelled_and_what_runs_may_end() {
    let (mut m, parent) = asking();
    let (child, cmd) = m.tasked(MAIN, parent, "coder");
    m.delegate(MAIN, Some(parent), "writer");
    let deadline = m.now.mono + 60_000;
    let (status, text) = only(&m.feed(Event::Drain { deadline }));
    assert_eq!((status, text.as_str()), (DelegateStatus::Error, "The delegation to agent \"writer\" was cancelled."));
    assert_eq!(only(&m.finish(child, cmd, "seven")), (DelegateStatus::Completed, "seven".into()));
    let refused = m.delegate(MAIN, Some(parent), "writer");
    assert_eq!(refusal(&refused), Code::ShuttingDown);
}

#[test]
fn given_an_agent_that_fails_then_the_caller_reads_why() {
    let (mut m, parent) = asking();
    let (child, cmd) = m.tasked(MAIN, parent, "coder");
    m.begins(child, cmd);
    m.pi(child, PiEvent::Assistant(failed("401 unauthorized")));
    let (status, text) = only(&m.settles(child));
    assert_eq!(status, DelegateStatus::Error);
    assert!(text.contains("Agent \"coder\" failed") && text.contains("401"), "{text}");
}

#[test]
fn given_a_restart_then_the_orphan_is_swept_and_dropped_and_nobody_hears_of_it() {
    for begun in [true, false] {
        let (mut m, parent) = asking();
        let effects = m.delegate(MAIN, Some(parent), "coder");
        if begun {
            let (child, cmd, _) = m.prompted(effects);
            m.at_work(child, cmd);
        }
        m.frames.clear();
        let mut effects = m.start();
        let sweeps: Vec<ProcId> = effects
            .iter()
            .filter_map(|e| if let Effect::Sweep { proc, .. } = e { Some(*proc) } else { None })
            .collect();
        assert_eq!(sweeps.len(), if begun { 2 } else { 1 }, "the parent's, and the task's if it had begun");
        // Main has killed what was left; pi's file holds the task and half an answer.
        effects.extend(sweeps.iter().flat_map(|proc| m.feed(Event::Swept { proc: *proc })).collect::<Vec<_>>());
        let reads: Vec<JobId> = effects
            .iter()
            .filter_map(|e| match e {
                Effect::Job { id, job, session, .. } if delegation::is_delegated(session) => {
                    matches!(**job, Job::ReadFile { .. }).then_some(*id)
                }
                _ => None,
            })
            .collect();
        assert_eq!(reads.len(), usize::from(begun));
        for id in reads {
            let entries = vec![FoundEntry::Assistant(said("six", "stop"))];
            let found = Found { user: true, entries, ..Found::default() };
            effects.extend(m.feed(Event::Job { id, done: Box::new(JobDone::FileRead(found)) }));
        }
        let child = m.children().remove(0).key;
        assert!(!effects.iter().any(|e| matches!(e, Effect::Call { .. } | Effect::Answer { .. })));
        assert!(!effects.iter().any(|e| matches!(e, Effect::Spawn { profile, .. } if profile.agent == "coder")));
        assert!(m.frames.iter().all(|f| !matches!(f, Frame::Reply { session, .. } if *session == child)));
        let row = m.fate(&child);
        assert_eq!(row, ("dropped".to_owned(), Some("nobody waits for its answer any more".to_owned())));
    }
}

impl Mind {
    /// State and reason of the newest message of a session.
    fn fate(&mut self, session: &str) -> (String, Option<String>) {
        let db = rusqlite::Connection::open(&self.path).unwrap();
        let sql = "SELECT state, reason FROM inbox WHERE session = ? ORDER BY id DESC LIMIT 1";
        db.query_row(sql, [session], |r| Ok((r.get(0)?, r.get(1)?))).unwrap()
    }
}

#[test]
fn given_the_same_key_again_then_the_same_answer_and_the_model_is_asked_once() {
    let mut m = Mind::new(house());
    m.say("hello");
    let dkey = Some("http:tools:secret:x:k1".into());
    let req = DelegateRequest { dkey, body_hash: "h".into(), ..apples(MAIN, None, "coder") };
    let effects = m.delegate_as(req.clone());
    let (child, cmd, _) = m.prompted(effects);
    assert!(m.delegate_as(req.clone()).iter().all(|e| !matches!(e, Effect::Job { .. })));
    let both = told(&m.finish(child, cmd, "seven"));
    assert_eq!(both.len(), 2);
    let other = DelegateRequest { body_hash: "other".into(), ..req.clone() };
    let conflict = m.delegate_as(other);
    assert_eq!(refusal(&conflict), Code::IdempotencyConflict);
    m.start();
    let again = told(&m.delegate_as(req));
    assert_eq!((again[0].1.text.as_str(), again[0].1.replayed), ("seven", true));
}

/// A day's tasks of busy agents must not hide the conversations with people.
#[test]
fn given_hundreds_of_tasks_then_people_s_conversations_are_still_found() {
    let mut m = Mind::new(house());
    let (proc, cmd) = m.asked("hello");
    m.finish(proc, cmd, "hi");
    let db = rusqlite::Connection::open(&m.path).unwrap();
    let mut q = db.prepare("SELECT name FROM pragma_table_info('session')").unwrap();
    let columns: Vec<String> = q.query_map([], |r| r.get(0)).unwrap().map(Result::unwrap).collect();
    let changed = |c: &String| match c.as_str() {
        "key" => "'delegate:' || key || ':coder:' || value".to_owned(),
        "sid" => "'sid' || value".to_owned(),
        "minute" | "last_at" => format!("{c} + 60000 * value"),
        _ => c.clone(),
    };
    let values: Vec<String> = columns.iter().map(changed).collect();
    let sql = format!(
        "WITH RECURSIVE n(value) AS (SELECT 1 UNION ALL SELECT value + 1 FROM n WHERE value < 300)
         INSERT INTO session({}) SELECT {} FROM session, n",
        columns.join(", "),
        values.join(", ")
    );
    assert_eq!(db.execute(&sql, []).unwrap(), 300);
    m.frames.clear();
    m.say("/sessions");
    let list = m.replies().remove(0);
    assert!(list.contains(&format!("1. {MAIN}")) && !list.contains("delegate:"), "{list}");
}

#[test]
fn given_a_day_then_a_delegated_conversation_is_forgotten() {
    let mut m = Mind::new(house());
    m.feed(Event::Clock { confirmed: true });
    let parent = m.busy(MAIN);
    let (child, cmd) = m.tasked(MAIN, parent, "coder");
    m.finish(child, cmd, "seven");
    m.feed(Event::Exit { proc: child, info: Box::default() });
    m.wait(23 * 3_600_000);
    assert_eq!(m.children().len(), 1);
    m.wait(2 * 3_600_000);
    assert!(m.children().is_empty());
    assert!(m.frames.iter().any(|f| matches!(f, Frame::Deleted { session } if delegation::is_delegated(session))));
}
