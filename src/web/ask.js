// A small question of the page itself, in a native modal dialog (focus trap, Esc and backdrop come with it).

import { el } from './view.js';

export function askName() {
	const d = new Date();
	const two = (n) => String(n).padStart(2, '0');
	const suggestion = `chat-${two(d.getMonth() + 1)}${two(d.getDate())}-${two(d.getHours())}${two(d.getMinutes())}`;
	return ask({ title: 'New conversation', text: 'It has a memory of its own. The others stay as they are.', field: suggestion, ok: 'Create' });
}

export async function askReset() {
	return await ask({ title: 'Start afresh?', text: 'The agent forgets this conversation. A running answer is stopped.', ok: 'Start afresh' }) !== null;
}

/** Resolves with the field's text ('' for a question without one), or null when it was cancelled. */
function ask({ title, text, field, ok }) {
	const input = field === undefined ? null : el('input', { id: 'ask-input', type: 'text', required: true, maxlength: '64', spellcheck: 'false', pattern: '[A-Za-z0-9._\\-]{1,64}', title: 'Letters, digits, dot, dash and underscore' });
	if (input) input.value = field;
	// The OK button comes first in the source, because Enter presses a form's first one; the style turns them round.
	const form = el('form', { method: 'dialog' },
		el('h2', { id: 'ask-title' }, title), text ? el('p', {}, text) : null,
		input && el('label', { for: 'ask-input' }, 'Name'), input,
		el('div', { class: 'row turned' },
			el('button', { id: 'ask-ok', class: 'primary', type: 'submit', value: 'ok' }, ok),
			el('button', { type: 'submit', value: '', formnovalidate: true }, 'Cancel')));
	const box = el('dialog', { id: 'ask', class: 'ask', 'aria-labelledby': 'ask-title' }, form);
	document.body.append(box);
	box.showModal();
	input?.select();
	return new Promise((resolve) => {
		box.addEventListener('close', () => {
			resolve(box.returnValue === 'ok' ? (input?.value.trim() ?? '') : null);
			box.remove();
		});
	});
}
