// npm's `openai` against a gateway with the pi stand-in (tests/openai.rs): every claim is an assertion.
import assert from "node:assert/strict";
import { createRequire } from "node:module";

const OpenAI = createRequire(import.meta.url)(process.env.OPENAI_PACKAGE);
const baseURL = process.env.OPENAI_BASE_URL;
const timeout = 30_000;
const client = new OpenAI({ baseURL, apiKey: process.env.OPENAI_API_KEY, timeout });
const ask = (content, more = {}) => ({ model: "gpt-4o", messages: [{ role: "user", content }], ...more });
const complete = (content, more, options) => client.chat.completions.create(ask(content, more), options);

// completes
let answer = await complete("[[say:Hello there.]] [[usage:12,5]]");
assert.equal(answer.object, "chat.completion");
assert.equal(answer.model, "gpt-4o");
assert.deepEqual(answer.choices[0].message.content, "Hello there.");
assert.equal(answer.choices[0].finish_reason, "stop");
assert.deepEqual([answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.total_tokens], [12, 5, 17]);
answer = await complete("[[say:Cut o]] [[length]]");
assert.equal(answer.choices[0].finish_reason, "length");
assert.notEqual(answer.id, (await complete("[[say:x]]")).id);

// streams
const stream = await complete("[[think:let me see]] [[say:One two three.]] [[usage:7,3]]", {
    stream: true,
    stream_options: { include_usage: true },
});
let [text, thought, finish, usage, ids] = ["", "", null, null, new Set()];
for await (const chunk of stream) {
    ids.add(chunk.id);
    text += chunk.choices[0]?.delta.content ?? "";
    thought += chunk.choices[0]?.delta.reasoning_content ?? "";
    finish ??= chunk.choices[0]?.finish_reason ?? null;
    usage ??= chunk.usage ?? null;
}
assert.deepEqual([text, thought, finish, usage.total_tokens, ids.size], ["One two three.", "let me see", "stop", 10, 1]);
const whole = await client.chat.completions.stream(ask("[[say:Put together by the client.]]")).finalChatCompletion();
assert.equal(whole.choices[0].message.content, "Put together by the client.");

// a picture
const picture = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg==";
const look = (url) => [{ type: "text", text: "[[show:images]]" }, { type: "image_url", image_url: { url } }];
answer = await complete(look(picture));
assert.equal(answer.choices[0].message.content, "images: 1");

// lists models, retrieves one
const models = [];
for await (const model of client.models.list()) models.push(model.id);
assert.deepEqual(models, ["pi-gateway", "agent/main", "fake/fake-model"]);
for (const id of ["agent/main", "fake/fake-model"]) {
    const model = await client.models.retrieve(id);
    assert.deepEqual([model.id, model.object], [id, "model"]);
}
await assert.rejects(client.models.retrieve("no/such"), (e) => e instanceof OpenAI.NotFoundError && e.param === "model");

// refusals are errors of their class
const stranger = new OpenAI({ baseURL, apiKey: "wrong", timeout });
await assert.rejects(stranger.models.list(), OpenAI.AuthenticationError);
await assert.rejects(stranger.chat.completions.create(ask("x")), OpenAI.AuthenticationError);
const bad = (body, param) =>
    assert.rejects(client.chat.completions.create(body), (e) => {
        assert.ok(e instanceof OpenAI.BadRequestError, e);
        assert.deepEqual([e.type, e.code, e.param], ["invalid_request_error", "invalid_request", param]);
        return true;
    });
await bad({ model: "x", messages: [] }, "messages");
await bad(ask("x", { n: 2 }), "n");
await bad(ask("x", { n: 2, stream: true }), "n");
await bad(ask(look("http://192.168.1.1/x.png")), "messages[0].content[1].image_url.url");

// a failed turn is an error, and the client does not ask again
await assert.rejects(complete("fails in node [[status:400 x* msg=\"no such thing\"]]"), (e) => {
    assert.ok(e instanceof OpenAI.InternalServerError, e);
    assert.deepEqual([e.status, e.type, e.code], [502, "upstream_error", "upstream_failed"]);
    return true;
});
await assert.rejects(async () => {
    for await (const _ of await complete("[[status:400 x*]]", { stream: true })) assert.ok(_);
}, (e) => e instanceof OpenAI.APIError && /provider failed/.test(e.message));

// aborts: the gate is never opened, and yet the next one is answered
const control = new AbortController();
const endless = await complete("[[say:one]] [[gate:never-node]]", { stream: true }, { signal: control.signal });
for await (const chunk of endless) {
    if (chunk.choices[0].delta.content === "one") control.abort();
}
assert.equal((await complete("[[say:free again]]")).choices[0].message.content, "free again");

// conversations by user, sessions by header
assert.equal((await complete("ada was [[say:ok]]", { user: "ada" })).choices[0].message.content, "ok");
const users = async (user) => (await complete("[[show:users]]", { user })).choices[0].message.content;
assert.match(await users("ada"), /ada was/);
assert.doesNotMatch(await users("bob"), /ada was/);
const { response } = await client.chat.completions
    .create(ask("[[say:x]]"), { headers: { "X-Session-Key": "agent:main:webchat:from-node" } })
    .withResponse();
assert.equal(response.headers.get("x-session-key"), "agent:main:webchat:from-node");
console.log("all claims hold");
