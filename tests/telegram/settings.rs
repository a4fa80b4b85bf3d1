//! Settings of groups, topics and private chats that change what the agent is started with, and where it answers.

use serde_json::json;

use crate::house::{House, ANN};

const GROUP: i64 = -50;
const FORUM: i64 = -100;

/// Values of an argument of each start of pi so far, without the gateway's own words.
fn given(h: &House, flag: &str) -> Vec<Vec<String>> {
    let own = |value: &str| value.len() > 40;
    let of =
        |args: Vec<String>| args.windows(2).filter(|w| w[0] == flag && !own(&w[1])).map(|w| w[1].clone()).collect();
    h.pi.starts().into_iter().map(of).collect()
}

#[test]
fn a_group_and_its_topics_have_words_and_skills_of_their_own_for_the_agent() {
    let h = House::new(json!({
        "streamMode": "off",
        "groups": {
            "-50": {"requireMention": false, "systemPrompt": "Be brief here.", "skills": ["/skills/group"]},
            "-100": {"requireMention": false, "systemPrompt": "The forum.", "skills": ["/skills/forum"], "topics": {
                "3": {"systemPrompt": "Topic three."}, "1": {"skills": ["/skills/general"]},
            }},
        },
    }));
    h.api.privacy(false);
    h.api.add_group(GROUP, "The group");
    h.api.add_forum(FORUM, "Forum", &[(3, "three"), (4, "four")]);
    h.api.user_writes(ANN, "[[say:private]]");
    h.api.wait_text(ANN, "private");
    h.api.user_says(GROUP, ANN).text("[[say:group]]").send();
    h.api.wait_text(GROUP, "group");
    for (topic, text) in [(3, "three"), (4, "four")] {
        h.api.user_says(FORUM, ANN).topic(topic).text(&format!("[[say:{text}]]")).send();
        h.api.wait_text(FORUM, text);
    }
    h.api.user_says(FORUM, ANN).text("[[say:general]]").send();
    h.api.wait_text(FORUM, "general");
    let prompts = given(&h, "--append-system-prompt");
    let none: [&str; 0] = [];
    assert_eq!(prompts[0], none);
    assert_eq!(prompts[1..], [["Be brief here."], ["Topic three."], ["The forum."], ["The forum."]]);
    let skills = given(&h, "--skill");
    assert_eq!(skills[0], none);
    assert_eq!(skills[1..], [["/skills/group"], ["/skills/forum"], ["/skills/forum"], ["/skills/general"]]);
}

#[test]
fn the_words_of_a_group_apply_from_the_next_turn_on_and_stay_when_it_moves() {
    let h = House::new(json!({"streamMode": "off", "groups": {"-50": {"requireMention": false}}}));
    h.api.privacy(false);
    h.api.add_group(GROUP, "The group");
    h.api.user_says(GROUP, ANN).text("[[say:one]]").send();
    h.api.wait_text(GROUP, "one");
    h.g.reconfigure(json!({"channels": {"telegram": {"groups": {"-50": {"systemPrompt": "New words."}}}}}));
    h.g.wait_log("configuration reloaded");
    h.api.user_says(GROUP, ANN).text("[[say:two]]").send();
    h.api.wait_text(GROUP, "two");
    let new = h.api.migrate(GROUP, ANN);
    h.api.user_says(new, ANN).text("[[say:three]]").send();
    h.api.wait_text(new, "three");
    let prompts = given(&h, "--append-system-prompt");
    let (none, words) = (Vec::<String>::new(), vec!["New words.".to_owned()]);
    assert_eq!(prompts, [none, words], "the same process serves it under its new id");
    h.api.assert_clean();
}

#[test]
fn topics_of_a_private_chat_are_answered_where_they_are_and_are_conversations_only_if_wanted() {
    for (wanted, sessions) in [(false, 1), (true, 2)] {
        let h = House::new(json!({"streamMode": "partial", "dmTopics": wanted}));
        h.api.user_says(ANN, ANN).topic(11).text("[[say:eleven]]").send();
        assert_eq!(h.api.wait_text(ANN, "eleven").topic(), Some(11));
        h.api.user_says(ANN, ANN).topic(12).text("[[say:twelve]]").send();
        assert_eq!(h.api.wait_text(ANN, "twelve").topic(), Some(12));
        h.settled();
        h.counts("SELECT count(*) FROM session WHERE key LIKE '%:telegram:%'", sessions);
        h.api.assert_clean();
    }
}

#[test]
fn given_a_deleted_topic_of_a_private_chat_then_the_answer_goes_to_the_chat_itself() {
    let h = House::new(json!({"streamMode": "off"}));
    h.api.user_says(ANN, ANN).topic(11).text("[[gate:g]] [[say:done]]").send();
    h.pi.wait_gate("g");
    h.api.close_topic(ANN, 11, true);
    h.pi.open("g");
    assert_eq!(h.api.wait_text(ANN, "done").topic(), None);
    assert_eq!(h.said(ANN), ["done"]);
}

#[test]
fn the_tools_of_an_answer_stay_before_its_text_if_that_is_wanted() {
    for wanted in [false, true] {
        let h = House::new(json!({"showTools": wanted, "draftChunk": {"editThrottleMs": 250}}));
        h.api.user_writes(
            ANN,
            "[[tool:bash {\"command\":\"echo `x` <y>\"}]] [[tool:bash {\"command\":\"true\"}]] [[say:**done**]]",
        );
        let answer = h.api.wait_message(ANN, |m| m.text().ends_with("done"));
        h.settled();
        let tools = if wanted { "→ bash echo `x` <y>\n→ bash true\n\n" } else { "" };
        assert_eq!(h.said(ANN), [format!("{tools}done")]);
        assert_eq!(answer.parts("bold"), ["done"]);
        h.api.assert_clean();
    }
}
