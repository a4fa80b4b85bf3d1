// The login form. The token goes to the gateway once, which answers with a cookie that scripts cannot read.

import { el } from './view.js';

export class Login {
	/** @param {(token:string)=>void} done called when the gateway has taken the token */
	constructor(done) {
		this.done = done;
		this.token = el('input', { id: 'login-token', type: 'password', autocomplete: 'current-password', spellcheck: 'false', 'aria-describedby': 'login-error' });
		this.error = el('p', { id: 'login-error', class: 'error', role: 'alert' });
		this.button = el('button', { id: 'login-submit', class: 'primary', type: 'submit' }, 'Log in');
		const form = el('form', { id: 'login-form', 'aria-labelledby': 'login-title', onsubmit: (e) => { e.preventDefault(); this.#submit(); } },
			el('p', { class: 'pi', 'aria-hidden': 'true' }, 'π'),
			el('h2', { id: 'login-title' }, 'Log in to this gateway'),
			el('p', {}, 'When ', el('code', {}, 'pi-gw'), ' starts, it shows a link that logs you in, or says where the token is.'),
			// Password managers want a name to file the token under.
			el('input', { class: 'sr', type: 'text', name: 'username', autocomplete: 'username', value: 'pi-gw', tabindex: '-1', 'aria-hidden': 'true', readonly: true }),
			el('label', { for: 'login-token' }, 'Access token or password'), this.token, this.error, this.button);
		this.node = el('div', { id: 'login', class: 'login' }, form);
		document.body.append(this.node);
		this.token.focus();
	}

	say(text) {
		this.error.textContent = text || '';
		if (text) this.token.select();
	}

	close() {
		this.node.remove();
	}

	async #submit() {
		const token = this.token.value.trim();
		if (!token) { this.say('Type the token first.'); this.token.focus(); return; }
		this.button.disabled = true;
		this.say('');
		try {
			const r = await fetch('/login', { method: 'POST', headers: { 'Content-Type': 'application/json' }, credentials: 'same-origin', body: JSON.stringify({ token }) });
			if (r.ok) this.done(token);
			else if (r.status === 401) this.say('That token is not right.');
			else if (r.status === 429) this.say(`Too many attempts. Try again in ${r.headers.get('Retry-After') || 60} s.`);
			else {
				const body = await r.json().catch(() => null);
				this.say(`The gateway refused: ${body?.error?.message || body?.error || `HTTP ${r.status}`}`);
			}
		} catch { this.say('The gateway does not answer.'); }
		this.button.disabled = false;
	}
}
