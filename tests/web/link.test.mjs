// Connection and outbox, with a socket and a clock made of values.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { backoff, Link, Refused } from '../../src/web/link.js';
import { Outbox } from '../../src/web/outbox.js';

const settle = () => new Promise((r) => setImmediate(r));

function world() {
	const w = { sockets: [], timers: [], time: 0, states: [], events: [], ready: [] };
	const timers = {
		setTimeout: (f, ms) => { const t = { f, at: w.time + ms }; w.timers.push(t); return t; },
		clearTimeout: (t) => { w.timers = w.timers.filter((x) => x !== t); },
		setInterval: () => null,
		clearInterval: () => {},
	};
	w.pass = (ms) => {
		w.time += ms;
		for (const t of w.timers.filter((x) => x.at <= w.time)) { timers.clearTimeout(t); t.f(); }
	};
	w.link = new Link({
		url: 'ws://x', timers, random: () => 0.5, now: () => w.time,
		open: () => {
			const s = { readyState: 1, sent: [], send: (m) => s.sent.push(JSON.parse(m)), close: () => { s.readyState = 3; } };
			w.sockets.push(s);
			return s;
		},
		subscribe: () => ['s'], onHello: () => {}, onState: (s) => w.states.push(s), onReady: (p, resumed) => w.ready.push(resumed), onEvent: (e) => w.events.push(e),
	});
	w.socket = () => w.sockets[w.sockets.length - 1];
	w.say = (frame) => w.socket().onmessage({ data: JSON.stringify(frame) });
	w.connect = (payload) => { w.socket().onopen(); w.say({ type: 'res', id: w.socket().sent[0].id, ok: true, payload }); };
	return w;
}

test('backoff grows from 1 s to 15 s, with chance in its upper half', () => {
	assert.equal(backoff(0, () => 0), 1000);
	assert.equal(backoff(3, () => 1), 8000);
	for (let n = 0; n < 50; n++) for (const r of [0, 0.3, 1]) assert.ok(backoff(n, () => r) >= 1000 && backoff(n, () => r) <= 15000);
	assert.equal(backoff(40, () => 0), 7500);
});

test('a reconnect asks to resume after the last event seen', () => {
	const w = world();
	w.link.start();
	w.connect({ epoch: 'e', lastEid: 5 });
	assert.equal(w.socket().sent[0].params.resume, undefined);
	w.say({ type: 'event', event: 'tick', eid: 9, seq: 1 });
	w.socket().onclose({ code: 1006 });
	assert.equal(w.link.state, 'offline');
	w.pass(20000);
	w.socket().onopen();
	assert.deepEqual(w.socket().sent[0].params.resume, { epoch: 'e', eid: 9 });
	w.say({ type: 'res', id: w.socket().sent[0].id, ok: true, payload: { epoch: 'e', resumed: true } });
	assert.deepEqual(w.ready, [false, true]);
});

test('another process means no resume', () => {
	const w = world();
	w.link.start();
	w.connect({ epoch: 'a', lastEid: 50 });
	w.socket().onclose({ code: 1012 });
	w.pass(20000);
	w.connect({ epoch: 'b', lastEid: 3, resumed: false });
	assert.deepEqual(w.ready, [false, false]);
	w.say({ type: 'event', event: 'tick', eid: 4 });
	w.socket().onclose({});
	w.pass(20000);
	w.socket().onopen();
	assert.deepEqual(w.socket().sent[0].params.resume, { epoch: 'b', eid: 4 });
});

test('a gap in the sequence asks for the history', () => {
	const w = world();
	w.link.start();
	w.connect({ epoch: 'a' });
	for (const seq of [1, 2, 4]) w.say({ type: 'event', event: 'tick', seq, eid: seq });
	assert.deepEqual(w.events.map((e) => e.event), ['tick', 'tick', 'tick', 'resync']);
});

test('a wrong secret stops the reconnecting', async () => {
	for (const how of ['res', 4001, 4401]) {
		const w = world();
		w.link.start();
		w.socket().onopen();
		if (how === 'res') w.say({ type: 'res', id: w.socket().sent[0].id, ok: false, error: 'Unauthorized', code: 'unauthorized' });
		else w.socket().onclose({ code: how });
		await settle();
		assert.equal(w.link.state, 'unauthorized');
		w.pass(100000);
		assert.equal(w.sockets.length, 1);
	}
});

test('an old socket has no say', () => {
	const w = world();
	w.link.start();
	w.connect({ epoch: 'a' });
	const old = w.socket();
	w.link.start();
	w.connect({ epoch: 'a', resumed: true });
	old.onmessage({ data: '{"type":"event","event":"tick"}' });
	old.onclose({ code: 1006 });
	assert.equal(w.events.length, 0);
	assert.equal(w.link.state, 'connected');
});

function memory() {
	const m = new Map();
	return { get length() { return m.size; }, key: (i) => [...m.keys()][i], getItem: (k) => m.get(k), setItem: (k, v) => m.set(k, v), removeItem: (k) => m.delete(k) };
}

function box(answers, storage = memory()) {
	const b = { sent: [], states: [], acks: [], waits: [] };
	b.outbox = new Outbox({
		storage, random: () => 0.5,
		timers: { setTimeout: (f) => b.waits.push(f) },
		send: async (p) => { b.sent.push(p.idempotencyKey); const a = answers.shift(); if (a instanceof Error) throw a; return a ?? {}; },
		changed: (e) => b.states.push(`${e.key}:${e.state}`),
		acknowledged: (e) => b.acks.push(e.key),
	});
	return b;
}
const message = (key, more) => ({ key, sessionKey: 's', text: key, at: 1, ...more });

test('unanswered messages go out again with the same key, in order', async () => {
	const b = box([new Error('lost')]);
	b.outbox.setOnline(true);
	b.outbox.add(message('a'));
	b.outbox.add(message('b', { at: 2 }));
	await settle();
	assert.deepEqual(b.sent, ['a']);
	b.outbox.setOnline(false);
	b.outbox.setOnline(true);
	await settle();
	assert.deepEqual(b.sent, ['a', 'a', 'b']);
	assert.deepEqual(b.acks, ['a', 'b']);
	assert.equal(b.outbox.entries.length, 0);
});

test('a reload keeps what was not acknowledged', async () => {
	const storage = memory();
	box([], storage).outbox.add(message('a'));
	const b = box([], storage);
	assert.deepEqual(b.outbox.of('s').map((e) => [e.key, e.state]), [['a', 'queued']]);
	b.outbox.setOnline(true);
	await settle();
	assert.equal(storage.length, 0);
});

test('busy is waited out, a refusal is final and lets the next one pass', async () => {
	const b = box([new Refused('busy', 'busy'), new Refused('no', 'invalid_request'), {}]);
	b.outbox.setOnline(true);
	b.outbox.add(message('a'));
	b.outbox.add(message('b', { at: 2 }));
	await settle();
	assert.deepEqual(b.sent, ['a']);
	b.waits.shift()();
	await settle();
	assert.deepEqual(b.sent, ['a', 'a', 'b']);
	assert.deepEqual(b.outbox.entries.map((e) => [e.key, e.state, e.error]), [['a', 'failed', 'no']]);
	assert.equal(b.outbox.retry('a', 'n').key, 'a');
});

test('a conflict is retried under a new key', async () => {
	const b = box([new Refused('x', 'idempotency_conflict')]);
	b.outbox.setOnline(true);
	b.outbox.add(message('a'));
	await settle();
	assert.equal(b.outbox.retry('a', 'n').key, 'n');
});
