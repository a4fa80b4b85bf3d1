// Completion of slash commands while they are typed.

import { el } from './view.js';

const MOST = 50;

/** Commands that begin with what stands before the caret; those that only contain it come after them. */
export function matching(commands, text) {
	const typed = /^\/([^\s/]*)$/.exec(text)?.[1].toLowerCase();
	if (typed === undefined) return [];
	const at = (c) => c.name.toLowerCase().indexOf(typed);
	const hits = commands.filter((c) => at(c) >= 0);
	return [...hits.filter((c) => at(c) === 0), ...hits.filter((c) => at(c) > 0)].slice(0, MOST);
}

export class Completion {
	/** @param {HTMLElement} list @param {HTMLTextAreaElement} field @param {{changed:Function, say:(text)=>void}} on */
	constructor(list, field, on) {
		Object.assign(this, { list, field, on, commands: [], hits: [], at: 0 });
		field.addEventListener('input', () => this.#look());
		field.addEventListener('blur', () => this.close());
		// A press must not take the focus, and with it the list, away.
		list.addEventListener('mousedown', (e) => e.preventDefault());
		list.addEventListener('click', (e) => {
			const row = e.target.closest('li');
			if (row) this.#take([...list.children].indexOf(row));
		});
	}

	get open() { return this.hits.length > 0; }

	/** @returns {boolean} whether the key was meant for the list */
	key(e) {
		if (!this.open) return false;
		const step = { ArrowDown: 1, ArrowUp: -1 }[e.key];
		if (step) this.#mark((this.at + step + this.hits.length) % this.hits.length);
		else if (e.key === 'Tab' && !e.shiftKey) this.#take(this.at);
		else if (e.key === 'Enter' && !e.shiftKey && this.field.value.trim() !== `/${this.hits[this.at].name}`) this.#take(this.at);
		else if (e.key === 'Escape') this.close();
		else return false;
		return true;
	}

	close() {
		this.hits = [];
		this.list.hidden = true;
		this.list.replaceChildren();
		this.field.removeAttribute('aria-activedescendant');
	}

	#look() {
		const { value, selectionEnd } = this.field;
		const before = this.open;
		this.hits = selectionEnd === value.length ? matching(this.commands, value) : [];
		if (!this.open) { this.close(); return; }
		this.list.replaceChildren(...this.hits.map((c, i) => el('li', { id: `command-${i}`, role: 'option', data: { name: c.name } },
			el('b', {}, `/${c.name}`), c.args ? el('i', {}, ` ${c.args}`) : null, el('span', { dir: 'auto' }, c.description || ''))));
		this.list.hidden = false;
		this.#mark(0);
		if (!before) this.on.say(`${this.hits.length} commands. Arrow keys choose, Tab takes one.`);
	}

	#mark(at) {
		this.at = at;
		[...this.list.children].forEach((row, i) => row.setAttribute('aria-selected', String(i === at)));
		const row = this.list.children[at];
		row.scrollIntoView({ block: 'nearest' });
		this.field.setAttribute('aria-activedescendant', row.id);
	}

	#take(at) {
		const command = this.hits[at];
		this.field.value = `/${command.name}${command.args ? ' ' : ''}`;
		this.close();
		this.on.changed();
	}
}
