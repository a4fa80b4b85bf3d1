// The list of conversations: their names, their order, and the drawing of it.

import { el, icon } from './view.js';

export const MAIN = 'agent:main:webchat:';
const NAME = /^[A-Za-z0-9._-]{1,64}$/;
const PEN = 'm4 16 .8-3.4L13.2 4.2a1.6 1.6 0 0 1 2.3 0l.3.3a1.6 1.6 0 0 1 0 2.3l-8.4 8.4Z';
const BIN = 'M4 6h12M8 6V4.2h4V6M5.5 6l.7 10h7.6l.7-10M8.5 9v4.5M11.5 9v4.5';
const MOST = 200; // rows on view; the others are found by name

/** A key that nobody has used, on this agent. */
export function freshKey(now = Date.now(), random = Math.random) {
	return `${MAIN}chat-${now.toString(36)}-${Math.floor(random() * 1296).toString(36).padStart(2, '0')}`;
}

/** The conversation that the address names; `#s=` is short for those of the main agent. */
export function keyOf(hash) {
	const p = new URLSearchParams(hash.replace(/^#/, ''));
	const key = p.get('k') || '';
	if (/^(agent:[\w.-]{1,64}|cron|delegate):\S{1,400}$/.test(key)) return key;
	const name = p.get('s') || '';
	return MAIN + (NAME.test(name) ? name : 'default');
}

export function hashOf(key) {
	const name = key.startsWith(MAIN) ? key.slice(MAIN.length) : '';
	if (name === 'default') return '#';
	return NAME.test(name) ? `#s=${name}` : `#k=${encodeURIComponent(key)}`;
}

/** What people call it: its title, or the best that its key tells. */
export function nameOf(key, session) {
	if (session?.title) return session.title;
	if (session?.name) return session.name;
	const [, agent, channel, ...rest] = key.split(':');
	const tab = rest.join(':');
	if (channel !== 'webchat') return key.slice(key.indexOf(':') + 1);
	const name = tab === 'default' ? 'Main chat' : /^chat-[0-9a-z]{8,9}-[0-9a-z]{2}$/.test(tab) ? 'New chat' : tab;
	return agent === 'main' ? name : `${agent}: ${name}`;
}

/** A title made of a message, or '' if it does not give one. */
export function titleFrom(text) {
	const line = text.trimStart().split('\n')[0].replace(/[\p{Cc}\p{Cf}]+/gu, ' ').trim();
	if (line.startsWith('/')) return '';
	return line.length > 60 ? `${line.slice(0, 59).replace(/[\ud800-\udbff]$/, '').trimEnd()}…` : line;
}

/** Newest first; the current one and the main one are there even if the gateway does not know them yet. */
export function ordered(list, current, words = '') {
	const known = new Map(list.map((s) => [s.sessionKey, s]));
	for (const key of [current, `${MAIN}default`]) if (!known.has(key)) known.set(key, { sessionKey: key, lastActivity: key === current ? Infinity : 0 });
	const want = words.trim().toLowerCase();
	return [...known.values()].filter((s) => !want || `${nameOf(s.sessionKey, s)} ${s.sessionKey}`.toLowerCase().includes(want))
		.sort((a, b) => (b.lastActivity || 0) - (a.lastActivity || 0)).slice(0, MOST);
}

export function ago(at, now = Date.now()) {
	if (!at || at === Infinity) return '';
	const minutes = Math.max(0, (now - at) / 60_000);
	if (minutes < 1) return 'now';
	if (minutes < 60) return `${Math.floor(minutes)} min`;
	if (minutes < 1440) return `${Math.floor(minutes / 60)} h`;
	return new Date(at).toLocaleDateString(undefined, minutes < 10_080 ? { weekday: 'short' } : { day: 'numeric', month: 'short' });
}

export class SessionList {
	/** @param {HTMLElement} home @param {{rename:(session)=>void, remove:(session)=>void, chosen:Function}} on */
	constructor(home, on) {
		this.home = home;
		this.on = on;
		this.rows = new Map();
		home.addEventListener('keydown', (e) => {
			const step = { ArrowDown: 1, ArrowUp: -1 }[e.key];
			if (!step || !e.target.matches('a')) return;
			e.preventDefault();
			const links = [...home.querySelectorAll('a')];
			links[links.indexOf(e.target) + step]?.focus();
		});
	}

	/** @param {{list:object[], current:string, words:string, news:Map<string,string>, can:(method:string)=>boolean}} state */
	draw(state) {
		const shown = ordered(state.list, state.current, state.words);
		const keys = new Set(shown.map((s) => s.sessionKey));
		for (const [key, row] of this.rows) if (!keys.has(key)) { row.node.remove(); this.rows.delete(key); }
		let at = this.home.firstChild;
		for (const s of shown) {
			let row = this.rows.get(s.sessionKey);
			if (!row) this.rows.set(s.sessionKey, row = this.#row(s.sessionKey));
			this.#update(row, s, state);
			if (row.node === at) at = at.nextSibling;
			else this.home.insertBefore(row.node, at);
		}
	}

	#row(key) {
		const name = el('span', { class: 'name', dir: 'auto' });
		const sub = el('small', {});
		const link = el('a', { href: hashOf(key), onclick: () => this.on.chosen() }, name, sub);
		const act = (what, path) => el('button', { class: 'quiet', type: 'button', data: { testid: what }, onclick: () => this.on[what](row.session) }, icon(path));
		const pen = act('rename', PEN);
		const bin = act('remove', BIN);
		const row = { node: el('li', { data: { key } }, link, pen, bin), link, name, sub, pen, bin };
		return row;
	}

	#update(row, s, { current, news, can }) {
		row.session = s;
		const name = nameOf(s.sessionKey, s);
		const text = (node, value) => { if (node.textContent !== value) node.textContent = value; };
		text(row.name, name);
		const channel = s.lastChannel !== 'webchat' && !s.name && s.lastChannel;
		const told = s.sessionKey !== current && news.get(s.sessionKey) || (s.isStreaming ? 'working' : '');
		text(row.sub, [told || ago(s.lastActivity), channel].filter(Boolean).join(' · '));
		row.node.dataset.state = told === 'working' ? 'busy' : told ? 'news' : '';
		if (s.sessionKey === current) row.link.setAttribute('aria-current', 'page');
		else row.link.removeAttribute('aria-current');
		const known = s.messageCount !== undefined;
		for (const [button, method, label] of [[row.pen, 'sessions.rename', 'Rename'], [row.bin, 'sessions.delete', 'Delete']]) {
			button.hidden = !known || !can(method);
			button.title = label;
			button.setAttribute('aria-label', `${label} ${name}`);
		}
	}
}
