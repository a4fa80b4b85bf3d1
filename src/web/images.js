// Pictures for the agent: checked, and made smaller when they would not fit a frame. Models look at about 1500
// pixels a side, so nothing they could see is lost.

export const TYPES = ['image/png', 'image/jpeg', 'image/gif', 'image/webp'];
const MAX_BYTES = 10 * 1024 * 1024;
const SHRINK_BYTES = 1.5 * 1024 * 1024;
const MAX_SIDE = 2048;

/** @returns {Promise<{data:string, mimeType:string, name:string}>} `data` in base64; rejects with a sentence for people */
export async function readImage(file) {
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
