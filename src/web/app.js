// The page: puts connection, outbox, conversation and view together. It knows the document's elements and the
// user's keys; what can be decided without them is decided in those modules.

import { Conversation } from './model.js';
import { Link } from './link.js';
import { Outbox } from './outbox.js';
import { el, View } from './view.js';

const $ = (id) => document.getElementById(id);
const PREFIX = 'agent:main:webchat:';
const NAME = /^[A-Za-z0-9._-]{1,64}$/;
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

function sessionInHash() {
	const name = new URLSearchParams(location.hash.slice(1)).get('s') || 'default';
	return PREFIX + (NAME.test(name) ? name : 'default');
}

// ---------------------------------------------------------------- state

let sessionKey = sessionInHash();
let conversation = new Conversation(sessionKey);
let sessions = [];
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
	acknowledged: (e, payload) => { if (e.sessionKey === sessionKey) { conversation.acknowledged(e.key, payload.runId); if (payload.replayed) refetchSoon(); draw(); } },
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
});

/** Modules for what most visits never show. */
const lazy = async (name) => {
	await looks();
	return import(`./${name}.js`);
};

let more = null;
function looks() {
	more ??= new Promise((done) => {
		document.head.append(el('link', { rel: 'stylesheet', href: '/web/more.css', onload: done, onerror: () => { more = null; done(); } }));
	});
	return more;
}

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
	for (const part of document.querySelectorAll('body > header, body > main, body > footer')) part.inert = out;
	if (out) {
		showLogin(link.reason);
		conversation = new Conversation(sessionKey); // nothing of it stays readable after a log-out
		view.clear();
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
	$('demo').hidden = !info.demo || tabStorage?.getItem('pigw.demo') === 'hidden';
	$('logout').hidden = !info.auth?.role || info.auth.role === 'none';
	const agent = info.agent?.kind ? [info.agent.kind, info.agent.version].filter(Boolean).join(' ') : '';
	document.querySelector('.brand').title = agent;
	for (const e of outbox.of(sessionKey)) conversation.addPending(pending(e));
	if (!resumed || !conversation.loaded) {
		conversation.resumedAt(0);
		load(true);
	}
	outbox.setOnline(true);
	listSessions();
	draw();
}

function received(e) {
	if (e.event === 'resync') { load(true); listSessions(); return; }
	if (e.event === 'shutdown') { hint('The gateway is restarting.'); return; }
	if (e.event === 'session.updated' || e.event === 'session.deleted') { listSoon(); return; }
	const effects = conversation.apply(e);
	follow(effects);
	if (e.event === 'chat.reply') listSoon();
	draw();
}

function follow(effects) {
	if (effects.announce) announce(effects.announce);
	if (effects.refetch) refetchSoon();
}

/** History, while events wait; with the running turn's snapshot if events may have been missed. */
async function load(fresh) {
	const mine = ++syncing;
	const c = conversation;
	const since = c.beginSync();
	if (fresh) c.dialogs = [];
	try {
		const [history, live] = await Promise.all([
			link.request('chat.history', { sessionKey: c.sessionKey, limit: PAGE }),
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
	document.title = `${c.running ? '… ' : ''}${label(sessionKey)} · pi`;
}

const atEnd = () => scroll.scrollHeight - scroll.scrollTop - scroll.clientHeight < 60;

function stay() {
	if (toEnd) scroll.scrollTop = scroll.scrollHeight;
	$('latest').hidden = toEnd || atEnd();
}

let lastTop = 0;
scroll.addEventListener('scroll', () => {
	// Growing content moves the end away without the reader doing anything: only an upward move lets go.
	if (atEnd()) toEnd = true;
	else if (scroll.scrollTop < lastTop - 2) toEnd = false;
	lastTop = scroll.scrollTop;
	$('latest').hidden = toEnd || atEnd();
}, { passive: true });
new ResizeObserver(stay).observe(scroll);
new ResizeObserver(stay).observe($('messages'));
$('latest').addEventListener('click', () => { toEnd = true; stay(); composer.focus(); });

function announce(text) {
	$('announce').textContent = String(text).slice(0, 2000);
}

let hintTimer = 0;
function hint(text) {
	$('hint').textContent = text;
	clearTimeout(hintTimer);
	hintTimer = setTimeout(() => { $('hint').textContent = ''; }, 8000);
}

// ---------------------------------------------------------------- sending

function sendable() {
	$('send').disabled = !composer.value.trim() && !tray?.size;
}

function submit() {
	const text = composer.value.trim();
	if (tray?.busy) { hint('One moment, a picture is still being read.'); return; }
	const images = tray?.images || [];
	if (!text && images.length === 0) return;
	const size = new Blob([text]).size + images.reduce((n, i) => n + i.data.length, 0) + 1024;
	const most = link.policy.maxPayload || 8 * 1024 * 1024;
	if (size > most) { hint(`Too large: ${(size / 1048576).toFixed(1)} MB of ${(most / 1048576).toFixed(0)} MB at once.`); return; }
	const entry = outbox.add({ key: uuid(), sessionKey, text, images, at: Date.now() });
	conversation.addPending(pending(entry));
	composer.value = '';
	tray?.clear();
	saveDraft();
	fit();
	draw(true);
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
	if (e.key !== 'Enter' || e.isComposing || e.keyCode === 229 || e.shiftKey || e.altKey) return;
	e.preventDefault();
	submit();
});
$('form').addEventListener('submit', (e) => { e.preventDefault(); submit(); composer.focus(); });

function abort() {
	if (!conversation.running) return;
	link.request('chat.abort', { sessionKey }).catch(refused);
}
$('abort').addEventListener('click', () => { abort(); composer.focus(); });
document.addEventListener('keydown', (e) => {
	if (e.key !== 'Escape' || e.isComposing || document.querySelector('dialog[open]') || login) return;
	if (!dialogs?.cancelLast()) abort();
});

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

const label = (key) => { const name = key.slice(PREFIX.length); return name === 'default' ? 'Main chat' : name; };

let listTimer = 0;
function listSoon() {
	clearTimeout(listTimer);
	listTimer = setTimeout(listSessions, 1500);
}

async function listSessions() {
	if (link.state !== 'connected') return;
	try {
		const list = await link.request('sessions.list');
		sessions = (Array.isArray(list) ? list : list?.sessions || []).filter((s) => s.sessionKey?.startsWith(PREFIX));
		sessions.sort((a, b) => Number(b.lastActivity || 0) - Number(a.lastActivity || 0));
		drawSessions();
	} catch { /* the selector keeps what it has */ }
}

function drawSessions() {
	const keys = [...new Set([`${PREFIX}default`, sessionKey, ...sessions.slice(0, 100).map((s) => s.sessionKey)])];
	const select = $('session');
	const want = keys.map((k) => `${label(k)}${sessions.find((s) => s.sessionKey === k)?.isStreaming && k !== sessionKey ? ' …' : ''}`);
	if (select.dataset.shown !== want.join('\n')) {
		select.dataset.shown = want.join('\n');
		select.replaceChildren(...keys.map((k, i) => el('option', { value: k }, want[i])));
	}
	select.value = sessionKey;
}

function switchTo(key) {
	if (key === sessionKey) return;
	sessionKey = key;
	conversation = new Conversation(key);
	view.clear();
	dialogs?.draw([]);
	composer.value = tabStorage?.getItem(draftName()) || '';
	fit();
	tray?.clear();
	drawSessions();
	for (const e of outbox.of(key)) conversation.addPending(pending(e));
	if (link.state === 'connected') link.start(); // subscriptions are made by `connect`
	draw(true);
}

$('session').addEventListener('change', () => {
	goTo($('session').value.slice(PREFIX.length));
	composer.focus();
});
addEventListener('hashchange', () => switchTo(sessionInHash()));

const goTo = (name) => { location.hash = name === 'default' ? '' : `s=${encodeURIComponent(name)}`; };

$('new-session').addEventListener('click', async () => {
	const name = await (await lazy('ask')).askName();
	if (name && NAME.test(name)) goTo(name);
	composer.focus();
});

$('reset-session').addEventListener('click', async () => {
	const sure = await (await lazy('ask')).askReset();
	composer.focus();
	if (sure) link.request('sessions.reset', { sessionKey }).then(refetchSoon, refused);
});

$('older').addEventListener('click', async () => {
	const c = conversation;
	const first = c.items.find((i) => i.id);
	if (!first) return;
	$('older').disabled = true;
	try {
		const history = await link.request('chat.history', { sessionKey, limit: PAGE, before: first.id });
		const height = scroll.scrollHeight - scroll.scrollTop;
		c.older({ limit: PAGE, ...history });
		toEnd = false;
		paint();
		scroll.scrollTop = scroll.scrollHeight - height;
	} catch (e) { refused(e); }
	$('older').disabled = false;
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
drawSessions();
fit();
link.start();
draw(true);
if (!matchMedia('(hover: none)').matches) composer.focus();
