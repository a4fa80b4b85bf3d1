use super::*;
use crate::agent::head::Scanner;
use crate::message::PiModels;

fn line(cmd: &PiCmd) -> Value {
    let mut out = Vec::new();
    write(&mut out, 7, cmd).unwrap();
    assert_eq!(out.pop(), Some(b'\n'));
    assert!(!out.contains(&b'\n'));
    serde_json::from_slice(&out).unwrap()
}

fn event(text: &str) -> PiEvent {
    let mut said = Vec::new();
    Scanner::default().feed(format!("{text}\n").as_bytes(), &mut |l| said.push(l));
    match said.pop() {
        Some(Line::Event(e)) => e,
        other => panic!("{text}: {other:?}"),
    }
}

#[test]
fn commands_are_single_lines_with_an_id() {
    let prompt = PiCmd::Prompt { message: "a\nb \"c\"".into(), images: vec![], inject: Some(Inject::FollowUp) };
    assert_eq!(
        line(&prompt),
        json!({"type": "prompt", "id": "g7", "message": "a\nb \"c\"", "streamingBehavior": "followUp"})
    );
    assert_eq!(line(&PiCmd::Abort), json!({"type": "abort", "id": "g7"}));
    let model = PiCmd::SetModel { provider: "p".into(), model: "m/x".into() };
    assert_eq!(line(&model), json!({"type": "set_model", "id": "g7", "provider": "p", "modelId": "m/x"}));
    let switch = PiCmd::SwitchSession { path: "/a b/c.jsonl".into() };
    assert_eq!(line(&switch)["sessionPath"], "/a b/c.jsonl");
}

#[test]
fn a_dialog_answer_bears_the_dialogs_id() {
    let answer = |answer| line(&PiCmd::UiResponse { id: "u1".into(), answer });
    assert_eq!(
        answer(UiAnswer::Confirmed(false)),
        json!({"type": "extension_ui_response", "id": "u1", "confirmed": false})
    );
    assert_eq!(
        answer(UiAnswer::Values(vec!["a".into(), "b".into()])),
        json!({"type": "extension_ui_response", "id": "u1", "value": ["a", "b"]})
    );
    assert_eq!(answer(UiAnswer::Cancelled), json!({"type": "extension_ui_response", "id": "u1", "cancelled": true}));
}

#[test]
fn pictures_are_streamed_as_base64() {
    let dir = tempfile::tempdir().unwrap();
    let bytes: Vec<u8> = (0..10_001u32).map(|n| (n % 251) as u8).collect();
    let images: Vec<Image> = ["a.png", "b.jpg"]
        .iter()
        .map(|name| {
            std::fs::write(dir.path().join(name), &bytes).unwrap();
            Image { path: dir.path().join(name), mime: "image/png".into() }
        })
        .collect();
    let sent = line(&PiCmd::Steer { message: "look".into(), images: images.clone() });
    assert_eq!(sent["images"].as_array().unwrap().len(), 2);
    use base64::Engine;
    assert_eq!(STANDARD.decode(sent["images"][1]["data"].as_str().unwrap()).unwrap(), bytes);

    let gone = vec![Image { path: dir.path().join("gone.png"), mime: "image/png".into() }];
    let mut out = Vec::new();
    let result = write(&mut out, 1, &PiCmd::Steer { message: "look".into(), images: gone });
    assert!(matches!(result, Err(WriteError::Image(why)) if why.contains("gone.png")));
    assert!(out.is_empty());
}

#[test]
fn answers_are_found_by_their_id() {
    use crate::message::PiData;
    let ok = |text: &str| match event(text) {
        PiEvent::Response { id: 3, result } => result,
        other => panic!("{other:?}"),
    };
    assert_eq!(ok(r#"{"id":"g3","type":"response","command":"prompt","success":true}"#), Ok(PiData::None));
    assert_eq!(
        ok(r#"{"id":"g3","type":"response","command":"prompt","success":true,"data":{"disposition":"queued"}}"#),
        Ok(PiData::Disposition("queued".into()))
    );
    assert_eq!(ok(r#"{"id":"g3","type":"response","command":"abort","success":false,"error":"no"}"#), Err("no".into()));
    assert_eq!(
        ok(
            r#"{"id":"g3","type":"response","command":"get_available_models","success":true,"data":{"models":[{"id":"m","provider":"p","cost":{}}]}}"#
        ),
        Ok(PiData::Models(Box::new(PiModels {
            names: vec!["p/m".into()],
            raw: r#"[{"id":"m","provider":"p","cost":{}}]"#.into(),
        })))
    );
    let Ok(PiData::State(state)) = ok(
        r#"{"id":"g3","type":"response","command":"get_state","success":true,"data":{"model":{"id":"unknown","provider":"unknown"},"thinkingLevel":"off","isStreaming":true,"pendingMessageCount":2}}"#,
    ) else {
        panic!()
    };
    assert!(state.streaming && state.model.is_none() && state.pending == 2);
    let Ok(PiData::Stats(stats)) = ok(
        r#"{"id":"g3","type":"response","command":"get_session_stats","success":true,"data":{"tokens":{"input":5,"cacheRead":1},"cost":0.5,"contextUsage":{"tokens":null,"contextWindow":128000,"percent":null}}}"#,
    ) else {
        panic!()
    };
    assert_eq!((stats.input, stats.cost, stats.context_tokens, stats.context_window), (5, 0.5, None, Some(128_000)));
    let refused =
        event(r#"{"type":"response","command":"parse","success":false,"error":"Failed to parse command: x"}"#);
    assert!(matches!(refused, PiEvent::Refused { command, .. } if command == "parse"));
}

#[test]
fn compaction_dialogs_and_notices() {
    let end = |text: &str| match event(text) {
        PiEvent::CompactionEnd { ok, aborted, will_retry, error, .. } => (ok, aborted, will_retry, error.is_some()),
        other => panic!("{other:?}"),
    };
    assert_eq!(
        end(
            r#"{"type":"compaction_end","reason":"overflow","result":{"summary":"s"},"aborted":false,"willRetry":true}"#
        ),
        (true, false, true, false)
    );
    assert_eq!(end(r#"{"type":"auto_compaction_end","result":null,"errorMessage":"e"}"#), (false, false, false, true));
    let dialog = event(
        r#"{"type":"extension_ui_request","id":"u","method":"select","title":"t","options":["a",1],"timeout":1200}"#,
    );
    assert!(matches!(dialog, PiEvent::Ui(d) if d.options == ["a", "1"] && d.timeout == Some(1200)));
    let notice = event(r#"{"type":"extension_ui_request","id":"u","method":"notify","message":"m"}"#);
    assert_eq!(notice, PiEvent::Notice { level: "info".into(), message: "m".into() });
}
