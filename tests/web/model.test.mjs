// What the conversation shows after events, drops, replays and reloads.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Conversation, images } from '../../src/web/model.js';

const S = 'agent:main:webchat:default';
let eid = 0;
const event = (name, payload = {}) => ({ event: name, eid: ++eid, payload: { sessionKey: S, ...payload } });
const agent = (runId, type, more = {}) => event('agent', { runId, type, ...more });
const text = (runId, delta) => agent(runId, 'message_update', { assistantMessageEvent: { type: 'text_delta', delta } });
const think = (runId, delta) => agent(runId, 'message_update', { assistantMessageEvent: { type: 'thinking_delta', delta } });
const typing = (runId, on) => event('chat.typing', { runId, typing: on });
const reply = (runId, id, body, more = {}) => event('chat.reply', { runId, id, text: body, images: [], final: true, ...more });
const look = (c) => c.items.map((i) => `${i.kind}:${i.state}:${i.text}`);

function conversation(rows = [], live = null, running = false) {
	const c = new Conversation(S);
	const since = c.beginSync();
	c.sync({ messages: rows, running }, live, since);
	return c;
}
const user = (id, content, key, runId) => ({ id, role: 'user', content, key, runId, at: 1 });
const assistant = (id, content, runId) => ({ id, role: 'assistant', content, runId, at: 2 });

function say(c, key, body, runId) {
	c.addPending({ key, text: body, at: 1, state: 'sending' });
	if (runId) c.acknowledged(key, runId);
}

test('a turn: live text, then the reply in its place', () => {
	const c = conversation();
	say(c, 'k1', 'hi', 'r1');
	for (const e of [typing('r1', true), text('r1', 'Hel'), text('r1', 'lo')]) c.apply(e);
	assert.deepEqual(look(c), ['user:sent:hi', 'assistant:live:Hello']);
	assert.equal(c.running, true);
	c.apply(typing('r1', false));
	c.apply(reply('r1', 's1', 'Hello!'));
	assert.deepEqual(look(c), ['user:sent:hi', 'assistant:done:Hello!']);
	assert.equal(c.running, false);
});

test('a reply that comes again is not shown again', () => {
	const c = conversation();
	say(c, 'k1', 'hi', 'r1');
	const r = reply('r1', 's1', 'Hello');
	for (let i = 0; i < 3; i++) c.apply(r);
	c.apply(text('r1', 'late'));
	assert.deepEqual(look(c), ['user:sent:hi', 'assistant:done:Hello']);
});

test('events repeated by a resume are ignored, new ones are not', () => {
	const c = conversation();
	say(c, 'k1', 'hi', 'r1');
	const seen = [typing('r1', true), text('r1', 'a '), text('r1', 'b ')];
	seen.forEach((e) => c.apply(e));
	c.resumedAt(eid);
	seen.forEach((e) => c.apply(e));
	c.apply(text('r1', 'c'));
	assert.deepEqual(look(c), ['user:sent:hi', 'assistant:live:a b c']);
});

test('live.reset starts the run again, even with old event numbers', () => {
	const c = conversation();
	say(c, 'k1', 'hi', 'r1');
	const seen = [text('r1', 'a '), text('r1', 'b ')];
	seen.forEach((e) => c.apply(e));
	c.resumedAt(eid);
	c.apply(event('live.reset', { runId: 'r1' }));
	seen.forEach((e) => c.apply(e));
	assert.deepEqual(look(c), ['user:sent:hi', 'assistant:live:a b ']);
});

test('segments: a steer in the middle', () => {
	const c = conversation();
	say(c, 'k1', 'one', 'r1');
	c.apply(text('r1', 'first part'));
	say(c, 'k2', 'two', 'r2');
	const s1 = reply('r1', 's1', 'first part', { final: false });
	c.apply(s1);
	c.apply(text('r1', 'second'));
	c.apply(reply('r1', 's2', 'second part', { runIds: ['r1', 'r2'] }));
	assert.deepEqual(look(c), ['user:sent:one', 'assistant:done:first part', 'user:sent:two', 'assistant:done:second part']);
	// the same run replayed from its start
	c.resumedAt(eid);
	for (const e of [event('live.reset', { runId: 'r1' }), text('r1', 'first part'), s1, text('r1', 'second'), reply('r1', 's2', 'second part')]) c.apply(e);
	assert.deepEqual(look(c), ['user:sent:one', 'assistant:done:first part', 'user:sent:two', 'assistant:done:second part']);
});

test('a steer before the first word: the one answer keeps what was done for both', () => {
	const c = conversation();
	say(c, 'k1', 'one', 'r1');
	c.apply(typing('r1', true));
	c.apply(think('r1', 'hm'));
	c.apply(agent('r1', 'tool_execution_start', { toolCallId: 't', toolName: 'bash', args: { command: 'ls' } }));
	say(c, 'k2', 'two', 'r2');
	c.apply(agent('r1', 'tool_execution_end', { toolCallId: 't', toolName: 'bash', result: { content: [{ type: 'text', text: 'out' }] } }));
	c.apply(typing('r2', true));
	c.apply(event('live.reset', { runId: 'r2' }));
	c.apply(think('r2', 'so'));
	c.apply(text('r2', 'both'));
	c.apply(reply('r2', 's1', 'both', { runIds: ['r1', 'r2'] }));
	assert.deepEqual(look(c), ['user:sent:one', 'user:sent:two', 'assistant:done:both']);
	assert.deepEqual(c.items[2].steps.map((s) => [s.id, s.output ?? s.text, s.state]), [['t0', 'hm', undefined], ['t', 'out', 'ok'], ['t2', 'so', undefined]]);
});

test('a retry discards the text of the failed message only', () => {
	const c = conversation();
	c.apply(text('r1', 'kept'));
	c.apply(agent('r1', 'message_end'));
	c.apply(agent('r1', 'tool_execution_start', { toolCallId: 't', toolName: 'bash', args: { command: 'ls' } }));
	c.apply(agent('r1', 'tool_execution_end', { toolCallId: 't', isError: false, resultText: 'x' }));
	c.apply(text('r1', 'broken'));
	c.apply(agent('r1', 'message_end'));
	c.apply(agent('r1', 'auto_retry_start', { attempt: 1 }));
	assert.equal(c.items[0].text, 'kept');
	assert.equal(c.items[0].status, 'retrying');
	c.apply(text('r1', 'good'));
	assert.equal(c.items[0].text, 'kept\n\ngood');
	assert.deepEqual(c.items[0].steps.map((s) => [s.name, s.label, s.state, s.output]), [['bash', 'ls', 'ok', 'x']]);
});

test('what the gateway said meanwhile stands above the answer', () => {
	const c = conversation();
	say(c, 'k1', 'hi', 'r1');
	c.apply(typing('r1', true));
	c.apply(agent('r1', 'auto_retry_start', { attempt: 2, maxAttempts: 3 }));
	c.apply(event('ui.notice', { level: 'info', message: 'retrying' }));
	c.apply(reply('r1', 's1', 'done'));
	assert.deepEqual(look(c), ['user:sent:hi', 'notice:done:retrying', 'assistant:done:done']);
});

test('a retry of a message that never began keeps the one before', () => {
	const c = conversation();
	c.apply(text('r1', 'kept'));
	c.apply(agent('r1', 'tool_execution_start', { toolCallId: 't', toolName: 'bash' }));
	c.apply(agent('r1', 'tool_execution_end', { toolCallId: 't' }));
	c.apply(agent('r1', 'auto_retry_start'));
	assert.equal(c.items[0].text, 'kept');
	assert.equal(c.items[0].steps.length, 1);
});

test('thinking is one step until something else happens', () => {
	const c = conversation();
	for (const e of [think('r', 'a'), think('r', 'b'), text('r', 'x'), think('r', 'c')]) c.apply(e);
	assert.deepEqual(c.items[0].steps.map((s) => s.text), ['abc']);
	c.apply(reply('r', 's', 'x'));
	assert.equal(c.items[0].steps[0].done, true);
});

test('an error, then the reply that reports it: once', () => {
	const c = conversation();
	say(c, 'k', 'q', 'r1');
	const error = event('chat.error', { runId: 'r1', code: 'upstream_failed', message: 'no' });
	c.apply(error);
	c.apply(error);
	assert.deepEqual(look(c), ['user:sent:q', 'error:done:no']);
	c.apply(reply('r1', 's1', 'Error: no'));
	assert.deepEqual(look(c), ['user:sent:q', 'assistant:done:Error: no']);
	assert.equal(c.items[1].failed, 'upstream_failed');
});

test('history meets pending messages by their key', () => {
	const c = new Conversation(S);
	const since = c.beginSync();
	c.addPending({ key: 'k1', text: 'a', at: 1, state: 'queued' });
	c.addPending({ key: 'k2', text: 'b', at: 2, state: 'queued' });
	c.sync({ messages: [user('u1', 'a', 'k1', 'r1'), assistant('s1', 'A', 'r1')] }, null, since);
	assert.deepEqual(look(c), ['user:sent:a', 'assistant:done:A', 'user:queued:b']);
	c.apply(reply('r1', 's1', 'A'));
	assert.equal(c.items.length, 3);
});

test('a reload in the middle of a turn: the snapshot, then what follows', () => {
	const c = new Conversation(S);
	const since = c.beginSync();
	c.apply(text('r1', 'lost in the snapshot'));
	c.sync({ messages: [user('u1', 'q', 'k1', 'r1')], running: true }, { isStreaming: true, runId: 'r1', text: 'Hello', thinking: 'hm', tools: [{ toolCallId: 't', toolName: 'bash', label: 'ls', args: '{"command":"ls"}', output: 'no such file', state: 'done', isError: true }], pendingUi: [] }, since);
	c.apply(text('r1', ' world'));
	assert.deepEqual(look(c), ['user:sent:q', 'assistant:live:Hello world']);
	assert.deepEqual(c.items[1].steps.map((s) => s.state ?? s.kind), ['thinking', 'error']);
	assert.deepEqual([c.items[1].steps[1].name, c.items[1].steps[1].args, c.items[1].steps[1].output], ['bash', 'ls', 'no such file']);
	c.apply(reply('r1', 's1', 'Hello world.'));
	assert.deepEqual(look(c), ['user:sent:q', 'assistant:done:Hello world.']);
});

test('a snapshot between streamed pieces: nothing is lost, nothing comes twice', () => {
	for (const restarted of [false, true]) {
		const c = new Conversation(S);
		const since = c.beginSync();
		c.apply(event('live.reset', { runId: 'r1' }));
		c.apply(text('r1', 'Hel'));
		c.snapshotTaken();
		if (restarted) { c.apply(event('live.reset', { runId: 'r1' })); c.apply(text('r1', 'Hello')); }
		c.apply(text('r1', ' world'));
		c.sync({ messages: [user('u1', 'q', 'k1', 'r1')], running: true }, { isStreaming: true, runId: 'r1', text: 'Hello', thinking: '', tools: [], pendingUi: [] }, since);
		assert.deepEqual(look(c), ['user:sent:q', 'assistant:live:Hello world']);
	}
});

test('an answer stands below its question', () => {
	const c = conversation();
	say(c, 'k1', 'one', 'r1');
	say(c, 'k2', 'two', 'r2');
	c.apply(text('r1', 'On'));
	assert.deepEqual(look(c), ['user:sent:one', 'assistant:live:On', 'user:sent:two']);
	c.apply(reply('r1', 's1', 'One'));
	c.apply(reply('r2', 's2', 'Two'));
	assert.deepEqual(look(c), ['user:sent:one', 'assistant:done:One', 'user:sent:two', 'assistant:done:Two']);
});

test('a message written elsewhere appears at once, one of ours only once', () => {
	const c = conversation();
	say(c, 'k1', 'mine', 'r1');
	const mine = event('chat.message', { runId: 'r1', text: 'mine', at: 1 });
	c.apply(mine);
	c.addPending({ key: 'k2', text: 'unanswered', at: 2, state: 'sending' });
	c.apply(event('chat.message', { runId: 'r2', text: 'unanswered', at: 2 }));
	c.apply(event('chat.message', { runId: 'r3', text: 'theirs', at: 3 }));
	c.apply(event('chat.message', { runId: 'r3', text: 'theirs', at: 3 }));
	assert.deepEqual(look(c), ['user:sent:mine', 'user:sending:unanswered', 'user:sent:theirs']);
	const since = c.beginSync();
	c.sync({ messages: [user('r1', 'mine', 'k1', 'r1'), user('r2', 'unanswered', 'k2', 'r2'), user('r3', 'theirs', 'k9', 'r3')] }, undefined, since);
	assert.deepEqual(look(c), ['user:sent:mine', 'user:sent:unanswered', 'user:sent:theirs']);
});

test('what the gateway says itself looks the same after a reload', () => {
	const c = conversation([user('u1', '/help', 'k1', 'r1'), { id: 's1', role: 'notice', content: 'Commands', runId: 'r1' }]);
	assert.deepEqual(look(c), ['user:sent:/help', 'assistant:done:Commands']);
});

test('a reply that overtakes the history answer is kept, once', () => {
	for (const inHistory of [true, false]) {
		const c = conversation([user('u1', 'q', 'k1', 'r1')], { isStreaming: true, runId: 'r1', text: 'He' }, true);
		const since = c.beginSync();
		c.apply(reply('r1', 's1', 'Hello'));
		c.sync({ messages: [user('u1', 'q', 'k1', 'r1'), ...(inHistory ? [assistant('s1', 'Hello', 'r1')] : [])] }, null, since);
		assert.deepEqual(look(c), ['user:sent:q', 'assistant:done:Hello']);
	}
});

test('a refetch keeps the steps of an answer and the identity of every item', () => {
	const c = conversation();
	say(c, 'k1', 'q', 'r1');
	c.apply(agent('r1', 'tool_execution_start', { toolCallId: 't', toolName: 'bash' }));
	c.apply(reply('r1', 's1', 'A'));
	const ids = c.items.map((i) => i.uid);
	const since = c.beginSync();
	c.sync({ messages: [user('u1', 'q', 'k1', 'r1'), assistant('s1', 'A', 'r1')] }, null, since);
	assert.deepEqual(c.items.map((i) => i.uid), ids);
	assert.equal(c.items[1].steps.length, 1);
});

test('a refetch in the middle of a turn leaves its live content alone', () => {
	const c = conversation();
	say(c, 'k1', 'q', 'r1');
	c.apply(agent('r1', 'tool_execution_start', { toolCallId: 't', toolName: 'bash', args: { command: 'ls' } }));
	c.apply(text('r1', 'a '));
	const since = c.beginSync();
	c.apply(text('r1', 'b'));
	c.sync({ messages: [user('u1', 'q', 'k1', 'r1')], running: true }, undefined, since);
	assert.deepEqual(look(c), ['user:sent:q', 'assistant:live:a b']);
	assert.equal(c.items[1].steps[0].label, 'ls');
	c.apply(reply('r1', 's1', 'a b'));
	assert.deepEqual(look(c), ['user:sent:q', 'assistant:done:a b']);
});

test('what the server no longer has is gone; older pages stay', () => {
	const c = conversation([user('u2', 'c', 'k2', 'r2'), assistant('s2', 'd', 'r2')]);
	c.older({ messages: [user('u1', 'a', 'k1', 'r1'), assistant('s1', 'b', 'r1'), user('u2', 'c', 'k2', 'r2')] });
	assert.deepEqual(c.items.map((i) => i.text), ['a', 'b', 'c', 'd']);
	c.sync({ messages: [user('u2', 'c', 'k2', 'r2'), assistant('s3', 'e', 'r2')] }, null, c.beginSync());
	assert.deepEqual(c.items.map((i) => i.text), ['a', 'b', 'c', 'e']);
});

test('a reset keeps only what was not sent yet', () => {
	const c = conversation([user('u1', 'a', 'k1', 'r1'), assistant('s1', 'b', 'r1')]);
	say(c, 'k2', 'waiting');
	assert.equal(c.apply(event('session_reset')).refetch, true);
	assert.deepEqual(look(c), ['user:sending:waiting']);
});

test('a run started elsewhere asks for the history', () => {
	const c = conversation();
	assert.equal(c.apply(typing('rX', true)).refetch, true);
	say(c, 'k', 'mine', 'r1');
	assert.equal(c.apply(typing('r1', true)).refetch, undefined);
});

test('a message behind a running answer waits, until its own run begins', () => {
	const c = conversation();
	say(c, 'k1', 'a', 'r1');
	c.apply(typing('r1', true));
	say(c, 'k2', 'b', 'r2');
	const second = c.items[1];
	assert.equal(second.awaiting, true);
	c.apply(reply('r1', 's1', 'A'));
	c.apply(typing('r2', true));
	assert.equal(second.awaiting, false);
});

test('[NO_REPLY] leaves nothing', () => {
	const c = conversation();
	c.apply(text('r1', '[NO_REPLY]'));
	c.apply(typing('r1', false));
	assert.deepEqual(look(c), []);
});

test('other sessions are not ours', () => {
	const c = conversation();
	c.apply({ event: 'chat.reply', eid: 1, payload: { sessionKey: 'agent:main:webchat:x', id: 's', text: 'no', final: true } });
	assert.deepEqual(look(c), []);
});

test('dialogs: once, and gone when answered', () => {
	const c = conversation([], { isStreaming: false, pendingUi: [{ id: 'd', method: 'confirm', title: 't', ttlMs: 1000 }] });
	c.apply({ event: 'extension_ui_request', payload: { id: 'd', method: 'confirm' } });
	assert.equal(c.dialogs.length, 1);
	c.apply({ event: 'extension_ui_dismissed', payload: { id: 'd' } });
	assert.equal(c.dialogs.length, 0);
});

test('pictures come from the gateway or the message itself, from nowhere else', () => {
	assert.deepEqual(images(['/api/media/sig/a.png?x', 'https://evil.example/x.png', 'javascript:1', 'data:image/svg+xml;base64,AA', { url: '/api/media/b/c.png' }, { data: 'AA', mimeType: 'image/png' }, { data: 'AA', mimeType: 'text/html' }]),
		['/api/media/sig/a.png?x', '/api/media/b/c.png', 'data:image/png;base64,AA']);
});

test('random schedules: drops, overlaps and refetches never show anything twice', () => {
	let seed = 7;
	const random = () => { seed = (seed * 1103515245 + 12345) % 2147483648; return seed / 2147483648; };
	for (let round = 0; round < 300; round++) {
		const c = new Conversation(S);
		const server = []; // rows as the gateway stores them
		const log = []; // events as the gateway sends them
		for (let r = 0; r < 4; r++) {
			const run = `run${round}-${r}`;
			log.push(() => { server.push(user(`u-${run}`, `q${r}`, `k-${run}`, run)); return [typing(run, true)]; });
			for (let i = 0; i < 4; i++) log.push(() => [text(run, `w${i} `)]);
			log.push(() => { server.push(assistant(`s-${run}`, 'w0 w1 w2 w3', run)); return [typing(run, false), reply(run, `s-${run}`, 'w0 w1 w2 w3')]; });
		}
		const sent = [];
		c.sync({ messages: [] }, null, c.beginSync());
		for (const step of log) {
			for (const e of step()) {
				sent.push(e);
				if (random() < 0.85) c.apply(e);
				else { // lost with the connection
					const from = Math.floor(random() * sent.length);
					if (random() < 0.5) {
						c.resumedAt(sent.length > 1 ? sent[sent.length - 2].eid : 0);
						for (const old of sent.slice(from)) c.apply(old);
					} else c.sync({ messages: [...server], running: false }, null, c.beginSync());
				}
			}
			const ids = c.items.filter((i) => i.id).map((i) => i.id);
			assert.equal(new Set(ids).size, ids.length, `round ${round}`);
		}
		c.sync({ messages: server }, null, c.beginSync());
		assert.deepEqual(c.items.map((i) => i.id), server.map((m) => m.id), `round ${round}`);
	}
});

test('what is sent into the conversation is shown: pictures as pictures, files as links, once the history knows them by it', () => {
	const c = conversation();
	for (let i = 0; i < 2; i++) c.apply(event('message_event', { id: 's1', text: 'The build is green.' }));
	c.apply(event('media_event', { url: '/api/media/plot.png?sig=1', type: 'image', filename: 'plot.png', caption: 'The plot' }));
	c.apply(event('media_event', { url: '/api/media/log.txt?sig=1', type: 'document', filename: 'l[o]g.txt' }));
	c.apply(event('media_event', { url: 'http://evil.example/x.png', type: 'image', filename: 'x.png', caption: 'foreign' }));
	assert.deepEqual(c.items.map((i) => [i.text, i.images]), [
		['The build is green.', []], ['The plot', ['/api/media/plot.png?sig=1']], ['[📎 log.txt](/api/media/log.txt?sig=1)', []], ['foreign', []],
	]);
	c.sync({ messages: [{ id: 's1', role: 'notice', content: 'The build is green.', at: 3 }], running: false }, undefined, c.beginSync());
	assert.deepEqual(c.items.map((i) => i.text), ['The build is green.', 'The plot', '[📎 log.txt](/api/media/log.txt?sig=1)', 'foreign']);
});

test('a tool call says what it is about, even if its label is only its name', () => {
	const c = conversation();
	say(c, 'k1', 'go', 'r1');
	c.apply(agent('r1', 'tool_execution_start', { toolCallId: 't1', toolName: 'bash', label: 'bash', args: { command: 'ls -l\npwd' } }));
	c.apply(agent('r1', 'tool_execution_start', { toolCallId: 't2', toolName: 'read', label: 'Read the manual', args: { path: 'x' } }));
	assert.deepEqual(c.items[1].steps.map((s) => s.label), ['ls -l', 'Read the manual']);
});

test('a snapshot of a turn whose reply the history has already is not shown a second time', () => {
	const c = conversation([user('r1', 'hi', 'k1', 'r1'), assistant('s1', 'Hello', 'r1')], { isStreaming: true, runId: 'r1', text: 'Hello', tools: [] }, true);
	assert.deepEqual(look(c), ['user:sent:hi', 'assistant:done:Hello']);
	assert.equal(c.running, false);
	// A part that was answered before the rest of the turn: the rest is shown.
	const d = conversation([user('r1', 'hi', 'k1', 'r1'), assistant('s1', 'Hello', 'r1')], { isStreaming: true, runId: 'r1', text: 'and more', tools: [] }, true);
	assert.deepEqual(look(d), ['user:sent:hi', 'assistant:done:Hello', 'assistant:live:and more']);
});

test('a history with parts shows thoughts and tools once, as they were live', () => {
	const parts = [
		{ type: 'thinking', thinking: 'one' }, { type: 'text', text: 'a' }, { type: 'thinking', thinking: 'two' },
		{ type: 'toolCall', id: 't1', name: 'bash', arguments: { command: 'ls' } },
		{ type: 'toolResult', toolCallId: 't1', isError: true, content: [{ type: 'text', text: 'no' }] },
		{ type: 'toolCall', id: 't2', name: 'write', arguments: '{"cut' },
	];
	const history = { messages: [{ id: 'r1', role: 'user', content: 'q', runId: 'r1' }, { id: 's1', role: 'assistant', content: 'a', parts, runId: 'r1' }] };
	const c = new Conversation('s');
	const steps = () => c.items[1].steps.map((s) => [s.kind, s.text ?? s.name, s.label, s.output, s.state]);
	const want = [['thinking', 'one\n\ntwo', undefined, undefined, undefined], ['tool', 'bash', 'ls', 'no', 'error'], ['tool', 'write', '', '', 'stopped']];
	for (let n = 0; n < 2; n++) {
		c.sync(history, null, c.beginSync());
		assert.equal(c.items.length, 2);
		assert.deepEqual(steps(), want);
	}
	// What was shown live is completed, and stays if the history does not know it.
	const live = new Conversation('s');
	live.apply({ event: 'agent', payload: { sessionKey: 's', runId: 'r1', type: 'tool_execution_start', toolCallId: 't1', toolName: 'bash', args: { command: 'ls' } } });
	live.apply({ event: 'chat.reply', payload: { sessionKey: 's', runId: 'r1', id: 's1', text: 'a', final: true } });
	live.sync(history, null, live.beginSync());
	assert.deepEqual(live.items.map((i) => i.steps?.length), [0, 3]);
	live.sync({ messages: history.messages.map((m) => ({ ...m, parts: undefined })) }, null, live.beginSync());
	assert.deepEqual(live.items.map((i) => i.steps?.length), [0, 3]);
	// Older pages have them too.
	const c2 = new Conversation('s');
	c2.older(history);
	assert.equal(c2.items[1].steps.length, 3);
});
