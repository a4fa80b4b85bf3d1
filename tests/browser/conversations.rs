//! The list of conversations beside the chat: new ones, names, deleting, and how it fits on a phone.

use serde_json::{json, Value};

use crate::{demo, scripted, text, Page, MAIN};

const NAMES: &str = "[...document.querySelectorAll('#sessions .name')].map(n => n.textContent).join()";
const ESC: &str = "\u{e00c}";

#[test]
fn given_a_new_chat_then_it_is_named_by_its_first_words_and_can_be_renamed_and_deleted() {
    let g = demo(0);
    let page = Page::open(&g);
    page.says("hello");
    page.answers(1);
    page.click("#new-session");
    page.until("!document.querySelector('#empty').hidden");
    page.says("Plan the garden for spring");
    page.answers(1);
    page.until("document.querySelector('#title').textContent === 'Plan the garden for spring'");
    page.until("document.title === 'Plan the garden for spring \u{b7} pi'");

    page.click("li:has([aria-current]) [data-testid=rename]");
    let field = page.find("#ask-input");
    assert_eq!(page.eval("document.querySelector('#ask-input').selectionEnd"), 26, "all of it is selected");
    field.send_keys("Beans <b>&amp;</b> peas\u{e007}");
    page.until(&format!("{NAMES} === 'Beans <b>&amp;</b> peas,Main chat'"));
    page.reload();
    page.ready();
    page.until("document.querySelector('#title').textContent === 'Beans <b>&amp;</b> peas'");
    assert!(page.lines().concat().contains("garden"), "{:?}", page.lines());

    // An empty title takes it back.
    page.click("li:has([aria-current]) [data-testid=rename]");
    page.find("#ask-input").send_keys("\u{e003}\u{e007}");
    page.until(&format!("{NAMES} === 'New chat,Main chat'"));

    page.click("li:has([aria-current]) [data-testid=remove]");
    page.find("#ask-ok");
    page.send_keys("#ask-ok", ESC);
    page.until("!document.querySelector('#ask')");
    assert_eq!(page.lines().len(), 2, "Esc deletes nothing");
    page.click("li:has([aria-current]) [data-testid=remove]");
    page.click("#ask-ok");
    page.until(&format!("{NAMES} === 'Main chat' && document.querySelector('#messages').innerText.includes('hello')"));
    let left: Vec<Value> = serde_json::from_slice(&g.get("/api/sessions").body).unwrap_or_default();
    assert!(!json!(left).to_string().contains("chat-"), "the gateway has forgotten it: {left:?}");
    page.calm();
}

#[test]
fn given_an_answer_elsewhere_then_the_list_tells_and_a_press_goes_there() {
    let (pi, g) = scripted();
    g.chat("agent:main:webchat:garden", "[[say:first]]");
    let page = Page::open(&g);
    page.says("[[say:here]]");
    page.answers(1);
    page.until(&format!("{NAMES} === 'Main chat,garden'"));
    let mut other = g.page("agent:main:webchat:garden");
    other
        .call("chat.send", json!({"sessionKey": "agent:main:webchat:garden", "text": "[[gate:g]] [[say:over there]]"}));
    pi.wait_gate("g");
    page.until("document.querySelector('#sessions [data-state=busy] .name')?.textContent === 'garden'");
    pi.open("g");
    page.until("document.querySelector('#sessions [data-state=news]')?.innerText.includes('new answer')");
    assert_eq!(page.lines().len(), 2, "it is not shown here");
    page.click("#sessions [data-state=news] a");
    page.until("document.querySelector('#messages').innerText.includes('over there')");
    page.until("document.querySelector('#connection').dataset.state === 'connected'");
    assert_eq!(page.eval("document.querySelectorAll('#sessions [data-state=news]').length"), 0);
    assert_eq!(page.eval("document.activeElement.id"), "composer");
    // What is said there now is seen as it comes.
    page.says("[[say:live over here, word by word]] [[gate:h]]");
    pi.wait_gate("h");
    page.streams();
    pi.open("h");
    page.answers(3);
    page.same_after_reload();
    // A question of a conversation that is not on view is told too.
    page.eval("location.hash = ''");
    page.until("document.querySelector('#title').textContent === 'Main chat'");
    other.call("chat.send", json!({"sessionKey": "agent:main:webchat:garden", "text": "[[ui:confirm Really?]]"}));
    page.until("document.querySelector('#sessions [data-state=news]')?.innerText.includes('has a question')");
    page.click("#sessions [data-state=news] a");
    page.click("[data-testid=dialog-yes]");
    page.answers(4);
    page.calm();
}

#[test]
fn given_the_keyboard_then_conversations_are_found_and_begun_without_a_mouse() {
    let g = demo(0);
    for name in ["alpha", "beta"] {
        g.chat(&format!("agent:main:webchat:{name}"), name);
    }
    let page = Page::open(&g);
    page.until(&format!("{NAMES} === 'Main chat,beta,alpha'"));
    let keys = |js: &str| {
        page.eval(&format!("document.activeElement.dispatchEvent(new KeyboardEvent('keydown', {{bubbles: true, cancelable: true, {js}}}))"))
    };
    keys("key: 'k', ctrlKey: true");
    assert_eq!(page.eval("document.activeElement.id"), "filter");
    page.send_keys("#filter", "alp\u{e007}");
    page.until("document.querySelector('#title').textContent === 'alpha'");
    assert_eq!(page.eval("document.activeElement.id"), "composer");
    keys("key: 'O', ctrlKey: true, shiftKey: true");
    page.until("document.querySelector('#title').textContent === 'New chat'");
    keys("key: '/', ctrlKey: true");
    page.until("document.querySelector('#ask')?.innerText.includes('Shift+Enter')");
    page.send_keys("#ask button", ESC);
    page.until("!document.querySelector('#ask')");
    // The arrow brings back what was written.
    page.send_keys("#composer", "one\u{e008}\u{e007}\u{e000}two");
    assert_eq!(page.eval("document.querySelector('#composer').value"), "one\ntwo", "Shift+Enter breaks the line");
    page.send_keys("#composer", "\u{e007}");
    page.answers(1);
    page.send_keys("#composer", "\u{e013}");
    assert_eq!(page.eval("document.querySelector('#composer').value"), "one\ntwo");
    page.calm();
}

#[test]
fn given_a_phone_then_the_list_is_a_drawer_that_esc_and_a_choice_close() {
    let g = demo(0);
    g.chat("agent:main:webchat:garden", "hello");
    let page = Page::open(&g);
    page.cdp(
        "Emulation.setDeviceMetricsOverride",
        &json!({"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": true}),
    );
    let hidden = "getComputedStyle(document.querySelector('#side')).visibility === 'hidden'";
    page.until(hidden);
    assert_eq!(page.eval("document.querySelector('#side').inert"), true, "nothing in it can be tabbed to");
    page.click("#menu");
    page.until("document.activeElement.id === 'side-close' && document.querySelector('#page').inert");
    assert_eq!(page.eval("document.querySelector('#menu').ariaExpanded"), "true");
    page.send_keys("#side-close", ESC);
    page.until(&format!("document.activeElement.id === 'menu' && {hidden}"));
    page.click("#menu");
    page.until("document.activeElement.id === 'side-close'");
    page.until("document.querySelector('#side').getBoundingClientRect().left === 0");
    page.click("#sessions li[data-key$=garden] a");
    page.until(&format!("document.querySelector('#title').textContent === 'garden' && {hidden}"));
    page.answers(1);
    page.says("hello");
    page.answers(2);
    let small = "[...document.querySelectorAll('input, textarea, select')].filter(n => parseFloat(getComputedStyle(n).fontSize) < 16 && n.type !== 'checkbox').map(n => n.id).join()";
    assert_eq!(text(&page.eval(small)), "", "a phone zooms into fields with small letters");
    assert_eq!(page.eval("document.documentElement.scrollWidth"), 390);
    assert_eq!(g.history(MAIN).len(), 0);
    page.calm();
}
