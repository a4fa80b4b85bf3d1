// What one conversation shows. Pure: events and answers go in, an ordered list of items comes out.
//
// Every item that the gateway has stored carries its stable id (or the idempotency key, for our own messages), and
// an id is shown once, however often it arrives. Live content of a run is provisional: the run's `chat.reply`
// replaces it.
//
// Item: {uid, kind: 'user'|'assistant'|'notice'|'error', id, key, runId, text, images, at, state, …}
//   user       state: 'sending' | 'queued' (waits for the connection) | 'sent' | 'failed'; error;
//              awaiting: taken, but another answer is being written first
//   assistant  state: 'live' | 'done'; steps: [{kind:'thinking'|'tool', …}]; failed: error code

const STEP_TEXT = 20000; // characters of a tool's output or of a thought that are kept
const KEEP_DONE = 400;

export class Conversation {
	constructor(sessionKey) {
		this.sessionKey = sessionKey;
		this.items = [];
		this.dialogs = [];
		this.running = false;
		this.runId = null; // the run that is being answered now
		this.more = false; // older messages can be asked for
		this.loaded = false;
		this.dirty = new Set(); // items whose looks changed since `take`
		this.moved = true; // the list itself changed
		this.#byId = new Map();
		this.#live = new Map();
	}

	#byId;
	#live; // runId -> live item
	#done = new Set(); // runs whose final reply is known
	#uid = 0;
	#buffer = null; // events that arrive while history is being fetched
	#cut = null; // how many of them had come when the snapshot was answered: those are in it
	#seenEid = 0; // events up to here were applied before the last reconnect
	#replayed = new Set(); // runs that the gateway replays from their start on this connection

	/** The changes since the last call, for the view. */
	take() {
		const changes = { dirty: this.dirty, moved: this.moved };
		this.dirty = new Set();
		this.moved = false;
		return changes;
	}

	// ------------------------------------------------------------ our own messages

	addPending(entry) {
		let item = this.items.find((i) => i.key === entry.key);
		if (!item) item = this.#insert({ kind: 'user', key: entry.key, text: entry.text, images: entry.images || [], at: entry.at, state: entry.state || 'sending' });
		return item;
	}

	setPending(key, change) {
		const item = this.items.find((i) => i.key === key);
		if (!item || item.id) return;
		Object.assign(item, change);
		this.dirty.add(item);
	}

	/** The gateway has taken the message. */
	acknowledged(key, runId) {
		const item = this.items.find((i) => i.key === key);
		if (!item) return;
		const awaiting = this.running && Boolean(this.runId) && this.runId !== runId && !this.#done.has(runId);
		Object.assign(item, { state: 'sent', runId: runId || item.runId, error: undefined, awaiting });
		if (!this.running && runId && !this.#done.has(runId)) { this.running = true; this.runId = runId; }
		this.dirty.add(item);
	}

	remove(key) {
		this.#drop(this.items.find((i) => i.key === key));
	}

	// ------------------------------------------------------------ history and snapshots

	/** From here on events wait until `sync` brings the history they belong to. */
	beginSync() {
		this.#buffer ??= [];
		this.#cut = null;
		return this.#uid;
	}

	/** The snapshot of the running turn is there: events from now on are not in it. */
	snapshotTaken() {
		this.#cut = this.#buffer?.length ?? null;
	}

	/**
   * The newest page of history (and, on a fresh connection, the snapshot of the running turn).
   * `since`: what `beginSync` gave; anything the server does not list and that is older than this is gone.
   */
	sync(history, live, since) {
		const rows = (history?.messages || []).map(row).filter(Boolean);
		const old = this.items;
		const first = rows.length ? old.findIndex((i) => i.id && i.id === rows[0].id) : -1;
		// Between a reply and the end of its turn the snapshot still holds what the history has already.
		const told = live?.isStreaming && rows.some((r) => r.kind === 'assistant' && r.runId === live.runId && (!live.text || r.text === live.text.trim()));
		const liveRun = live?.isStreaming && !told ? live.runId || 'live' : null;
		const runs = new Map(); // a finished run keeps its steps
		for (const i of old) if (i.steps?.length && !i.id) runs.set(i.runId, i.steps);
		for (const r of rows) if (r.steps.length) runs.delete(r.runId);

		const kept = first > 0 ? old.slice(0, first) : [];
		const next = [...kept];
		const used = new Set(kept);
		for (const r of rows) {
			const known = this.#byId.get(r.id) || (r.key && old.find((i) => i.key === r.key));
			const item = known && !used.has(known) ? known : { uid: ++this.#uid };
			if (used.has(item)) continue;
			if (known && r.images.length === 0) r.images = known.images || [];
			if (r.failed && known?.failed) r.failed = known.failed; // it knows better why
			const seen = item.steps || (r.kind === 'assistant' && runs.get(r.runId)) || [];
			if (seen.length && !r.steps.length) { r.steps = seen; runs.delete(r.runId); } // the history may not know them
			Object.assign(item, r, { state: r.kind === 'user' ? 'sent' : 'done', error: undefined });
			used.add(item);
			next.push(item);
			this.dirty.add(item);
		}
		const texts = new Set(rows.filter((r) => r.kind !== 'user').map((r) => r.text));
		for (const item of old) {
			if (used.has(item)) continue;
			if (item.state === 'live') { if (live === undefined) next.push(item); continue; }
			const mine = item.kind === 'user' && item.key && !item.id && (item.state !== 'sent' || !this.#done.has(item.runId));
			const local = (item.kind === 'notice' || item.kind === 'error' || item.sent) && !item.id && !texts.has(item.text);
			if (mine || local || (item.uid > since && !item.sent)) next.push(item);
		}
		this.items = next;
		for (const item of next) if (item.state === 'live') this.#below(item, [item.runId]);
		if (live !== undefined) this.#live.clear();
		this.#byId = new Map(next.filter((i) => i.id).map((i) => [i.id, i]));
		this.more = kept.length ? this.more : Boolean(history?.more ?? rows.length >= (history?.limit || 50));
		this.moved = true;
		this.loaded = true;

		this.running = !told && Boolean(history?.running || live?.isStreaming);
		this.runId = liveRun || (this.running ? this.runId : null);
		for (const r of rows) if (r.kind === 'assistant' && r.runId && r.runId !== liveRun && !this.running) this.#finish(r.runId);
		for (const ask of live?.pendingUi || []) this.#ask(ask);

		const waiting = this.#buffer || [];
		const cut = live ? this.#cut ?? waiting.length : 0;
		this.#buffer = this.#cut = null;
		if (liveRun) this.#seed(live, liveRun);
		const effects = {};
		waiting.forEach((e, at) => {
			// The snapshot already holds what streamed before it was taken.
			const stale = at < cut && liveRun && (e.event === 'agent' || e.event === 'live.reset') && (e.payload.runId || 'live') === liveRun;
			if (!stale) Object.assign(effects, this.apply(e));
		});
		return effects;
	}

	/** A history fetch failed: the events that waited for it are applied as they are. */
	cancelSync() {
		const waiting = this.#buffer || [];
		this.#buffer = this.#cut = null;
		for (const e of waiting) this.apply(e);
	}

	older(history) {
		const rows = (history?.messages || []).map(row).filter((r) => r && !this.#byId.has(r.id));
		const items = rows.map((r) => ({ uid: ++this.#uid, ...r, state: r.kind === 'user' ? 'sent' : 'done' }));
		for (const i of items) { this.#byId.set(i.id, i); this.dirty.add(i); }
		this.items = [...items, ...this.items];
		this.more = Boolean(history?.more ?? (history?.messages || []).length >= (history?.limit || 50)) && items.length > 0;
		this.moved = true;
	}

	/** After a reconnect that resumes: what the gateway repeats up to this event was shown before. */
	resumedAt(eid) {
		this.#seenEid = eid || 0;
		this.#replayed.clear();
	}

	// ------------------------------------------------------------ events

	/** @returns {{refetch?: boolean, announce?: string}} what the page has to do besides drawing */
	apply(e) {
		const p = e.payload || {};
		if (p.sessionKey && p.sessionKey !== this.sessionKey) return {};
		if (this.#buffer && e.event !== 'session_reset') { this.#buffer.push(e); return {}; }
		const again = e.eid > 0 && e.eid <= this.#seenEid && !this.#replayed.has(p.runId);
		switch (e.event) {
			case 'live.reset': return this.#liveReset(p);
			case 'agent': return again ? {} : this.#agent(p);
			case 'chat.message': return again ? {} : this.#message(p);
			case 'chat.typing': return again ? {} : this.#typing(p);
			case 'chat.reply': return this.#reply(p, again);
			case 'chat.error': return again ? {} : this.#error(p);
			case 'ui.notice': return again ? {} : this.#notice(p);
			case 'message_event':
			case 'media_event': return again ? {} : this.#sent(p);
			case 'session_reset': return this.#reset();
			case 'extension_ui_request': return this.#ask(p);
			case 'extension_ui_dismissed': return this.answered(p.id);
			default: return {};
		}
	}

	/** Somebody's message was taken; it is ours, or was written elsewhere: another tab, a schedule. */
	#message(p) {
		if (!p.runId || this.items.some((i) => i.runId === p.runId)) return {};
		// Ours, and the answer that says so is lost or on its way: it goes out again, and is not taken twice.
		if (this.items.some((i) => i.kind === 'user' && i.key && !i.id && !i.runId && i.text === (p.text || ''))) return {};
		const awaiting = this.running && Boolean(this.runId) && this.runId !== p.runId;
		const item = this.#insert({ kind: 'user', id: p.runId, runId: p.runId, text: p.text || '', at: p.at || Date.now(), state: 'sent', awaiting });
		this.#byId.set(item.id, item);
		return { refetch: !item.text }; // pictures are in the history only
	}

	#typing(p) {
		const known = !p.runId || this.items.some((i) => i.runId === p.runId);
		this.running = Boolean(p.typing);
		if (p.typing) {
			this.runId = p.runId || null;
			this.#done.delete(p.runId);
			this.#begun([p.runId]);
			return known ? {} : { refetch: true }; // started elsewhere: another tab, a schedule
		}
		const live = this.#live.get(p.runId || 'live');
		if (live && /\[NO_REPLY\]/.test(live.text)) this.#discard(live);
		else if (live) { live.status = ''; live.settled = true; this.#closeSteps(live); this.dirty.add(live); }
		for (const i of this.items) if (i.kind === 'user' && i.state === 'sent') this.dirty.add(i);
		return {};
	}

	#agent(p) {
		const runId = p.runId || this.runId || 'live';
		if (this.#done.has(runId)) return {};
		const m = p.assistantMessageEvent;
		switch (p.type) {
			case 'message_update': {
				if (!m) return {};
				if (m.type === 'text_delta' && m.delta) {
					const live = this.#open(runId);
					this.#nextMessage(live);
					if (live.gap && live.text) live.text += '\n\n';
					live.gap = false;
					live.text += m.delta;
					live.status = '';
					this.#closeThought(live);
				} else if (m.type === 'thinking_start' || (m.type === 'thinking_delta' && m.delta)) {
					const live = this.#open(runId);
					this.#nextMessage(live);
					let step = live.steps[live.steps.length - 1];
					if (step?.kind !== 'thinking') live.steps.push(step = { kind: 'thinking', id: `t${live.steps.length}`, text: '' });
					else if (m.type === 'thinking_start' && step.text) step.text += '\n\n';
					if (m.delta && step.text.length < STEP_TEXT) step.text += m.delta;
					step.done = false;
					live.status = 'thinking';
				} else if (m.type === 'thinking_end') {
					const live = this.#live.get(runId);
					if (live) { this.#closeThought(live); this.dirty.add(live); }
				}
				return {};
			}
			case 'tool_execution_start': {
				const live = this.#open(runId);
				this.#closeThought(live);
				live.mark = { text: live.text.length, steps: live.steps.length };
				live.gap = true;
				if (!live.steps.some((s) => s.kind === 'tool' && s.id === p.toolCallId)) {
					live.steps.push(toolStep(p, p.args));
				}
				live.status = 'tool';
				return {};
			}
			case 'tool_execution_update':
			case 'tool_execution_end': {
				const live = this.#open(runId);
				let step = live.steps.find((s) => s.kind === 'tool' && s.id === p.toolCallId);
				if (!step) live.steps.push(step = toolStep(p));
				const text = p.resultText ?? p.partialText ?? partsText(p.result?.content ?? p.partialResult?.content);
				if (text) step.output = String(text).slice(0, STEP_TEXT);
				if (p.type === 'tool_execution_end') {
					step.state = p.isError ? 'error' : 'ok';
					live.mark = { text: live.text.length, steps: live.steps.length };
					live.status = live.steps.some((s) => s.state === 'running') ? 'tool' : 'working';
				}
				return {};
			}
			case 'message_end': {
				const live = this.#live.get(runId);
				const reason = p.message?.stopReason ?? p.stopReason;
				if (live && (p.message?.role ?? 'assistant') === 'assistant') {
					live.ended = true;
					if (reason && reason !== 'error' && reason !== 'aborted') live.mark = { text: live.text.length, steps: live.steps.length };
				}
				return {};
			}
			case 'auto_retry_start': {
				const live = this.#open(runId);
				const mark = live.mark || { text: 0, steps: 0 };
				live.text = live.text.slice(0, mark.text);
				live.steps.length = Math.min(live.steps.length, mark.steps);
				live.ended = false;
				live.gap = live.text !== '';
				live.status = 'retrying';
				live.retry = { attempt: p.attempt, max: p.maxAttempts, reason: p.errorMessage };
				return {};
			}
			case 'auto_compaction_start':
			case 'compaction_start':
				this.#open(runId).status = 'compacting';
				return {};
			default:
				return {};
		}
	}

	/** The first content after a message's end belongs to the next message. */
	#nextMessage(live) {
		if (!live.ended) return;
		live.ended = false;
		live.mark = { text: live.text.length, steps: live.steps.length };
		live.gap = true;
	}

	#reply(p, again) {
		const ids = [p.runId, ...(p.runIds || [])].filter(Boolean);
		const live = ids.map((r) => this.#live.get(r)).find(Boolean) || (p.runId ? null : this.#live.get('live'));
		if (p.id && this.#byId.has(p.id)) {
			if (live && !again) this.#discard(live); // its text is shown already
			if (p.final) for (const r of ids) this.#finish(r);
			return {};
		}
		this.#begun(ids);
		const error = this.items.find((i) => i.kind === 'error' && ids.includes(i.runId));
		const item = live || this.#insert({ kind: 'assistant', runId: p.runId, steps: [] });
		if (live) this.#live.delete(live.runId);
		this.#below(item, ids);
		this.#takeSteps(item, ids);
		this.#closeSteps(item);
		Object.assign(item, { id: p.id || null, runId: p.runId || item.runId, text: p.text || '', images: images(p.images), at: p.at || Date.now(), state: 'done', status: '', retry: null, failed: error?.code || null });
		if (error) this.#drop(error);
		if (item.id) this.#byId.set(item.id, item);
		this.dirty.add(item);
		const known = ids.length === 0 || this.items.some((i) => i.kind === 'user' && (ids.includes(i.runId)));
		if (p.final !== false) {
			for (const r of ids) this.#finish(r);
			if (ids.includes(this.runId)) { this.running = false; this.runId = null; }
		}
		return { announce: item.text, refetch: !known };
	}

	/** A message that was answered together with others: what was done for it came before, as in the history. */
	#takeSteps(item, runIds) {
		const before = this.items.filter((i) => i !== item && i.state === 'live' && runIds.includes(i.runId)).flatMap((i) => i.steps);
		if (before.length) item.steps = [...before, ...item.steps].map((s, n) => (s.kind === 'thinking' ? { ...s, id: `t${n}` } : s));
	}

	#error(p) {
		const key = `error:${p.runId}`;
		if (this.items.some((i) => i.kind === 'error' && i.errorKey === key)) return {};
		const item = this.#insert({ kind: 'error', errorKey: key, runId: p.runId, code: p.code || 'error', text: p.message || 'Something went wrong.', state: 'done', at: Date.now() });
		const live = this.#live.get(p.runId);
		if (live) { live.status = ''; live.settled = true; this.#closeSteps(live); this.dirty.add(live); }
		return { announce: item.text };
	}

	#notice(p) {
		this.#insert({ kind: 'notice', text: p.message || '', level: p.level || 'info', state: 'done', at: Date.now() });
		return { announce: p.message };
	}

	/** Sent into the conversation from outside a turn; the history may know more of it. */
	#sent(p) {
		if (p.id && this.#byId.has(p.id)) return {};
		const [picture] = images([p.url]);
		const own = picture && (p.type === 'image' || /\.(png|jpe?g|gif|webp)(\?|$)/i.test(p.filename || '')) ? [picture] : [];
		const file = picture && !own.length ? `[📎 ${(p.filename || 'File').replace(/[\[\]\\]/g, '')}](${picture})` : '';
		const text = [p.caption || p.text, file].filter(Boolean).join('\n\n');
		const item = this.#insert({ kind: 'assistant', sent: true, id: p.id || null, text, images: own, state: 'done', at: p.timestamp || Date.now() });
		if (item.id) this.#byId.set(item.id, item);
		return { announce: text || 'A picture' };
	}

	#reset() {
		for (const i of this.items) if (i.id) this.#byId.delete(i.id);
		this.items = this.items.filter((i) => i.kind === 'user' && !i.id && i.state !== 'sent');
		this.#live.clear();
		this.dialogs = [];
		this.running = false;
		this.runId = null;
		this.more = false;
		this.moved = true;
		return { refetch: true };
	}

	#liveReset(p) {
		// Whoever comes to a conversation is told of its last turn even if that is over.
		if (!this.running && this.#done.has(p.runId)) return {};
		this.#replayed.add(p.runId);
		this.#done.delete(p.runId);
		const live = this.#live.get(p.runId);
		if (live) this.#blank(live);
		this.runId ??= p.runId;
		this.running = true;
		return {};
	}

	// ------------------------------------------------------------ dialogs

	#ask(p) {
		if (!p.id || this.dialogs.some((d) => d.id === p.id)) return {};
		this.dialogs.push({ ...p, expires: p.ttlMs > 0 ? Date.now() + p.ttlMs : null });
		return { announce: p.title || p.message || 'The agent has a question.' };
	}

	answered(id) {
		this.dialogs = this.dialogs.filter((d) => d.id !== id);
		return {};
	}

	// ------------------------------------------------------------ small parts

	#insert(item) {
		const full = { uid: ++this.#uid, id: null, images: [], ...item };
		this.items.push(full);
		if (full.kind !== 'user') this.#below(full, [full.runId]);
		this.dirty.add(full);
		this.moved = true;
		return full;
	}

	/** What answers messages stands below the last of them, also when more was written since: so does the history. */
	#below(item, runIds) {
		const others = this.items.filter((i) => i !== item);
		const asked = others.findLastIndex((i) => i.runId && runIds.includes(i.runId));
		if (asked < 0) return;
		let at = asked + 1;
		while (others[at]?.kind === 'notice') at++; // what was said meanwhile: "retrying"
		others.splice(at, 0, item);
		this.items = others;
		this.moved = true;
	}

	#drop(item) {
		if (!item) return;
		this.items = this.items.filter((i) => i !== item);
		this.moved = true;
	}

	#open(runId) {
		let live = this.#live.get(runId);
		if (!live) {
			live = this.#insert({ kind: 'assistant', runId, text: '', state: 'live', status: '', at: Date.now() });
			this.#blank(live);
			this.#live.set(runId, live);
		}
		live.settled = false;
		this.running = true;
		this.runId ??= runId;
		this.dirty.add(live);
		return live;
	}

	#blank(live) {
		Object.assign(live, { text: '', steps: [], mark: null, ended: false, gap: false, status: '', retry: null });
		this.dirty.add(live);
	}

	#discard(live) {
		this.#live.delete(live.runId);
		if (live.state === 'live') this.#drop(live);
	}

	#seed(live, runId) {
		const item = this.#open(runId);
		this.#blank(item);
		item.text = live.text || '';
		if (live.thinking) item.steps.push({ kind: 'thinking', id: 't0', text: String(live.thinking).slice(0, STEP_TEXT), done: Boolean(item.text || live.tools?.length) });
		for (const t of live.tools || []) {
			const step = toolStep(t, parsed(t.args));
			if (t.state !== 'running') step.state = t.isError ? 'error' : 'ok';
			step.output = String(t.output || '').slice(0, STEP_TEXT);
			item.steps.push(step);
		}
		item.status = item.steps.some((s) => s.state === 'running') ? 'tool' : item.text ? '' : 'working';
	}

	#closeThought(live) {
		for (const s of live.steps) if (s.kind === 'thinking') s.done = true;
		if (live.status === 'thinking') live.status = 'working';
	}

	#closeSteps(item) {
		for (const s of item.steps || []) {
			if (s.kind === 'thinking') s.done = true;
			else if (s.state === 'running') s.state = 'stopped';
		}
	}

	#begun(runIds) {
		for (const i of this.items) {
			if (i.awaiting && runIds.includes(i.runId)) { i.awaiting = false; this.dirty.add(i); }
		}
	}

	#finish(runId) {
		const live = this.#live.get(runId);
		if (live) this.#discard(live);
		this.#done.add(runId);
		if (this.#done.size > KEEP_DONE) this.#done.delete(this.#done.values().next().value);
	}
}

// ---------------------------------------------------------------- shapes

function row(m) {
	if (!m || !m.id) return null;
	// A notice (a command's answer, what the gateway itself has to say) looks as its `chat.reply` did.
	const kind = m.role === 'user' ? 'user' : m.role === 'notice' || m.role === 'assistant' ? 'assistant' : null;
	if (!kind) return null;
	return { kind, id: String(m.id), key: m.key || null, runId: m.runId || null, text: partsText(m.content) || m.text || '', images: images(m.images), steps: stepsOf(m.parts), unseen: m.imageCount || 0, failed: m.failed ? 'failed' : null, at: m.at || null };
}

/** How the agent came to an answer, as it was shown live. */
function stepsOf(parts) {
	const steps = [];
	for (const p of parts || []) {
		let step = steps[steps.length - 1];
		if (p.type === 'thinking') {
			if (step?.kind === 'thinking') step.text += `\n\n${p.thinking}`;
			else steps.push({ kind: 'thinking', id: `t${steps.length}`, text: p.thinking, done: true });
		} else if (p.type === 'toolCall') {
			steps.push(step = toolStep({ toolCallId: p.id, toolName: p.name }, p.arguments));
			step.state = 'stopped'; // until its result says more
		} else if (p.type === 'toolResult' && (step = steps.find((s) => s.id === p.toolCallId))) {
			step.output = partsText(p.content);
			step.state = p.isError ? 'error' : 'ok';
		}
	}
	return steps;
}

function toolStep(p, args) {
	return { kind: 'tool', id: p.toolCallId, name: p.toolName || 'tool', label: labelOf(p, args), args: argsText(args), output: '', state: 'running' };
}

function partsText(content) {
	if (typeof content === 'string') return content;
	if (!Array.isArray(content)) return '';
	return content.map((c) => (typeof c === 'string' ? c : c?.type === 'text' ? c.text : '')).join('');
}

/** Image sources the page may load: the gateway's signed media and data of the four types. */
export function images(list) {
	return (Array.isArray(list) ? list : []).map((i) => {
		if (i?.data && /^image\/(png|jpeg|gif|webp)$/.test(i.mimeType)) return `data:${i.mimeType};base64,${i.data}`;
		const url = typeof i === 'string' ? i : i?.url;
		return typeof url === 'string' && (/^\/api\/media\/[\w-]/.test(url) || /^data:image\/(png|jpeg|gif|webp);base64,/.test(url)) ? url : null;
	}).filter(Boolean);
}

/** What a tool call is about, in a line: what pi says, if that is more than the tool's name. */
function labelOf(p, args) {
	if (p.label && p.label !== p.toolName) return p.label;
	if (!args || typeof args !== 'object') return '';
	const value = args.label ?? args.command ?? args.path ?? args.file_path ?? args.pattern ?? args.query ?? args.url ?? Object.values(args).find((v) => typeof v === 'string');
	return typeof value === 'string' ? value.split('\n')[0].slice(0, 200) : '';
}

function parsed(text) {
	try { return JSON.parse(text); } catch { return text; }
}

/** Arguments that were cut come as text. */
function argsText(args) {
	if (typeof args === 'string') return args.slice(0, STEP_TEXT);
	if (!args || typeof args !== 'object' || Object.keys(args).length === 0) return '';
	if (typeof args.command === 'string' && Object.keys(args).length === 1) return args.command.slice(0, STEP_TEXT);
	try { return JSON.stringify(args, null, 2).slice(0, STEP_TEXT); } catch { return ''; }
}
