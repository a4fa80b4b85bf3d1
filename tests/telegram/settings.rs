//! Settings of groups, topics and private chats that change what the agent is started with, and where it answers.

use serde_json::json;

use crate::house::{House, ANN};

const GROUP: i64 = -50;
const FORUM: i64 = -100;

/// Values of an argument of each start of pi so far.
fn given(h: &House, flag: &str) -> Vec<Vec<String>> {
    let of = |args: Vec<String>| args.windows(2).filter(|w| w[0] == flag).map(|w| w[1].clone()).collect();
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
