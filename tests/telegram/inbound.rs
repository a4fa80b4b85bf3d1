//! Files that come with messages (telegram.md 8.2–8.5).

use serde_json::json;

use crate::house::{House, ANN};
use crate::support::bot_api::{Rule, Trouble, PIXEL};

const GROUP: i64 = -100;

fn house() -> House {
    House::new(json!({"streamMode": "off"}))
}

/// The path that stands after `mark` in what the agent got.
fn path_after(prompt: &str, mark: &str) -> std::path::PathBuf {
    let rest = prompt.split(mark).nth(1).unwrap_or_else(|| panic!("no {mark} in {prompt}"));
    rest.split([']', '\n', ')']).next().unwrap().trim().into()
}

#[test]
fn a_photo_is_kept_shown_and_told() {
    let h = house();
    let said = h.api.user_says(ANN, ANN).photo(PIXEL).text("look [[show:images]]").send();
    h.api.wait_text(ANN, "images: 1");
    let prompt = &h.pi.prompts()[0];
    assert!(prompt.contains("\n[media attached: 1 image]\nlook "), "{prompt}");
    let path = path_after(prompt, "[Photo saved to: ");
    assert_eq!(std::fs::read(&path).unwrap(), PIXEL);
    let name = path.file_name().unwrap().to_str().unwrap();
    assert!(name.starts_with(&format!("{}-photo-", said.message_id)), "{name}");
    assert!(path.starts_with(h.g.data().join("media/telegram").join(ANN.to_string())), "{path:?}");
    h.api.assert_clean();
}

#[test]
fn a_text_document_is_told_and_another_one_is_only_named() {
    let h = house();
    h.api
        .user_says(ANN, ANN)
        .document("../notes.md", "text/markdown", "# Héllo\n".as_bytes())
        .text("[[say:one]]")
        .send();
    h.api.wait_text(ANN, "one");
    let prompt = h.pi.prompts().pop().unwrap();
    assert!(prompt.contains("[Document: ../notes.md (text/markdown)]\nFile saved to: "), "{prompt}");
    assert!(prompt.ends_with("```\n# Héllo\n```"), "{prompt}");
    let path = path_after(&prompt, "File saved to: ");
    assert!(path.file_name().unwrap().to_str().unwrap().ends_with("-.._notes.md"), "{path:?}");
    h.api.user_says(ANN, ANN).document("a.bin", "application/zip", b"PK\x03\x04").text("[[say:two]]").send();
    h.api.wait_text(ANN, "two");
    let prompt = h.pi.prompts().pop().unwrap();
    assert!(prompt.contains("[Document: a.bin (application/zip)\nFile saved to: "), "{prompt}");
    h.api.user_says(ANN, ANN).document("p.png", "image/png", PIXEL).text("[[show:images]]").send();
    h.api.wait_text(ANN, "images: 1");
    let prompt = h.pi.prompts().pop().unwrap();
    assert!(prompt.contains("[Image: p.png, saved to: "), "{prompt}");
    h.api.assert_clean();
}

#[test]
fn a_file_that_is_too_large_is_not_downloaded_and_both_sides_hear_why() {
    let h = House::new(json!({"streamMode": "off", "mediaMaxMb": 1}));
    let say = h.api.user_says(ANN, ANN).document("film.iso", "application/octet-stream", b"x").claiming(38 << 20);
    say.text("[[say:pity]]").send();
    h.api.wait_text(ANN, "pity");
    let prompt = &h.pi.prompts()[0];
    let line = "[Document: film.iso — not downloaded: too large (38 MB, limit 1 MB)]";
    assert!(prompt.contains(line), "{prompt}");
    assert!(h.said(ANN).contains(&"⚠️ File too large (max 1 MB).".to_owned()), "{:?}", h.said(ANN));
    assert!(h.api.calls("getFile").is_empty());
    // One that lies about its size is stopped on its way.
    let big = vec![7; (1 << 20) + 1];
    h.api.user_says(ANN, ANN).document("liar.bin", "application/zip", &big).claiming(10).text("[[say:again]]").send();
    h.api.wait_text(ANN, "again");
    assert!(h.pi.prompts()[1].contains("[Document: liar.bin — not downloaded: too large (limit 1 MB)]"));
    let media = h.g.data().join("media/telegram");
    let left = walk(&media);
    assert!(left.is_empty(), "{left:?}");
}

fn walk(dir: &std::path::Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().map(|e| e.unwrap().path());
    entries.flat_map(|p| if p.is_dir() { walk(&p) } else { vec![p] }).collect()
}

#[test]
fn a_download_that_fails_is_tried_again_and_never_costs_the_message() {
    let h = house();
    h.api.trouble(Rule::on("file", Trouble::DropAfter).times(2));
    h.api.user_says(ANN, ANN).photo(PIXEL).text("[[show:images]]").send();
    h.api.wait_text(ANN, "images: 1");
    assert_eq!(h.api.calls("file").len(), 3);
    h.api.trouble(Rule::on("getFile", Trouble::bad("invalid file_id")).always());
    h.api.user_says(ANN, ANN).video("v.mp4", b"film").text("[[say:no film]]").send();
    h.api.wait_text(ANN, "no film");
    let prompt = h.pi.prompts().pop().unwrap();
    assert!(prompt.contains("[Video: v.mp4 — download failed]"), "{prompt}");
}

#[test]
fn a_path_that_is_over_is_asked_for_again() {
    let h = house();
    h.api.trouble(Rule::on("file", Trouble::Refuse(404, "Not Found".into(), json!(null))).times(1));
    h.api.user_says(ANN, ANN).photo(PIXEL).text("[[show:images]]").send();
    h.api.wait_text(ANN, "images: 1");
    assert_eq!(h.api.calls("getFile").len(), 2);
}

#[test]
fn every_other_kind_has_its_line() {
    let h = house();
    h.api.user_says(ANN, ANN).sticker("🙂", "Cats", b"RIFF....WEBPVP8 ").send();
    let wait = |n: usize| h.g.wait_until("the prompt", |_| h.pi.prompts().len() >= n);
    wait(1);
    h.api.user_says(ANN, ANN).animated_sticker("😀", "Dogs", b"x").send();
    wait(2);
    h.api.user_says(ANN, ANN).audio("song.mp3", "Title", "Band", b"ID3").send();
    wait(3);
    h.api.user_says(ANN, ANN).animation("g.mp4", b"x").send();
    wait(4);
    h.api.user_says(ANN, ANN).video_note(b"x").send();
    wait(5);
    h.api.user_says(ANN, ANN).location(1.5, 2.25).send();
    wait(6);
    h.api.user_says(ANN, ANN).dice("🎲", 4).send();
    wait(7);
    let prompts = h.pi.prompts();
    for (n, want) in [
        "[Sticker 🙂 from \"Cats\"\nFile saved to: ",
        "[Sticker 😀 from \"Dogs\"(thumbnail — animated/video sticker)\nFile saved to: ",
        "[Audio: song.mp3 — Band - Title (audio/mpeg)\nFile saved to: ",
        "[Animation/GIF: g.mp4 (video/mp4)\nFile saved to: ",
        "[Video Note (round video)\nFile saved to: ",
        "[Location: 1.5, 2.25]",
        "[Dice 🎲: 4]",
    ]
    .iter()
    .enumerate()
    {
        assert!(prompts[n].contains(want), "{want}: {}", prompts[n]);
    }
}

#[test]
fn a_reply_to_a_photo_brings_the_photo() {
    let h = house();
    h.api.privacy(false);
    h.api.add_supergroup(GROUP, "The group");
    let photo = h.api.user_says(GROUP, 8).photo(PIXEL).text("my cat").send();
    h.api.wait_confirmed(photo.update_id.unwrap());
    assert!(h.api.calls("getFile").is_empty(), "the gate comes before any download");
    h.api
        .user_says(GROUP, ANN)
        .reply_to(photo.message_id)
        .text("@fake_gateway_bot what is this? [[show:images]]")
        .send();
    h.api.wait_text(GROUP, "images: 1");
    let prompt = &h.pi.prompts()[0];
    assert!(prompt.contains("[Reply to] my cat [photo]\n[media attached: 1 image]\nwhat is this?"), "{prompt}");
}

#[test]
fn a_text_does_not_overtake_the_picture_before_it() {
    let h = House::new(json!({"streamMode": "off", "allowFrom": [ANN.to_string(), "8"]}));
    let held = h.api.trouble(Rule::on("file", Trouble::Hold).times(1));
    h.api.user_says(ANN, ANN).photo(PIXEL).text("first [[say:one]]").send();
    h.api.wait_calls("file", 1);
    let second = h.api.user_writes(ANN, "second [[say:two]]");
    h.api.wait_confirmed(second.update_id.unwrap());
    // Another chat does not wait for it, and neither does a command.
    h.api.user_writes(8, "[[say:elsewhere]]");
    h.api.wait_text(8, "elsewhere");
    h.api.user_writes(ANN, "/whoami");
    h.api.wait_message(ANN, |m| m.text().starts_with("Sender 7"));
    h.api.release(held);
    h.g.wait_until("both are with the agent", |_| h.pi.prompts().join("\n").contains("second"));
    let all = h.pi.prompts().join("\n");
    assert!(all.find("first").unwrap() < all.find("second").unwrap(), "{all}");
}

#[test]
fn given_a_kill_during_a_download_then_it_is_fetched_again_and_answered_once() {
    let mut h = house();
    let held = h.api.trouble(Rule::on("file", Trouble::Hold).times(1));
    let said = h.api.user_says(ANN, ANN).photo(PIXEL).text("[[show:images]]").send();
    h.api.wait_calls("file", 1);
    h.api.wait_confirmed(said.update_id.unwrap());
    h.g.kill9();
    h.api.release(held);
    h.g.restart();
    h.api.wait_text(ANN, "images: 1");
    h.settled();
    assert_eq!(h.said(ANN), ["images: 1"]);
    assert_eq!(h.pi.prompts().len(), 1);
    assert!(h.api.calls("file").len() >= 2);
}

#[test]
fn given_no_network_for_files_then_the_message_comes_without_them() {
    let h = house();
    h.api.trouble(Rule::on("getFile", Trouble::DropBefore).always());
    h.api.user_says(ANN, ANN).photo(PIXEL).text("[[say:blind]]").send();
    h.api.wait_text(ANN, "blind");
    assert!(h.pi.prompts()[0].contains("[Photo — download failed]"), "{:?}", h.pi.prompts());
}

#[test]
fn an_update_that_cannot_be_read_is_kept_and_does_not_stop_the_others() {
    let h = house();
    h.api.raw_update(json!({"message": {"message_id": "seven", "chat": {"id": ANN, "type": "private"}, "date": 1}}));
    h.api.user_writes(ANN, "[[say:goes on]]");
    h.api.wait_text(ANN, "goes on");
    h.g.wait_log("an update could not be read");
    let db = rusqlite::Connection::open(h.g.data().join("gateway.db")).unwrap();
    let sql = "SELECT text FROM inbox WHERE state = 'failed' AND reason = 'parse'";
    let raw: String = db.query_row(sql, [], |r| r.get(0)).unwrap();
    assert!(raw.contains("\"seven\""), "{raw}");
}
