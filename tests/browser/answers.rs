//! One question, one answer: how it looks while it comes and afterwards.

use serde_json::json;

use crate::{demo, scripted, Page, MAIN};

#[test]
fn given_a_question_then_the_answer_is_seen_growing_and_ends_as_markdown() {
    let g = demo(5);
    let page = Page::open(&g);
    assert_eq!(page.eval("document.querySelector('#demo').hidden"), false, "it says that it is a demo");
    page.says("hello");
    page.streams();
    assert_eq!(page.eval("document.querySelector('#abort').hidden"), false);
    assert!(g.history(MAIN).iter().all(|(role, _)| role == "user"), "the answer is not complete yet");
    page.answers(1);
    let seen = page.eval(
        "(md => [md.querySelector('strong').textContent, md.querySelector('blockquote').textContent.trim(),\
          md.querySelectorAll('li').length > 5, md.querySelector('figure.code figcaption span').textContent,\
          md.querySelector('figure.code code').textContent.includes('pi-gw doctor'), md.textContent.includes('`')])\
         (document.querySelector('.assistant .md'))",
    );
    assert_eq!(seen, json!(["Hello from the demo agent.", "hello", true, "sh", true, false]));
    assert_eq!(page.eval("document.activeElement.id + document.querySelector('#composer').value"), "composer");
    assert_eq!(page.roles(), ["user", "assistant"]);
    page.same_after_reload();
    page.calm();
}

#[test]
fn given_a_hostile_answer_then_nothing_of_it_is_executed() {
    let (_pi, g) = scripted();
    let page = Page::open(&g);
    let hostile = "<script>window.pwned=1</script> <img src=x onerror=\"window.pwned=2\"> <b onclick=\"pwned\">b</b> \
        [one](javascript:window.pwned=3) [two](JaVaScRiPt:alert%281%29) [three](data:text/html,<script>pwned</script>) \
        ![four](http://evil.example/x.png) [five](http://good.example/?a=1&b=2) <iframe src=\"//evil.example\"></iframe> \
        | `<style>*{display:none}</style>` | &lt;script&gt;";
    page.says(&format!(
        "[[say:{hostile}\\n\\n\u{5e9}\u{5dc}\u{5d5}\u{5dd} \u{202e}abc]][[long:60000 chars by 20000 every 0 ms]]"
    ));
    page.answers(1);
    let seen = page.eval(
        "(m => ({pwned: window.pwned ?? null, live: m.querySelectorAll('script, img, iframe, style, b').length,\
          links: [...m.querySelectorAll('a')].map(a => a.href), rel: [...m.querySelectorAll('a')].every(a => a.rel.includes('noopener')),\
          rtl: [...m.querySelectorAll('.md p')].map(p => getComputedStyle(p).direction),\
          handlers: [...m.querySelectorAll('*')].filter(n => [...n.attributes].some(a => a.name.startsWith('on'))).length,\
          wide: document.documentElement.scrollWidth > innerWidth || m.scrollWidth > m.clientWidth}))(document.querySelector('#messages'))",
    );
    assert_eq!(seen["pwned"], json!(null));
    assert_eq!((&seen["live"], &seen["handlers"], &seen["wide"]), (&json!(0), &json!(0), &json!(false)), "{seen}");
    assert_eq!(seen["links"], json!(["http://evil.example/x.png", "http://good.example/?a=1&b=2"]));
    assert_eq!(seen["rel"], true);
    assert_eq!((&seen["rtl"][0], &seen["rtl"][1]), (&json!("ltr"), &json!("rtl")));
    let shown = page.last();
    assert!(shown.contains("<script>window.pwned=1</script>"), "it is shown as text: {}", &shown[..200]);
    assert!(shown.len() > 60_000);
    page.same_after_reload();
    page.calm();
}

#[test]
fn given_a_tool_call_then_its_line_shows_that_it_runs_and_that_it_ended() {
    let g = demo(20);
    let page = Page::open(&g);
    page.says("tool");
    page.until("document.querySelector('.tool[data-state=running]')");
    // Somebody who comes in the middle sees the same line.
    page.reload();
    page.until("document.querySelector('.tool[data-tool=bash]')");
    page.answers(1);
    page.until(
        "document.querySelector('.tool[data-state=ok]') && !document.querySelector('.tool[data-state=running]')",
    );
    assert_eq!(page.eval("document.querySelector('.tool').open"), false);
    page.click(".tool summary");
    page.until("document.querySelector('.tool .output').innerText.trim().split('\\n').length >= 3");
    assert!(page.last().contains("three lines"));
    page.same_after_reload();
    page.calm();
}

#[test]
fn given_thoughts_then_they_are_folded_and_not_part_of_the_answer() {
    let g = demo(0);
    let page = Page::open(&g);
    page.says("think about it");
    page.answers(1);
    assert_eq!(page.eval("document.querySelector('.thinking').open"), false);
    assert!(!page.last().contains("look thoughtful"));
    page.click(".thinking summary");
    page.until("document.querySelector('.thinking .thought').innerText.includes('look thoughtful')");
    page.calm();
}

#[test]
fn given_a_running_answer_when_stop_is_pressed_then_it_ends_there() {
    let g = demo(10);
    let page = Page::open(&g);
    page.says("long 5000");
    page.streams();
    page.click("#abort");
    page.answers(1);
    assert!(page.last().ends_with("(stopped)"), "{}", page.last());
    assert!(page.last().starts_with("(demo) lorem"));
    page.same_after_reload();
    // Esc does the same.
    page.says("long 5000");
    page.streams();
    page.send_keys("#composer", "\u{e00c}");
    page.answers(2);
    assert!(page.last().ends_with("(stopped)"), "{}", page.last());
    page.calm();
}

#[test]
fn given_a_provider_that_fails_then_the_page_says_so_also_after_a_reload() {
    let g = demo(0);
    let page = Page::open(&g);
    page.says("error");
    page.answers(1);
    assert!(page.last().contains("refuses its key"), "{}", page.last());
    assert_eq!(page.eval("document.querySelector('.assistant').classList.contains('error')"), true);
    page.same_after_reload();
    assert_eq!(page.eval("document.querySelector('.assistant').classList.contains('error')"), true);
    page.says("retry");
    page.answers(2);
    assert_eq!(page.last(), "(demo) The second attempt worked.");
    page.same_after_reload();
    page.calm();
}

#[test]
fn given_a_question_of_the_agent_then_it_can_be_answered_in_the_page() {
    let g = demo(0);
    let page = Page::open(&g);
    page.says("ask");
    page.click("[data-testid=dialog] button[data-value=coffee]");
    page.answers(1);
    assert!(page.last().ends_with("Your choice: coffee."), "{}", page.last());
    page.until("!document.querySelector('[data-testid=dialog]')");
    // A reload does not lose the question; Esc cancels it.
    page.says("ask");
    page.find("[data-testid=dialog]");
    page.reload();
    page.find("[data-testid=dialog]");
    assert_eq!(page.eval("document.querySelectorAll('[data-testid=dialog]').length"), 1);
    page.send_keys("#composer", "\u{e00c}");
    page.answers(2);
    assert!(page.last().ends_with("No choice was made."), "{}", page.last());
    page.same_after_reload();
    page.calm();
}

#[test]
fn given_questions_of_all_kinds_then_each_gets_its_kind_of_answer() {
    let (_pi, g) = scripted();
    let page = Page::open(&g);
    page.says("[[ui:confirm Really?]]");
    page.click("[data-testid=dialog-yes]");
    page.answers(1);
    assert!(page.last().contains("true"), "{}", page.last());
    page.says("[[ui:input Your name?]]");
    page.send_keys("[data-testid=dialog-input]", "Ada \u{5d0}\u{e007}");
    page.answers(2);
    assert!(page.last().contains("Ada \u{5d0}"), "{}", page.last());
    page.says("[[ui:confirm Sure?]]");
    page.click("[data-testid=dialog-no]");
    page.answers(3);
    assert!(page.last().contains("false"), "{}", page.last());
    page.calm();
}

#[test]
fn given_a_picture_then_it_is_seen_before_and_after_sending_and_reaches_the_agent() {
    let (_pi, g) = scripted();
    let page = Page::open(&g);
    let file = g.home.path().join("dot.png");
    std::fs::write(&file, dot()).unwrap();
    page.send_keys("#file", file.to_str().unwrap());
    page.until("document.querySelector('[data-testid=preview] img')?.naturalWidth === 1");
    page.says("[[show:images]]");
    page.until("document.querySelector('.user .picture img')?.naturalWidth === 1");
    page.answers(1);
    assert_eq!(page.last(), "images: 1");
    assert_eq!(page.eval("document.querySelector('#previews').hidden"), true);
    page.reload();
    page.ready();
    page.until("document.querySelector('.user .picture img')?.naturalWidth === 1");

    let file = g.home.path().join("notes.txt");
    std::fs::write(&file, "no picture").unwrap();
    page.send_keys("#file", file.to_str().unwrap());
    page.until("document.querySelector('#hint').textContent.includes('notes.txt is not')");
    page.calm();
}

#[test]
fn given_a_phone_at_night_then_nothing_is_wider_than_the_screen_and_it_is_dark() {
    let g = demo(0);
    let page = Page::open(&g);
    page.cdp(
        "Emulation.setDeviceMetricsOverride",
        &json!({"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": true}),
    );
    page.cdp("Emulation.setEmulatedMedia", &json!({"features": [{"name": "prefers-color-scheme", "value": "dark"}]}));
    page.says("hello");
    page.answers(1);
    page.says("tool");
    page.answers(2);
    page.says(&"wide".repeat(100));
    page.answers(3);
    let seen = page.eval(
        "({w: innerWidth, wide: document.documentElement.scrollWidth, out: [...document.querySelectorAll('header *, main .item, footer *')]\
          .filter(n => n.getBoundingClientRect().right > innerWidth + 1).length,\
          bg: getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number).every(n => n < 60)})",
    );
    assert_eq!(seen, json!({"w": 390, "wide": 390, "out": 0, "bg": true}));
    page.calm();
}

#[test]
fn given_pictures_that_are_pasted_and_dropped_then_they_are_sent_together_and_one_can_be_taken_out() {
    let (_pi, g) = scripted();
    let page = Page::open(&g);
    let with_file = |event: &str, name: &str| {
        page.eval(&format!(
            "(async () => {{ const d = new DataTransfer(); const c = document.createElement('canvas'); c.width = c.height = 3;\
             c.getContext('2d').fillRect(0, 0, 3, 3); const b = await new Promise(r => c.toBlob(r));\
             d.items.add(new File([b], '{name}', {{type: 'image/png'}}));\
             document.querySelector('#composer').dispatchEvent({event}); }})()"
        ))
    };
    with_file("new ClipboardEvent('paste', {clipboardData: d, bubbles: true, cancelable: true})", "pasted.png");
    page.until("document.querySelectorAll('[data-testid=preview] img').length === 1");
    with_file("new DragEvent('drop', {dataTransfer: d, bubbles: true, cancelable: true})", "dropped.png");
    with_file("new DragEvent('drop', {dataTransfer: d, bubbles: true, cancelable: true})", "again.png");
    page.until("document.querySelectorAll('[data-testid=preview] img').length === 3");
    page.click("[aria-label='Remove again.png']");
    page.until("document.querySelectorAll('[data-testid=preview] img').length === 2");
    // Text beside a picture is what an office program means.
    page.eval(
        "(d => { d.setData('text/plain', 'words'); d.items.add(new File(['x'], 'x.png', {type: 'image/png'}));\
         document.querySelector('#composer').dispatchEvent(new ClipboardEvent('paste', {clipboardData: d, cancelable: true})); })(new DataTransfer())",
    );
    page.says("[[show:images]]");
    page.answers(1);
    assert_eq!(page.last(), "images: 2");
    page.calm();
}

#[test]
fn given_a_line_of_a_megabyte_then_the_page_stays_quick() {
    let (_pi, g) = scripted();
    let page = Page::open(&g);
    page.eval(
        "window.slow = 0, new PerformanceObserver(l => l.getEntries().forEach(e => { slow = Math.max(slow, e.duration); })).observe({type: 'longtask'})",
    );
    page.says("[[long:900000 chars by 30000 every 5 ms]]");
    page.answers(1);
    for (n, (start, unit)) in [("", "word and "), ("", "x"), ("```\\n", "let a = b; ")].into_iter().enumerate() {
        // Not written in this page: how long a browser needs for its own text box is not ours to mend.
        let asked = format!("[[say:{start}{}]]", unit.repeat(900_000 / unit.len()));
        g.chat(MAIN, &asked);
        page.answers(n + 2);
        page.until("[...document.querySelectorAll('.assistant .md')].at(-1).textContent.length >= 890000");
    }
    page.says("[[say:quick]]");
    page.answers(5);
    let slow = page.eval("window.slow").as_f64().unwrap();
    assert!(slow < 1000.0, "the page stood still for {slow} ms");
    assert_eq!(page.eval("document.documentElement.scrollWidth > innerWidth"), false);
    page.calm();
}

#[test]
fn given_files_of_the_agent_then_pictures_are_seen_and_others_are_links_also_after_a_reload() {
    let (_pi, g) = scripted();
    std::fs::write(g.home.path().join("work/plot.png"), dot()).unwrap();
    std::fs::write(g.home.path().join("work/report.txt"), "all is well").unwrap();
    let page = Page::open(&g);
    let seen = "document.querySelectorAll('.assistant .pictures img').length === 1 && \
                document.querySelector('.assistant .pictures img').naturalWidth === 1 && \
                document.querySelector('.assistant .md a[href^=\"/api/media/\"]')?.textContent.includes('report.txt')";
    page.says("[[say:See MEDIA:plot.png and MEDIA:report.txt]]");
    page.answers(1);
    page.until(seen);
    page.same_after_reload();
    page.until(seen);
    // Sent by a program: seen at once, and once.
    let sent = json!({"sessionKey": MAIN, "path": "report.txt", "caption": "The report"});
    assert_eq!(g.post("/api/media/send", sent).status, 200);
    page.until("document.querySelectorAll('.assistant .md a[href^=\"/api/media/\"]').length === 2");
    assert!(page.last().starts_with("The report"), "{}", page.last());
    page.same_after_reload();
    page.calm();
}

/// A PNG of one pixel.
fn dot() -> Vec<u8> {
    use base64::Engine;
    let text = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";
    base64::engine::general_purpose::STANDARD.decode(text).unwrap()
}

#[test]
fn given_a_picture_that_is_gone_then_its_name_says_so() {
    let (_pi, g) = scripted();
    let page = Page::open(&g);
    page.says("[[say:Look: MEDIA:charts/the%20one.png]]");
    page.answers(1);
    page.until(
        "document.querySelector('.assistant .pictures').innerText.includes('📎 the%20one.png cannot be shown') && \
         !document.querySelector('.assistant .pictures img')",
    );
}
