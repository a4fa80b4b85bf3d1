// Messages the gateway has not acknowledged yet. They survive a reload, go out in order per conversation, and are
// repeated under the same idempotency key until the gateway takes or refuses them: it stores each at most once.
//
// Entry: {key, sessionKey, text, images:[{data,mimeType}], at, state:'sending'|'queued'|'failed', error?}

const PREFIX = 'pigw.out.';
const TEMPORARY = new Set(['busy', 'rate_limited', 'shutting_down']);

export class Outbox {
	/** @param {{storage:Storage|null, send:(params)=>Promise, changed:(entry)=>void, acknowledged:(entry,payload)=>void}} io */
	constructor(io) {
		this.io = { timers: globalThis, random: Math.random, ...io };
		this.entries = [];
		this.online = false;
		this.#load();
	}

	#sending = new Set(); // sessions with a request under way
	#tries = 0;

	#load() {
		const { storage } = this.io;
		try {
			for (let i = 0; i < storage.length; i++) {
				const name = storage.key(i);
				if (!name.startsWith(PREFIX)) continue;
				const entry = JSON.parse(storage.getItem(name));
				if (entry?.key && entry.sessionKey && typeof entry.text === 'string') this.entries.push({ ...entry, state: entry.state === 'failed' ? 'failed' : 'queued' });
			}
		} catch { /* no storage: messages live as long as the page */ }
		this.entries.sort((a, b) => a.at - b.at);
	}

	of(sessionKey) {
		return this.entries.filter((e) => e.sessionKey === sessionKey);
	}

	/** True if something would be lost by closing the page now. */
	get unsaved() {
		return this.entries.some((e) => e.volatile && e.state !== 'failed');
	}

	add(entry) {
		const full = { ...entry, state: this.online ? 'sending' : 'queued' };
		this.entries.push(full);
		this.#save(full);
		this.flush();
		return full;
	}

	retry(key, newKey) {
		const entry = this.entries.find((e) => e.key === key);
		if (!entry) return null;
		this.#erase(entry.key);
		if (entry.code === 'idempotency_conflict') entry.key = newKey;
		Object.assign(entry, { state: 'queued', error: undefined, code: undefined });
		this.#save(entry);
		return entry;
	}

	discard(key) {
		this.entries = this.entries.filter((e) => e.key !== key);
		this.#erase(key);
	}

	setOnline(online) {
		this.online = online;
		if (online) { this.flush(); return; }
		for (const e of this.entries) if (e.state === 'sending') this.#change(e, { state: 'queued' });
	}

	/** The connection died over a frame that the gateway will never take. */
	failSending(error, code) {
		for (const e of this.entries) if (e.state === 'sending') this.#fail(e, error, code);
	}

	flush() {
		if (!this.online) return;
		for (const sessionKey of new Set(this.entries.map((e) => e.sessionKey))) this.#next(sessionKey);
	}

	async #next(sessionKey) {
		if (this.#sending.has(sessionKey)) return;
		const entry = this.entries.find((e) => e.sessionKey === sessionKey && e.state !== 'failed');
		if (!entry || !this.online) return;
		this.#sending.add(sessionKey);
		if (entry.state !== 'sending') this.#change(entry, { state: 'sending' });
		let again = true;
		try {
			const params = { sessionKey, text: entry.text, idempotencyKey: entry.key };
			if (entry.images?.length) params.images = entry.images;
			const payload = await this.io.send(params);
			this.#tries = 0;
			this.discard(entry.key);
			this.io.acknowledged(entry, payload || {});
		} catch (e) {
			if (!this.entries.includes(entry)) { /* discarded meanwhile */ } else if (!e.code || e.code === 'unauthorized') {
				again = false; // nobody answered: it goes out again with the next connection
				if (entry.state === 'sending') this.#change(entry, { state: 'queued' });
				if (!e.code) this.io.unanswered?.();
			} else if (TEMPORARY.has(e.code)) {
				again = false;
				this.#change(entry, { state: 'queued' });
				const wait = Math.min(15_000, 1000 * 2 ** this.#tries++) * (0.75 + this.io.random() / 2);
				this.io.timers.setTimeout(() => this.flush(), wait);
			} else this.#fail(entry, e.message, e.code);
		} finally {
			this.#sending.delete(sessionKey);
		}
		if (again) this.#next(sessionKey);
	}

	#fail(entry, error, code) {
		this.#change(entry, { state: 'failed', error, code });
		this.#save(entry);
	}

	#change(entry, change) {
		Object.assign(entry, change);
		this.io.changed(entry);
	}

	#save(entry) {
		try {
			this.io.storage.setItem(PREFIX + entry.key, JSON.stringify(entry));
			entry.volatile = false;
		} catch {
			entry.volatile = true; // no storage, or pictures larger than it
		}
	}

	#erase(key) {
		try { this.io.storage.removeItem(PREFIX + key); } catch { /* no storage */ }
	}
}
