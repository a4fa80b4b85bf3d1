use std::time::Instant;

use super::*;
use crate::agent::rpc::Phase;
use crate::message::AssistantMessage;

/// The output lines of a recorded run of pi (tests/data/pi, format: one record a line).
fn recorded(name: &str) -> Vec<u8> {
    let path = format!("{}/tests/data/pi/{name}.jsonl", env!("CARGO_MANIFEST_DIR"));
    let mut out = Vec::new();
    for line in std::fs::read_to_string(path).unwrap().lines() {
        let record: serde_json::Value = serde_json::from_str(line).unwrap();
        if record["dir"] == "out" {
            out.extend_from_slice(record["line"].as_str().unwrap().as_bytes());
            out.push(b'\n');
        }
    }
    out
}

fn lines(chunks: &[&[u8]]) -> Vec<Line> {
    let mut scanner = Scanner::default();
    let mut said = Vec::new();
    for chunk in chunks {
        scanner.feed(chunk, &mut |line| said.push(line));
    }
    said
}

/// The story of a run in words: events by name, texts joined.
fn story(output: &[u8]) -> Vec<String> {
    let mut told: Vec<String> = Vec::new();
    for line in lines(&[output]) {
        let word = match line {
            Line::Other | Line::AssistantStart | Line::TurnEnd => continue,
            Line::Text(t) => match told.last_mut() {
                Some(last) if last.starts_with("text:") => {
                    last.push_str(&t);
                    continue;
                }
                _ => format!("text:{t}"),
            },
            Line::Thinking(t) => match told.last_mut() {
                Some(last) if last.starts_with("think:") => {
                    last.push_str(&t);
                    continue;
                }
                _ => format!("think:{t}"),
            },
            Line::Tool(t) if t.phase == Phase::Update => continue,
            Line::Tool(t) => format!("{:?} {} {:?} error={}", t.phase, t.name, t.output, t.error),
            Line::Event(PiEvent::Assistant(m)) => format!("assistant {}: {:?}", m.stop, m.text),
            Line::Event(e) => format!("{e:?}"),
            Line::Noise(n) => format!("noise {n}"),
        };
        told.push(word);
    }
    told
}

#[test]
fn a_recorded_tool_run_of_old_pi_tells_what_core_needs() {
    assert_eq!(
        story(&recorded("tool_bash.0.73.1")),
        [
            "AgentStart",
            "UserStart { head: \"[[say:Running it.]] [[tool:bash {\\\"command\\\":\\\"for i in 1 2 3; do echo line $i; sleep 0.25; done\\\"}]] [[say:All done.]]\" }",
            "text:Running it.",
            "assistant toolUse: \"Running it.\"",
            "Start bash \"\" error=false",
            "End bash \"line 1\\nline 2\\nline 3\\n\" error=false",
            "text:All done.",
            "assistant stop: \"All done.\"",
            "AgentEnd { will_retry: false }",
        ]
    );
}

#[test]
fn old_and_new_pi_tell_the_same_story() {
    let mut new = story(&recorded("tool_bash.1.5.2"));
    assert_eq!(new.pop().as_deref(), Some("Settled { aborted: false }"));
    assert_eq!(new, story(&recorded("tool_bash.0.73.1")));
}

#[test]
fn a_recorded_steer_of_new_pi() {
    let told = story(&recorded("steer.1.5.2"));
    let queue: Vec<_> = told.iter().filter(|t| t.starts_with("Queue")).cloned().collect();
    assert_eq!(queue, [1, 2, 1, 0].map(|n| format!("Queue {{ waiting: {n} }}")));
    let users = told.iter().filter(|t| t.starts_with("UserStart")).count();
    assert_eq!(users, 3);
    let texts: Vec<_> = told.iter().filter(|t| t.starts_with("text:")).cloned().collect();
    assert_eq!(texts, ["text:steered answer", "text:second steer answer"]);
    assert_eq!(told.last().map(String::as_str), Some("Settled { aborted: false }"));
}

#[test]
fn recorded_retries_abort_thinking_and_a_cut_connection() {
    let retry = story(&recorded("drop_midstream.0.73.1"));
    let start = retry.iter().position(|t| t.starts_with("RetryStart { attempt: 1, max: 3")).unwrap();
    assert_eq!(retry[start - 1], "AgentEnd { will_retry: false }");
    assert!(retry.iter().any(|t| t == "RetryEnd { success: false, error: Some(\"Retry cancelled\") }"));

    let cut = story(&recorded("drop_midstream.1.5.2"));
    assert!(cut.iter().any(|t| t == "AgentEnd { will_retry: true }"), "{cut:#?}");
    assert!(cut.iter().any(|t| t.starts_with("assistant error")));

    let abort = story(&recorded("abort_text.0.73.1"));
    assert!(abort.iter().any(|t| t.starts_with("assistant aborted")));

    let think = story(&recorded("thinking.0.73.1"));
    assert!(think.iter().any(|t| t.starts_with("think:")));
}

#[test]
fn deltas_make_the_text_of_message_end_in_every_recording() {
    for name in ["tool_bash.0.73.1", "tool_bash.1.5.2", "steer.1.5.2", "thinking.0.73.1", "abort_text.0.73.1"] {
        let mut text = String::new();
        for line in lines(&[&recorded(name)]) {
            match line {
                Line::AssistantStart => text.clear(),
                Line::Text(t) => text += &t,
                Line::Event(PiEvent::Assistant(m)) => assert_eq!(m.text, text, "{name}"),
                _ => {}
            }
        }
    }
}

/// A small generator of pseudo-random numbers: failures can be repeated.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) as usize % n.max(1)
    }
}

#[test]
fn where_the_stream_is_cut_makes_no_difference() {
    for name in ["tool_bash.0.73.1", "steer.1.5.2", "thinking.0.73.1", "drop_midstream.0.73.1"] {
        let output = recorded(name);
        let whole = lines(&[&output]);
        for seed in 0..60 {
            let mut dice = Dice(seed);
            let (mut chunks, mut rest) = (Vec::new(), &output[..]);
            let longest = [1, 7, 80, 3000, 70_000][dice.below(5)];
            while !rest.is_empty() {
                let (a, b) = rest.split_at((1 + dice.below(longest)).min(rest.len()));
                chunks.push(a);
                rest = b;
            }
            assert_eq!(lines(&chunks), whole, "{name} seed {seed}");
        }
    }
}

#[test]
fn garbage_neither_panics_nor_stays_in_memory() {
    let good = recorded("tool_bash.1.5.2");
    for seed in 0..300 {
        let mut dice = Dice(seed);
        let mut scanner = Scanner::default();
        let mut bad = good[..20_000].to_vec();
        for _ in 0..dice.below(200) {
            let at = dice.below(bad.len());
            match dice.below(3) {
                0 => bad[at] = b"\"\\{}[],:\n\xff0u"[dice.below(12)],
                1 => {
                    bad.remove(at);
                }
                _ => bad.insert(at, dice.below(256) as u8),
            }
        }
        bad.push(b'\n');
        scanner.feed(&bad, &mut |_| {});
        let mut after = Vec::new();
        scanner.feed(b"{\"type\":\"agent_start\"}\n", &mut |l| after.push(l));
        assert_eq!(after, [Line::Event(PiEvent::AgentStart)], "seed {seed}");
        assert!(scanner.held() <= 2 * HEAD_BYTES);
    }
}

#[test]
fn strings_are_decoded_right_also_across_deltas() {
    let mut scanner = Scanner::default();
    let mut text = String::new();
    for delta in [r#"a\n\"\\\u00e9 "#, r#"\ud83d"#, r#"\ude00 "#, r#"\ud83d\ude00"#, r#"\udc00x\ud800"#, "y\u{2028}"] {
        let line = format!(
            "{{\"type\":\"message_update\",\"assistantMessageEvent\":{{\"type\":\"text_delta\",\"contentIndex\":0,\"delta\":\"{delta}\"}}}}\n"
        );
        scanner.feed(line.as_bytes(), &mut |l| {
            if let Line::Text(t) = l {
                text += &t;
            }
        });
    }
    assert_eq!(text, "a\n\"\\é 😀 😀\u{fffd}x\u{fffd}y\u{2028}");
}

#[test]
fn keys_in_an_unknown_order_are_understood_by_the_full_parser() {
    let said = lines(&[
        b"{\"message\":{\"content\":[{\"text\":\"hi \\ud800\",\"type\":\"text\"}],\"role\":\"assistant\",\"stopReason\":\"stop\"},\"type\":\"message_end\"}\n",
        b"{\"assistantMessageEvent\":{\"delta\":\"x\",\"type\":\"text_delta\"},\"type\":\"message_update\"}\n",
        b"{\"type\":\"message_update\",\"new\":[1,{\"a\":[]}],\"assistantMessageEvent\":{\"delta\":\"y\",\"type\":\"text_delta\"}}\n",
        b"{\"type\":\"message_start\",\"message\":{\"role\":\"user\",\"content\":\"plain \xff\"}}\n",
    ]);
    let message = AssistantMessage { text: "hi \u{fffd}".into(), stop: "stop".into(), ..AssistantMessage::default() };
    assert_eq!(
        said,
        [
            Line::Event(PiEvent::Assistant(message)),
            Line::Text("x".into()),
            Line::Text("y".into()),
            Line::Event(PiEvent::UserStart { head: "plain \u{fffd}".into() }),
        ]
    );
}

#[test]
fn a_user_message_with_a_huge_picture_is_told_by_its_beginning() {
    let text = "é".repeat(2000);
    let line = format!(
        r#"{{"type":"message_start","message":{{"role":"user","content":[{{"type":"text","text":"{text}"}},{{"type":"image","data":"{}"}}]}}}}"#,
        "A".repeat(9 << 20)
    );
    let mut scanner = Scanner::default();
    let mut said = Vec::new();
    for chunk in line.as_bytes().chunks(64 << 10) {
        scanner.feed(chunk, &mut |l| said.push(l));
        assert!(scanner.held() <= 2 * HEAD_BYTES);
    }
    assert_eq!(said, [Line::Event(PiEvent::UserStart { head: "é".repeat(256) })]);
}

#[test]
fn c30_depth_and_size_end_in_refusal_not_in_memory() {
    let deep = format!("{{\"type\":\"x\",\"a\":{}\n", "[".repeat(100_000));
    assert!(matches!(&lines(&[deep.as_bytes()])[..], [Line::Event(PiEvent::Broken { .. })]));
    let deep = format!("{{\"type\":\"message_update\",\"usage\":{}\n", "{\"a\":".repeat(100_000));
    assert!(matches!(&lines(&[deep.as_bytes()])[..], [Line::Event(PiEvent::Broken { .. })]));

    let block = vec![b'x'; 64 << 10];
    let mut scanner = Scanner::default();
    let mut said = Vec::new();
    scanner.feed(b"{\"type\":\"agent_end\",\"messages\":[\"", &mut |l| said.push(l));
    for _ in 0..(60 << 20) / block.len() {
        scanner.feed(&block, &mut |l| said.push(l));
        assert!(scanner.held() <= 2 * HEAD_BYTES);
    }
    scanner.feed(b"\"],\"willRetry\":true}\n", &mut |l| said.push(l));
    assert_eq!(said, [Line::Event(PiEvent::AgentEnd { will_retry: true })]);

    said.clear();
    for _ in 0..=(64 << 20) / block.len() {
        scanner.feed(&block, &mut |l| said.push(l));
    }
    assert!(matches!(&said[..], [Line::Noise(_), Line::Event(PiEvent::Broken { .. })]));
    assert!(scanner.held() < 2 * HEAD_BYTES);
}

#[test]
fn an_answer_too_long_to_keep_still_answers_its_command() {
    let mut line =
        br#"{"id":"g7","type":"response","command":"get_commands","success":true,"data":{"commands":[""#.to_vec();
    line.resize(9 << 20, b'x');
    let said = lines(&[&line, b"\"]}}\n"]);
    assert!(matches!(&said[..], [Line::Event(PiEvent::Response { id: 7, result: Err(_) })]));
}

/// What old pi writes for an answer of `total` bytes in pieces of 20: each line repeats all of it twice.
fn quadratic(total: usize, mut feed: impl FnMut(&[u8])) -> String {
    let (mut text, mut pipe) = (String::new(), Vec::new());
    while text.len() < total {
        let delta = format!("{:017} é", text.len());
        text += &delta;
        let all =
            format!(r#"{{"role":"assistant","content":[{{"type":"text","text":"{text}"}}],"stopReason":"stop"}}"#);
        let line = format!(
            r#"{{"type":"message_update","assistantMessageEvent":{{"type":"text_delta","contentIndex":0,"delta":"{delta}","partial":{all}}},"message":{all}}}"#
        );
        pipe.extend_from_slice(line.as_bytes());
        pipe.push(b'\n');
        let full = pipe.len() - pipe.len() % HEAD_BYTES;
        pipe[..full].chunks(HEAD_BYTES).for_each(&mut feed);
        pipe.drain(..full);
    }
    feed(&pipe);
    text
}

#[test]
fn the_quadratic_output_of_old_pi_is_drained_in_constant_memory() {
    let mut scanner = Scanner::default();
    let (mut text, mut bytes, mut most) = (String::new(), 0usize, 0);
    let mut spent = std::time::Duration::ZERO;
    let whole = quadratic(100_000, |chunk| {
        bytes += chunk.len();
        let start = Instant::now();
        scanner.feed(chunk, &mut |l| {
            if let Line::Text(t) = l {
                text += &t;
            }
        });
        spent += start.elapsed();
        most = most.max(scanner.held());
    });
    assert!(text == whole);
    assert!(most <= 2 * HEAD_BYTES, "{most} bytes held");
    let speed = bytes as f64 / 1e6 / spent.as_secs_f64();
    println!("{} MB in {spent:?}: {speed:.0} MB/s, at most {most} bytes held", bytes / 1_000_000);
}
