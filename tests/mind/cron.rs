//! Scheduled jobs: rows of core.md 13, B15, B19, C20, C23. The clock is a number here: nothing sleeps.

use super::*;
use pi_gateway::cron::job::{Job, JobInfo, RunInfo};
use pi_gateway::rules::CronRules;
use serde_json::{json, Value};

const HOUR: i64 = 3_600_000;
const DAY: i64 = 24 * HOUR;

pub(super) fn cron_rules() -> Rules {
    let mut rules = Rules { pool_idle: 1 << 40, ..rules() }; // no process goes by itself
                                                             // Places are written `account/chat/thread` here.
    let address = Address(|channel, to, _| {
        let mut parts = to.split('/').map(str::to_owned);
        let mut next = || parts.next().unwrap_or_default();
        Ok(Target { channel: channel.into(), account: next(), chat: next(), thread: next() })
    });
    rules.cron = CronRules { on: true, address, most: 10, ..CronRules::default() };
    for account in ["work", "home"] {
        rules.channels.insert("pa".into(), ChannelRules { mailbox: false, repeat_safe: false });
        let access = Access { dm: DmPolicy::Allowlist, allow: vec!["ann".into()], ..Access::default() };
        rules.accounts.insert(("pa".into(), account.into()), AccountRules { access, ..AccountRules::default() });
    }
    rules
}

/// With a clock that is known to be right.
pub(super) fn minded(rules: Rules) -> Mind {
    let mut m = Mind::new(rules);
    m.feed(Event::Clock { confirmed: true });
    m
}

fn cron_answer(effects: &[Effect]) -> Result<CronAnswer, (Code, String)> {
    let answer = effects.iter().find_map(|e| match e {
        Effect::Answer { answer, .. } => Some((*answer.0).clone()),
        _ => None,
    });
    match answer.expect("an answer") {
        Answer::Cron(answer) => Ok(*answer),
        Answer::Error { code, message } => Err((code, message)),
        other => panic!("{other:?}"),
    }
}

impl Mind {
    fn cron(&mut self, req: CronRequest) -> Result<CronAnswer, (Code, String)> {
        let effects = self.ask(Request::Cron(Box::new(req)));
        cron_answer(&effects)
    }
    pub(super) fn add(&mut self, job: Value) {
        let mut all = json!({"id": "j", "schedule": {"kind": "every", "expr": "1h"}, "task": "look"});
        for (key, value) in job.as_object().unwrap() {
            all[key] = value.clone();
        }
        let job = Box::new(Job::from_json(&all).unwrap());
        self.cron(CronRequest::Add { job, by: None, again: false }).unwrap();
    }
    pub(super) fn runs(&mut self, id: &str) -> Vec<RunInfo> {
        match self.cron(CronRequest::Runs { id: id.into(), limit: 100 }) {
            Ok(CronAnswer::Runs(runs)) => runs,
            other => panic!("{other:?}"),
        }
    }
    pub(super) fn statuses(&mut self, id: &str) -> Vec<String> {
        self.runs(id).into_iter().map(|r| r.status).collect()
    }
    fn jobs(&mut self) -> Vec<JobInfo> {
        match self.cron(CronRequest::List) {
            Ok(CronAnswer::Jobs(jobs)) => jobs,
            other => panic!("{other:?}"),
        }
    }
    pub(super) fn posted(&self) -> Vec<(String, String)> {
        let text = |f: &Frame| match f {
            Frame::Posted(p) => Some((p.session.clone(), p.post.text.clone())),
            _ => None,
        };
        self.frames.iter().filter_map(text).collect()
    }
    /// The clock goes on while nothing runs here; then the next life begins.
    pub(super) fn down(&mut self, ms: i64) -> Vec<Effect> {
        self.state = None;
        self.now.mono += ms as u64;
        self.now.wall += ms;
        let mut effects = self.start();
        effects.extend(self.feed(Event::Clock { confirmed: true }));
        effects
    }
    /// Renders and takes what is owed to platforms: account, chat, thread, text.
    fn takes(&mut self, mut effects: Vec<Effect>) -> Vec<(String, String, String, String)> {
        let mut told = Vec::new();
        while !effects.is_empty() {
            told.extend(owed(&effects));
            let events = effects.into_iter().filter_map(|e| match e {
                Effect::Job { id, job, .. } => match *job {
                    Job_::Render { content, .. } => {
                        Some(Event::Job { id, done: Box::new(JobDone::Rendered(vec![*content])) })
                    }
                    _ => None,
                },
                Effect::Call { id, .. } => {
                    Some(Event::Outcome { call: id, outcome: Box::new(Outcome::Sent { id: "1".into() }) })
                }
                _ => None,
            });
            let events: Vec<Event> = events.collect();
            effects = events.into_iter().flat_map(|e| self.feed(e)).collect();
        }
        told
    }
    fn run_through(&mut self, effects: Vec<Effect>, text: &str) -> Vec<Effect> {
        let (proc, cmd, prompt) = self.prompted(effects);
        assert!(prompt.contains("[CRON:"), "{prompt}");
        self.finish(proc, cmd, text)
    }
}

/// Texts that are to be rendered for platforms: account, chat, thread, text.
fn owed(effects: &[Effect]) -> Vec<(String, String, String, String)> {
    let of = |e: &Effect| match e {
        Effect::Job { job, .. } => match &**job {
            Job_::Render { target: t, content, .. } => {
                Some((t.account.clone(), t.chat.clone(), t.thread.clone(), content.text.clone()))
            }
            _ => None,
        },
        _ => None,
    };
    effects.iter().filter_map(of).collect()
}

use pi_gateway::message::Job as Job_;

fn begins(effects: &[Effect]) -> bool {
    effects.iter().any(|e| matches!(e, Effect::Job { job, .. } if matches!(**job, Job_::PrepareFile { .. })))
}

#[test]
fn a_due_job_runs_once_in_a_session_of_its_own_and_its_result_is_told_in_the_last_conversation() {
    let mut m = minded(cron_rules());
    let (proc, cmd) = m.asked("hi");
    m.finish(proc, cmd, "hello");
    m.add(json!({}));
    assert!(!begins(&m.wait(HOUR as u64 - 1)));
    let effects = m.wait(1);
    m.run_through(effects, "all is well");
    assert_eq!(m.posted(), [(MAIN.to_owned(), "[CRON:j] all is well".to_owned())]);
    let runs = m.runs("j");
    assert_eq!((runs.len(), runs[0].status.as_str(), runs[0].delivery.as_deref()), (1, "completed", Some("sent")));
    assert_eq!(runs[0].preview.as_deref(), Some("all is well"));
    assert!(!begins(&m.wait(HOUR as u64 - 10)));
    let sessions = m.ask(Request::Sessions { after: None, limit: 10 });
    assert!(format!("{sessions:?}").contains("cron:j"));
}

#[test]
fn b15_an_expression_is_caught_up_with_exactly_one_run_after_a_long_stop() {
    let mut m = minded(cron_rules());
    m.add(json!({"schedule": {"kind": "cron", "expr": "0 * * * *"}}));
    let effects = m.down(10 * HOUR);
    m.run_through(effects, "late");
    assert_eq!(m.statuses("j"), ["completed"]);
    assert!(!begins(&m.wait(60_000)));
}

#[test]
fn b15_a_delay_of_more_than_25_days_does_not_fire_at_once() {
    let mut m = minded(cron_rules());
    m.add(json!({"schedule": {"kind": "every", "expr": "40d"}}));
    for day in 1..40 {
        assert!(!begins(&m.wait(DAY as u64)), "day {day}");
    }
    let effects = m.wait(DAY as u64);
    m.run_through(effects, "at last");
}

#[test]
fn b15_a_run_that_takes_too_long_is_aborted_and_what_it_said_is_told() {
    let mut m = minded(cron_rules());
    m.add(json!({"timeoutMs": 5000, "delivery": {"mode": "direct", "channel": "webchat"}}));
    let effects = m.wait(HOUR as u64);
    let (proc, cmd, _) = m.prompted(effects);
    m.begins(proc, cmd);
    m.pi(proc, PiEvent::Assistant(said("half of it", "toolUse")));
    assert!(written(&m.wait(4_999), |c| *c == PiCmd::Abort).is_none());
    assert!(written(&m.wait(1), |c| *c == PiCmd::Abort).is_some());
    m.pi(proc, PiEvent::Assistant(said("", "aborted")));
    m.settles(proc);
    assert_eq!(m.posted()[0], (MAIN.to_owned(), "half of it\n\n(stopped: it took too long)".to_owned()));
    assert_eq!(m.statuses("j"), ["timeout"]);
}

#[test]
fn b15_jobs_of_the_configuration_run_and_cannot_be_changed_from_outside() {
    let mut rules = cron_rules();
    let job = json!({"id": "c", "schedule": {"kind": "every", "expr": "30m"}, "task": "look", "delivery": "silent"});
    rules.cron.jobs.push(Job::from_json(&job).unwrap());
    let mut m = minded(rules.clone());
    let effects = m.wait(HOUR as u64 / 2);
    m.run_through(effects, "seen");
    assert_eq!(m.posted(), []);
    assert_eq!(m.runs("c")[0].delivery.as_deref(), Some("none"));
    for req in [CronRequest::Remove("c".into()), CronRequest::Pause("c".into())] {
        assert!(matches!(m.cron(req), Err((Code::Conflict, _))));
    }
    // Its intervals go on where they were.
    assert!(!begins(&m.down(HOUR / 4)));
    let effects = m.wait(HOUR as u64 / 4);
    m.run_through(effects, "seen");
    // Another schedule begins anew; without the job nothing is due.
    rules.cron.jobs.clear();
    m.ask(Request::Reload(Arc::new(rules)));
    assert!(m.jobs().is_empty());
    assert!(!begins(&m.wait(DAY as u64)));
}

#[test]
fn b15_mode_main_runs_in_the_conversation_and_direct_tells_without_a_name() {
    let mut m = minded(cron_rules());
    let (proc, cmd) = m.asked("hi");
    m.finish(proc, cmd, "hello");
    m.add(json!({"mode": "main", "delivery": "direct"}));
    let effects = m.wait(HOUR as u64);
    m.run_through(effects, "here");
    assert_eq!(m.posted(), [(MAIN.to_owned(), "here".to_owned())]);
    assert_eq!(m.replies(), ["hello"], "it is told once");
}

#[test]
fn b19_every_result_goes_to_its_own_account_chat_and_topic() {
    let mut m = minded(cron_rules());
    for (id, to) in [("a", "work/-1/7"), ("b", "home/-1/8"), ("c", "home/5/")] {
        m.add(json!({"id": id, "delivery": {"mode": "direct", "channel": "pa", "to": to}}));
    }
    let mut effects = m.wait(HOUR as u64);
    let mut told = Vec::new();
    let jobs: Vec<Effect> = effects.drain(..).filter(|e| matches!(e, Effect::Job { .. })).collect();
    for (n, job) in jobs.into_iter().enumerate() {
        let (proc, cmd, prompt) = m.prompted(vec![job]);
        let id = prompt.split("[CRON:").nth(1).unwrap()[..1].to_owned();
        assert!(n < 3);
        told.extend(owed(&m.finish(proc, cmd, &id)));
    }
    let of = |a: &str, b: &str, c: &str, d: &str| (a.to_owned(), b.to_owned(), c.to_owned(), d.to_owned());
    told.sort();
    assert_eq!(told, [of("home", "-1", "8", "b"), of("home", "5", "", "c"), of("work", "-1", "7", "a")]);
}

#[test]
fn b19_a_job_that_an_agent_makes_in_a_topic_is_answered_there() {
    let mut m = minded(cron_rules());
    let source = |chat: &str, thread: &str| Source {
        channel: "pa".into(),
        account: Some("work".into()),
        chat_type: ChatType::Group,
        chat: chat.into(),
        thread: Some(thread.into()),
        sender: "ann".into(),
        ..Source::default()
    };
    let ask = |m: &mut Mind, session: &str, source: Source| {
        let chat = ChatRequest { session: session.into(), source, text: "hi".into(), ..ChatRequest::default() };
        let effects = m.ask(Request::Chat(Box::new(chat)));
        m.prompted(effects)
    };
    let (proc, cmd, _) = ask(&mut m, "agent:main:pa:group:-1:topic:7", source("-1", "7"));
    let job = json!({"id": "j", "schedule": {"kind": "at", "expr": "+20m"}, "task": "remind me"});
    let job = Box::new(Job::from_json(&job).unwrap());
    m.cron(CronRequest::Add { job, by: Some(proc), again: false }).unwrap();
    let effects = m.finish(proc, cmd, "I will");
    assert_eq!(m.takes(effects).len(), 1);
    let (proc, cmd, _) = ask(&mut m, "agent:main:pa:group:-2:topic:9", source("-2", "9"));
    m.finish(proc, cmd, "hello");
    let effects = m.wait(20 * 60_000);
    let (proc, cmd, _) = m.prompted(effects);
    let effects = m.finish(proc, cmd, "now!");
    let told = m.takes(effects);
    assert_eq!((told[0].1.as_str(), told[0].2.as_str(), told[0].3.as_str()), ("-1", "7", "[CRON:j] now!"));
    assert!(m.jobs().is_empty(), "done once, gone");
    assert_eq!(m.statuses("j"), ["completed"], "what is known of it stays");
}

#[test]
fn nothing_is_told_of_a_result_that_says_nothing_or_that_the_agent_sent_itself() {
    for (text, tool, delivery) in
        [("HEARTBEAT_OK", false, "none"), ("[NO_REPLY]", false, "none"), ("done", true, "by agent")]
    {
        let mut m = minded(cron_rules());
        m.add(json!({"delivery": {"mode": "announce", "channel": "webchat"}}));
        let effects = m.wait(HOUR as u64);
        let (proc, cmd, _) = m.prompted(effects);
        if tool {
            let post = Post { text: "by hand".into(), ..Post::default() };
            m.ask(Request::Post(Box::new(PostRequest { session: "cron:j".into(), post, ..PostRequest::default() })));
        }
        m.finish(proc, cmd, text);
        let told: Vec<String> = m.posted().into_iter().map(|p| p.1).filter(|t| t.starts_with("[CRON")).collect();
        assert!(told.is_empty(), "{told:?}");
        assert_eq!(m.runs("j")[0].delivery.as_deref(), Some(delivery), "{text}");
    }
}

#[test]
fn c23_a_kill_between_the_run_and_the_next_due_time_repeats_and_loses_nothing() {
    let mut m = minded(cron_rules());
    m.add(json!({"delivery": {"channel": "webchat"}}));
    m.wait(HOUR as u64);
    // Killed before the agent saw it.
    let effects = m.down(1_000);
    m.run_through(effects, "once");
    assert_eq!(m.posted().len(), 1);
    m.down(1_000);
    assert_eq!(m.statuses("j"), ["completed"]);
}

#[test]
fn c23_a_run_that_is_found_after_two_hours_is_missed() {
    let mut m = minded(cron_rules());
    m.add(json!({"schedule": {"kind": "every", "expr": "5d"}}));
    m.add(json!({"id": "a", "schedule": {"kind": "at", "expr": "+5d"}, "delivery": {"channel": "webchat"}}));
    m.wait(5 * DAY as u64);
    let effects = m.down(2 * HOUR);
    assert!(!begins(&effects));
    assert_eq!(m.statuses("j"), ["missed"]);
    assert_eq!(m.statuses("a"), ["missed"]);
    let told = m.posted();
    assert!(told.len() == 1 && told[0].1.contains("was missed: it could not begin"), "{told:?}");
    let effects = m.say("hi");
    m.prompted(effects); // the rest of the house works
}

#[test]
fn c23_a_turn_that_was_cut_off_two_hours_ago_is_not_gone_on_with() {
    let mut m = minded(cron_rules());
    m.add(json!({"schedule": {"kind": "every", "expr": "5d"}, "delivery": "silent"}));
    let effects = m.wait(5 * DAY as u64);
    let (proc, cmd, _) = m.prompted(effects);
    m.begins(proc, cmd);
    let effects = m.down(2 * HOUR);
    let swept = effects.iter().find_map(|e| if let Effect::Sweep { proc, .. } = e { Some(*proc) } else { None });
    let effects = m.feed(Event::Swept { proc: swept.unwrap() });
    let job = effects.iter().find_map(|e| if let Effect::Job { id, .. } = e { Some(*id) } else { None });
    let found = Found { user: true, head: "[turn:x]".into(), ..Found::default() };
    let effects = m.feed(Event::Job { id: job.unwrap(), done: Box::new(JobDone::FileRead(found)) });
    assert!(!begins(&effects));
    assert_eq!(m.statuses("j"), ["missed"]);
    assert!(m.jobs()[0].next.is_some(), "its next time comes");
}

#[test]
fn c20_a_clock_that_was_days_behind_makes_no_job_run_twice_and_none_be_missed() {
    let right = 1_800_000_000_000;
    let mut m = Mind::new(cron_rules());
    m.now.wall = right - 2 * DAY;
    m.feed(Event::Due);
    m.add(json!({"id": "e"}));
    m.add(json!({"id": "c", "schedule": {"kind": "cron", "expr": "0 12 * * *"}}));
    m.add(json!({"id": "a", "schedule": {"kind": "at", "expr": "+30m"}}));
    assert!(!begins(&m.wait(60_000)));
    m.now.wall += 2 * DAY;
    assert!(!begins(&m.feed(Event::Clock { confirmed: true })), "nothing is due yet");
    let next: Vec<i64> = m.jobs().iter().map(|j| j.next.unwrap() - m.now.wall).collect();
    assert_eq!(next[0], 29 * 60_000, "half an hour from when it was asked for");
    assert!(next[1] > 0 && next[1] <= DAY && next[2] == 59 * 60_000, "{next:?}");
    for id in ["a", "c", "e"] {
        assert!(m.runs(id).is_empty());
    }
}

#[test]
fn a_clock_that_is_set_back_runs_no_due_time_a_second_time() {
    let mut m = minded(cron_rules());
    m.add(json!({"schedule": {"kind": "cron", "expr": "0 * * * *"}, "delivery": "silent"}));
    let effects = m.wait(HOUR as u64);
    m.run_through(effects, "one");
    m.now.wall -= HOUR / 2;
    m.feed(Event::Clock { confirmed: true });
    for _ in 0..29 {
        assert!(!begins(&m.wait(60_000)));
    }
    assert_eq!(m.statuses("j"), ["completed"]);
    let effects = m.wait(HOUR as u64 + 60_000);
    m.run_through(effects, "two");
    assert_eq!(m.statuses("j"), ["completed", "completed"]);
}

#[test]
fn with_a_clock_nobody_vouches_for_intervals_go_on_and_the_calendar_waits_ten_minutes() {
    let mut m = Mind::new(cron_rules());
    m.add(json!({"id": "e", "schedule": {"kind": "every", "expr": "2m"}, "delivery": "silent"}));
    m.add(json!({"id": "a", "schedule": {"kind": "at", "expr": "+1m"}, "delivery": "silent"}));
    let effects = m.wait(119_000);
    assert!(!begins(&effects));
    let effects = m.wait(1_000);
    m.run_through(effects, "two minutes");
    assert_eq!(m.statuses("e"), ["completed"]);
    m.wait(479_000);
    assert!(m.runs("a").is_empty());
    m.wait(1_000);
    assert_eq!(m.statuses("a"), ["running"]);
}

#[test]
fn a_time_that_is_a_day_late_is_missed_and_told() {
    let mut m = minded(cron_rules());
    m.add(
        json!({"schedule": {"kind": "at", "expr": "+1h"}, "task": "call mother", "delivery": {"channel": "webchat"}}),
    );
    let effects = m.down(30 * HOUR);
    assert!(!begins(&effects));
    assert_eq!(m.statuses("j"), ["missed"]);
    let told = m.posted();
    assert!(told.len() == 1 && told[0].1.contains("was missed") && told[0].1.contains("call mother"), "{told:?}");
    let job = m.jobs().remove(0);
    assert_eq!((job.job.enabled, job.next), (false, None));
    m.down(DAY);
    assert_eq!(m.posted().len(), 1, "once");
}

#[test]
fn runs_that_make_up_for_missed_ones_begin_five_seconds_apart() {
    let mut m = minded(cron_rules());
    for id in ["a", "b", "c"] {
        m.add(json!({"id": id}));
    }
    m.down(3 * HOUR + 1);
    let running = |m: &mut Mind| ["a", "b", "c"].iter().filter(|id| !m.runs(id).is_empty()).count();
    assert_eq!(running(&mut m), 1);
    m.wait(4_999);
    assert_eq!(running(&mut m), 1);
    m.wait(1);
    assert_eq!(running(&mut m), 2);
    m.wait(5_000);
    assert_eq!(running(&mut m), 3);
}

#[test]
fn a_due_time_during_a_run_is_skipped_and_only_so_many_jobs_run_at_once() {
    let mut rules = cron_rules();
    rules.cron.most = 1;
    let mut m = minded(rules);
    m.add(json!({"id": "a", "timeoutMs": 80_000_000}));
    m.add(json!({"id": "b"}));
    let effects = m.wait(HOUR as u64);
    let (proc, cmd, prompt) = m.prompted(effects);
    assert!(prompt.contains("[CRON:a]"));
    assert_eq!(m.statuses("b"), ["running"], "recorded, and waits for its turn");
    for _ in 0..3 {
        m.wait(HOUR as u64 / 6);
    }
    let effects = m.finish(proc, cmd, "a is done");
    let (proc, cmd, prompt) = m.prompted(effects);
    assert!(prompt.contains("[CRON:b]"));
    m.wait(HOUR as u64 / 2);
    assert_eq!(m.statuses("b"), ["running", "skipped"]);
    m.finish(proc, cmd, "b is done");
    assert_eq!(m.statuses("b"), ["completed", "skipped"]);
}

#[test]
fn failures_in_a_row_pause_a_job_and_the_fifth_is_told_once() {
    let mut m = minded(cron_rules());
    m.add(json!({"schedule": {"kind": "every", "expr": "10s"}, "delivery": "silent"}));
    let mut notices = 0;
    for n in 1..=6u64 {
        let mut effects = Vec::new();
        for _ in 0..400 {
            effects = m.wait(10_000);
            if effects.iter().any(|e| matches!(e, Effect::Job { .. } | Effect::Write { .. })) {
                break;
            }
        }
        let (proc, cmd, _) = m.prompted(effects);
        m.begins(proc, cmd);
        m.pi(proc, PiEvent::Assistant(failed("401 no such key")));
        let effects = m.settles(proc);
        notices += effects.iter().filter(|e| matches!(e, Effect::Notice(_))).count();
        let run = m.runs("j").into_iter().rev().find(|r| r.status == "error").unwrap();
        let at = m.now.wall;
        // The pause: 30 s, 1 min, 5 min, 15 min, 1 h.
        let pause = [30, 60, 300, 900, 3600, 3600][n as usize - 1];
        assert!(!begins(&m.wait(pause * 1000 - 1)), "after {n} failures");
        assert!(run.finished == Some(at) && m.statuses("j").last().unwrap() == "skipped");
    }
    assert_eq!(notices, 1);
    // By hand at once.
    let effects = m.ask(Request::Cron(Box::new(CronRequest::Run("j".into()))));
    assert!(effects.iter().any(|e| matches!(e, Effect::Job { .. } | Effect::Write { .. })));
}

#[test]
fn jobs_are_made_changed_paused_and_removed() {
    let mut m = minded(cron_rules());
    let job = |value: Value| Box::new(Job::from_json(&value).unwrap());
    let every = json!({"id": "j", "schedule": {"kind": "every", "expr": "1h"}, "task": "look"});
    let add =
        |m: &mut Mind, value: &Value, again| m.cron(CronRequest::Add { job: job(value.clone()), by: None, again });
    add(&mut m, &every, false).unwrap();
    assert_eq!(add(&mut m, &every, false), Err((Code::Conflict, "job \"j\" already exists".into())));
    assert!(add(&mut m, &every, true).is_ok(), "the same under the same key");
    let past = json!({"id": "p", "schedule": {"kind": "at", "expr": "2020-01-01 10:00"}, "task": "look"});
    assert!(matches!(add(&mut m, &past, false), Err((Code::InvalidRequest, why)) if why.contains("over")));
    let nowhere = json!({"id": "n", "schedule": {"kind": "every", "expr": "1h"}, "task": "look",
        "delivery": {"mode": "direct", "channel": "xx", "to": "1"}});
    assert!(matches!(add(&mut m, &nowhere, false), Err((Code::InvalidRequest, why)) if why.contains("xx")));

    assert_eq!(m.cron(CronRequest::Resume("j".into())), Err((Code::NotFound, "not found or not paused".into())));
    m.cron(CronRequest::Pause("j".into())).unwrap();
    assert_eq!(m.jobs()[0].next, None);
    assert!(!begins(&m.wait(3 * HOUR as u64)));
    m.cron(CronRequest::Resume("j".into())).unwrap();
    assert!(m.runs("j").is_empty(), "what was due while it was paused is not made up for");
    assert!(m.jobs()[0].next.unwrap() > m.now.wall);
    let none = m.cron(CronRequest::Update("j".into(), json!({"action": "update"})));
    assert_eq!(none, Err((Code::InvalidRequest, "No fields to update".into())));
    let bad = m.cron(CronRequest::Update("j".into(), json!({"schedule": {"kind": "cron", "expr": "61 * * * *"}})));
    assert!(matches!(bad, Err((Code::InvalidRequest, why)) if why.starts_with("schedule.expr: ")));
    m.cron(CronRequest::Update("j".into(), json!({"schedule": {"kind": "every", "expr": "10m"}}))).unwrap();
    assert_eq!(m.jobs()[0].next, Some(m.now.wall + 600_000));
    m.down(1_000);
    assert_eq!(m.jobs()[0].job.schedule.expr, "10m");
    m.cron(CronRequest::Remove("j".into())).unwrap();
    assert_eq!(m.cron(CronRequest::Remove("j".into())), Err((Code::NotFound, "not found".into())));
    assert_eq!(m.cron(CronRequest::Run("j".into())), Err((Code::NotFound, "not found".into())));
    m.down(1_000);
    assert!(m.jobs().is_empty());
}

#[test]
fn cron_is_not_there_unless_it_is_switched_on() {
    let mut m = minded(rules());
    assert_eq!(m.cron(CronRequest::List), Err((Code::NotFound, "Cron not enabled".into())));
}

#[test]
fn the_command_lists_and_runs_jobs_also_in_the_conversation_that_they_run_in() {
    let mut m = minded(cron_rules());
    m.say("/cron");
    m.add(json!({"mode": "main", "task": "look at the weather", "delivery": "direct"}));
    m.say("/cron list");
    let effects = m.say("/cron run j");
    let replies = m.replies();
    assert_eq!(replies[0], "There are no scheduled jobs.");
    assert!(
        replies[1].contains("j: active (every 1h, next ") && replies[1].contains("look at the weather"),
        "{replies:?}"
    );
    assert_eq!(replies[2], "Job j: started.");
    m.run_through(effects, "sunny");
    assert_eq!(m.posted(), [(MAIN.to_owned(), "sunny".to_owned())]);
    m.say("/cron pause j");
    m.say("/cron pause x");
    assert_eq!(m.replies()[3..], ["Job j: paused.", "Job x: not found."]);
}

#[test]
fn the_command_line_s_changes_are_seen_when_the_gateway_is_poked() {
    let mut m = minded(cron_rules());
    let beside = pi_gateway::store::Beside::open(&m.path).unwrap().unwrap();
    let job = Job::from_json(&json!({"id": "j", "schedule": {"kind": "every", "expr": "1h"}, "task": "look"})).unwrap();
    beside.define_cron_job("j", &job.to_stored()).unwrap();
    assert!(m.jobs().is_empty());
    m.feed(Event::Poke);
    assert_eq!(m.jobs().len(), 1);
    let effects = m.wait(HOUR as u64);
    m.run_through(effects, "seen");
    assert_eq!(beside.cron_runs("j", 5).unwrap().len(), 1);
}

#[test]
fn a_session_that_is_reset_or_deleted_ends_the_run_that_waits_in_it() {
    let mut m = minded(cron_rules());
    m.add(json!({"delivery": "silent"}));
    let effects = m.wait(HOUR as u64);
    m.prompted(effects);
    m.cron(CronRequest::Run("j".into())).unwrap();
    assert!(matches!(m.cron(CronRequest::Run("j".into())), Err((Code::Conflict, _))));
    m.ask(Request::Delete { session: "cron:j".into() });
    m.wait(20_000);
    let runs = m.runs("j");
    assert_eq!(runs.len(), 2);
    assert!(runs.iter().any(|r| r.status == "error"), "{runs:?}");
}
