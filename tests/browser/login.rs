//! Getting in and out.

use crate::support::browser::Browser;
use crate::{demo, text, Page, ENTER};

#[test]
fn given_no_cookie_then_only_the_right_token_opens_the_page() {
    let g = demo(0);
    let page = Page(Browser::lend());
    page.goto(&format!("http://{}/", g.addr));
    page.find("#login-token");
    page.calm();
    page.send_keys("#login-token", &format!("wrong-token{ENTER}"));
    page.until("document.querySelector('#login-error').textContent === 'That token is not right.'");
    assert_eq!(page.eval("document.querySelector("#page").inert"), true, "the page behind it cannot be used");
    page.eval("document.querySelector('#login-token').value = ''");
    page.send_keys("#login-token", &g.token);
    page.click("#login-submit");
    page.ready();
    page.until("!document.querySelector('#login')");
    assert_eq!(page.eval("document.cookie"), "", "scripts cannot read the cookie");
    page.console(); // the browser reports the 401 of the wrong token

    page.reload();
    page.ready();
    page.says("hello");
    page.answers(1);
    page.click("#logout");
    page.find("#login-token");
    let left = page.eval("document.querySelectorAll('.item').length");
    assert_eq!(left, 0, "nothing stays readable");
    page.reload();
    page.find("#login-token");
    page.calm();
}

#[test]
fn given_the_one_click_link_then_the_page_is_open_and_the_token_is_gone_from_the_address() {
    let g = demo(0);
    let page = Page::open(&g);
    assert_eq!(page.address(), format!("http://{}/", g.addr));
    assert_eq!(page.eval("document.cookie"), "");
    let stored = page.eval("JSON.stringify([Object.values(localStorage), Object.values(sessionStorage)])");
    assert!(!text(&stored).contains(&g.token), "{stored}");
    page.calm();

    let stranger = Page(Browser::lend());
    stranger.goto(&format!("http://{}/?token=guessed", g.addr));
    stranger.find("#login-token");
    assert_eq!(stranger.address(), format!("http://{}/", g.addr));
}

#[test]
fn given_a_first_visit_then_the_page_is_small_and_asks_nobody_else() {
    let g = demo(0);
    let page = Page::open(&g);
    let loaded = page.eval(
        "performance.getEntriesByType('resource').concat(performance.getEntriesByType('navigation'))\
         .map(e => [new URL(e.name).host, e.decodedBodySize])",
    );
    let host = g.addr.to_string();
    let mut bytes = 0;
    for entry in loaded.as_array().unwrap() {
        assert_eq!(entry[0], host.as_str());
        bytes += entry[1].as_u64().unwrap();
    }
    assert!((20_000..=100_000).contains(&bytes), "{bytes} bytes: {loaded}");
    page.calm();
}
