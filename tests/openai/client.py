"""PyPI's `openai` against a gateway with the pi stand-in (tests/openai.rs): every claim is an assertion."""

import openai
from openai import OpenAI

client = OpenAI(timeout=30)  # base URL and key from the environment, as most programs do it


def ask(content, **more):
    messages = [{"role": "user", "content": content}]
    return client.chat.completions.create(**{"model": "gpt-4o", "messages": messages, **more})


def said(content, **more):
    return ask(content, **more).choices[0].message.content


def refused(kind, call):
    try:
        call()
    except kind as error:
        return error
    raise AssertionError(f"no {kind.__name__}")


# completes
answer = ask("[[say:Hello there.]] [[usage:12,5]]")
assert answer.choices[0].message.content == "Hello there.", answer
assert (answer.object, answer.model, answer.choices[0].finish_reason) == ("chat.completion", "gpt-4o", "stop")
assert (answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.total_tokens) == (12, 5, 17)
assert ask("[[say:Cut o]] [[length]]").choices[0].finish_reason == "length"

# streams
text, thought, finish, usage, ids = "", "", None, None, set()
options = {"stream": True, "stream_options": {"include_usage": True}}
for chunk in ask("[[think:let me see]] [[say:One two three.]] [[usage:7,3]]", **options):
    ids.add(chunk.id)
    usage = chunk.usage or usage
    for choice in chunk.choices:
        text += choice.delta.content or ""
        thought += getattr(choice.delta, "reasoning_content", None) or ""
        finish = choice.finish_reason or finish
assert (text, thought, finish) == ("One two three.", "let me see", "stop"), (text, thought, finish)
assert (usage.total_tokens, len(ids)) == (10, 1)
messages = [{"role": "user", "content": "[[say:Put together by the client.]]"}]
with client.chat.completions.stream(model="gpt-4o", messages=messages) as stream:
    assert stream.get_final_completion().choices[0].message.content == "Put together by the client."

# a picture
PICTURE = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
)


def look(url):
    return [{"type": "text", "text": "[[show:images]]"}, {"type": "image_url", "image_url": {"url": url}}]


assert said(look(PICTURE)) == "images: 1"

# lists models, retrieves one
assert [m.id for m in client.models.list()] == ["pi-gateway", "agent/main", "fake/fake-model"]
for name in ("agent/main", "fake/fake-model"):
    model = client.models.retrieve(name)
    assert (model.id, model.object) == (name, "model")
assert refused(openai.NotFoundError, lambda: client.models.retrieve("no/such")).param == "model"

# refusals are errors of their class
stranger = OpenAI(api_key="wrong", timeout=30)
refused(openai.AuthenticationError, lambda: stranger.models.list())
refused(openai.AuthenticationError, lambda: stranger.chat.completions.create(model="x", messages=messages))
for call, param in [
    (lambda: client.chat.completions.create(model="x", messages=[]), "messages"),
    (lambda: ask("x", n=2), "n"),
    (lambda: ask("x", n=2, stream=True), "n"),
    (lambda: ask(look("http://192.168.1.1/x.png")), "messages[0].content[1].image_url.url"),
]:
    error = refused(openai.BadRequestError, call)
    assert (error.type, error.code, error.param) == ("invalid_request_error", "invalid_request", param), error

# a failed turn is an error, and the client does not ask again
error = refused(openai.InternalServerError, lambda: ask('fails in python [[status:400 x* msg="no such thing"]]'))
assert (error.status_code, error.type, error.code) == (502, "upstream_error", "upstream_failed"), error
error = refused(openai.APIError, lambda: list(ask("[[status:400 x*]]", stream=True)))
assert "provider failed" in error.message, error

# aborts: the gate is never opened, and yet the next one is answered
for chunk in (endless := ask("[[say:one]] [[gate:never-python]]", stream=True)):
    if chunk.choices[0].delta.content == "one":
        break
endless.close()
assert said("[[say:free again]]") == "free again"

# conversations by user, sessions by header
assert said("ada was [[say:ok]]", user="ada") == "ok"
assert "ada was" in said("[[show:users]]", user="ada")
assert "ada was" not in said("[[show:users]]", user="bob")
headers = {"X-Session-Key": "agent:main:webchat:from-python"}
raw = client.chat.completions.with_raw_response.create(model="x", messages=messages, extra_headers=headers)
assert raw.headers["x-session-key"] == "agent:main:webchat:from-python"
print("all claims hold")
