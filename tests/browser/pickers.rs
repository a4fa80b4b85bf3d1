//! What is chosen beside a message: model, thinking, commands, colours; and what has been used.

use serde_json::json;

use crate::support::gateway::Gateway;
use crate::{demo, scripted, text, Page};

fn choose(page: &Page, id: &str, value: &str) {
    page.until(&format!("[...document.querySelectorAll('#{id} option')].some(o => o.value === '{value}')"));
    page.eval(&format!(
        "(s => {{ s.value = '{value}'; s.dispatchEvent(new Event('change')); }})(document.querySelector('#{id}'))"
    ));
}

#[test]
fn given_a_model_and_a_level_then_the_next_answers_use_them_until_they_are_changed() {
    let g = demo(0);
    let page = Page::open(&g);
    page.says("hello");
    page.answers(1);
    page.until(
        "document.querySelectorAll('#model option').length > 1 && document.querySelector('#model').offsetWidth > 0",
    );
    assert_eq!(page.eval("document.querySelector('#model').value"), "default");
    let model = text(&page.eval("[...document.querySelectorAll('#model option')].at(-1).value")).to_owned();
    choose(&page, "model", &model);
    page.until("document.querySelector('#hint').textContent !== ''");
    choose(&page, "thinking", "high");
    let chosen = format!(
        "document.querySelector('#model').value === '{model}' && document.querySelector('#thinking').value === 'high'"
    );
    page.until(&chosen);
    page.reload();
    page.ready();
    page.until(&chosen);
    page.says("/status");
    page.answers(2);
    assert!(page.last().contains(&model) && page.last().contains("high"), "{}", page.last());
    choose(&page, "model", "default");
    page.says("/status");
    page.answers(3);
    assert!(!page.last().contains(&model), "{}", page.last());
    assert_eq!(page.eval("document.querySelector('#model').value"), "default");
    page.calm();
}

#[test]
fn given_a_slash_then_commands_are_offered_and_taken_by_key_or_press() {
    let g = demo(0);
    let page = Page::open(&g);
    let rows = "document.querySelectorAll('#complete li').length";
    page.send_keys("#composer", "/");
    page.until(&format!("{rows} > 10 && document.querySelector('#complete').offsetHeight > 0"));
    page.send_keys("#composer", "stat");
    page.until(&format!("{rows} === 1"));
    assert_eq!(page.eval("document.querySelector('#' + document.querySelector('#composer').getAttribute('aria-activedescendant')).dataset.name"), "status");
    page.send_keys("#composer", "\u{e004}");
    page.until(&format!("document.querySelector('#composer').value === '/status' && {rows} === 0"));
    assert_eq!(page.eval("document.activeElement.id"), "composer");
    page.send_keys("#composer", "\u{e007}");
    page.answers(1);
    page.send_keys("#composer", "/hel");
    page.until(&format!("{rows} >= 1"));
    page.send_keys("#composer", "\u{e00c}");
    page.until(&format!("{rows} === 0"));
    assert_eq!(page.eval("document.querySelector('#composer').value"), "/hel", "Esc closes the list only");
    page.send_keys("#composer", "p");
    page.click("#complete li[data-name=help]");
    page.send_keys("#composer", "\u{e007}");
    page.answers(2);
    assert!(page.last().contains("/status"));
    page.calm();
}

#[test]
fn given_an_answer_then_what_it_used_is_shown_and_the_conversation_can_be_compacted() {
    let g = demo(0);
    let page = Page::open(&g);
    page.says("hello");
    page.answers(1);
    page.says("long 300");
    page.answers(2);
    page.click("#usage");
    page.until("document.querySelector('#ask')?.innerText.includes('tokens')");
    page.click("#ask-ok");
    page.until("document.querySelector('#hint').textContent === 'Compacted.'");
    page.says("still there?");
    page.answers(3);
    page.same_after_reload();
    page.calm();
}

#[test]
fn given_colours_then_the_choice_outlives_a_reload_and_the_system_decides_without_one() {
    let (_pi, g) = scripted();
    let page = Page::open(&g);
    let system = |scheme: &str| {
        page.cdp(
            "Emulation.setEmulatedMedia",
            &json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]}),
        )
    };
    let dark = "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number).every(n => n < 60)";
    let light = "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number).every(n => n > 200)";
    system("dark");
    page.until(dark);
    page.click("#theme");
    page.until(&format!("document.querySelector('#theme').innerText.includes('Light') && {light}"));
    page.reload();
    page.ready();
    page.until(light);
    page.click("#theme");
    page.until(&format!("document.querySelector('#theme').innerText.includes('Dark') && {dark}"));
    system("light");
    page.click("#theme");
    page.until(&format!("document.querySelector('#theme').innerText.includes('System') && {light}"));
    page.calm();
}

/// WCAG AA: 4.5 to 1 for text, in both colours.
#[test]
fn given_both_colours_then_all_text_can_be_read() {
    let (_pi, g) = scripted();
    let page = Page::open(&g);
    page.says("[[think:hm]] [[tool:bash {\"command\":\"true\"}]] [[say:# Title\\n\\nText with `code`, [a link](http://a.example/), *and*:\\n\\n```sh\\nls\\n```\\n\\n> quote\\n\\n| a | b |\\n|---|---|\\n| 1 | 2 |]]");
    page.answers(1);
    page.says("[[ui:select Which one?|this|that]]");
    page.find("[data-testid=dialog] [data-value=this]");
    for scheme in ["light", "dark"] {
        page.cdp(
            "Emulation.setEmulatedMedia",
            &json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]}),
        );
        page.until(&format!("document.documentElement.dataset.theme === '{scheme}'"));
        let poor = page.eval(
            "(() => { const rgb = c => { const k = document.createElement('canvas').getContext('2d', {willReadFrequently: true}); k.fillStyle = c; k.fillRect(0, 0, 1, 1); return [...k.getImageData(0, 0, 1, 1).data]; };\
             const over = (a, b) => a.slice(0, 3).map((v, i) => v * a[3] / 255 + b[i] * (1 - a[3] / 255));\
             const back = n => { const mine = rgb(getComputedStyle(n).backgroundColor); return mine[3] === 255 || !n.parentElement ? mine.slice(0, 3) : over(mine, back(n.parentElement)); };\
             const light = c => c.map(v => v / 255).map(v => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4).reduce((s, v, i) => s + v * [.2126, .7152, .0722][i], 0);\
             const texts = [...document.querySelectorAll('body *')].filter(n => n.checkVisibility() && getComputedStyle(n).opacity === '1' && !n.closest('[inert], select, :disabled, .sr') && [...n.childNodes].some(c => c.nodeType === 3 && c.data.trim()));\
             return [texts.length, texts.map(n => { const [a, b] = [light(over(rgb(getComputedStyle(n).color), back(n))), light(back(n))].sort((x, y) => y - x);\
               return [(a + .05) / (b + .05), `${n.tagName}.${n.className} ${n.textContent.slice(0, 30)}`]; }).filter(([r]) => r < 4.5)]; })()",
        );
        assert_eq!(poor[1], json!([]), "{scheme}");
        assert!(poor[0].as_u64().unwrap() > 25, "{poor}");
    }
    // Whatever can be pressed or filled in has a name.
    let nameless = page.eval(
        "[...document.querySelectorAll('button, input, textarea, select, a')].filter(n => !(n.ariaLabel || n.title || n.innerText?.trim() || n.labels?.length || n.ariaHidden)).map(n => n.outerHTML)",
    );
    assert_eq!(nameless, json!([]));
    page.click("[data-testid=dialog] [data-value=that]");
    page.answers(2);
    page.calm();
}

#[test]
fn given_roles_then_one_can_be_chosen_and_the_history_stays() {
    let g = Gateway::demo(json!({"roles": {"workspaceDirs": {"boss": "/tmp"}}})).start();
    let page = Page::open(&g);
    page.says("hello");
    page.answers(1);
    page.until("document.querySelector('#role').offsetWidth > 0");
    assert_eq!(page.eval("document.querySelector('#role').value"), "default");
    choose(&page, "role", "boss");
    page.until("document.querySelector('#hint').textContent === 'Chosen.'");
    page.reload();
    page.ready();
    page.until("document.querySelector('#role').value === 'boss'");
    page.says("/status");
    page.answers(2);
    assert!(page.last().contains("boss"), "{}", page.last());
    assert!(page.lines().concat().contains("hello"));
    page.calm();
}
