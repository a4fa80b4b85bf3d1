use std::fs;
use std::path::PathBuf;

use super::*;

const MUCH: u64 = 16 << 20;

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/pi").join(name)
}

fn place<'a>(file: &'a Path, marker: &'a str) -> Place<'a> {
    Place { file, from: 0, marker, plain: false }
}

fn told(stretches: &[Stretch]) -> Vec<String> {
    let tell = |p: &Value| {
        let kind = p["type"].as_str().unwrap();
        let said = [&p[kind], &p["arguments"]["command"], &p["content"][0]["text"]];
        format!("{kind} {}", said.iter().find_map(|v| v.as_str()).unwrap_or_default())
    };
    let of = |s: &Stretch| s.parts.iter().map(|p| format!("{} {}", s.n, tell(p))).collect::<Vec<_>>();
    stretches.iter().flat_map(of).collect()
}

fn entry(role: &str, content: &str) -> String {
    let rest = if role == "toolResult" { r#","toolCallId":"c1","toolName":"bash","isError":false"# } else { "" };
    format!(
        r#"{{"type":"message","id":"e","message":{{"role":"{role}","content":{content}{rest},"stopReason":"stop"}}}}"#
    )
}

fn text(text: &str) -> String {
    format!(r#"[{{"type":"text","text":"{text}"}}]"#)
}

/// A file of these lines, read for the turn `abc`.
fn of_lines(lines: &[String]) -> Vec<Stretch> {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("s.jsonl");
    fs::write(&file, lines.concat()).unwrap();
    read(&place(&file, "abc"), true, &mut MUCH.clone()).unwrap()
}

fn lines(entries: &[String]) -> Vec<String> {
    entries.iter().map(|e| format!("{e}\n")).collect()
}

fn prompt(marker: &str) -> String {
    entry("user", &text(&format!("[msgId:1 | turn:{marker}]\\nhi")))
}

#[test]
fn recorded_files_of_old_and_new_pi_give_the_parts_between_prompt_and_answer() {
    for name in ["session.old.jsonl", "session.new.jsonl"] {
        let file = data(name);
        let mut left = MUCH;
        let with = read(&place(&file, "abc"), true, &mut left).unwrap();
        let call = "0 toolCall sleep 0.3; echo hi";
        assert_eq!(told(&with), ["0 text First words.", call, "0 toolResult hi\n", "1 text steered"], "{name}");
        assert!(left < MUCH);
        let without = read(&place(&file, "abc"), false, &mut left).unwrap();
        assert_eq!(told(&without), ["0 text First words.", call, "1 text steered"], "{name}");
        assert_eq!(told(&read(&place(&file, "xyz"), true, &mut left).unwrap()), ["0 toolCall sleep 30"]);
        assert_eq!(read(&place(&file, "nobody"), true, &mut left).unwrap(), []);
        let len = fs::metadata(&file).unwrap().len();
        let beyond = Place { from: len * 2, ..place(&file, "abc") };
        assert_eq!(read(&beyond, true, &mut left).unwrap(), [], "{name}: the file became shorter");
    }
}

#[test]
fn a_turn_is_read_from_the_length_at_its_prompt_also_without_a_context_line() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("s.jsonl");
    let first = lines(&[prompt("abc"), entry("assistant", &text("one"))]).concat();
    let plain = lines(&[entry("user", &text("/cmd")), entry("assistant", &text("two")), prompt("def")]).concat();
    fs::write(&file, format!("{first}{plain}")).unwrap();
    let at = Place { from: first.len() as u64, plain: true, ..place(&file, "pqr") };
    assert_eq!(told(&read(&at, true, &mut MUCH.clone()).unwrap()), ["0 text two"]);
}

#[test]
fn a_turn_that_was_cut_off_and_resumed_has_what_it_did_before() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("s.jsonl");
    let before = lines(&[prompt("abc"), entry("assistant", &text("one"))]).concat();
    let note = entry("user", &text("[The gateway restarted during turn:abc. Finish.]"));
    let after =
        lines(&[note, entry("assistant", &text("two")), prompt("def"), entry("assistant", &text("no"))]).concat();
    fs::write(&file, format!("{before}{after}")).unwrap();
    let at = Place { from: before.len() as u64, ..place(&file, "abc") };
    assert_eq!(told(&read(&at, true, &mut MUCH.clone()).unwrap()), ["0 text one", "0 text two"]);
}

#[test]
fn an_answer_that_failed_is_void_once_another_comes() {
    let failed = entry("assistant", &text("half")).replace(r#""stop""#, r#""error""#);
    let whole = entry("assistant", &text("whole"));
    assert_eq!(told(&of_lines(&lines(&[prompt("abc"), failed.clone(), whole]))), ["0 text whole"]);
    assert_eq!(told(&of_lines(&lines(&[prompt("abc"), failed]))), ["0 text half"], "the last one stays");
}

#[test]
fn torn_odd_and_foreign_lines_are_left_out() {
    let odd =
        ["", "{", "null", "[1]", "\u{0}\u{1}", r#"{"message":7}"#, r#"{"message":{"role":"assistant","content":3}}"#];
    let mut all = vec![prompt("abc")];
    all.extend(odd.map(str::to_owned));
    all.push(entry("assistant", r#"[{"type":"text"},{"type":"new"},{"type":"thinking","thinking":"hm"}]"#));
    all.push(entry("assistant", &"[".repeat(5000)));
    all.push(entry("assistant", r#""just words""#));
    let mut all = lines(&all);
    all.push(entry("assistant", &text("torn"))); // without its end
    assert_eq!(told(&of_lines(&all)), ["0 thinking hm", "0 text just words"]);
}

#[test]
fn long_parts_are_cut_and_lines_beyond_a_mebibyte_are_passed_over() {
    let long = "é".repeat(300_000);
    let picture =
        format!(r#"[{{"type":"text","text":"[msgId:1 | turn:abc]"}},{{"type":"image","data":"{long}{long}"}}]"#);
    let call = format!(r#"[{{"type":"toolCall","id":"c1","name":"write","arguments":{{"content":"{long}"}}}}]"#);
    let thought = format!(r#"[{{"type":"thinking","thinking":"{long}"}}]"#);
    let result = format!("{long}end");
    let stretches = of_lines(&lines(&[
        entry("user", &picture),
        entry("assistant", &thought),
        entry("assistant", &call),
        entry("toolResult", &text(&result)),
        entry("toolResult", &text(&format!("{long}{long}"))),
        entry("assistant", &text("end")),
    ]));
    let parts = &stretches[0].parts;
    assert_eq!(parts.len(), 4, "{:?}", told(&stretches));
    assert_eq!(parts[0]["thinking"].as_str().unwrap().len(), THOUGHT);
    assert_eq!(parts[1]["arguments"].as_str().unwrap().len(), ARGS_BYTES);
    let output = parts[2]["content"][0]["text"].as_str().unwrap();
    assert!(output.ends_with("end") && output.len() <= OUTPUT_BYTES, "{}", output.len());
    assert_eq!(parts[2]["content"][0]["truncated"], true);
    let many: Vec<String> = (0..20).map(|_| entry("assistant", &text(&"x".repeat(TEXT / 4)))).collect();
    let all = of_lines(&lines(&[vec![prompt("abc")], many].concat()));
    assert!(serde_json::to_string(&all[0].parts).unwrap().len() < PARTS + 100, "all parts together");
}

#[test]
fn no_more_is_read_than_may_be_also_of_one_endless_line() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("s.jsonl");
    let text = lines(&[prompt("abc"), entry("assistant", &text("one"))]).concat();
    fs::write(&file, &text).unwrap();
    fs::File::options().append(true).open(&file).unwrap().set_len(100 << 20).unwrap(); // a hole: no line end
    let mut left = 2 << 20;
    assert_eq!(told(&read(&place(&file, "abc"), true, &mut left).unwrap()), ["0 text one"]);
    assert_eq!(left, 0);
    assert_eq!(read(&place(&file, "abc"), true, &mut left).unwrap(), [], "nothing may be read any more");
}

#[test]
fn what_is_missing_or_no_file_gives_nothing_and_holds_nobody_up() {
    let dir = tempfile::tempdir().unwrap();
    let gone = dir.path().join("gone");
    assert_eq!(read(&place(&gone, "abc"), true, &mut MUCH.clone()).unwrap(), []);
    assert_eq!(read(&place(dir.path(), "abc"), true, &mut MUCH.clone()).unwrap(), []);
    let pipe = dir.path().join("pipe");
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    assert_eq!(read(&place(&pipe, "abc"), true, &mut MUCH.clone()).unwrap(), []);
}
