// Draws a conversation. Nodes are built with createElement and textContent, never from HTML text. An item keeps its
// node as long as it is shown, and a streaming answer redraws its last block only, so nothing flickers and a
// selection or an opened fold stays.

import { inline, parse } from './markdown.js';

/** Small builder: `el('a', {href, class: 'x', data: {id: 1}}, 'text', child)`. */
export function el(tag, props, ...children) {
	const node = document.createElement(tag);
	for (const [name, value] of Object.entries(props || {})) {
		if (value === null || value === undefined || value === false) continue;
		if (name === 'data') for (const [k, v] of Object.entries(value)) node.dataset[k] = v;
		else if (name.startsWith('on')) node.addEventListener(name.slice(2), value);
		else if (name === 'class') node.className = value;
		else node.setAttribute(name, value === true ? '' : value);
	}
	node.append(...children.filter((c) => c !== null && c !== undefined && c !== false));
	return node;
}

export function icon(path) {
	const svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
	svg.setAttribute('viewBox', '0 0 20 20');
	svg.setAttribute('aria-hidden', 'true');
	const p = document.createElementNS('http://www.w3.org/2000/svg', 'path');
	p.setAttribute('d', path);
	svg.append(p);
	return svg;
}

const COPY = 'M7 7V4.5A1.5 1.5 0 0 1 8.5 3h7A1.5 1.5 0 0 1 17 4.5v7a1.5 1.5 0 0 1-1.5 1.5H13M4.5 7h7A1.5 1.5 0 0 1 13 8.5v7a1.5 1.5 0 0 1-1.5 1.5h-7A1.5 1.5 0 0 1 3 15.5v-7A1.5 1.5 0 0 1 4.5 7Z';
const DONE = 'm4.5 10.5 3.5 3.5 7.5-8';

// ---------------------------------------------------------------- Markdown to nodes

// A browser needs seconds to lay out a megabyte at once. Long texts are cut into pieces that it lays out when they
// come into view; markup that spans two of them is lost.
const LONG = 100_000;
const PIECE = 12_000;

function pieces(text, build) {
	if (text.length <= LONG) return build(text);
	const out = [];
	for (let at = 0; at < text.length;) {
		let end = text.lastIndexOf('\n', at + PIECE) + 1;
		if (end <= at || at + PIECE >= text.length) end = at + PIECE;
		if (/[\ud800-\udbff]/.test(text[end - 1])) end++;
		out.push(el('span', { class: 'piece' }, ...build(text.slice(at, end))));
		at = end;
	}
	return out;
}

const plainly = (text) => [text];

export function inlineNodes(text) {
	return pieces(text, inlinePiece);
}

function inlinePiece(text) {
	const build = (nodes, linked) => nodes.map((n) => {
		if (typeof n === 'string') return n;
		switch (n.t) {
			case 'br': return el('br');
			case 'code': return el('code', { dir: 'ltr' }, n.text);
			case 'a': return linked ? el('span', {}, ...build(n.c, true)) : link(n.href, build(n.c, true));
			case 'img': return image(n.src, n.alt);
			default: return el(n.t, {}, ...build(n.c, linked));
		}
	});
	return build(inline(text), false);
}

function link(href, children) {
	const own = href.startsWith('/');
	return el('a', { href, target: '_blank', rel: 'noopener noreferrer nofollow', title: own ? null : href }, ...children);
}

/** Only the gateway's own pictures load (the content policy says so too); a foreign one becomes a link. */
function image(src, alt) {
	if (!src) return alt || '';
	if (!src.startsWith('/api/media/')) return link(src, [alt || src]);
	return picture(src, alt || 'Picture');
}

/** One that does not load (the file is gone, or its link too old) says so. */
function picture(src, alt) {
	const img = el('img', { src, alt, loading: 'lazy' });
	const name = src.startsWith('/') ? src.split('?')[0].split('/').pop() : '';
	img.addEventListener('error', () => img.replaceWith(`📎 ${decodeURIComponent(name) || alt} cannot be shown`));
	return name ? el('a', { href: src, target: '_blank', rel: 'noopener', class: 'picture' }, img) : el('span', { class: 'picture' }, img);
}

function blockNode(b, tight) {
	switch (b.t) {
		case 'p': return tight ? el('div', { dir: 'auto' }, ...inlineNodes(b.text)) : el('p', { dir: 'auto' }, ...inlineNodes(b.text));
		case 'h': return el(`h${Math.min(6, b.level + 2)}`, { dir: 'auto', class: `h${b.level}` }, ...inlineNodes(b.text));
		case 'hr': return el('hr');
		case 'quote': return el('blockquote', { dir: 'auto' }, ...b.blocks.map((x) => blockNode(x)));
		case 'code': return codeNode(b);
		case 'list': {
			const items = b.items.map((item) => {
				const box = item.task === null ? null : el('input', { type: 'checkbox', disabled: true, checked: item.task, 'aria-label': item.task ? 'done' : 'open' });
				return el('li', { dir: 'auto', class: box ? 'task' : null }, box, ...item.blocks.map((x) => blockNode(x, !b.loose)));
			});
			return el(b.ordered ? 'ol' : 'ul', { dir: 'auto', start: b.ordered && b.first !== 1 ? b.first : null }, ...items);
		}
		case 'table': {
			const cells = (tag, row) => el('tr', {}, ...row.map((c, i) => el(tag, { dir: 'auto', class: b.align[i] ? `to-${b.align[i]}` : null, scope: tag === 'th' ? 'col' : null }, ...inlineNodes(c))));
			return el('div', { class: 'wide', tabindex: '0', role: 'region', 'aria-label': 'Table' }, el('table', {}, el('thead', {}, cells('th', b.head)), el('tbody', {}, ...b.rows.map((r) => cells('td', r)))));
		}
		default: return el('div');
	}
}

function codeNode(b) {
	const code = el('code', {}, ...pieces(b.text, plainly));
	const copy = el('button', { type: 'button', class: 'copy', title: 'Copy', 'aria-label': 'Copy code', onclick: () => copyText(code.textContent, copy) }, icon(COPY));
	return el('figure', { class: 'code', dir: 'ltr' }, el('figcaption', {}, el('span', {}, b.lang || 'text'), copy), el('pre', { tabindex: '0' }, code));
}

/** The clipboard API exists on https and localhost only; a gateway in the house often has neither. */
export async function copyText(text, button) {
	try {
		await navigator.clipboard.writeText(text);
	} catch {
		const area = el('textarea', { class: 'sr', readonly: true });
		area.value = text;
		document.body.append(area);
		area.select();
		document.execCommand('copy');
		area.remove();
		button.focus({ preventScroll: true });
	}
	button.replaceChildren(icon(DONE));
	button.setAttribute('aria-label', 'Copied');
	setTimeout(() => { button.replaceChildren(icon(COPY)); button.setAttribute('aria-label', 'Copy'); }, 1500);
}

/** A growing Markdown text. */
export class MarkdownView {
	constructor() {
		this.node = el('div', { class: 'md' });
		this.text = '';
		this.starts = []; // source offset of every block drawn
		this.last = null; // the last block's parse
	}

	set(text) {
		if (text === this.text) return;
		let keep = 0;
		let from = 0;
		if (this.starts.length && text.startsWith(this.text)) {
			keep = this.starts.length - 1;
			from = this.starts[keep];
		}
		const blocks = parse(text.slice(from));
		const old = this.node.children[keep];
		let i = 0;
		// A code block that grows keeps its node: scroll position, selection and focus stay.
		if (old && blocks[0]?.t === 'code' && this.last?.t === 'code' && this.last.lang === blocks[0].lang) {
			const code = old.querySelector('code');
			const rest = blocks[0].text.startsWith(this.last.text) && blocks[0].text.slice(this.last.text.length);
			if (rest !== false && code.lastChild?.data?.length + rest.length < LONG) code.lastChild.appendData(rest);
			else code.replaceChildren(...pieces(blocks[0].text, plainly));
			i = 1;
		}
		while (this.node.children.length > keep + i) this.node.lastChild.remove();
		this.node.append(...blocks.slice(i).map((b) => blockNode(b)));
		this.starts.length = keep;
		for (const b of blocks) this.starts.push(from + b.start);
		this.last = blocks[blocks.length - 1] || null;
		this.text = text;
	}
}

// ---------------------------------------------------------------- items

const STATE_TEXT = { sending: 'Sending', queued: 'Waiting for the connection', failed: 'Not sent' };
const STEP_STATE = { running: 'running', ok: 'done', error: 'failed', stopped: 'stopped' };
const FLAT_STEPS = 3; // the newest steps stay in sight, earlier ones are folded away

export class View {
	/** @param {HTMLElement} list @param {{retry:Function, discard:Function}} on */
	constructor(list, on) {
		this.list = list;
		this.on = on;
		this.drawn = new Map(); // item uid -> {node, …}
	}

	clear() {
		this.drawn.clear();
		this.list.replaceChildren();
	}

	draw(conversation, { dirty, moved }) {
		if (moved) {
			const keep = new Set(conversation.items.map((i) => i.uid));
			for (const [uid, d] of this.drawn) if (!keep.has(uid)) { d.node.remove(); this.drawn.delete(uid); }
			let at = this.list.firstChild;
			for (const item of conversation.items) {
				let d = this.drawn.get(item.uid);
				if (!d) {
					d = item.kind === 'assistant' ? new Answer(this.on) : item.kind === 'user' ? new Question(item, this.on) : new Note(item);
					this.drawn.set(item.uid, d);
					d.update(item, conversation);
				}
				if (d.node === at) at = at.nextSibling;
				else this.list.insertBefore(d.node, at);
			}
		}
		for (const item of dirty) this.drawn.get(item.uid)?.update(item, conversation);
	}
}

function tag(node, item) {
	node.dataset.state = item.state;
	node.dataset.id = item.id || '';
	node.dataset.run = item.runId || '';
	if (item.key) node.dataset.key = item.key;
}

function when(at) {
	if (!at) return '';
	const d = new Date(at);
	const today = new Date().toDateString() === d.toDateString();
	return d.toLocaleString(undefined, today ? { hour: '2-digit', minute: '2-digit' } : { day: 'numeric', month: 'short', hour: '2-digit', minute: '2-digit' });
}

function pictures(node, list, cache) {
	const key = list.length ? `${list.length}:${list.map((s) => s.length + s.slice(-24)).join()}` : '';
	if (cache.pictures === key) return;
	cache.pictures = key;
	node.hidden = list.length === 0;
	node.replaceChildren(...list.map((src, i) => picture(src, `Picture ${i + 1}`)));
}

class Question {
	constructor(item, on) {
		this.text = el('div', { class: 'text', dir: 'auto' });
		this.images = el('div', { class: 'pictures', hidden: true });
		this.state = el('span', { class: 'state' });
		this.actions = el('span', { class: 'actions' });
		this.on = on;
		this.node = el('article', { class: 'item user', data: { role: 'user', testid: 'message' }, 'aria-label': 'You' },
			this.images, this.text, el('div', { class: 'under' }, this.state, this.actions));
	}

	update(item, conversation) {
		tag(this.node, item);
		if (this.shown !== item.text) this.text.replaceChildren(...pieces(this.shown = item.text, plainly));
		this.text.hidden = !item.text;
		pictures(this.images, item.images || [], this);
		this.node.title = when(item.at);
		let state = STATE_TEXT[item.state] || '';
		if (item.state === 'failed' && item.error) state += `: ${item.error}`;
		// Taken by the gateway, but another answer is being written: it will be read in a moment.
		if (item.state === 'sent' && item.awaiting && conversation.running) state = 'Queued';
		// Sent from elsewhere or before a reload: the gateway does not show pictures again.
		if (!state && item.unseen && !item.images?.length) state = item.unseen === 1 ? '1 picture' : `${item.unseen} pictures`;
		this.state.textContent = state;
		if ((item.state === 'failed') !== this.actions.hasChildNodes()) {
			const button = (name, text) => el('button', { type: 'button', class: 'link', data: { testid: name }, onclick: () => this.on[name](item.key) }, text);
			this.actions.replaceChildren(...(item.state === 'failed' ? [button('retry', 'Try again'), button('discard', 'Discard')] : []));
		}
	}
}

class Note {
	constructor(item) {
		this.text = el('span', { dir: 'auto' });
		this.node = el('article', { class: `item note ${item.kind === 'error' ? 'error' : item.level || ''}`, data: { role: item.kind, testid: 'message' } }, this.text);
	}

	update(item) {
		tag(this.node, item);
		if (item.code) this.node.dataset.code = item.code;
		this.node.title = when(item.at);
		this.text.textContent = item.text;
	}
}

class Answer {
	constructor(on) {
		this.early = el('div', { class: 'steps' });
		this.earlyTitle = el('summary', {});
		this.fold = el('details', { class: 'early', hidden: true }, this.earlyTitle, this.early);
		this.steps = el('div', { class: 'steps' });
		this.md = new MarkdownView();
		this.images = el('div', { class: 'pictures', hidden: true });
		this.status = el('div', { class: 'status', hidden: true });
		this.copy = el('button', { type: 'button', class: 'copy', title: 'Copy', 'aria-label': 'Copy answer', onclick: () => copyText(this.md.text, this.copy) }, icon(COPY));
		this.time = el('span', {});
		this.again = el('button', { type: 'button', class: 'link', hidden: true, data: { testid: 'again' }, onclick: () => on.again() }, 'Try again');
		this.under = el('div', { class: 'under', hidden: true }, this.copy, this.time, this.again);
		this.drawn = [];
		this.node = el('article', { class: 'item assistant', data: { role: 'assistant', testid: 'message' }, 'aria-label': 'pi' },
			this.fold, this.steps, this.md.node, this.images, this.status, this.under);
	}

	update(item) {
		tag(this.node, item);
		this.node.classList.toggle('error', Boolean(item.failed));
		if (item.failed) this.node.dataset.code = item.failed;
		this.again.hidden = !item.failed;
		this.#steps(item.steps || []);
		// A huge last block is expensive to redraw for every delta.
		const heavy = item.state === 'live' && item.text.length - (this.md.starts[this.md.starts.length - 1] || 0) > 8000;
		clearTimeout(this.later);
		const from = performance.now();
		if (!heavy || !(from < this.next)) {
			this.md.set(item.text);
			this.next = performance.now() + Math.max(250, 5 * (performance.now() - from));
		} else this.later = setTimeout(() => { if (this.node.dataset.state === 'live') this.md.set(item.text); }, this.next - from);
		this.md.node.classList.toggle('growing', item.state === 'live' && !item.settled && item.status === '');
		pictures(this.images, item.images || [], this);
		const text = item.state === 'live' && !item.settled ? this.#statusText(item) : '';
		this.status.hidden = !text;
		if (this.status.dataset.text !== text) {
			this.status.dataset.text = text;
			this.status.replaceChildren(el('span', { class: 'spin', 'aria-hidden': 'true' }), el('bdi', {}, text));
		}
		this.under.hidden = item.state !== 'done' || !item.text;
		this.time.textContent = when(item.at);
	}

	#statusText(item) {
		switch (item.status) {
			case 'thinking': return 'Thinking';
			case 'working': return 'Working';
			case 'compacting': return 'Tidying up the conversation';
			case 'retrying': return item.retry?.attempt ? `Retrying (${item.retry.attempt}${item.retry.max ? ` of ${item.retry.max}` : ''})` : 'Retrying';
			case 'tool': {
				const step = item.steps.findLast((s) => s.state === 'running');
				return step ? `Running ${step.name}` : 'Working';
			}
			default: return '';
		}
	}

	#steps(steps) {
		while (this.drawn.length > steps.length) this.drawn.pop().node.remove();
		steps.forEach((step, i) => {
			let d = this.drawn[i];
			if (d && (d.kind !== step.kind || d.id !== step.id)) { d.node.remove(); d = null; }
			if (!d) d = this.drawn[i] = stepNode(step);
			d.update(step);
		});
		const early = steps.length > FLAT_STEPS ? steps.length - FLAT_STEPS : 0;
		this.drawn.forEach((d, i) => {
			const home = i < early ? this.early : this.steps;
			if (d.node.parentNode !== home) home.append(d.node);
		});
		this.fold.hidden = early === 0;
		if (early) {
			const bad = steps.slice(0, early).filter((s) => s.state === 'error').length;
			const title = `${early} earlier ${early === 1 ? 'step' : 'steps'}${bad ? `, ${bad} failed` : ''}`;
			if (this.earlyTitle.textContent !== title) this.earlyTitle.textContent = title;
		}
	}
}

function stepNode(step) {
	const set = (node, text) => { if (node.textContent !== text) node.textContent = text; };
	if (step.kind === 'thinking') {
		const title = el('span', { class: 'name' });
		const body = el('div', { class: 'thought', dir: 'auto' });
		const node = el('details', { class: 'step thinking', data: { testid: 'thinking' } }, el('summary', {}, el('span', { class: 'mark', 'aria-hidden': 'true' }), title), body);
		return { kind: step.kind, id: step.id, node, update(s) { node.dataset.state = s.done ? 'ok' : 'running'; set(title, s.done ? 'Thoughts' : 'Thinking'); set(body, s.text); } };
	}
	const label = el('bdi', { class: 'label', dir: 'ltr' });
	const state = el('span', { class: 'sr' });
	const args = el('pre', { class: 'args', dir: 'ltr', hidden: true });
	const output = el('pre', { class: 'output', dir: 'auto', hidden: true });
	const node = el('details', { class: 'step tool', data: { testid: 'tool', tool: step.name } },
		el('summary', {}, el('span', { class: 'mark', 'aria-hidden': 'true' }), el('span', { class: 'name' }, step.name), label, state),
		args, output);
	return {
		kind: step.kind, id: step.id, node,
		update(s) {
			node.dataset.state = s.state;
			node.classList.toggle('bare', !s.args && !s.output);
			set(label, s.label === s.name ? '' : s.label);
			set(state, STEP_STATE[s.state] || '');
			set(args, s.args);
			args.hidden = !s.args;
			set(output, s.output);
			output.hidden = !s.output;
		},
	};
}
