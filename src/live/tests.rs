//! The live view as its viewers see it.

use super::*;

fn text(news: &[News]) -> String {
    news.iter().filter_map(|n| if let News::Text { delta, .. } = n { Some(delta.as_str()) } else { None }).collect()
}

#[test]
fn given_two_viewers_when_one_is_slow_then_both_see_the_same_text() {
    let board = Board::default();
    let live = board.open("s");
    let (mut quick, mut slow) = (Cursor::default(), Cursor::default());
    live.begin("r1");
    let mut seen = String::new();
    for word in ["one ", "zwei ", "trois ✓ "] {
        live.text(word);
        seen += &text(&live.read(&mut quick, usize::MAX));
    }
    assert_eq!(seen, "one zwei trois ✓ ");
    let mut late = String::new();
    loop {
        let news = live.read(&mut slow, 5);
        if news.is_empty() {
            break;
        }
        late += &text(&news);
    }
    assert_eq!(late, seen);
}

#[test]
fn a_tool_that_changes_behind_the_cursor_is_told_again_until_it_is_done() {
    let live = Board::default().open("s");
    live.begin("r");
    let mut at = Cursor::default();
    live.tool(Tool { id: "c1".into(), name: "bash".into(), ..Tool::default() });
    live.text("x");
    assert_eq!(live.read(&mut at, usize::MAX).len(), 3);
    live.tool(Tool { id: "c1".into(), output: "hi".into(), done: true, ..Tool::default() });
    let news = live.read(&mut at, usize::MAX);
    assert!(matches!(&news[..], [News::ToolChange { tool, .. }] if tool.name == "bash" && tool.output == "hi"));
    assert!(live.read(&mut at, usize::MAX).is_empty());
}

#[test]
fn discarding_restarts_every_viewer() {
    let live = Board::default().open("s");
    live.begin("r");
    live.text("half an ans");
    let mut at = live.now();
    live.discard();
    live.text("again");
    let news = live.read(&mut at, usize::MAX);
    assert!(matches!(&news[0], News::Restart { run } if run == "r"));
    assert_eq!(text(&news), "again");
}

#[test]
fn rolling_back_takes_only_what_came_after_the_mark() {
    let live = Board::default().open("s");
    live.begin("r");
    live.text("kept");
    let mark = live.mark();
    live.text(" gone");
    live.tool(Tool::default());
    live.rollback(&mark);
    assert_eq!(live.snapshot().2, [Item::Text("kept".into())]);
    assert_eq!(text(&live.read(&mut Cursor::default(), usize::MAX)), "kept");
    live.begin("other");
    live.text("new");
    live.rollback(&mark);
    assert_eq!(live.snapshot().2, [Item::Text("new".into())]);
}

#[test]
fn text_behind_a_steer_stays_on_view_under_its_own_run() {
    let live = Board::default().open("s");
    live.begin("r1");
    live.text("answer to the first");
    live.boundary();
    live.text("answer to the second");
    live.rename("r2"); // the mind is a little later than pi
    let news = live.read(&mut Cursor::default(), usize::MAX);
    assert!(matches!(&news[0], News::Restart { run } if run == "r2"));
    assert_eq!(text(&news), "answer to the second");
}

#[test]
fn who_was_behind_at_a_steer_is_told_the_end_of_a_tool_before_the_next_answer_begins() {
    let live = Board::default().open("s");
    live.begin("r1");
    live.tool(Tool { id: "c1".into(), name: "bash".into(), ..Tool::default() });
    let (mut at, mut late) = (Cursor::default(), Cursor::default());
    live.read(&mut at, usize::MAX);
    live.tool(Tool { id: "c1".into(), output: "hi".into(), done: true, ..Tool::default() });
    live.boundary();
    live.boundary();
    live.rename("r2"); // two messages came in at once
    live.rename("r3");
    live.text("answer to both");
    assert!(live.is_at(&at) && !live.is_at(&late), "a reply to the first waits for its end");
    let news = live.read(&mut at, usize::MAX);
    let done = |n: &News| matches!(n, News::ToolChange { run, tool } if run == "r1" && tool.done);
    assert!(news.len() == 1 && done(&news[0]), "{news:?}");
    assert!(!live.is_at(&at));
    for at in [&mut at, &mut late] {
        let news = live.read(at, usize::MAX);
        assert!(matches!(&news[0], News::Restart { run } if run == "r3"), "{news:?}");
        assert_eq!(text(&news), "answer to both");
        assert!(live.is_at(at) && live.read(at, usize::MAX).is_empty());
    }
}

#[test]
fn b21_only_a_few_ended_views_are_kept() {
    let board = Board::default();
    for n in 0..100 {
        let live = board.open(&format!("s{n}"));
        live.begin("r");
        live.text("x");
        live.end();
    }
    let held = board.open("s1");
    board.open("running").begin("r");
    board.trim();
    assert_eq!(board.all().len(), MAX_ENDED + 2, "the newest, one that is looked at, one that runs");
    assert!(board.get("s99").is_some() && board.get("s2").is_none() && Arc::ptr_eq(&held, &board.open("s1")));
}

#[test]
fn a_bell_rings_once_however_much_changes() {
    let board = Board::default();
    let (tx, rx) = crossbeam_channel::bounded(1);
    board.watch(Arc::new(tx));
    let live = board.open("s");
    live.begin("r");
    live.text("a");
    live.text("b");
    assert_eq!(rx.try_iter().count(), 1);
}
