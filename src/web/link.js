// The connection to the gateway: one WebSocket, requests with deadlines, reconnects with backoff, resume.
// It knows frames, not conversations. Clock, socket and chance are parameters, so that tests need no waiting.
//
// States: connecting -> connected | offline (waits, then connecting) | unauthorized (waits for `login`).

const REQUEST_MS = 30_000;
const FIRST_MS = 1_000;
const LAST_MS = 15_000;
const STABLE_MS = 10_000; // a connection that lived this long clears the backoff

export class Refused extends Error {
	constructor(message, code) {
		super(message);
		this.code = code;
	}
}

/** Time before attempt n+1: exponential, 1 to 15 s, the upper half of it by chance. */
export function backoff(attempt, random = Math.random) {
	const top = Math.min(LAST_MS, FIRST_MS * 2 ** Math.min(attempt, 10));
	return Math.max(FIRST_MS, Math.round(top / 2 + (random() * top) / 2));
}

export class Link {
	/** @param {{url:string, open:(url)=>WebSocket, onState:Function, onHello:Function, onReady:Function, onEvent:Function, subscribe:()=>string[]}} io */
	constructor(io) {
		this.io = { timers: globalThis, random: Math.random, now: () => Date.now(), ...io };
		this.state = 'connecting';
		this.token = null; // only in memory, only if cookies are refused
		this.policy = {};
		this.retryAt = null;
		this.#last = { epoch: null, eid: 0 };
	}

	#last;
	#socket = null;
	#pending = new Map();
	#nextId = 0;
	#attempt = 0;
	#timer = null;
	#watch = null;
	#heard = 0;
	#openedAt = 0;
	#seq = null;
	#delay = null;
	#reason = '';

	start() {
		this.#drop();
		this.#set('connecting');
		let socket;
		try { socket = this.io.open(this.io.url); } catch { this.#lost(0); return; }
		this.#socket = socket;
		this.#heard = this.io.now();
		this.#openedAt = 0;
		const mine = (f) => (x) => { if (this.#socket === socket) f(x); };
		socket.onopen = mine(() => this.#hello());
		socket.onmessage = mine((m) => this.#frame(m.data));
		socket.onclose = mine((e) => this.#lost(e.code, e.reason));
		socket.onerror = () => {};
		this.#watch = this.io.timers.setInterval(() => {
			const quiet = this.state === 'connected' ? 2.5 * (this.policy.tickIntervalMs || 30_000) : 15_000;
			if (this.io.now() - this.#heard > quiet) this.#lost(0);
		}, 5_000);
	}

	stop() {
		this.#drop();
		this.#set('offline');
	}

	/** The network came back or the page became visible: do not sit out the backoff. */
	nudge() {
		if (this.state === 'offline') this.start();
		else if (this.state === 'connected') {
			const socket = this.#socket;
			this.request('ping', {}, 5_000).catch((e) => { if (!e.code && socket === this.#socket) this.#lost(0); });
		}
	}

	/** Resolves with the payload; rejects with `Refused` (the gateway said no: has a code) or Error (nobody answered). */
	request(method, params = {}, ms = REQUEST_MS) {
		return new Promise((resolve, reject) => {
			const socket = this.#socket;
			if (!socket || socket.readyState !== 1) { reject(new Error('not connected')); return; }
			const id = ++this.#nextId;
			const timer = this.io.timers.setTimeout(() => { this.#pending.delete(id); reject(new Error('no answer')); }, ms);
			this.#pending.set(id, { resolve, reject, timer });
			socket.send(JSON.stringify({ type: 'req', id, method, params }));
		});
	}

	async #hello() {
		const socket = this.#socket;
		const { epoch, eid } = this.#last;
		const params = { client: { name: 'pi-gw-web', version: '1' }, subscribe: this.io.subscribe() };
		if (epoch) params.resume = { epoch, eid };
		if (this.token) params.token = this.token;
		// Events may follow the answer in the same packet, before this function goes on: what the answer says
		// about them is noted in #frame.
		this.#greeting = { id: this.#nextId + 1, eid };
		this.io.onHello(epoch ? eid : 0);
		try {
			await this.request('connect', params);
		} catch (e) {
			if (socket !== this.#socket) return;
			if (e.code === 'unauthorized' || e.code === 'forbidden') this.#unauthorized(this.token ? e.message : '');
			else this.#lost(0);
		}
	}

	#greeting = null;

	#welcome(payload) {
		const resumed = Boolean(payload?.resumed) && payload.epoch === this.#last.epoch;
		this.#greeting = null;
		this.#seq = null;
		this.#openedAt = this.io.now();
		if (!resumed) this.#last = { epoch: payload?.epoch ?? null, eid: payload?.lastEid ?? 0 };
		this.policy = payload?.policy || {};
		this.#set('connected');
		this.io.onReady(payload || {}, resumed);
	}

	#frame(data) {
		this.#heard = this.io.now();
		let f;
		try { f = JSON.parse(data); } catch { return; }
		if (f?.type === 'res') {
			const call = this.#pending.get(f.id);
			if (!call) return;
			this.#pending.delete(f.id);
			this.io.timers.clearTimeout(call.timer);
			if (f.ok) {
				if (this.#greeting?.id === f.id) this.#welcome(f.payload);
				call.resolve(f.payload);
			} else {
				const text = typeof f.error === 'string' ? f.error : f.error?.message || 'refused';
				const code = f.code || f.error?.code || 'refused';
				call.reject(new Refused(text, code));
				if (code === 'unauthorized' && this.state === 'connected') this.#unauthorized('');
			}
		} else if (f?.type === 'event' && typeof f.event === 'string') {
			const gap = f.seq > 0 && this.#seq !== null && f.seq > this.#seq + 1;
			if (f.seq > 0) this.#seq = f.seq;
			if (f.eid > this.#last.eid) this.#last.eid = f.eid;
			if (f.event === 'shutdown') this.#delay = Math.min(LAST_MS, Math.max(FIRST_MS, f.payload?.restartExpectedMs || FIRST_MS));
			this.io.onEvent({ event: f.event, payload: f.payload || {}, eid: f.eid || 0 });
			if (gap) this.io.onEvent({ event: 'resync', payload: { reason: 'gap' }, eid: 0 });
		}
	}

	#unauthorized(reason) {
		this.token = null;
		this.#drop();
		this.#reason = reason || '';
		this.#set('unauthorized');
	}

	get reason() { return this.#reason; }

	#lost(code, why) {
		if (code === 4001 || code === 4401) { this.#unauthorized(code === 4001 && this.token ? 'That token is not right.' : ''); return; }
		this.lastClose = { code, why };
		const lived = this.#openedAt ? this.io.now() - this.#openedAt : 0;
		if (lived > STABLE_MS) this.#attempt = 0;
		this.#drop();
		const wait = this.#delay ? this.#delay + this.io.random() * 500 : backoff(this.#attempt++, this.io.random);
		this.#delay = null;
		this.retryAt = this.io.now() + wait;
		this.#set('offline');
		this.#timer = this.io.timers.setTimeout(() => this.start(), wait);
	}

	#drop() {
		const socket = this.#socket;
		this.#socket = null;
		this.#greeting = null;
		this.io.timers.clearTimeout(this.#timer);
		this.io.timers.clearInterval(this.#watch);
		if (socket) { try { socket.close(); } catch { /* already closed */ } }
		const calls = [...this.#pending.values()];
		this.#pending.clear();
		for (const c of calls) { this.io.timers.clearTimeout(c.timer); c.reject(new Error('connection lost')); }
	}

	#set(state) {
		if (this.state === state && state !== 'offline') return;
		this.state = state;
		this.io.onState(state);
	}
}
