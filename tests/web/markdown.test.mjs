// The page's Markdown: what people see, and what hostile text cannot do.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { inline, parse, plain, safeUrl } from '../../src/web/markdown.js';

const kinds = (text) => parse(text).map((b) => b.t).join(' ');
const flat = (nodes) => nodes.map((n) => (typeof n === 'string' ? n : n.t === 'br' ? '↵' : `<${n.t}${n.href ? ` ${n.href}` : ''}>${n.c ? flat(n.c) : n.text ?? n.alt}</>`)).join('');
const see = (text) => flat(inline(text));

function everyNode(text, visit) {
	const nodes = (list) => { for (const n of list) { visit(n); if (n.c) nodes(n.c); } };
	const blocks = (list) => {
		for (const b of list) {
			if (b.t === 'p' || b.t === 'h') nodes(inline(b.text));
			if (b.blocks) blocks(b.blocks);
			for (const item of b.items || []) blocks(item.blocks);
			for (const cell of [b.head || [], ...(b.rows || [])].flat()) nodes(inline(cell));
		}
	};
	blocks(parse(text));
}

test('blocks', () => {
	assert.equal(kinds('# a\n\nb\nc\n\n- d\n- e\n\n1. f\n\n> g\n\n---\n\n```js\nh\n```\n\n|a|b|\n|-|-|\n|1|2|'), 'h p list list quote hr code table');
	const [list] = parse('1. one\n   - sub\n2. two\n\n   more');
	assert.equal(list.items.length, 2);
	assert.deepEqual(list.items[0].blocks.map((b) => b.t), ['p', 'list']);
	assert.equal(list.loose, true);
	assert.equal(parse('3. x')[0].first, 3);
	const [table] = parse('|a|b|\n|:-|-:|\n|1 \\| 2|`x`|');
	assert.deepEqual(table.align, ['left', 'right']);
	assert.deepEqual(table.rows, [['1 | 2', '`x`']]);
	assert.deepEqual(parse('- [x] a\n- [ ] b')[0].items.map((i) => i.task), [true, false]);
});

test('inline', () => {
	assert.equal(see('a *b **c*** ~~d~~ `e*`'), 'a <em>b <strong>c</></> <del>d</> <code>e*</>');
	assert.equal(see('***x***'), '<em><strong>x</></>');
	assert.equal(see('snake_case_name 2 * 3 * 4 __init__.py'), 'snake_case_name 2 * 3 * 4 <strong>init</>.py');
	assert.equal(see('[t](https://a.b/c_(d) "title")'), '<a https://a.b/c_(d)>t</>');
	assert.equal(see('see https://a.b/c_d), ok'), 'see <a https://a.b/c_d>https://a.b/c_d</>), ok');
	assert.equal(see('a\nb \\* &lt;c&gt;'), 'a↵b * <c>');
	assert.equal(see('**中文。**后'), '<strong>中文。</>后');
	assert.equal(see('**'), '**');
	assert.equal(see('`` a`b ``'), '<code>a`b</>');
});

test('HTML is text', () => {
	assert.equal(see('<script>alert(1)</script><img src=x onerror=alert(1)>'), '<script>alert(1)</script><img src=x onerror=alert(1)>');
	assert.ok(inline('<b>x</b>').every((n) => typeof n === 'string'));
});

test('only harmless links are links', () => {
	for (const url of ['javascript:alert(1)', 'JAVASCRIPT:alert(1)', 'java\tscript:alert(1)', ' javascript:alert(1)', 'data:text/html,x', 'vbscript:x', 'file:///etc/passwd', '//evil.example', '/logout', 'https:evil', '\u0001https://a.b', 'https://a b', '/api/media/../../x', '', null, `https://${'a'.repeat(9000)}`]) {
		assert.equal(safeUrl(url), null, String(url).slice(0, 40));
	}
	for (const url of ['https://a.b/c?d#e', 'http://a', 'mailto:a@b.c', '/api/media/sig/x.png?sk=1']) assert.equal(safeUrl(url), url);
	for (const text of ['[x](javascript:alert(1))', '[x](<javascript:alert(1)>)', '<javascript:alert(1)>', '![x](javascript:alert(1))', '[**x**](data:text/html,y)', '[x](java&#115;cript:alert(1))']) {
		everyNode(text, (n) => { assert.ok(!n.href || safeUrl(n.href)); assert.ok(!n.src || safeUrl(n.src)); assert.notEqual(n.t, 'a'); });
	}
	assert.equal(plain(inline('[x](javascript:alert(1))')), 'x');
});

test('an unclosed fence runs to the end, and grows', () => {
	assert.deepEqual(parse('a\n```py\nx = 1\n\n# no heading').map((b) => [b.t, b.text]), [['p', 'a'], ['code', 'x = 1\n\n# no heading']]);
	assert.equal(parse('```\na\n')[0].text, 'a');
	assert.equal(parse('```')[0].t, 'code');
});

test('a growing text changes its last block only', () => {
	const text = '# T\n\npara **b**\nmore\n\n- a\n  - b\n\n  c\n- d\n\n```js\ncode\n\n- no\n```\n\n|a|b|\n|-|-|\n|1|2|\n\n> q\n> r\n\n1. x\n2. y\n\nend';
	let before = [];
	for (let n = 1; n <= text.length; n++) {
		const now = parse(text.slice(0, n));
		assert.deepEqual(now.slice(0, Math.max(0, before.length - 1)), before.slice(0, -1), `at ${n}`);
		// and reading on from the last block's start gives the same as reading everything
		if (before.length) {
			const from = before[before.length - 1].start;
			const again = parse(text.slice(from, n)).map((b) => b.t);
			assert.deepEqual(again, now.slice(before.length - 1).map((b) => b.t), `from ${from} at ${n}`);
		}
		before = now;
	}
});

const bombs = {
	'emphasis, nested': (n) => '*a '.repeat(n) + 'b*'.repeat(n),
	'emphasis, mixed': (n) => '_*a~~**b'.repeat(n),
	'emphasis, never closed': (n) => '*a _b **c '.repeat(n),
	'emphasis, crossed': (n) => '*a_'.repeat(n) + '*_'.repeat(n),
	brackets: (n) => '['.repeat(n),
	'brackets, closed': (n) => '['.repeat(n) + ']'.repeat(n),
	'links, open': (n) => '[a]('.repeat(n),
	'links, nested': (n) => '['.repeat(n) + 'x' + '](https://a.b)'.repeat(n),
	'images, nested': (n) => '![a'.repeat(n) + '](x)'.repeat(n),
	'link titles': (n) => '[a](b "'.repeat(n),
	'link destinations': (n) => '[a](<'.repeat(n),
	backticks: (n) => Array.from({ length: Math.min(n, 600) }, (_, i) => '`'.repeat(i + 1)).join(' '),
	'backticks, alternating': (n) => '`a``'.repeat(n),
	quotes: (n) => '>'.repeat(n),
	'quotes, lines': (n) => '> '.repeat(20).concat('x\n').repeat(n / 20),
	lists: (n) => '- '.repeat(n),
	'lists, deeper and deeper': (n) => Array.from({ length: 300 }, (_, i) => `${' '.repeat(i * 2)}- x`).join('\n').repeat(Math.max(1, n / 10000)),
	tables: (n) => `${'|a'.repeat(n)}\n${'|-'.repeat(n)}`,
	'table rows': (n) => '|a|\n|-|\n' + '|\n'.repeat(n),
	spaces: (n) => `#${' '.repeat(n)}#${' '.repeat(n)}x`,
	'rules that are none': (n) => `${'- '.repeat(n)}x`,
	fences: (n) => '```\n'.repeat(n),
	'fences, open': (n) => '```' + 'a\n'.repeat(n),
	addresses: (n) => 'https://a(((('.repeat(n),
	'auto links': (n) => '<https://'.repeat(n),
	entities: (n) => '&a'.repeat(n),
	newlines: (n) => '\n'.repeat(n),
	'windows newlines': (n) => 'a\r\n'.repeat(n),
};

for (const [name, make] of Object.entries(bombs)) {
	test(`linear: ${name}`, () => {
		const text = make(20000);
		const start = performance.now();
		everyNode(text, () => {});
		inline(text);
		assert.ok(performance.now() - start < 2000, `${Math.round(performance.now() - start)} ms for ${text.length} characters`);
	});
}

test('nesting has a floor', () => {
	const depth = (list) => Math.max(0, ...list.map((n) => (n.c ? 1 + depth(n.c) : 0)));
	assert.ok(depth(inline('*a **b '.repeat(200) + 'c** d* '.repeat(200))) < 40);
	const blockDepth = (list) => Math.max(0, ...list.map((b) => 1 + Math.max(blockDepth(b.blocks || []), ...(b.items || []).map((i) => blockDepth(i.blocks)), 0)));
	assert.ok(blockDepth(parse('> '.repeat(500) + 'x')) < 40);
	assert.ok(blockDepth(parse('- '.repeat(500) + 'x')) < 40);
});
