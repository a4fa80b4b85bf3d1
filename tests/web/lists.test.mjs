// Names of conversations, completion of commands, and what usage looks like: what needs no browser.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { matching } from '../../src/web/complete.js';
import { short, usageOf } from '../../src/web/picks.js';
import { ago, freshKey, hashOf, keyOf, MAIN, nameOf, ordered, titleFrom } from '../../src/web/sessions.js';

test('an address names a conversation, and every conversation has an address', () => {
	for (const key of [`${MAIN}default`, `${MAIN}garden`, freshKey(), 'agent:coder:webchat:default', 'agent:main:telegram:dm:47#1&x=2', 'cron:news',
		'delegate:agent:main:webchat:default:coder:1700000000000']) {
		assert.equal(keyOf(hashOf(key)), key);
	}
	for (const hash of ['', '#', '#s=', '#s=a b', '#s=../x', '#k=nonsense', '#k=agent:main:a b']) assert.equal(keyOf(hash), `${MAIN}default`, hash);
	assert.notEqual(freshKey(1, () => 0.1), freshKey(1, () => 0.9));
});

test('a conversation has the best name that is known', () => {
	assert.equal(nameOf(`${MAIN}default`), 'Main chat');
	assert.equal(nameOf(freshKey()), 'New chat');
	assert.equal(nameOf(`${MAIN}garden`), 'garden');
	assert.equal(nameOf(`${MAIN}garden`, { title: 'Beans' }), 'Beans');
	assert.equal(nameOf('agent:coder:webchat:default'), 'coder: Main chat');
});

test('a conversation of another channel has the name that the gateway gives it', () => {
	const key = 'agent:main:telegram:account:default:dm:4711';
	assert.equal(nameOf(key, { name: 'Ada · Telegram' }), 'Ada · Telegram');
	assert.equal(nameOf(key, { name: 'Ada · Telegram', title: 'Beans' }), 'Beans');
	assert.equal(nameOf(key), 'main:telegram:account:default:dm:4711');
});

test('a title is the first line, one line, not too long, and no command', () => {
	assert.equal(titleFrom('\n  Why is it slow?\nI wonder.'), 'Why is it slow?');
	assert.equal(titleFrom('/model x/y'), '');
	assert.equal(titleFrom('a\u202eb\tc'), 'a b c');
	const long = titleFrom('word '.repeat(50));
	assert.ok(long.length <= 60 && long.endsWith('…'));
	assert.ok(titleFrom('😀'.repeat(80)).isWellFormed?.() ?? true);
});

test('the list: newest first, with the current and the main one, by words', () => {
	const list = [{ sessionKey: `${MAIN}a`, lastActivity: 1 }, { sessionKey: `${MAIN}b`, lastActivity: 2, title: 'Beans' }];
	const names = (l) => l.map((s) => nameOf(s.sessionKey, s));
	assert.deepEqual(names(ordered(list, freshKey())), ['New chat', 'Beans', 'a', 'Main chat']);
	assert.deepEqual(names(ordered(list, `${MAIN}a`, ' bean')), ['Beans']);
});

test('times are short', () => {
	const now = Date.parse('2026-05-20T12:00:00Z');
	assert.deepEqual([0, 20e3, 5 * 60e3, 3 * 3600e3].map((d) => ago(now - d, now)), ['now', 'now', '5 min', '3 h']);
	assert.equal(ago(0, now), '');
});

test('commands: those that begin with it first, only for the first word', () => {
	const list = ['new', 'renew', 'skill:news', 'stop'].map((name) => ({ name }));
	const names = (text) => matching(list, text).map((c) => c.name);
	assert.deepEqual(names('/new'), ['new', 'renew', 'skill:news']);
	assert.deepEqual(names('/'), ['new', 'renew', 'skill:news', 'stop']);
	for (const text of ['', 'new', '/new all', 'a /new', '/usr/bin']) assert.deepEqual(names(text), [], text);
});

test('usage: what pi counted, in words; nothing that it did not say', () => {
	assert.deepEqual([999, 1000, 1234, 128_000, 999_999, 1_234_567].map(short), ['999', '1k', '1.2k', '128k', '1M', '1.2M']);
	const stats = { tokens: { input: 4000, output: 210, cacheRead: 0, cacheWrite: 0 }, cost: 0.0123, contextUsage: { tokens: 32000, contextWindow: 128000, percent: 25 } };
	assert.deepEqual(usageOf(stats), { share: 25, rows: [['Context', '32k of 128k tokens'], ['Read, written', '4k, 210 tokens'], ['Cost', '$0.012']] });
	assert.deepEqual(usageOf({ contextUsage: { tokens: null, contextWindow: 1000, percent: null } }), { share: null, rows: [['Context', 'up to 1k tokens']] });
	assert.deepEqual(usageOf(null), { share: null, rows: [] });
});
