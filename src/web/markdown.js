// Markdown to a tree of plain objects. Pure: no DOM, no HTML strings.
//
// The text comes from a model, so it is hostile until shown otherwise. Raw HTML stays text, links have an
// allow-list, nesting is capped, and every loop here moves forward only: time is linear in the input.
//
// `parse` gives blocks with their offset in the source. A block is never changed by text that comes after the
// next block has begun, so a streaming view has to redo the last block only.
//
// Not CommonMark to the letter: no indented code, no setext headings, no link definitions (all three make
// earlier text depend on later text), and a line break in the source is a line break on the screen.

const MAX_DEPTH = 12; // containers in containers, emphasis in emphasis
const MAX_COLUMNS = 64;
const MAX_URL = 4096;

// ---------------------------------------------------------------- blocks

/** @returns {Array<{t:string, start:number}>} blocks; `start` is the offset of the block's first character */
export function parse(source) {
	const lines = [];
	const starts = [];
	let at = 0;
	for (;;) {
		const end = source.indexOf('\n', at);
		const stop = end < 0 ? source.length : end;
		lines.push(source.slice(at, stop > at && source[stop - 1] === '\r' ? stop - 1 : stop));
		starts.push(at);
		if (end < 0) break;
		at = end + 1;
	}
	const blocks = parseLines(lines, 0);
	for (const block of blocks) block.start = starts[block.line];
	return blocks;
}

function parseLines(lines, depth) {
	const out = [];
	const add = (line, block) => { block.line = line; out.push(block); };
	let i = 0;
	while (i < lines.length) {
		const line = lines[i];
		const at = i;
		if (isBlank(line)) { i++; continue; }

		const fence = openFence(line);
		if (fence) {
			const body = [];
			let closed = false;
			for (i++; i < lines.length; i++) {
				if (closesFence(lines[i], fence)) { closed = true; i++; break; }
				body.push(stripIndent(lines[i], fence.indent));
			}
			if (!closed && body[body.length - 1] === '') body.pop();
			add(at, { t: 'code', lang: fence.lang, text: body.join('\n'), closed });
			continue;
		}

		const head = heading(line);
		if (head) { add(at, { t: 'h', level: head.level, text: head.text }); i++; continue; }

		if (isRule(line)) { add(at, { t: 'hr' }); i++; continue; }

		if (depth < MAX_DEPTH && isQuote(line)) {
			const body = [];
			for (; i < lines.length; i++) {
				if (isQuote(lines[i])) body.push(lines[i].trimStart().replace(/^> ?/, ''));
				else if (isBlank(lines[i]) || startsBlock(lines, i, depth)) break;
				else body.push(lines[i]); // lazy continuation
			}
			add(at, { t: 'quote', blocks: parseLines(body, depth + 1) });
			continue;
		}

		const first = depth < MAX_DEPTH && marker(line);
		if (first) {
			const list = { t: 'list', ordered: first.ordered, first: first.number, loose: false, items: [] };
			while (i < lines.length) {
				const m = marker(lines[i]);
				if (!m || m.ordered !== first.ordered || isRule(lines[i])) break;
				const body = [m.rest];
				let blank = false;
				for (i++; i < lines.length; i++) {
					const next = lines[i];
					if (isBlank(next)) { blank = true; body.push(''); continue; }
					const indent = indentOf(next);
					const inside = indent >= m.width || (indent >= m.indent + 2 && marker(next));
					if (!inside && (blank || startsBlock(lines, i, depth))) break;
					if (inside && blank) list.loose = true;
					blank = false;
					body.push(stripIndent(next, m.width));
				}
				while (body.length > 1 && body[body.length - 1] === '') body.pop();
				if (blank && i < lines.length && marker(lines[i])?.ordered === first.ordered && !isRule(lines[i])) list.loose = true;
				const task = /^\[([ xX])\] /.exec(body[0]);
				if (task) body[0] = body[0].slice(4);
				list.items.push({ task: task ? task[1] !== ' ' : null, blocks: parseLines(body, depth + 1) });
			}
			add(at, list);
			continue;
		}

		if (startsTable(lines, i)) {
			const align = splitRow(lines[i + 1]).map(alignment);
			const rows = [];
			for (i += 2; i < lines.length && lines[i].includes('|') && !isBlank(lines[i]); i++) {
				rows.push(splitRow(lines[i]).slice(0, align.length));
			}
			add(at, { t: 'table', align, head: splitRow(line), rows });
			continue;
		}

		for (i++; i < lines.length && !isBlank(lines[i]) && !startsBlock(lines, i, depth); i++);
		add(at, { t: 'p', text: lines.slice(at, i).map((l) => l.trim()).join('\n') });
	}
	return out;
}

const isBlank = (line) => line.trim() === '';

/** What may interrupt a paragraph. */
function startsBlock(lines, i, depth) {
	const line = lines[i];
	if (openFence(line) || heading(line) || isRule(line)) return true;
	if (depth < MAX_DEPTH) {
		if (isQuote(line)) return true;
		const m = marker(line);
		if (m && m.rest && (!m.ordered || m.number === 1 || m.indent === 0 && i > 0 && marker(lines[i - 1]))) return true;
	}
	return startsTable(lines, i);
}

function indentOf(line) {
	let width = 0;
	for (let i = 0; i < line.length; i++) {
		if (line[i] === ' ') width++;
		else if (line[i] === '\t') width += 4;
		else break;
	}
	return width;
}

function stripIndent(line, columns) {
	let i = 0;
	for (let width = 0; i < line.length && width < columns; i++) {
		if (line[i] === ' ') width++;
		else if (line[i] === '\t') width += 4;
		else break;
	}
	return line.slice(i);
}

function openFence(line) {
	const m = /^ {0,12}(`{3,}|~{3,})(.*)$/.exec(line);
	if (!m || (m[1][0] === '`' && m[2].includes('`'))) return null;
	const lang = m[2].trim().slice(0, 40).split(/[\s{,]/)[0];
	return { mark: m[1][0], size: m[1].length, indent: indentOf(line), lang };
}

function closesFence(line, fence) {
	const t = line.trim();
	if (t.length < fence.size || t[0] !== fence.mark) return false;
	for (let i = 1; i < t.length; i++) if (t[i] !== fence.mark) return false;
	return true;
}

function heading(line) {
	const m = /^ {0,3}(#{1,6})(?:[ \t](.*))?$/.exec(line);
	if (!m) return null;
	let text = (m[2] || '').trim();
	let end = text.length;
	while (end > 0 && text[end - 1] === '#') end--;
	if (end === 0 || text[end - 1] === ' ') text = text.slice(0, end).trim();
	return { level: m[1].length, text };
}

function isRule(line) {
	const t = line.trim();
	const c = t[0];
	if (c !== '-' && c !== '*' && c !== '_') return false;
	let count = 0;
	for (let i = 0; i < t.length; i++) {
		if (t[i] === c) count++;
		else if (t[i] !== ' ') return false;
	}
	return count >= 3;
}

const isQuote = (line) => /^ {0,3}>/.test(line);

function marker(line) {
	const m = /^([ \t]*)([-*+•]|\d{1,9}[.)])(?:([ \t])(.*))?$/.exec(line);
	if (!m) return null;
	const indent = indentOf(m[1]);
	const ordered = m[2].length > 1;
	const rest = m[4] || '';
	const extra = Math.min(indentOf(rest), 3);
	return { indent, ordered, number: ordered ? parseInt(m[2], 10) : 0, rest: rest.trimStart(), width: indent + m[2].length + 1 + extra };
}

function splitRow(line) {
	let t = line.trim();
	if (t.startsWith('|')) t = t.slice(1);
	const cells = [];
	let cell = '';
	for (let i = 0; i < t.length; i++) {
		if (t[i] === '\\' && t[i + 1] === '|') { cell += '|'; i++; }
		else if (t[i] === '|') { cells.push(cell.trim()); cell = ''; }
		else cell += t[i];
	}
	if (cell.trim()) cells.push(cell.trim());
	return cells;
}

const isDelimiter = (cell) => /^:?-+:?$/.test(cell);
const alignment = (cell) => (cell.endsWith(':') ? (cell.startsWith(':') ? 'center' : 'right') : cell.startsWith(':') ? 'left' : '');

function startsTable(lines, i) {
	const next = lines[i + 1];
	if (next === undefined || !lines[i].includes('|') || !/^[\s|:-]+$/.test(next) || !next.includes('-')) return false;
	const columns = splitRow(next);
	return columns.length > 0 && columns.length <= MAX_COLUMNS && columns.every(isDelimiter) && splitRow(lines[i]).length === columns.length;
}

// ---------------------------------------------------------------- inline

const SPECIAL = /[\\`*_~[\]!<&\n]|https?:\/\//gi;
const ENTITIES = { amp: '&', lt: '<', gt: '>', quot: '"', apos: "'", nbsp: '\u00a0', '#39': "'" };
const PUNCTUATION = /[!-/:-@[-`{-~]/;
const WORD = /[\p{L}\p{N}]/u;

/**
 * @returns {Array<string|object>} strings and `{t:'code',text}`, `{t:'em'|'strong'|'del'|'a', c:[…], href?}`,
 * `{t:'img',src,alt}`, `{t:'br'}`
 */
export function inline(source) {
	let out = [];
	const brackets = []; // open "[" and "![": {at: index in out, image}
	let ticks = null; // length of a backtick run -> positions, ascending
	const push = (text) => {
		if (!text) return;
		if (typeof out[out.length - 1] === 'string') out[out.length - 1] += text;
		else out.push(text);
	};

	let i = 0;
	const special = new RegExp(SPECIAL.source, SPECIAL.flags);
	while (i < source.length) {
		special.lastIndex = i;
		const hit = special.exec(source);
		if (!hit) { push(source.slice(i)); break; }
		push(source.slice(i, hit.index));
		i = hit.index;
		const c = hit[0];

		if (c === '\n') { out.push({ t: 'br' }); i++; continue; }

		if (c === '\\') {
			const next = source[i + 1];
			if (next === '\n') { out.push({ t: 'br' }); i += 2; } else if (next && PUNCTUATION.test(next)) { push(next); i += 2; } else { push(c); i++; }
			continue;
		}

		if (c === '`') {
			const size = runLength(source, i);
			ticks ??= backtickRuns(source);
			const same = ticks.get(size);
			while (same.next < same.length && same[same.next] <= i) same.next++;
			if (same.next < same.length) {
				const end = same[same.next];
				let text = source.slice(i + size, end).replaceAll('\n', ' ');
				if (text.length > 2 && text[0] === ' ' && text.endsWith(' ')) text = text.slice(1, -1);
				out.push({ t: 'code', text });
				i = end + size;
			} else { push(source.slice(i, i + size)); i += size; }
			continue;
		}

		if (c === '*' || c === '_' || c === '~') {
			const size = runLength(source, i);
			const before = i ? source[i - 1] : ' ';
			const after = source[i + size] ?? ' ';
			let open = !/\s/.test(after);
			let close = !/\s/.test(before);
			if (c === '_') {
				open &&= !WORD.test(before);
				close &&= !WORD.test(after);
			}
			if ((c === '~' && size !== 2) || (!open && !close)) push(source.slice(i, i + size));
			else out.push({ t: 'delim', ch: c, n: size, open, close });
			i += size;
			continue;
		}

		if (c === '[' || (c === '!' && source[i + 1] === '[')) {
			brackets.push({ at: out.length, image: c === '!' });
			out.push(c === '!' ? '![' : '[');
			out.push(''); // keeps later text out of the bracket's own slot
			i += c === '!' ? 2 : 1;
			continue;
		}

		if (c === ']') {
			i++;
			const opener = brackets.pop();
			const tail = opener && source[i] === '(' ? linkTail(source, i) : null;
			if (!tail) { push(']'); continue; }
			const content = emphasis(out.splice(opener.at).slice(1));
			const href = safeUrl(tail.href);
			if (opener.image) out.push({ t: 'img', src: href, alt: plain(content.slice(0, 20)).slice(0, 200) });
			else {
				while (brackets.length && !brackets[brackets.length - 1].image) brackets.pop(); // links do not nest
				if (href) out.push({ t: 'a', href, c: content, deep: deepest(content) });
				else for (const n of content) out.push(n);
			}
			i = tail.end;
			continue;
		}

		if (c === '<') {
			const auto = sticky(/<((?:https?:\/\/|mailto:)[^\s<>]{1,2000})>/iy, source, i);
			const br = auto ? null : sticky(/<br ?\/?>/iy, source, i);
			const href = auto && safeUrl(auto[1]);
			if (href) { out.push({ t: 'a', href, c: [auto[1]] }); i += auto[0].length; } else if (br) { out.push({ t: 'br' }); i += br[0].length; } else { push('<'); i++; }
			continue;
		}

		if (c === '&') {
			const m = sticky(/&(#?\w{2,6});/y, source, i);
			const value = m && ENTITIES[m[1].toLowerCase()];
			push(value ?? '&');
			i += value ? m[0].length : 1;
			continue;
		}

		if (c.length > 4) { // http:// or https://
			const m = i > 0 && WORD.test(source[i - 1]) ? null : sticky(/https?:\/\/[^\s<>"`[\]|\\]{1,2000}/iy, source, i);
			const url = m && trimUrl(m[0]);
			const href = url && safeUrl(url);
			if (href) { out.push({ t: 'a', href, c: [url] }); i += url.length; } else { push(c); i += c.length; }
			continue;
		}

		push(c);
		i++;
	}
	return emphasis(out);
}

function sticky(re, source, at) {
	re.lastIndex = at;
	return re.exec(source);
}

function runLength(source, i) {
	let end = i;
	while (source[end] === source[i]) end++;
	return end - i;
}

function backtickRuns(source) {
	const runs = new Map();
	for (let i = source.indexOf('`'); i >= 0; i = source.indexOf('`', i)) {
		const size = runLength(source, i);
		let list = runs.get(size);
		if (!list) { list = []; list.next = 0; runs.set(size, list); }
		list.push(i);
		i += size;
	}
	return runs;
}

/** The `(destination "title")` after a link text. Parentheses nest three deep, so no scan runs far in vain. */
function linkTail(source, at) {
	let i = at + 1;
	const limit = Math.min(source.length, at + MAX_URL);
	const space = () => { while (i < limit && (source[i] === ' ' || source[i] === '\n')) i++; };
	space();
	let href;
	if (source[i] === '<') {
		const end = source.indexOf('>', i);
		if (end < 0 || end > limit) return null;
		href = source.slice(i + 1, end);
		i = end + 1;
	} else {
		const from = i;
		let depth = 0;
		for (; i < limit; i++) {
			const c = source[i];
			if (c === ' ' || c === '\n' || c === '<') break;
			if (c === '(' && ++depth > 3) return null;
			if (c === ')' && --depth < 0) break;
		}
		href = source.slice(from, i);
	}
	space();
	if (source[i] === '"' || source[i] === "'") {
		const end = source.indexOf(source[i], i + 1);
		if (end < 0 || end > limit) return null;
		i = end + 1;
		space();
	}
	return source[i] === ')' ? { href, end: i + 1 } : null;
}

function trimUrl(url) {
	let opens = 0;
	let closes = 0;
	for (const c of url) { if (c === '(') opens++; else if (c === ')') closes++; }
	let end = url.length;
	for (; end > 0; end--) {
		const c = url[end - 1];
		if (c === ')' && closes > opens) closes--;
		else if (c === ')' || !'.,;:!?*_~\'"'.includes(c)) break;
	}
	return url.slice(0, end);
}

/**
 * The address if a click on it is harmless, else null: http, https, mailto, and the gateway's own signed media.
 */
export function safeUrl(url) {
	// Browsers ignore control characters and spaces inside a scheme ("java\tscript:"), so they are refused outright.
	if (typeof url !== 'string' || !url || url.length > MAX_URL || /[\u0000-\u0020\u007f-\u009f\u2028\u2029]/.test(url)) return null;
	if (/^mailto:[^/\\]/i.test(url)) return url;
	if (/^https?:\/\/[^/\\]/i.test(url)) return url;
	if (/^\/api\/media\/[\w-]/.test(url) && !url.includes('..') && !url.includes('\\')) return url;
	return null;
}

/**
 * Pairs the delimiter runs of a flat list. A closer walks down the stack only when an opener of its kind is there,
 * and removes what it walks over: linear.
 */
function emphasis(list) {
	const out = [];
	const stack = []; // {ch, n, at: index in out}
	const waiting = { '*': 0, _: 0, '~': 0 };
	const give = (node) => {
		if (node === '') return;
		if (typeof node === 'string' && typeof out[out.length - 1] === 'string' && stack[stack.length - 1]?.at !== out.length - 1) out[out.length - 1] += node;
		else out.push(node);
	};
	for (const node of list) {
		if (node.t !== 'delim') { give(node); continue; }
		let n = node.n;
		while (node.close && n > 0 && waiting[node.ch] > 0) {
			let top = stack[stack.length - 1];
			while (top.ch !== node.ch) {
				waiting[top.ch]--;
				stack.pop();
				top = stack[stack.length - 1];
			}
			if (top.at === out.length - 1) break; // nothing between: "**" + "**" is text
			const use = node.ch === '~' ? 2 : Math.min(top.n, n) >= 2 ? 2 : 1;
			const c = out.splice(top.at + 1);
			const deep = deepest(c);
			n -= use;
			top.n -= use;
			out[top.at] = node.ch.repeat(top.n);
			if (top.n === 0) { out.pop(); stack.pop(); waiting[node.ch]--; }
			if (deep >= MAX_DEPTH) out.push(plain(c)); // too deep to be meant
			else out.push({ t: node.ch === '~' ? 'del' : use === 2 ? 'strong' : 'em', c, deep: deep + 1 });
		}
		if (n === 0) continue;
		if (node.open) {
			stack.push({ ch: node.ch, n, at: out.length });
			waiting[node.ch]++;
			out.push(node.ch.repeat(n));
		} else give(node.ch.repeat(n));
	}
	return out;
}

function deepest(nodes) {
	let deep = 0;
	for (const n of nodes) if (n.deep > deep) deep = n.deep;
	return deep;
}

/** The text of inline nodes, for alt texts and screen readers. */
export function plain(nodes) {
	let text = '';
	for (const n of nodes) {
		if (typeof n === 'string') text += n;
		else if (n.t === 'br') text += ' ';
		else text += n.text ?? n.alt ?? plain(n.c);
	}
	return text;
}
