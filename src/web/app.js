// The page: puts connection, outbox, conversation and view together. It knows the document's elements and the
// user's keys; what can be decided without them is decided in those modules.

import { Completion } from './complete.js';
import { Link } from './link.js';
import { Conversation } from './model.js';
import { Outbox } from './outbox.js';
import { Picks, usageOf } from './picks.js';
import { freshKey, hashOf, keyOf, MAIN, nameOf, SessionList, titleFrom } from './sessions.js';
import { View } from './view.js';

const $ = (id) => document.getElementById(id);
const PAGE = 50;
const STATES = { connecting: 'Connecting', connected: 'Connected', offline: 'Offline', unauthorized: 'Not logged in' };

const storage = (() => { try { localStorage.getItem('pigw'); return localStorage; } catch { return null; } })();
const tabStorage = (() => { try { sessionStorage.getItem('pigw'); return sessionStorage; } catch { return null; } })();

/** Works without a secure context, where crypto.randomUUID does not exist. */
function uuid() {
	const b = crypto.getRandomValues(new Uint8Array(16));
	b[6] = (b[6] & 15) | 64;
	b[8] = (b[8] & 63) | 128;
	const h = [...b].map((x) => x.toString(16).padStart(2, '0')).join('');
	return `${h.slice(0, 8)}-${h.slice(8, 12)}-${h.slice(12, 16)}-${h.slice(16, 20)}-${h.slice(20)}`;
}

// ---------------------------------------------------------------- state

let sessionKey = keyOf(location.hash);
let conversation = new Conversation(sessionKey);
let methods = new Set(); // what this gateway can
let sessions = [];
const news = new Map(); // what other conversations have to say: key -> text
let syncing = 0; // generation of the history fetch under way
let refetch = null;

const composer = $('composer');
const scroll = $('scroll');

const link = new Link({
	url: `${location.protocol === 'https:' ? 'wss:' : 'ws:'}//${location.host}/ws`,
	open: (url) => new WebSocket(url),
	subscribe: () => [sessionKey],
	onState: connectionChanged,
	onHello: (eid) => conversation.resumedAt(eid),
	onReady: ready,
	onEvent: received,
});

const outbox = new Outbox({
	storage,
	send: (params) => link.request('chat.send', params),
	changed: (e) => { if (e.sessionKey === sessionKey) { conversation.setPending(e.key, { state: e.state, error: e.error }); draw(); } },
	acknowledged: (e, payload) => {
		giveTitle(e);
		// A message to another agent (`/coder …`) is answered in a conversation of its own.
		if (payload.sessionKey && payload.sessionKey !== e.sessionKey) hint(`Sent to ${nameOf(payload.sessionKey)}: see the list of conversations.`);
		if (e.sessionKey !== sessionKey) return;
		conversation.acknowledged(e.key, payload.runId);
		if (payload.replayed) refetchSoon();
		draw();
	},
	unanswered: () => { if (link.state === 'connected') link.nudge(); },
});

const view = new View($('messages'), {
	retry: (key) => {
		const entry = outbox.retry(key, uuid());
		if (!entry) return;
		conversation.remove(key);
		conversation.addPending(pending(entry));
		outbox.flush();
		draw(true);
	},
	discard: (key) => { outbox.discard(key); conversation.remove(key); draw(); },
	again: () => send('/retry', []),
});

/** Modules for what most visits never show. */
const lazy = (name) => import(`./${name}.js`);
const ask = () => lazy('ask').catch((e) => { hint('Not connected.'); throw e; });

const can = (method) => methods.has(method) && link.state === 'connected';

let dialogs = null;
let dialogsComing = false;
async function loadDialogs() {
	if (dialogsComing) return;
	dialogsComing = true;
	try {
		const { Dialogs } = await lazy('dialogs');
		dialogs = new Dialogs($('dialogs'), answer, (id) => { conversation.answered(id); draw(); });
		draw();
	} catch { dialogsComing = false; }
}

function answer(id, value) {
	link.request('extension_ui_response', { id, ...value }).then(
		(first) => { if (first === false) hint('That was answered elsewhere already.'); conversation.answered(id); draw(); },
		refused,
	);
}

const refused = (e) => hint(e.code ? e.message : 'Not connected.');

const pending = (e) => ({ key: e.key, text: e.text, at: e.at, state: e.state, images: (e.images || []).map((i) => `data:${i.mimeType};base64,${i.data}`) });

// ---------------------------------------------------------------- connection

function connectionChanged(state) {
	$('connection').dataset.state = state;
	if (state !== 'connected') {
		// 1008/1009: the gateway will never take this frame, so repeating it would only cut the line again.
		if (link.lastClose?.code === 1009 || link.lastClose?.code === 1008) outbox.failSending('too large for the gateway', 'payload_too_large');
		link.lastClose = null;
		outbox.setOnline(false);
	}
	showConnection();
	const out = state === 'unauthorized';
	if (state === 'connected' && login) { login.close(); login = null; composer.focus(); }
	drawer(false);
	if (out) {
		showLogin(link.reason);
		conversation = new Conversation(sessionKey); // nothing of it stays readable after a log-out
		view.clear();
		sessions = [];
		drawSessions();
	}
	draw();
}

function showConnection() {
	let text = STATES[link.state];
	if (link.state === 'offline' && link.retryAt) {
		const left = Math.max(1, Math.ceil((link.retryAt - Date.now()) / 1000));
		text = navigator.onLine === false ? 'No network' : `Offline, retry in ${left} s`;
	}
	if ($('connection-text').textContent !== text) $('connection-text').textContent = text;
	$('connection').title = link.state === 'offline' ? 'Press to try now' : '';
}
setInterval(() => { if (link.state === 'offline') showConnection(); }, 1000);

function ready(info, resumed) {
	methods = new Set(info.features?.methods);
	$('demo').hidden = !info.demo || tabStorage?.getItem('pigw.demo') === 'hidden';
	$('logout').hidden = !info.auth?.role || info.auth.role === 'none';
	const agent = info.agent?.kind ? [info.agent.kind, info.agent.version].filter(Boolean).join(' ') : '';
	$('brand').title = agent;
	for (const e of outbox.of(sessionKey)) conversation.addPending(pending(e));
	if (!resumed || !conversation.loaded) {
		conversation.resumedAt(0);
		load(true);
	}
	outbox.setOnline(true);
	listSessions();
	loadPicks();
	draw();
}

function received(e) {
	if (e.event === 'resync') { load(true); listSessions(); return; }
	if (e.event === 'shutdown') { hint('The gateway is restarting.'); return; }
	if (e.event === 'config.reloaded') { loadPicks(); return; }
	const key = e.payload.sessionKey ?? e.payload.session?.sessionKey;
	if (e.event === 'session.updated') { sessionChanged(e.payload.session); return; }
	if (e.event === 'session.deleted') { sessionGone(key); return; }
	if (key !== sessionKey) {
		const text = { 'chat.reply': 'new answer', extension_ui_request: 'has a question', extension_ui_dismissed: '' }[e.event];
		if (text !== undefined && key && !key.startsWith('delegate:')) news.set(key, text); // who asked has that answer
		if (e.event === 'chat.typing') sessions = sessions.map((s) => (s.sessionKey === key ? { ...s, isStreaming: e.payload.typing } : s));
		drawSessions();
	}
	follow(conversation.apply(e));
	if (e.event === 'chat.reply' && key === sessionKey) {
		loadUsage();
		if (!picks.models.length) loadPicks();
	}
	draw();
}

function follow(effects) {
	if (effects.announce) announce(effects.announce);
	if (effects.refetch) refetchSoon();
}

/** With what tools gave: steps look as they did live. */
const askHistory = (before) => link.request('chat.history', { sessionKey, limit: PAGE, raw: true, before });

/** History, while events wait; with the running turn's snapshot if events may have been missed. */
async function load(fresh) {
	const mine = ++syncing;
	const c = conversation;
	const since = c.beginSync();
	if (fresh) c.dialogs = [];
	try {
		const [history, live] = await Promise.all([
			askHistory(),
			fresh ? link.request('session.live', { sessionKey: c.sessionKey }).then((live) => { c.snapshotTaken(); return live; }, (e) => { if (!e.code) throw e; return null; }) : undefined,
		]);
		if (mine !== syncing || c !== conversation) return;
		follow(c.sync({ limit: PAGE, ...history }, live, since));
	} catch (e) {
		if (mine !== syncing || c !== conversation) return;
		c.cancelSync();
		if (!e.code) { if (link.state === 'connected') setTimeout(() => load(fresh), 2000); } else if (e.code === 'busy' || e.code === 'rate_limited') setTimeout(() => load(fresh), 1500);
		else hint(`The history could not be read: ${e.message}`);
	}
	draw();
}

function refetchSoon() {
	clearTimeout(refetch);
	refetch = setTimeout(() => { if (link.state === 'connected') load(false); }, 250);
}

// ---------------------------------------------------------------- drawing

let frame = 0;
let toEnd = true;
let asked = false;

function draw(jump) {
	if (jump) toEnd = true;
	if (frame) return;
	// A hidden tab gets no animation frames, and must not fall behind.
	frame = document.hidden ? setTimeout(paint, 50) : requestAnimationFrame(paint);
}

function paint() {
	frame = 0;
	const c = conversation;
	view.draw(c, c.take());
	const last = c.items[c.items.length - 1];
	const showing = last?.state === 'live' && (last.text || last.steps.length || last.status);
	$('waiting').hidden = !(c.running && link.state === 'connected' && !showing);
	$('messages').setAttribute('aria-busy', String(c.running));
	$('empty').hidden = !(c.loaded && c.items.length === 0 && !c.running);
	$('older').hidden = !c.more;
	$('abort').hidden = !c.running;
	$('abort').disabled = link.state !== 'connected';
	dialogs?.draw(c.dialogs);
	if (c.dialogs.length && !dialogs) loadDialogs();
	if (c.dialogs.length && !asked) toEnd ||= atEnd();
	asked = c.dialogs.length > 0;
	sendable();
	stay();
	const name = nameOf(sessionKey, current());
	document.title = `${c.running ? '… ' : ''}${name} · pi`;
	if ($('title').textContent !== name) $('title').textContent = $('title').title = name;
}

const atEnd = () => scroll.scrollHeight - scroll.scrollTop - scroll.clientHeight < 60;

function stay() {
	if (toEnd) scroll.scrollTop = scroll.scrollHeight;
	$('latest').hidden = toEnd || atEnd();
}

let lastTop = 0;
let box = '';
scroll.addEventListener('scroll', () => {
	// Growing content moves the end away without the reader doing anything: only an upward move lets go, and not
	// one that a turned phone or its keyboard made.
	const now = `${scroll.clientWidth} ${scroll.clientHeight}`;
	const up = now === box && scroll.scrollTop < lastTop - 2;
	if (atEnd()) toEnd = true;
	else if (up) toEnd = false;
	if (up && scroll.scrollTop < 400) older();
	lastTop = scroll.scrollTop;
	box = now;
	$('latest').hidden = toEnd || atEnd();
}, { passive: true });
new ResizeObserver(stay).observe(scroll);
new ResizeObserver(stay).observe($('messages'));
$('latest').addEventListener('click', () => { toEnd = true; stay(); composer.focus(); });

function announce(text) {
	$('announce').textContent = String(text).slice(0, 2000);
}

let hintTimer = 0;
function hint(text, ms = 8000) {
	$('hint').textContent = text;
	clearTimeout(hintTimer);
	hintTimer = setTimeout(() => { $('hint').textContent = ''; }, ms);
}

// ---------------------------------------------------------------- sending

function sendable() {
	$('send').disabled = !composer.value.trim() && !tray?.size;
}

function submit() {
	const text = composer.value.trim();
	if (tray?.busy) { hint('One moment, a picture is still being read.'); return; }
	if (!send(text, tray?.images || [])) return;
	composer.value = '';
	tray?.clear();
	saveDraft();
	fit();
}

/** @returns {boolean} whether it is on its way */
function send(text, images) {
	if (!text && images.length === 0) return false;
	const size = new Blob([text]).size + images.reduce((n, i) => n + i.data.length, 0) + 1024;
	const most = link.policy.maxPayload || 8 * 1024 * 1024;
	if (size > most) { hint(`Too large: ${(size / 1048576).toFixed(1)} MB of ${(most / 1048576).toFixed(0)} MB at once.`); return false; }
	conversation.addPending(pending(outbox.add({ key: uuid(), sessionKey, text, images, at: Date.now() })));
	draw(true);
	return true;
}

/** A new conversation is called by its first words. */
function giveTitle(entry) {
	const session = sessions.find((s) => s.sessionKey === entry.sessionKey);
	if (!can('sessions.rename') || session?.title || session?.messageCount > 1 || nameOf(entry.sessionKey) !== 'New chat') return;
	const title = titleFrom(entry.text);
	if (title) link.request('sessions.rename', { sessionKey: entry.sessionKey, title }).catch(() => {}); // then it stays "New chat"
}

function fit() {
	composer.style.height = 'auto';
	composer.style.height = `${Math.min(composer.scrollHeight, innerHeight * 0.4)}px`;
	composer.style.overflowY = composer.scrollHeight > innerHeight * 0.4 ? 'auto' : 'hidden';
}

const draftName = () => `pigw.draft.${sessionKey}`;
function saveDraft() {
	try { if (composer.value) tabStorage.setItem(draftName(), composer.value); else tabStorage.removeItem(draftName()); } catch { /* no storage */ }
}

composer.addEventListener('input', () => { fit(); sendable(); saveDraft(); });
composer.addEventListener('keydown', (e) => {
	if (e.isComposing || e.keyCode === 229) return;
	if (completion.key(e)) { e.preventDefault(); e.stopPropagation(); return; }
	if (e.key === 'ArrowUp' && !composer.value) {
		const last = conversation.items.findLast((i) => i.kind === 'user' && i.text);
		if (last) { e.preventDefault(); setText(last.text); }
	}
	if (e.key !== 'Enter' || e.shiftKey || e.altKey) return;
	e.preventDefault();
	submit();
});

function setText(text) {
	composer.value = text;
	composer.setSelectionRange(text.length, text.length);
	fit();
	sendable();
	saveDraft();
}

const completion = new Completion($('complete'), composer, { changed: () => { setText(composer.value); composer.focus(); }, say: announce });

$('form').addEventListener('submit', (e) => { e.preventDefault(); submit(); composer.focus(); });

function abort() {
	if (!conversation.running) return;
	link.request('chat.abort', { sessionKey }).catch(refused);
}
$('abort').addEventListener('click', () => { abort(); composer.focus(); });

document.addEventListener('keydown', (e) => {
	if (e.isComposing || document.querySelector('dialog[open]') || login) return;
	const mod = e.ctrlKey || e.metaKey;
	const key = e.key.toLowerCase();
	if (e.key === 'Escape') {
		if (drawer(false)) { $('menu').focus(); return; }
		if ($('filter').contains(e.target) && $('filter').value) { $('filter').value = ''; drawSessions(); return; }
		if (!dialogs?.cancelLast()) abort();
	} else if (mod && !e.shiftKey && key === 'k') {
		e.preventDefault();
		drawer(true);
		$('filter').focus();
	} else if (mod && e.shiftKey && key === 'o') {
		e.preventDefault();
		newChat();
	} else if (mod && key === '/') {
		e.preventDefault();
		showKeys();
	} else if (key === '/' && !mod && !e.altKey && !/^(INPUT|TEXTAREA|SELECT)$/.test(e.target.tagName)) {
		e.preventDefault();
		composer.focus();
	}
});
const showKeys = () => ask().then((m) => m.showKeys()).catch(() => {});
$('keys').addEventListener('click', showKeys);

// ---------------------------------------------------------------- pictures

let tray = null;
async function attach(files) {
	if (!files.length) return;
	try {
		const { Tray } = await lazy('images');
		tray ??= new Tray($('previews'), { changed: sendable, say: hint, focus: () => composer.focus() });
		await tray.add(files);
	} catch { hint('Not connected: the picture cannot be prepared.'); }
}

$('attach').addEventListener('click', () => $('file').click());
$('file').addEventListener('change', () => { attach([...$('file').files]); $('file').value = ''; composer.focus(); });
composer.addEventListener('paste', (e) => {
	const files = [...(e.clipboardData?.files || [])].filter((f) => f.type.startsWith('image/'));
	// Office programs put a picture of the text beside the text; then the text is meant.
	if (files.length === 0 || e.clipboardData.getData('text/plain')) return;
	e.preventDefault();
	attach(files);
});
addEventListener('dragover', (e) => { if (e.dataTransfer?.types.includes('Files')) { e.preventDefault(); document.body.classList.add('dropping'); } });
addEventListener('dragleave', (e) => { if (!e.relatedTarget) document.body.classList.remove('dropping'); });
addEventListener('drop', (e) => {
	document.body.classList.remove('dropping');
	if (!e.dataTransfer?.files.length) return;
	e.preventDefault();
	attach([...e.dataTransfer.files]);
});

// ---------------------------------------------------------------- conversations

const current = () => sessions.find((s) => s.sessionKey === sessionKey);

const list = new SessionList($('sessions'), {
	chosen: () => { drawer(false); composer.focus(); },
	rename: async (s) => {
		const title = await (await ask()).askTitle(s.title || '');
		if (title !== null) link.request('sessions.rename', { sessionKey: s.sessionKey, title }).then(() => sessionChanged({ ...s, title }), refused);
	},
	remove: async (s) => {
		if (await (await ask()).askDelete(nameOf(s.sessionKey, s))) link.request('sessions.delete', { sessionKey: s.sessionKey }).then(() => sessionGone(s.sessionKey), refused);
	},
});

async function listSessions() {
	if (link.state !== 'connected') return;
	try {
		const answer = await link.request('sessions.list');
		sessions = Array.isArray(answer) ? answer : answer?.sessions || [];
		drawSessions();
		draw();
	} catch { /* the list keeps what it has */ }
}

function sessionChanged(session) {
	if (!session?.sessionKey) return;
	sessions = [session, ...sessions.filter((s) => s.sessionKey !== session.sessionKey)];
	drawSessions();
	draw();
}

function sessionGone(key) {
	sessions = sessions.filter((s) => s.sessionKey !== key);
	if (key === sessionKey) {
		if (key === `${MAIN}default`) load(true);
		else goTo(`${MAIN}default`);
	}
	drawSessions();
}

function drawSessions() {
	list.draw({ list: sessions, current: sessionKey, words: $('filter').value, news, can });
	picks.draw({ session: current(), can });
}

function switchTo(key) {
	if (key === sessionKey) return;
	sessionKey = key;
	conversation = new Conversation(key);
	news.delete(key);
	view.clear();
	dialogs?.draw([]);
	completion.close();
	composer.value = tabStorage?.getItem(draftName()) || '';
	fit();
	tray?.clear();
	$('usage').hidden = true;
	drawSessions();
	for (const e of outbox.of(key)) conversation.addPending(pending(e));
	if (link.state === 'connected') {
		link.request('subscribe', { sessions: [key] }).catch(() => link.start());
		load(true);
		loadUsage();
	}
	draw(true);
}

const goTo = (key) => { location.hash = hashOf(key); };
addEventListener('hashchange', () => switchTo(keyOf(location.hash)));

function newChat() {
	goTo(freshKey());
	drawer(false);
	composer.focus();
}
$('new-session').addEventListener('click', newChat);
$('filter').addEventListener('input', drawSessions);
$('filter').addEventListener('keydown', (e) => {
	const first = $('sessions').querySelector('a');
	if (!first || (e.key !== 'Enter' && e.key !== 'ArrowDown')) return;
	e.preventDefault();
	if (e.key === 'Enter') first.click(); else first.focus();
});
setInterval(drawSessions, 60_000); // "5 min" grows old

// On narrow screens the list is a drawer over the page; on wide ones it stands beside it, and can be folded away.
const narrow = matchMedia('(max-width: 56rem)');
let pulled = false;
let folded = storage?.getItem('pigw.folded') === 'yes';

/** @returns {boolean} whether a drawer was open until now */
function drawer(open) {
	const was = pulled;
	pulled = open && narrow.matches;
	if (open && !narrow.matches) folded = false;
	layout();
	return was && !pulled;
}

function layout() {
	const out = link.state === 'unauthorized';
	const over = narrow.matches && pulled;
	const shown = narrow.matches ? pulled : !folded;
	document.body.classList.toggle('drawer', over);
	document.body.classList.toggle('folded', folded);
	$('page').inert = out || over;
	$('side').inert = out || !shown;
	$('menu').setAttribute('aria-expanded', String(shown));
}

$('menu').addEventListener('click', () => {
	if (narrow.matches) { drawer(true); $('side-close').focus(); return; }
	folded = !folded;
	try { storage.setItem('pigw.folded', folded ? 'yes' : 'no'); } catch { /* no storage */ }
	layout();
});
for (const id of ['side-close', 'veil']) $(id).addEventListener('click', () => { drawer(false); $('menu').focus(); });
narrow.addEventListener('change', () => drawer(false));

$('reset-session').addEventListener('click', async () => {
	const sure = await (await ask()).askReset();
	composer.focus();
	if (sure) link.request('sessions.reset', { sessionKey }).then(refetchSoon, refused);
});

async function older() {
	const c = conversation;
	const first = c.items.find((i) => i.id);
	if (!first || !c.more || $('older').disabled) return;
	$('older').disabled = true;
	try {
		const history = await askHistory(first.id);
		const height = scroll.scrollHeight - scroll.scrollTop;
		c.older({ limit: PAGE, ...history });
		toEnd = false;
		paint();
		scroll.scrollTop = scroll.scrollHeight - height;
	} catch (e) { refused(e); }
	$('older').disabled = false;
}
$('older').addEventListener('click', older);

// ---------------------------------------------------------------- model, thinking, role, usage

const picks = new Picks($('picks'), {
	choose: (what, value) => {
		const [method, params] = {
			model: ['session.model', { model: value }], thinking: ['session.think', { level: value }], role: ['roles.set', { role: value }],
		}[what];
		link.request(method, { sessionKey, ...params }).then(
			(r) => hint(r?.applied === 'next' ? 'From the next answer on.' : 'Chosen.'),
			(e) => { hint(e.code === 'not_found' && !current() ? 'Write a message first.' : e.code ? e.message : 'Not connected.'); drawSessions(); },
		);
	},
});

async function loadPicks() {
	const asked = async (method, take) => { if (can(method)) take(await link.request(method).catch(() => ({}))); };
	await Promise.all([
		asked('models.list', (r) => { picks.models = r.models || []; }),
		asked('roles.list', (r) => { picks.roles = (r.roles || []).map((x) => x?.name ?? x); }),
		asked('commands.list', (r) => { completion.commands = r.commands || []; }),
		loadUsage(),
	]);
	drawSessions();
}

let used = null;
async function loadUsage() {
	if (!can('usage.status')) return;
	const key = sessionKey;
	const answer = await link.request('usage.status', { sessionKey }).catch(() => null);
	if (key !== sessionKey) return;
	used = answer && usageOf(answer.stats);
	$('usage').hidden = !used?.rows.length;
	$('usage').textContent = used?.share === null ? 'Usage' : `${used?.share} %`;
	$('usage').title = 'How much of its context the agent uses';
	$('usage').setAttribute('aria-label', `Usage: ${used?.share ?? 'unknown'} % of the context`);
}

$('usage').addEventListener('click', async () => {
	if (!await (await ask()).showUsage(used.rows, can('sessions.compact'))) return;
	hint('Compacting …', 330_000);
	link.request('sessions.compact', { sessionKey }, 330_000).then(() => { hint('Compacted.'); loadUsage(); }, refused);
});

// ---------------------------------------------------------------- log in, log out

let login = null;
async function showLogin(reason) {
	const { Login } = await lazy('login').catch(() => ({}));
	if (!Login) { setTimeout(() => link.start(), 3000); return; }
	if (link.state !== 'unauthorized') return;
	login ??= new Login((token) => {
		link.token = token; // for browsers that refuse the cookie
		link.start();
	});
	login.say(reason);
}

$('logout').addEventListener('click', async () => {
	try { await fetch('/logout', { method: 'POST', credentials: 'same-origin' }); } catch { hint('The gateway does not answer.'); return; }
	link.token = null;
	location.reload();
});

$('demo-close').addEventListener('click', () => { $('demo').hidden = true; tabStorage?.setItem('pigw.demo', 'hidden'); composer.focus(); });
$('connection').addEventListener('click', () => link.nudge());

// ---------------------------------------------------------------- start

addEventListener('online', () => link.nudge());
addEventListener('offline', showConnection);
document.addEventListener('visibilitychange', () => { if (!document.hidden && link.state !== 'connecting') link.nudge(); });
addEventListener('pageshow', (e) => { if (e.persisted) link.start(); });
addEventListener('beforeunload', (e) => { if (outbox.unsaved) e.preventDefault(); });
addEventListener('resize', fit);

conversation.beginSync();
composer.value = tabStorage?.getItem(draftName()) || '';
for (const e of outbox.of(sessionKey)) conversation.addPending(pending(e));
layout();
drawSessions();
fit();
link.start();
draw(true);
if (!matchMedia('(hover: none)').matches) composer.focus();
