//! What people do every day and nobody thinks of.

use serde_json::json;

use crate::house::{House, ANN};
use crate::support::bot_api::{BotApi, Options, Rate, Rule, Trouble, PIXEL};

const GROUP: i64 = -1001;

#[test]
fn a_command_that_replies_to_a_message_is_a_command() {
    let h = House::new(json!({"streamMode": "off"}));
    let mine = h.api.user_writes(ANN, "[[say:fine]]");
    h.api.wait_text(ANN, "fine");
    h.api.user_says(ANN, ANN).text("/whoami").reply_to(mine.message_id).send();
    h.api.wait_message(ANN, |m| m.text().starts_with("Sender 7 on telegram"));
    let other = h.api.user_says(GROUP, 8).text("something else").send();
    h.api.user_says(GROUP, ANN).text("/whoami@another_bot").reply_to(other.message_id).send();
    h.api.user_says(GROUP, ANN).text("/whoami@fake_gateway_bot").reply_to(other.message_id).send();
    h.api.wait_message(GROUP, |m| m.text().starts_with("Sender 7 on telegram"));
    assert_eq!(h.pi.prompts().len(), 1, "{:?}", h.pi.prompts());
    h.api.assert_clean();
}

#[test]
fn what_a_message_replies_to_comes_along_unless_it_is_a_command() {
    let h = House::new(json!({"streamMode": "off"}));
    let mine = h.api.user_writes(ANN, "my cat");
    h.api.wait_message(ANN, |m| m.bot.is_some() && m.text().ends_with("my cat"));
    h.api.user_says(ANN, ANN).text("/skill:x please [[say:skilled]]").reply_to(mine.message_id).send();
    h.api.wait_text(ANN, "skilled");
    h.api.user_says(ANN, ANN).text("and this? [[say:well]]").reply_to(mine.message_id).send();
    h.api.wait_text(ANN, "well");
    let prompts = h.pi.prompts();
    assert!(prompts[1].ends_with("\n/skill:x please [[say:skilled]]\n\n[Reply to] my cat"), "{prompts:?}");
    assert!(prompts[2].contains("\n[Reply to] my cat\nand this?"), "{prompts:?}");
}

#[test]
fn a_text_that_is_too_long_with_its_markup_arrives_without() {
    for why in ["text is too long", "message is too long", "MESSAGE_TOO_LONG"] {
        let h = House::new(json!({"streamMode": "off"}));
        h.api.trouble(Rule::on("sendMessage", Trouble::bad(why)).times(1));
        h.api.user_writes(ANN, "[[say:**bold**]]");
        assert!(h.api.wait_text(ANN, "bold").entities().is_empty());
        assert_eq!(h.said(ANN), ["bold"]);
    }
}

#[test]
fn given_eighty_chats_at_once_then_the_platform_has_to_refuse_hardly_any() {
    let api = BotApi::with(Options { rate: Some(Rate::default()), ..Options::default() });
    let h = House::at(api, json!({"streamMode": "off", "dmPolicy": "open", "allowFrom": ["*"]}));
    for chat in 1000..1080 {
        h.api.user_writes(chat, "/whoami");
    }
    h.counts("SELECT count(*) FROM inbox", 80);
    h.settled();
    for chat in 1000..1080 {
        assert_eq!(h.said(chat).len(), 1);
    }
    let refused = h.api.calls("sendMessage").iter().filter(|c| c.status == Some(429)).count();
    // On a busy machine calls may arrive closer together than they were sent.
    assert!(refused <= 4, "{refused}");
    h.api.assert_clean();
}

#[test]
fn what_was_said_before_a_question_stands_above_it_and_nothing_idle_below() {
    let h = House::new(json!({"draftChunk": {"editThrottleMs": 5000}}));
    h.api.user_writes(ANN, "[[say:I found two.]] [[ui:select Which?|this|that]] [[say: Fine.]]");
    let question = h.api.wait_message(ANN, |m| m.text() == "Which?");
    assert_eq!(h.said(ANN), ["I found two. ▌", "Which?"]);
    h.api.user_presses(ANN, ANN, question.id(), "that");
    h.api.wait_message(ANN, |m| m.text().ends_with("Fine."));
    assert_eq!(h.said(ANN), ["I found two.ui: thatFine.", "Which?\n\n✅ that"]);
    h.api.user_writes(ANN, "[[ui:input Name?|]] [[say: hello]]");
    h.api.wait_message(ANN, |m| m.text() == "Name?");
    h.api.wait_calls("sendChatAction", h.api.calls("sendChatAction").len() + 1); // long after the first 3 s
    assert_eq!(h.said(ANN).last().unwrap(), "Name?");
    h.api.user_writes(ANN, "Bob");
    h.api.wait_message(ANN, |m| m.text().contains("hello"));
    h.api.assert_clean();
}

#[test]
fn in_private_the_answer_to_a_message_in_parts_is_no_reply() {
    let h = House::new(json!({"streamMode": "off", "debounceMs": 150}));
    h.api.user_writes(ANN, "[[say:one]]");
    h.api.user_writes(ANN, "[[say:two]]");
    assert_eq!(h.api.wait_text(ANN, "onetwo").reply_to(), None);
    let album = h.api.album();
    for text in ["[[say:three]]", "[[say:four]]"] {
        h.api.user_says(ANN, ANN).photo(PIXEL).text(text).in_album(&album).send();
    }
    assert_eq!(h.api.wait_text(ANN, "threefour").reply_to(), None);
    h.api.assert_clean();
}

#[test]
fn the_log_tells_that_a_bot_in_privacy_mode_does_not_hear_a_group() {
    let everything = json!({"groups": {"-5": {"requireMention": false}}});
    let api = BotApi::start();
    api.privacy(true);
    let h = House::at(api, everything.clone());
    h.g.wait_log("requireMention is false for -5, but the bot is in privacy mode");
    for (open, groups) in [(true, everything), (false, json!({"groups": {"-5": {}}}))] {
        let api = BotApi::start();
        api.privacy(!open);
        let h = House::at(api, groups);
        h.api.user_writes(ANN, "[[say:hello]]");
        h.api.wait_text(ANN, "hello");
        assert!(!h.g.log().contains("privacy mode"));
    }
}

#[test]
fn a_model_that_pi_does_not_know_is_not_chosen() {
    let h = House::new(json!({"streamMode": "off"}));
    h.api.user_writes(ANN, "/model fake/mistyped");
    h.api.wait_text(ANN, "pi does not know the model fake/mistyped.");
    h.api.user_writes(ANN, "/model fake/fake-model");
    h.api.wait_text(ANN, "Model: fake/fake-model.");
    h.api.user_writes(ANN, "[[say:hello]]");
    h.api.wait_text(ANN, "hello");
    h.api.assert_clean();
}
