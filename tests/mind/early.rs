//! Messages that come in parts or with files (core.md 6, 22.2).

use super::*;
use pi_gateway::rules::Inflow;

/// A mind with a platform whose messages come in parts.
fn house() -> Mind {
    let mut rules = rules();
    rules.channels.insert("t".into(), ChannelRules { mailbox: false, repeat_safe: false });
    let inflow = Inflow { album: 1000, album_most: 5000, long_text: 3900, long_wait: 1500, ..Inflow::default() };
    let access = Access { dm: DmPolicy::Open, ..Access::default() };
    rules.accounts.insert(("t".into(), String::new()), AccountRules { access, inflow, ..AccountRules::default() });
    Mind::new(rules)
}

impl Mind {
    fn bring(&mut self, update: Update) -> Vec<Effect> {
        self.next += 1;
        let batch = Batch { channel: "t".into(), account: String::new(), updates: vec![update], cursor: None };
        self.feed(Event::Inbound { id: ReqId(self.next), batch: Box::new(batch) })
    }
    fn fetched(&mut self, job: JobId, rows: &[Row], tail: &str) -> Vec<Effect> {
        let got = |row: &Row| Fetched { row: *row, tail: tail.into(), ..Fetched::default() };
        let done = JobDone::Fetched(rows.iter().map(got).collect());
        self.feed(Event::Job { id: job, done: Box::new(done) })
    }
    fn state_of(&self, n: i64) -> String {
        let row = self.state.as_ref().unwrap().store().inbox_by_key(&format!("t:{n}")).unwrap();
        row.map_or("none".into(), |r| r.state)
    }
    fn row_of(&self, n: i64) -> Row {
        self.state.as_ref().unwrap().store().inbox_by_key(&format!("t:{n}")).unwrap().unwrap().id
    }
}

fn message(n: i64, text: &str) -> Inbound {
    let source = Source {
        channel: "t".into(),
        chat: "c".into(),
        sender: "u".into(),
        message_id: Some(n.to_string()),
        ..Source::default()
    };
    Inbound {
        dkey: format!("t:{n}"),
        dkey2: Some(format!("t2:{n}:0")),
        source,
        text: text.into(),
        ..Inbound::default()
    }
}

fn with_file(n: i64, text: &str) -> Inbound {
    let file = FileRef { kind: "document".into(), id: "f".into(), name: Some("a.pdf".into()), ..FileRef::default() };
    Inbound { files: vec![file], ..message(n, text) }
}

fn in_group(n: i64, mentioned: bool) -> Inbound {
    let mut m = Inbound { group: Some("g".into()), ..with_file(n, "") };
    m.source.chat_type = ChatType::Group;
    m.source.chat = "-1".into();
    m.facts.mentioned = mentioned;
    m
}

fn edited(m: Inbound, text: &str) -> Update {
    let original = m.dkey2.clone();
    Update::Edited(Inbound { dkey: "t:e".into(), dkey2: Some("t2:e".into()), original, text: text.into(), ..m })
}

fn fetch(effects: &[Effect]) -> Option<JobId> {
    effects.iter().find_map(|e| match e {
        Effect::Job { id, job, .. } if matches!(**job, Job::Fetch { .. }) => Some(*id),
        _ => None,
    })
}

#[test]
fn a_message_waits_for_its_file_and_the_next_of_its_chat_waits_behind_it() {
    let mut m = house();
    let effects = m.bring(Update::Message(with_file(1, "first")));
    let job = fetch(&effects).unwrap();
    assert!(!effects.iter().any(|e| matches!(e, Effect::Spawn { .. })), "nothing begins before");
    let effects = m.bring(Update::Message(message(2, "second")));
    assert!(!effects.iter().any(|e| matches!(e, Effect::Job { .. })), "{effects:?}");
    assert_eq!((m.state_of(1), m.state_of(2)), ("accepted".into(), "accepted".into()));
    let first = m.row_of(1);
    let effects = m.fetched(job, &[first], "[a.pdf]");
    let (_, _, prompt) = m.prompted(effects);
    let at = |text: &str| prompt.find(text).unwrap_or_else(|| panic!("no {text} in {prompt}"));
    assert!(at("first\n\n[a.pdf]") < at("second"));
}

#[test]
fn a_fetch_that_never_comes_back_is_asked_for_three_times_even_over_a_restart() {
    let mut m = house();
    let effects = m.bring(Update::Message(with_file(1, "see")));
    assert!(fetch(&effects).is_some());
    let effects = m.start();
    assert!(fetch(&effects).is_some(), "{effects:?}");
    assert!(fetch(&m.wait(330_000)).is_some());
    let effects = m.wait(330_000);
    assert!(fetch(&effects).is_none());
    let (_, _, prompt) = m.prompted(effects);
    assert!(prompt.contains("see\n\n[Document: a.pdf — download failed]"), "{prompt}");
}

#[test]
fn a_late_or_repeated_word_about_a_fetch_changes_nothing() {
    let mut m = house();
    let job = fetch(&m.bring(Update::Message(with_file(1, "see")))).unwrap();
    let row = m.row_of(1);
    let again = fetch(&m.wait(330_000)).unwrap();
    assert!(m.fetched(job, &[row], "[late]").is_empty());
    let effects = m.fetched(again, &[row], "[in time]");
    assert!(m.fetched(again, &[row], "[twice]").is_empty());
    let (_, _, prompt) = m.prompted(effects);
    assert!(prompt.contains("[in time]") && !prompt.contains("[twice]"), "{prompt}");
}

#[test]
fn held_parts_are_refused_or_let_in_together_also_after_a_kill() {
    for (mentioned, killed) in [(false, false), (true, false), (false, true), (true, true)] {
        let mut m = house();
        m.bring(Update::Message(in_group(1, false)));
        m.bring(Update::Message(in_group(2, mentioned)));
        assert_eq!(m.state_of(1), "held");
        if killed {
            m.start();
        }
        let effects = m.wait(1000);
        assert_eq!(fetch(&effects).is_some(), mentioned, "{effects:?}");
        let sessions = m.state.as_ref().unwrap().store().sessions(10).unwrap().len();
        let want = if mentioned { ("accepted", "accepted", 1) } else { ("refused", "refused", 0) };
        assert_eq!((m.state_of(1).as_str(), m.state_of(2).as_str(), sessions), want, "killed: {killed}");
    }
}

#[test]
fn an_album_is_complete_with_ten_parts_or_after_five_seconds() {
    let part = |n| Inbound { group: Some("g".into()), ..with_file(n, "") };
    let mut m = house();
    let mut effects = Vec::new();
    for n in 1..=10 {
        effects = m.bring(Update::Message(part(n)));
    }
    assert!(fetch(&effects).is_some(), "ten are all");
    let mut m = house();
    let mut began = None;
    for n in 1..=7 {
        began = began.or(fetch(&m.bring(Update::Message(part(n)))).map(|_| n));
        began = began.or(fetch(&m.wait(900)).map(|_| n));
    }
    assert_eq!(began, Some(6), "the sixth part came 4.5 s after the first");
}

#[test]
fn parts_share_the_fate_of_what_they_were_joined_to() {
    let mut m = house();
    m.bring(Update::Message(message(1, &"a".repeat(4000))));
    let effects = m.bring(Update::Message(message(2, "end")));
    assert_eq!((m.state_of(1), m.state_of(2)), ("queued".into(), "joined".into()));
    let (_, _, prompt) = m.prompted(effects);
    assert!(prompt.ends_with("aaend"), "joined without a gap");
    assert_eq!((m.state_of(1), m.state_of(2)), ("in_turn".into(), "joined".into()));
    let mut m = house();
    m.bring(Update::Message(message(1, &"a".repeat(4000))));
    m.bring(Update::Message(message(2, "end")));
    m.bring(Update::Message(message(3, "/stop all")));
    assert_eq!((m.state_of(1), m.state_of(2)), ("dropped".into(), "dropped".into()));
}

#[test]
fn what_is_on_its_way_is_dropped_by_stop_all() {
    let mut m = house();
    let job = fetch(&m.bring(Update::Message(with_file(1, "see")))).unwrap();
    m.bring(Update::Message(message(2, "/stop all")));
    assert_eq!(m.state_of(1), "dropped");
    assert!(m.fetched(job, &[m.row_of(1)], "[x]").is_empty());
}

#[test]
fn an_edit_replaces_what_waits_on_its_way_and_in_the_queue() {
    let mut m = house();
    let job = fetch(&m.bring(Update::Message(with_file(1, "tpyo")))).unwrap();
    m.bring(edited(with_file(1, "tpyo"), "typo"));
    let row = m.row_of(1);
    let effects = m.fetched(job, &[row], "[a.pdf]");
    // In the queue, before its process is there.
    m.bring(edited(with_file(1, "tpyo"), "type"));
    let (_, _, prompt) = m.prompted(effects);
    assert!(prompt.ends_with("type\n\n[a.pdf]"), "{prompt}");
    // With the agent: left alone.
    let effects = m.bring(edited(with_file(1, "tpyo"), "too late"));
    assert!(effects.iter().all(|e| matches!(e, Effect::Answer { .. })), "{effects:?}");
}

#[test]
fn trouble_with_a_file_is_told_in_private_only() {
    for (private, told) in [(true, 1), (false, 0)] {
        let mut m = house();
        let mut inbound = with_file(1, "see");
        if !private {
            inbound = Inbound { group: None, ..in_group(1, true) };
        }
        let job = fetch(&m.bring(Update::Message(inbound))).unwrap();
        let got = Fetched { row: m.row_of(1), tell: vec![Trouble::TooLarge { limit: 20 }], ..Fetched::default() };
        let effects = m.feed(Event::Job { id: job, done: Box::new(JobDone::Fetched(vec![got])) });
        let too_large = |e: &&Effect| {
            matches!(e, Effect::Job { job, .. }
            if matches!(&**job, Job::Render { content, .. } if content.text == "⚠️ File too large (max 20 MB)."))
        };
        assert_eq!(effects.iter().filter(too_large).count(), told);
    }
}
