//! Buttons in Telegram's form, within its limits (telegram.md 11). Pure.

use serde_json::{json, Value};

use crate::message::{Button, Content};

const PER_ROW: usize = 8;
const MOST: usize = 100;
/// Of a button's text: characters.
const LABEL: usize = 40;
/// Telegram refuses 10 000 bytes.
const BYTES: usize = 9_900;

/// `reply_markup`; `None`: none. What is over the limits is left out: the message counts more.
pub fn of(content: &Content) -> Option<Value> {
    if content.buttons.is_empty() {
        return content.wants_reply.then(|| json!({"force_reply": true, "selective": true}));
    }
    let mut rows: Vec<Vec<Value>> = Vec::new();
    let (mut count, mut bytes) = (0, 32);
    for row in content.buttons.iter().flat_map(|row| row.chunks(PER_ROW)) {
        let row: Vec<Value> = row.iter().filter_map(button).collect();
        let size: usize = row.iter().map(|b| b.to_string().len() + 1).sum::<usize>() + 3;
        if count + row.len() > MOST || bytes + size > BYTES {
            log::error!("telegram: more buttons than a message can have; the rest was left out");
            break;
        }
        (count, bytes) = (count + row.len(), bytes + size);
        if !row.is_empty() {
            rows.push(row);
        }
    }
    (!rows.is_empty()).then(|| json!({"inline_keyboard": rows}))
}

fn button(b: &Button) -> Option<Value> {
    if b.data.is_empty() || b.data.len() > 64 {
        log::error!("telegram: the data of the button {:?} has {} bytes; it was left out", b.text, b.data.len());
        return None;
    }
    let text: String = b.text.chars().take(LABEL).collect();
    let text = if text.trim().is_empty() { "–".to_owned() } else { text };
    Some(json!({"text": text, "callback_data": b.data}))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(rows: usize, per_row: usize, text: &str) -> Content {
        let button = |n: usize| Button { text: text.to_owned(), data: format!("k:abcdefgh:{n}") };
        let buttons = (0..rows).map(|r| (0..per_row).map(|n| button(r * per_row + n)).collect()).collect();
        Content { buttons, ..Content::default() }
    }

    #[test]
    fn a_keyboard_stays_within_telegrams_limits_whatever_it_is_given() {
        for (rows, per_row, text) in [
            (1, 1, "x"),
            (0, 0, ""),
            (1, 20, "x"),
            (150, 1, "x"),
            (13, 8, "x"),
            (99, 1, "\u{1f600}\u{1f600}\"\""),
            (3, 3, " "),
        ] {
            let markup = of(&content(rows, per_row, &text.repeat(20)));
            let Some(markup) = markup else {
                assert_eq!(rows, 0);
                continue;
            };
            assert!(markup.to_string().len() < 10_000, "{}", markup.to_string().len());
            let shown = markup["inline_keyboard"].as_array().unwrap();
            let all: Vec<&Value> = shown.iter().flat_map(|r| r.as_array().unwrap()).collect();
            assert!(all.len() <= 100 && shown.iter().all(|r| (1..=8).contains(&r.as_array().unwrap().len())));
            assert!(all.iter().all(|b| (1..=40).contains(&b["text"].as_str().unwrap().chars().count())));
        }
    }

    #[test]
    fn a_reply_is_asked_for_where_there_are_no_buttons() {
        let asks = Content { wants_reply: true, ..Content::default() };
        assert_eq!(of(&asks).unwrap()["force_reply"], true);
        assert_eq!(of(&Content::default()), None);
    }
}
