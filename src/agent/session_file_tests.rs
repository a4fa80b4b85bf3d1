use super::*;

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/pi").join(name)
}

fn told(found: &Found) -> Vec<String> {
    let tell = |e: &FoundEntry| match e {
        FoundEntry::User { head } => format!("user {}", head.lines().next().unwrap_or_default()),
        FoundEntry::Assistant(m) => format!("{} {}", m.stop, m.text),
        FoundEntry::ToolResult => "tool".into(),
    };
    found.entries.iter().map(tell).collect()
}

#[test]
fn recorded_files_of_old_and_new_pi_tell_what_became_of_a_turn() {
    for name in ["session.old.jsonl", "session.new.jsonl"] {
        let file = data(name);
        let first = read(&file, "abc", 0, false).unwrap();
        assert!(first.user);
        let story = told(&first);
        assert_eq!(
            story[..5],
            [
                "toolUse First words.",
                "tool",
                "user [msgId:2 | turn:abc.1]",
                "stop steered",
                "user [msgId:3 | turn:abcd]"
            ],
            "{name}"
        );
        assert_eq!(told(&read(&file, "abcd", 0, false).unwrap())[0], "stop second turn");
        let cut = read(&file, "xyz", 0, false).unwrap();
        assert_eq!(told(&cut), ["toolUse "], "{name}: killed while the tool ran");
        assert_eq!(read(&file, "ab", 0, false).unwrap(), Found::default());
    }
}

#[test]
fn the_turn_is_looked_for_behind_the_recorded_length_first_and_then_everywhere() {
    let file = data("session.old.jsonl");
    let text = fs::read_to_string(&file).unwrap();
    let second = text.find(r#"turn:abcd"#).map(|at| text[..at].rfind('\n').unwrap() + 1).unwrap() as u64;
    let by_place = read(&file, "", second, true).unwrap();
    assert_eq!(told(&by_place)[0], "stop second turn");
    assert!(!read(&file, "", text.len() as u64, true).unwrap().user);
    assert!(read(&file, "abc", text.len() as u64, false).unwrap().user, "a copied file is shorter than recorded");
    assert!(!read(&file.with_extension("gone"), "abc", 9, false).unwrap().user);
}

#[test]
fn a_marker_is_a_whole_word_and_not_an_injected_messages() {
    for (head, yes) in [
        ("[x | turn:abc | y]", true),
        ("turn:abc", true),
        ("see turn:abc.", true),
        ("[turn:abcd]", false),
        ("[turn:abc.1]", false),
        ("[turn:abc-d]", false),
        ("return:abc", false),
        ("[turn:abc.2] [turn:abc]", true),
    ] {
        assert_eq!(bears(head, "abc"), yes, "{head}");
    }
}

#[test]
fn torn_broken_huge_and_abandoned_entries() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.jsonl");
    let line = |id: &str, parent: &str, message: &str| {
        format!(r#"{{"type":"message","id":"{id}","parentId":"{parent}","message":{message}}}"#) + "\n"
    };
    let user = |text: &str| format!(r#"{{"role":"user","content":[{{"type":"text","text":"{text}"}}]}}"#);
    let said = |text: &str| {
        format!(r#"{{"role":"assistant","content":[{{"type":"text","text":"{text}"}}],"stopReason":"stop"}}"#)
    };
    let mut file = String::from("{\"type\":\"session\"}\n");
    file += &line("1", "0", &user("turn:t"));
    file += "not json\n";
    file += &line("2", "1", &said("left behind"));
    file += &line("3", "1", &format!(r#"{{"role":"toolResult","content":"{}"}}"#, "x".repeat(9 << 20)));
    file += "{\"type\":\"context_edit\",\"id\":\"4\",\"parentId\":\"3\"}\n";
    file += &line("5", "4", &said("deep").replace("\"stop\"", &format!("{}1{}", "[".repeat(70), "]".repeat(70))));
    file += &line("6", "5", &said("answer"));
    file += r#"{"type":"message","id":"7","parentId":"6","mess"#;
    fs::write(&path, file).unwrap();
    let found = read(&path, "t", 0, false).unwrap();
    assert_eq!(told(&found), ["tool", " deep", "stop answer"]);
}

fn ready(done: JobDone) -> (PathBuf, u64, bool) {
    match done {
        JobDone::FileReady { path, len, notice } => (path, len, notice.is_some()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_missing_or_good_file_is_used_as_it_is_and_a_torn_line_is_ended() {
    let dir = tempfile::tempdir().unwrap();
    let (path, fresh) = (dir.path().join("a/b/one.jsonl"), dir.path().join("a/b/two.jsonl"));
    assert_eq!(ready(prepare(&path, dir.path(), &fresh)), (path.clone(), 0, false));
    assert!(path.parent().unwrap().is_dir());
    fs::write(&path, "").unwrap();
    assert_eq!(ready(prepare(&path, dir.path(), &fresh)), (path.clone(), 0, false));
    let good = format!("{}\n{{\"type\":\"mess", serde_json::json!({"type": "session", "cwd": dir.path()}));
    fs::write(&path, &good).unwrap();
    assert_eq!(ready(prepare(&path, dir.path(), &fresh)), (path.clone(), good.len() as u64 + 1, false));
    assert_eq!(fs::read_to_string(&path).unwrap(), good + "\n");
    assert!(!fresh.exists());
}

#[test]
fn what_is_no_session_is_put_aside_and_told() {
    let dir = tempfile::tempdir().unwrap();
    let (path, fresh) = (dir.path().join("one.jsonl"), dir.path().join("two.jsonl"));
    fs::write(&path, "my diary\n").unwrap();
    assert_eq!(ready(prepare(&path, dir.path(), &fresh)), (fresh, 0, true));
    let names: Vec<_> = fs::read_dir(&dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    assert!(matches!(&names[..], [name] if name.starts_with("one.jsonl.bad-")), "{names:?}");
}

#[test]
fn a_session_of_another_folder_is_copied_with_its_history() {
    let dir = tempfile::tempdir().unwrap();
    let fresh = dir.path().join("new/two.jsonl");
    let (path, len, _) = ready(prepare(&data("session.old.jsonl"), dir.path(), &fresh));
    assert_eq!((&path, len), (&fresh, fs::metadata(&fresh).unwrap().len()));
    let (before, after) = (fs::read_to_string(data("session.old.jsonl")).unwrap(), fs::read_to_string(&fresh).unwrap());
    let ((old, old_rest), (new, new_rest)) = (before.split_once('\n').unwrap(), after.split_once('\n').unwrap());
    assert_eq!(old_rest, new_rest);
    let (old, new): (Value, Value) = (serde_json::from_str(old).unwrap(), serde_json::from_str(new).unwrap());
    assert_eq!(new["cwd"], dir.path().to_str().unwrap());
    assert!(new["id"] != old["id"] && new["id"].as_str().unwrap().len() == 36);
    assert_eq!((&new["version"], &new["timestamp"]), (&old["version"], &old["timestamp"]));
    assert!(read(&fresh, "abc", 0, false).unwrap().user);
}

#[test]
fn a_copy_for_a_heartbeat_leaves_the_conversation_as_it_is_and_begins_one_where_there_is_none() {
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = (dir.path().join("a/main.jsonl"), dir.path().join("a/copy.jsonl"));
    let cwd = dir.path().join("work");
    assert_eq!(branch(&from, &cwd, &to), JobDone::FileReady { path: to.clone(), len: 0, notice: None });
    assert!(!to.exists() && cwd.is_dir(), "pi makes it");
    let text = format!("{{\"type\":\"session\",\"id\":\"x\",\"cwd\":\"{}\"}}\n{{\"id\":\"1\"}}\n", cwd.display());
    fs::write(&from, &text).unwrap();
    let JobDone::FileReady { path, len, .. } = branch(&from, &cwd, &to) else { panic!() };
    assert_eq!((path, len), (to.clone(), fs::metadata(&to).unwrap().len()));
    assert!(fs::read_to_string(&to).unwrap().ends_with("{\"id\":\"1\"}\n"));
    assert_eq!(fs::read_to_string(&from).unwrap(), text);
    fs::write(&from, "no session\n").unwrap();
    assert!(matches!(branch(&from, &cwd, &to), JobDone::Failed { .. }));
    assert_eq!(fs::read_to_string(&from).unwrap(), "no session\n", "what is damaged is for the next message to find");
}
