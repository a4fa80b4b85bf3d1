//! Questions of pi's extensions.

use std::time::{Duration, Instant};

use serde_json::{json, Value};

use crate::world::{Page, World, MAIN};

const ASKS: &str = r#"
export default function (pi) {
  pi.registerTool({
    name: "ask_user", label: "Ask", description: "Asks the user.",
    parameters: { type: "object", properties: {} },
    async execute(_id, _params, _signal, _update, ctx) {
      const colour = await ctx.ui.select("Pick a colour", ["red", "blue"]);
      if (colour === undefined) return { content: [{ type: "text", text: "no colour" }], details: {} };
      const sure = await ctx.ui.confirm("Sure?", "Really " + colour + "?");
      const name = sure ? await ctx.ui.input("Name?", "of the colour") : "none";
      return { content: [{ type: "text", text: `${colour} ${sure} ${name}` }], details: {} };
    },
  });
}"#;

fn answer(page: &mut Page, dialog: &Value, mut what: Value) -> Value {
    what["id"] = dialog["id"].clone();
    page.ws.call("extension_ui_response", what)
}

pub fn a_tool_asks_and_the_page_answers(new: bool) {
    let w = World::extended(new, ASKS, json!({}));
    let mut page = w.page();
    let run = page.say("[[tool:ask_user {}]]");
    let d = page.event("extension_ui_request")["payload"].clone();
    assert_eq!(
        (&d["method"], &d["title"], &d["sessionKey"]),
        (&json!("select"), &json!("Pick a colour"), &json!(MAIN))
    );
    assert_eq!(d["options"][1]["value"], "blue");
    answer(&mut page, &d, json!({"value": "blue"}));
    assert_eq!(page.event("extension_ui_dismissed")["payload"]["id"], d["id"]);
    let d = page.event("extension_ui_request")["payload"].clone();
    assert_eq!((&d["method"], &d["message"]), (&json!("confirm"), &json!("Really blue?")));
    answer(&mut page, &d, json!({"confirmed": true}));
    let d = page.event("extension_ui_request")["payload"].clone();
    assert_eq!(d["method"], "text");
    answer(&mut page, &d, json!({"value": "azure"}));
    assert_eq!(page.reply(&run), "tool said: blue true azure");
}

pub fn the_first_answer_wins_and_the_other_page_is_told(new: bool) {
    let w = World::extended(new, ASKS, json!({}));
    let mut page = w.page();
    let run = page.say("[[tool:ask_user {}]]");
    let d = page.event("extension_ui_request")["payload"].clone();
    // One that comes later sees the question, too.
    let mut late = w.page();
    assert_eq!(late.event("extension_ui_request")["payload"]["id"], d["id"]);
    assert_eq!(answer(&mut late, &d, json!({"value": "red"}))["ok"], true);
    assert_eq!(page.event("extension_ui_dismissed")["payload"]["id"], d["id"]);
    answer(&mut page, &d, json!({"value": "blue"}));
    let d = page.event("extension_ui_request")["payload"].clone();
    assert_eq!(d["message"], "Really red?");
    answer(&mut page, &d, json!({"confirmed": false}));
    assert_eq!(page.reply(&run), "tool said: red false none");
}

pub fn c37_stop_while_a_dialog_is_open(new: bool) {
    let w = World::extended(new, ASKS, json!({}));
    let mut page = w.page();
    let run = page.say("[[say:One moment.]] [[tool:ask_user {}]] [[say:unused]]");
    let d = page.event("extension_ui_request")["payload"].clone();
    let begun = Instant::now();
    let stop = page.say("/stop");
    assert_eq!(page.reply(&stop), "Stopped.");
    assert_eq!(page.event("extension_ui_dismissed")["payload"]["id"], d["id"]);
    assert_eq!(page.reply(&run), "One moment.\n\n(stopped)");
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    let run = page.say("[[say:Next.]]");
    assert_eq!(page.reply(&run), "Next.");
}

/// Over the API there is no page to ask.
pub fn nobody_to_ask_means_cancelled(new: bool) {
    let w = World::extended(new, ASKS, json!({}));
    assert_eq!(w.ask_api("agent:main:api:script", "[[tool:ask_user {}]]"), "tool said: no colour");
}
