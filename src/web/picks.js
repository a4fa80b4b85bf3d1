// What the agent answers with: model, thinking level, role; and how full its memory is.

import { el } from './view.js';

const LEVELS = ['off', 'minimal', 'low', 'medium', 'high', 'xhigh'];

/** `1234567` as `1.2M`. */
export function short(n) {
	if (!(n >= 1000)) return String(n || 0);
	const [unit, by] = n >= 999_500 ? ['M', 1e6] : ['k', 1e3];
	return `${(n / by).toFixed(n / by < 10 ? 1 : 0).replace(/\.0$/, '')}${unit}`;
}

/** pi's session stats as rows for people, and the share of the context that is used. */
export function usageOf(stats) {
	const t = stats?.tokens || {};
	const c = stats?.contextUsage;
	const known = Number.isFinite(c?.tokens) && c.contextWindow; // not after a compaction, until the next answer
	const share = c?.percent ?? (known ? (100 * c.tokens) / c.contextWindow : null);
	const rows = [];
	if (c?.contextWindow) rows.push(['Context', known ? `${short(c.tokens)} of ${short(c.contextWindow)} tokens` : `up to ${short(c.contextWindow)} tokens`]);
	if (t.input || t.output) rows.push(['Read, written', `${short(t.input)}, ${short(t.output)} tokens`]);
	if (t.cacheRead || t.cacheWrite) rows.push(['From and into the cache', `${short(t.cacheRead)}, ${short(t.cacheWrite)} tokens`]);
	if (stats?.toolCalls) rows.push(['Tool calls', String(stats.toolCalls)]);
	if (stats?.cost > 0) rows.push(['Cost', `$${stats.cost.toFixed(stats.cost < 1 ? 3 : 2)}`]);
	return { share: share === null ? null : Math.round(share), rows };
}

export class Picks {
	/** @param {HTMLElement} home @param {{choose:(what:'model'|'thinking'|'role', value:string)=>void}} on */
	constructor(home, on) {
		this.models = [];
		this.roles = [];
		this.#pick = {
			model: picker(home, 'model', 'Model', on),
			thinking: picker(home, 'thinking', 'Thinking', on),
			role: picker(home, 'role', 'Role', on),
		};
	}

	#pick;

	/** @param {{session?:object, can:(method:string)=>boolean}} state */
	draw({ session, can }) {
		const { model, thinking, role } = this.#pick;
		const groups = new Map();
		for (const m of this.models) {
			if (!m?.id || !m.provider) continue;
			if (!groups.has(m.provider)) groups.set(m.provider, []);
			groups.get(m.provider).push([`${m.provider}/${m.id}`, m.name || m.id]);
		}
		const now = session?.model || 'default';
		fill(model, [['', [['default', 'Default model']]], ...groups], now);
		model.node.hidden = !can('session.model') || groups.size === 0;
		const chosen = this.models.find((m) => `${m.provider}/${m.id}` === now);
		const level = session?.thinking || 'default';
		fill(thinking, [['', [...(level === 'default' ? [['default', 'Default thinking']] : []), ...LEVELS.map((l) => [l, `Thinking ${l}`])]]], level);
		thinking.node.hidden = model.node.hidden || !can('session.think') || chosen?.reasoning === false;
		fill(role, [['', this.roles.map((r) => [r, `Role ${r}`])]], session?.role || 'default');
		role.node.hidden = !can('roles.set') || this.roles.length < 2 || !session;
	}
}

/** A native select under a text of our own: its width follows the choice, the keyboard and phones have their own. */
function picker(home, name, label, on) {
	const text = el('span', { 'aria-hidden': 'true' });
	const select = el('select', { id: name, 'aria-label': label, onchange: () => on.choose(name, select.value) });
	const node = el('span', { class: 'pick', hidden: true }, text, select);
	home.append(node);
	return { node, text, select, label };
}

function fill(p, groups, value) {
	const key = JSON.stringify(groups);
	if (p.key !== key) {
		p.key = key;
		const option = ([v, text]) => el('option', { value: v }, text);
		p.select.replaceChildren(...groups.flatMap(([name, list]) => (name ? [el('optgroup', { label: name }, ...list.map(option))] : list.map(option))));
	}
	// A choice that is not in the list is shown all the same.
	if (![...p.select.options].some((o) => o.value === value)) p.select.prepend(el('option', { value }, value.split('/').pop()));
	p.select.value = value;
	p.text.textContent = value === 'default' ? p.label : p.select.selectedOptions[0]?.textContent || '';
	p.node.title = `${p.label}: ${value}`;
}
