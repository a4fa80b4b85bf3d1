// Pictures for the agent: checked, and made smaller when they would not fit a frame. Models look at about 1500
// pixels a side, so nothing they could see is lost.

import { el, icon } from './view.js';

const TYPES = ['image/png', 'image/jpeg', 'image/gif', 'image/webp'];
const MAX_BYTES = 10 * 1024 * 1024;
const SHRINK_BYTES = 1.5 * 1024 * 1024;
const MAX_SIDE = 2048;
const MOST = 8;
const CROSS = 'm5 5 10 10M15 5 5 15';

/** The pictures that wait beside the message being written. */
export class Tray {
	/** @param {HTMLElement} home @param {{changed:Function, say:(text)=>void, focus:Function}} on */
	constructor(home, on) {
		this.home = home;
		this.on = on;
		this.slots = [];
	}

	get size() { return this.slots.length; }

	get busy() { return this.slots.some((s) => !s.data); }

	get images() { return this.slots.map(({ data, mimeType }) => ({ data, mimeType })); }

	async add(files) {
		for (const file of files) {
			if (this.slots.length >= MOST) { this.on.say('Eight pictures at most.'); break; }
			const slot = { name: file.name };
			this.slots.push(slot);
			this.#draw();
			try {
				Object.assign(slot, await readImage(file));
				this.#draw();
			} catch (e) {
				this.#remove(slot);
				this.on.say(e.message);
			}
		}
	}

	clear() {
		this.slots = [];
		this.#draw();
	}

	#remove(slot) {
		this.slots = this.slots.filter((s) => s !== slot);
		this.#draw();
	}

	#draw() {
		this.home.hidden = this.slots.length === 0;
		this.home.replaceChildren(...this.slots.map((s) => el('span', { class: 'preview', data: { testid: 'preview' } },
			s.data ? el('img', { src: `data:${s.mimeType};base64,${s.data}`, alt: s.name || 'Picture' }) : el('span', { class: 'spin' }),
			el('button', { type: 'button', 'aria-label': `Remove ${s.name || 'picture'}`, onclick: () => { this.#remove(s); this.on.focus(); } }, icon(CROSS)))));
		this.on.changed();
	}
}

/** @returns {Promise<{data:string, mimeType:string, name:string}>} `data` in base64; rejects with a sentence for people */
async function readImage(file) {
	if (!TYPES.includes(file.type)) throw new Error(`${file.name || 'This file'} is not a PNG, JPEG, GIF or WebP picture.`);
	if (file.size > MAX_BYTES) throw new Error(`${file.name || 'The picture'} is larger than 10 MB.`);
	if (file.size === 0) throw new Error(`${file.name || 'The picture'} is empty.`);
	const small = file.size > SHRINK_BYTES && file.type !== 'image/gif' ? await shrink(file).catch(() => null) : null;
	const blob = small && small.size < file.size ? small : file;
	return { data: await base64(blob), mimeType: blob.type, name: file.name || 'picture' };
}

async function shrink(file) {
	const bitmap = await createImageBitmap(file);
	const scale = Math.min(1, MAX_SIDE / Math.max(bitmap.width, bitmap.height));
	const canvas = document.createElement('canvas');
	canvas.width = Math.max(1, Math.round(bitmap.width * scale));
	canvas.height = Math.max(1, Math.round(bitmap.height * scale));
	const context = canvas.getContext('2d');
	context.fillStyle = '#fff'; // JPEG has no transparency
	context.fillRect(0, 0, canvas.width, canvas.height);
	context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
	bitmap.close();
	return new Promise((resolve) => canvas.toBlob(resolve, 'image/jpeg', 0.88));
}

function base64(blob) {
	return new Promise((resolve, reject) => {
		const reader = new FileReader();
		reader.onload = () => resolve(String(reader.result).replace(/^data:[^,]*,/, ''));
		reader.onerror = () => reject(new Error('The picture could not be read.'));
		reader.readAsDataURL(blob);
	});
}
