// Small questions of the page itself, in a native modal dialog (focus trap, Esc and backdrop come with it).

import { el } from './view.js';

/** The new title ('' for none), or null. */
export const askTitle = (title) => ask({ title: 'Rename conversation', label: 'Title', field: title, ok: 'Rename' });

export const askReset = async () =>
	await ask({ title: 'Start afresh?', text: 'The agent forgets this conversation. A running answer is stopped.', ok: 'Start afresh' }) !== null;

export const askDelete = async (name) =>
	await ask({ title: 'Delete conversation?', text: `The agent forgets “${name}”, and it leaves the list.`, ok: 'Delete', bad: true }) !== null;

/** What was counted; true if the conversation is to be compacted. */
export const showUsage = async (rows, compact) =>
	await ask({ title: 'Usage of this conversation', rows, ok: compact ? 'Compact' : null, text: compact ? 'Compacting replaces the older part by a summary, so that there is room again.' : null }) !== null;

export function showKeys() {
	const mod = /Mac|iP/.test(navigator.platform) ? '⌘' : 'Ctrl';
	return ask({ title: 'Keyboard', rows: [
		['Send', 'Enter'], ['New line', 'Shift+Enter'], ['Last message again', '↑ in an empty box'], ['Commands', '/'],
		['Stop the answer, close', 'Esc'], ['Conversations', `${mod}+K`], ['New chat', `${mod}+Shift+O`], ['Write', '/ outside the box'], ['This list', `${mod}+/`],
	] });
}

/** Resolves with the field's text ('' for a question without one), or null when it was cancelled. */
function ask({ title, text, label, field, rows, ok, bad }) {
	const input = field === undefined ? null : el('input', { id: 'ask-input', type: 'text', maxlength: '120', dir: 'auto', autocomplete: 'off' });
	if (input) input.value = field;
	// The OK button comes first in the source, because Enter presses a form's first one; the style turns them round.
	const form = el('form', { method: 'dialog' },
		el('h2', { id: 'ask-title' }, title), text ? el('p', { dir: 'auto' }, text) : null,
		rows && el('dl', {}, ...rows.flatMap(([name, value]) => [el('dt', {}, name), el('dd', {}, value)])),
		input && el('label', { for: 'ask-input' }, label), input,
		el('div', { class: 'row turned' },
			ok ? el('button', { id: 'ask-ok', class: bad ? 'bad' : 'primary', type: 'submit', value: 'ok' }, ok) : null,
			el('button', { type: 'submit', value: '' }, rows ? 'Close' : 'Cancel')));
	const box = el('dialog', { id: 'ask', class: 'ask', 'aria-labelledby': 'ask-title', onclick: (e) => { if (e.target === box) box.close(''); } }, form);
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
