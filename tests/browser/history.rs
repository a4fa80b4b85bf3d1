//! More than one message: history, tabs, conversations.

use crate::{demo, scripted, Page, MAIN};

#[test]
fn given_a_reload_in_mid_answer_then_the_answer_goes_on_where_it_was() {
    let g = demo(8);
    let page = Page::open(&g);
    page.says("long 200");
    page.streams();
    page.reload();
    page.streams();
    page.answers(1);
    assert_eq!(page.roles(), ["user", "assistant"]);
    let stored = &g.history(MAIN)[1].1;
    assert_eq!(words(&page.last()), words(&stored.replace('*', "")), "nothing is lost or repeated");
    page.same_after_reload();
    page.calm();
}

#[test]
fn given_a_message_during_an_answer_then_both_get_theirs_in_order() {
    let g = demo(10);
    let page = Page::open(&g);
    page.says("long 60");
    page.streams();
    page.says("and then?");
    page.answers(2);
    assert_eq!(page.roles().iter().filter(|r| *r == "user").count(), 2);
    page.same_after_reload();
    page.calm();
}

#[test]
fn given_a_message_that_steers_a_running_answer_then_each_part_stands_below_its_question() {
    let (pi, g) = scripted();
    let page = Page::open(&g);
    page.says(
        "[[say:first part, which is long enough]] [[gate:g]] [[tool:bash {\"command\":\"true\"}]] [[say:end of it]]",
    );
    pi.wait_gate("g");
    page.streams();
    page.says("[[say:the second part]]");
    page.until("document.querySelectorAll('.user[data-state=sent]').length === 2");
    pi.open("g");
    page.until("document.querySelector('#messages').innerText.includes('the second part')");
    page.until("document.querySelector('#abort').hidden && !document.querySelector('.assistant[data-state=live]')");
    assert_eq!(page.roles(), ["user", "assistant", "user", "assistant"], "{:?}", page.lines());
    page.same_after_reload();
    page.calm();
}

#[test]
fn given_a_message_during_a_tool_of_an_answer_without_words_then_the_tool_is_seen_to_end() {
    let (pi, g) = scripted();
    let page = Page::open(&g);
    page.says("[[gate:g]] [[tool:bash {\"command\":\"echo out\"}]] [[say:end of it]]");
    pi.wait_gate("g");
    page.says("[[gate:h]] [[say:the second part]]");
    page.until("document.querySelectorAll('.user[data-state=sent]').length === 2");
    pi.open("g");
    pi.wait_gate("h");
    page.until("document.querySelector('.tool[data-state=ok] .output').textContent === 'out\\n'");
    pi.open("h");
    page.answers(1);
    assert_eq!(page.eval("document.querySelectorAll('.tool').length"), 1);
    assert_eq!(page.eval("document.querySelectorAll('.tool[data-state=ok]').length"), 1);
    assert_eq!(page.last(), "the second part");
    let lines = page.lines();
    page.same_after_reload();
    assert_eq!(lines.len(), 3, "{lines:?}");
    page.calm();
}

#[test]
fn given_a_reload_then_thoughts_and_tools_of_finished_answers_are_there_once_and_folded() {
    const STEPS: &str = "[...document.querySelectorAll('.assistant')].map(a => [...a.querySelectorAll('.step')]\
                         .map(s => [s.className, s.open, ...[...s.querySelectorAll('.name, .label, .thought, .args, .output')]\
                         .map(x => x.textContent)]))";
    let (pi, g) = scripted();
    let page = Page::open(&g);
    let call = |command: &str| format!("[[tool:bash {{\"command\":\"{command}\"}}]]");
    let (first, second) = (call("echo out"), call("exit 3"));
    page.says(&format!("[[think:let me see]] [[say:a part, which is long enough]] [[gate:g]] {first} [[say:end]]"));
    pi.wait_gate("g");
    page.streams();
    page.says(&format!("[[say:the second part]] [[gate:h]] {second} [[say:more]]"));
    page.until("document.querySelectorAll('.user[data-state=sent]').length === 2");
    pi.open("g");
    pi.wait_gate("h");
    page.until("document.querySelector('.assistant[data-state=live] .md')?.innerText === 'the second part'");
    pi.open("h");
    page.answers(2);
    let told = page.eval(STEPS);
    let kinds: Vec<usize> = told.as_array().unwrap().iter().map(|a| a.as_array().unwrap().len()).collect();
    assert_eq!(kinds, [2, 1], "{told}");
    assert_eq!(told[0][0], serde_json::json!(["step thinking", false, "Thoughts", "let me see"]));
    assert_eq!(told[0][1], serde_json::json!(["step tool", false, "bash", "echo out", "echo out", "out\n"]));
    for _ in 0..2 {
        page.same_after_reload();
        assert_eq!(page.eval(STEPS), told);
        let states = page.eval("[...document.querySelectorAll('.step')].map(s => s.dataset.state).join()");
        assert_eq!(states, "ok,ok,error");
    }
    page.click(".thinking summary");
    page.until("document.querySelector('.thinking').open");
    // A reconnect fetches the history again: what stands there stays as it is.
    page.says("[[say:and another]]");
    page.answers(3);
    assert_eq!(page.eval("document.querySelectorAll('.step').length"), 3);
    page.calm();
}

#[test]
fn given_two_tabs_then_both_show_the_same_conversation() {
    let (pi, g) = scripted();
    let page = Page::open(&g);
    let first = page.tabs()[0].clone();
    let second = page.new_tab();
    page.goto(&format!("http://{}/", g.addr));
    page.ready();
    page.says("[[say:first half, long enough to see]] [[gate:half]] [[say: second half]]");
    pi.wait_gate("half");
    page.streams();
    page.switch(&first);
    page.streams();
    assert_eq!(page.roles(), ["user", "assistant"], "also the question, while it is being answered");
    pi.open("half");
    page.answers(1);
    page.says("[[say:from the first tab]]");
    page.answers(2);
    let here = page.lines();
    assert_eq!(here.len(), 4, "{here:?}");
    page.switch(&second);
    page.answers(2);
    assert_eq!(page.lines(), here);
    // A question is answered in one tab and gone in the other.
    page.says("[[ui:confirm Really?]]");
    page.find("[data-testid=dialog]");
    page.switch(&first);
    page.click("[data-testid=dialog-yes]");
    page.answers(3);
    page.switch(&second);
    page.answers(3);
    page.until("!document.querySelector('[data-testid=dialog]')");
    page.same_after_reload();
    page.calm();
}

#[test]
fn given_new_then_the_conversation_is_empty_in_all_tabs() {
    let g = demo(0);
    let page = Page::open(&g);
    page.says("hello");
    page.answers(1);
    let first = page.tabs()[0].clone();
    page.new_tab();
    page.goto(&format!("http://{}/", g.addr));
    page.ready();
    page.says("/new");
    page.until("!document.querySelector('#messages').innerText.includes('hello')");
    page.until("!document.querySelector('#empty').hidden && !document.querySelector('.item')");
    page.same_after_reload();
    page.switch(&first);
    page.until("!document.querySelector('#empty').hidden && !document.querySelector('.item')");
    page.says("what did i say?");
    page.until("document.querySelector('#messages').innerText.includes('Nothing before this')");
    page.same_after_reload();
    // The button does the same, after a question.
    page.click("#reset-session");
    page.click("#ask-ok");
    page.until("!document.querySelector('#empty').hidden && !document.querySelector('.item')");
    page.reload();
    page.ready();
    assert_eq!(page.lines(), [""; 0]);
    page.calm();
}

#[test]
fn given_a_command_then_its_answer_looks_the_same_after_a_reload() {
    let g = demo(0);
    let page = Page::open(&g);
    page.says("/help");
    page.answers(1);
    page.until("document.querySelectorAll('.assistant .md li').length > 5");
    page.same_after_reload();
    page.until("document.querySelectorAll('.assistant .md li').length > 5");
    page.calm();
}

#[test]
fn given_a_long_history_then_earlier_messages_can_be_fetched_to_the_first() {
    let g = demo(0);
    for n in 1..=60 {
        g.chat(MAIN, &format!("message {n}"));
    }
    let page = Page::open(&g);
    page.until("document.querySelectorAll('.item').length === 50");
    assert!(page.last().contains("message 60"));
    // Scrolling up fetches them; so does the button.
    page.eval("document.querySelector('#scroll').scrollTop = 300");
    page.until("document.querySelectorAll('.item').length === 100");
    let place = page.eval("document.querySelector('#scroll').scrollTop");
    assert!(place.as_f64().unwrap() > 1000.0, "what was being read stays where it is: {place}");
    page.eval("document.querySelector('#older').click()");
    page.until("document.querySelectorAll('.item').length === 120 && document.querySelector('#older').hidden");
    let lines = page.lines();
    let users: Vec<_> = lines.iter().filter(|l| l.starts_with("user")).cloned().collect();
    let want: Vec<_> = (1..=60).map(|n| format!("user: message {n}")).collect();
    assert_eq!(users, want);
    page.says("one more");
    page.answers(61);
    page.calm();
}

#[test]
fn given_a_phone_that_is_turned_then_the_newest_message_stays_on_view() {
    let g = demo(0);
    for n in 1..=20 {
        g.chat(MAIN, &format!("message {n}"));
    }
    let page = Page::open(&g);
    let scroll = "document.querySelector('#scroll')";
    let at_end = format!("(s => s.scrollHeight - s.scrollTop - s.clientHeight < 60 && s.scrollTop > 100)({scroll})");
    page.until(&at_end);
    // As a browser does it: the view gets another size and is moved up, then the page is told.
    let moved = "new Promise(done => { s.addEventListener('scroll', () => setTimeout(done), { once: true }); s.scrollTop -= 400 })";
    page.eval(&format!("(s => {{ s.style.cssText = 'flex: none; height: 250px'; return {moved} }})({scroll})"));
    page.until(&at_end);
    assert_eq!(page.eval("document.querySelector('#latest').hidden"), true);
    // A reader who goes up stays there.
    page.eval("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))");
    page.eval(&format!("(s => {moved})({scroll})"));
    page.until("!document.querySelector('#latest').hidden");
    page.says("one more");
    page.until(&at_end);
    page.calm();
}

#[test]
fn given_a_second_conversation_then_the_two_do_not_mix() {
    let g = demo(0);
    let page = Page::open(&g);
    page.says("apples");
    page.answers(1);
    page.click("#new-session");
    page.until("location.hash.startsWith('#s=chat-') && !document.querySelector('#empty').hidden");
    page.says("pears");
    page.answers(1);
    assert!(!page.lines().concat().contains("apples"));
    page.same_after_reload();
    page.eval("location.hash = ''");
    page.until("document.querySelector('#messages').innerText.includes('apples')");
    assert_eq!(page.roles(), ["user", "assistant"]);
    assert!(!page.lines().concat().contains("pears"));
    page.until(
        "[...document.querySelectorAll('#sessions .name')].map(n => n.textContent).join() === 'pears,Main chat'",
    );
    page.calm();
}

fn words(text: &str) -> Vec<&str> {
    text.split_whitespace().collect()
}
