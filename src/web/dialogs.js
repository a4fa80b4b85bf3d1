// Questions of the agent (pi's extension UI), as cards above the composer. The first answer wins, wherever it is
// given; a card disappears when another view answers, or its time is over.

import { el } from './view.js';

export class Dialogs {
	/** @param {HTMLElement} home @param {(id:string, answer:object)=>void} answer */
	constructor(home, answer, expired) {
		this.home = home;
		this.answer = answer;
		this.expired = expired;
		this.cards = new Map();
		setInterval(() => this.#tick(), 1000);
	}

	draw(dialogs) {
		const ids = new Set(dialogs.map((d) => d.id));
		for (const [id, c] of this.cards) {
			if (ids.has(id)) continue;
			const focused = c.node.contains(document.activeElement);
			c.node.remove();
			this.cards.delete(id);
			if (focused) document.getElementById('composer').focus();
		}
		for (const d of dialogs) {
			if (this.cards.has(d.id)) continue;
			const card = this.#card(d);
			this.cards.set(d.id, card);
			this.home.append(card.node);
			// Somebody in the middle of a sentence is not interrupted; the card is announced and one Tab away.
			const composer = document.getElementById('composer');
			if (document.activeElement !== composer || !composer.value) card.focus?.focus();
		}
		this.#tick();
	}

	/** @returns {boolean} whether there was something to cancel */
	cancelLast() {
		const last = [...this.cards.keys()].pop();
		if (last === undefined) return false;
		this.answer(last, { cancelled: true });
		return true;
	}

	#tick() {
		for (const [id, c] of this.cards) {
			if (!c.expires) continue;
			const left = Math.ceil((c.expires - Date.now()) / 1000);
			if (left <= 0) { this.expired(id); continue; }
			c.clock.textContent = left > 90 ? `${Math.round(left / 60)} min left` : `${left} s left`;
		}
	}

	#card(d) {
		const say = (value) => this.answer(d.id, value);
		const title = el('h2', { id: `dialog-${d.id}`, dir: 'auto' }, d.title || 'The agent asks');
		const clock = el('span', { class: 'clock' });
		const cancel = el('button', { type: 'button', onclick: () => say({ cancelled: true }) }, 'Cancel');
		const body = [];
		let focus = cancel;
		let submit = null;
		const options = (d.options || []).map((o) => (typeof o === 'string' ? { value: o, label: o } : o));

		if (d.method === 'select') {
			const list = el('div', { class: 'options' }, ...options.map((o) => el('button', { type: 'button', dir: 'auto', data: { value: o.value }, onclick: () => say({ value: o.value }) },
				el('span', {}, o.label ?? o.value), o.hint ? el('small', {}, o.hint) : null)));
			body.push(list, el('div', { class: 'row' }, clock, cancel));
			focus = list.firstChild || cancel;
		} else if (d.method === 'multiselect') {
			const boxes = options.map((o) => el('input', { type: 'checkbox', value: o.value, checked: (d.initialValues || []).includes(o.value) }));
			body.push(el('div', { class: 'options' }, ...options.map((o, i) => el('label', { dir: 'auto' }, boxes[i], el('span', {}, o.label ?? o.value)))),
				el('div', { class: 'row' }, clock, cancel, el('button', { type: 'submit', class: 'primary' }, 'Choose')));
			submit = () => say({ value: boxes.filter((b) => b.checked).map((b) => b.value) });
			focus = boxes[0] || cancel;
		} else if (d.method === 'confirm') {
			const no = el('button', { type: 'button', data: { testid: 'dialog-no' }, onclick: () => say({ confirmed: false }) }, 'No');
			body.push(el('div', { class: 'row' }, clock, no, el('button', { type: 'button', class: 'primary', data: { testid: 'dialog-yes' }, onclick: () => say({ confirmed: true }) }, 'Yes')));
			focus = no;
		} else {
			const long = d.method === 'editor';
			const field = el(long ? 'textarea' : 'input', { id: `field-${d.id}`, dir: 'auto', rows: long ? '8' : null, placeholder: d.placeholder || null, 'aria-labelledby': `dialog-${d.id}`, data: { testid: 'dialog-input' } });
			field.value = d.defaultValue || d.prefill || '';
			body.push(field, el('div', { class: 'row' }, clock, cancel, el('button', { type: 'submit', class: 'primary' }, 'OK')));
			submit = () => say({ value: field.value });
			focus = field;
		}
		const node = el('form', { class: 'card', role: 'dialog', 'aria-labelledby': `dialog-${d.id}`, data: { testid: 'dialog', id: d.id, method: d.method }, onsubmit: (e) => { e.preventDefault(); submit?.(); } },
			title, d.message ? el('p', { dir: 'auto' }, d.message) : null, ...body);
		return { node, focus, clock, expires: d.expires };
	}
}
