// Films: GIF89a with one palette for all frames, written here, or the browser's own video.

// A palette of up to 256 colours: the commonest of 15 bits, which smooth surfaces have few of.
function paletteOf(frames) {
  const counts = new Uint32Array(1 << 15);
  for (const { data } of frames) for (let i = 0; i < data.length; i += 4) counts[(data[i] >> 3) | ((data[i + 1] >> 3) << 5) | ((data[i + 2] >> 3) << 10)]++;
  const used = [];
  for (let i = 0; i < counts.length; i++) if (counts[i]) used.push(i);
  used.sort((a, b) => counts[b] - counts[a]);
  const colours = used.slice(0, 256).map((c) => [c & 31, (c >> 5) & 31, c >> 10]);
  const nearest = new Uint8Array(1 << 15);
  for (const code of used) {
    const [r, g, b] = [code & 31, (code >> 5) & 31, code >> 10];
    let best = Infinity;
    colours.forEach(([x, y, z], number) => {
      const d = (x - r) ** 2 + (y - g) ** 2 + (z - b) ** 2;
      if (d < best) [best, nearest[code]] = [d, number];
    });
  }
  return { colours, nearest };
}

class Bytes {
  constructor() {
    this.values = [];
  }
  byte(...values) {
    for (const value of values) this.values.push(value & 255);
  }
  word(value) {
    this.byte(value, value >> 8);
  }
  text(letters) {
    for (const letter of letters) this.byte(letter.charCodeAt(0));
  }
}

// Lempel, Ziv and Welch, with codes of 9 to 12 bits.
function compress(indices, out) {
  const [clear, stop] = [256, 257];
  let block = [];
  let [bits, room, size, next] = [0, 0, 9, 258];
  let known = new Map();
  const put = (code) => {
    bits |= code << room;
    room += size;
    while (room >= 8) {
      block.push(bits & 255);
      bits >>>= 8;
      room -= 8;
      if (block.length === 255) flush();
    }
  };
  const flush = () => {
    if (block.length) out.byte(block.length, ...block);
    block = [];
  };
  out.byte(8);
  put(clear);
  let prefix = indices[0];
  for (let i = 1; i < indices.length; i++) {
    const key = (prefix << 8) | indices[i];
    const found = known.get(key);
    if (found !== undefined) {
      prefix = found;
      continue;
    }
    put(prefix);
    if (next === 4096) {
      put(clear);
      known = new Map();
      [size, next] = [9, 258];
    } else {
      if (next === 1 << size && size < 12) size++;
      known.set(key, next++);
    }
    prefix = indices[i];
  }
  put(prefix);
  put(stop);
  if (room) block.push(bits & 255);
  flush();
  out.byte(0);
}

// Frames as ImageData of equal size; the delay is in hundredths of a second.
export function gifOf(frames, delay = 12) {
  const { width, height } = frames[0];
  const { colours, nearest } = paletteOf(frames);
  const out = new Bytes();
  out.text("GIF89a");
  out.word(width);
  out.word(height);
  out.byte(0xf7, 0, 0);
  for (let i = 0; i < 256; i++) out.byte(...(colours[i] ?? [0, 0, 0]).map((v) => Math.round((v * 255) / 31)));
  out.byte(0x21, 0xff, 11);
  out.text("NETSCAPE2.0");
  out.byte(3, 1, 0, 0, 0);
  for (const { data } of frames) {
    out.byte(0x21, 0xf9, 4, 0);
    out.word(delay);
    out.byte(0, 0, 0x2c, 0, 0, 0, 0);
    out.word(width);
    out.word(height);
    out.byte(0);
    const indices = new Uint8Array(width * height);
    for (let i = 0; i < indices.length; i++) indices[i] = nearest[(data[4 * i] >> 3) | ((data[4 * i + 1] >> 3) << 5) | ((data[4 * i + 2] >> 3) << 10)];
    compress(indices, out);
  }
  out.byte(0x3b);
  return new Blob([new Uint8Array(out.values)], { type: "image/gif" });
}

export function frameOf(canvas) {
  const copy = document.createElement("canvas");
  [copy.width, copy.height] = [canvas.width, canvas.height];
  const context = copy.getContext("2d", { willReadFrequently: true });
  context.drawImage(canvas, 0, 0);
  return context.getImageData(0, 0, copy.width, copy.height);
}

export function videoKind() {
  const kinds = ["video/mp4;codecs=avc1.42E01E", "video/mp4", "video/webm;codecs=vp9", "video/webm"];
  return typeof MediaRecorder === "undefined" ? null : kinds.find((kind) => MediaRecorder.isTypeSupported(kind)) ?? null;
}

// A video of a canvas while a function shows one frame after another.
export async function videoOf(canvas, show, count, perSecond = 10) {
  const recorder = new MediaRecorder(canvas.captureStream(), { mimeType: videoKind(), videoBitsPerSecond: 8e6 });
  const parts = [];
  recorder.ondataavailable = (event) => parts.push(event.data);
  const done = new Promise((resolve) => (recorder.onstop = resolve));
  recorder.start();
  for (let i = 0; i < count; i++) {
    show(i);
    await new Promise((resolve) => setTimeout(resolve, 1000 / perSecond));
  }
  recorder.stop();
  await done;
  return new Blob(parts, { type: recorder.mimeType });
}

export function download(content, name) {
  const link = document.createElement("a");
  link.href = content instanceof Blob ? URL.createObjectURL(content) : content;
  // Names of runs may hold what names of files may not.
  link.download = name.replace(/[\\/:*?"<>|]/g, "_");
  document.body.append(link);
  link.click();
  link.remove();
}
