// Palettes that people with colour blindness can tell apart, as bytes (r, g, b).

const STOPS = {
  viridis: "440154 472d7b 3b528b 2c728e 21918c 28ae80 5ec962 addc30 fde725",
  cividis: "00224e 123570 3b496c 575d6d 707173 8a8678 a59c74 c3b369 e1cc55 fee838",
  "blue–orange": "0072b2 56a5d4 c6e0f0 f0f0f0 fae0bd ee9a4a d55e00",
  circle: "0072b2 56b4e9 f0f0f0 e69f00 d55e00 7a3b69 0072b2",
  greys: "202020 f0f0f0",
};
export const PALETTES = Object.keys(STOPS);
// On a dark ground, the darkest part of a palette cannot be told from it.
const DARKEST = 0.15;
// Okabe and Ito 2008, then the same darker and lighter; on a dark ground lighter twice.
const GROUPS = ["0072b2", "e69f00", "009e73", "cc79a7", "56b4e9", "d55e00", "f0e442", "8c8c8c"];

function bytesOf(hex) {
  return [0, 2, 4].map((i) => parseInt(hex.slice(i, i + 2), 16));
}

export function rampOf(name, isDark = false) {
  const from = isDark && !["blue–orange", "circle"].includes(name) ? DARKEST : 0;
  const stops = (STOPS[name] ?? STOPS.viridis).split(" ").map(bytesOf);
  const table = new Uint8Array(256 * 4);
  for (let i = 0; i < 256; i++) {
    const place = (from + (1 - from) * (i / 255)) * (stops.length - 1);
    const low = Math.min(Math.floor(place), stops.length - 2);
    for (let c = 0; c < 3; c++) {
      table[4 * i + c] = Math.round(stops[low][c] + (place - low) * (stops[low + 1][c] - stops[low][c]));
    }
    table[4 * i + 3] = 255;
  }
  return table;
}

export function groupColour(number, isDark = false) {
  const base = bytesOf(GROUPS[number % GROUPS.length]);
  const turn = Math.floor(number / GROUPS.length) % 3;
  const lighter = (share) => base.map((v) => Math.round(v + (255 - v) * share));
  if (turn === 1) return isDark ? lighter(0.35) : base.map((v) => Math.round(v * 0.6));
  return turn === 2 ? lighter(isDark ? 0.7 : 0.5) : base;
}

// Colours of groups from place 1; place 0 is that of points without a value.
export function groupTable(isDark = false) {
  const table = new Uint8Array(256 * 4);
  for (let i = 1; i < 256; i++) table.set([...groupColour(i - 1, isDark), 255], 4 * i);
  return table;
}

export function cssColour([r, g, b]) {
  return `rgb(${r}, ${g}, ${b})`;
}

// A palette as a bar between what its ends stand for.
export function rampBar(palette, low, high, isDark = false) {
  const bar = document.createElement("canvas");
  [bar.width, bar.height] = [256, 1];
  bar.getContext("2d").putImageData(new ImageData(new Uint8ClampedArray(rampOf(palette, isDark)), 256, 1), 0, 0);
  return [`${low} `, bar, ` ${high}`];
}

const MOST_GROUPS = 200;

// Groups with their colours and numbers of particles, as buttons that choose them.
export function showGroups(holder, { names, values }, isDark, choose) {
  const counts = new Uint32Array(names.length);
  for (const v of values) if (v === v) counts[v]++;
  holder.replaceChildren(...names.slice(0, MOST_GROUPS).map((name, number) => {
    const button = document.createElement("button");
    const dot = document.createElement("i");
    dot.style.background = cssColour(groupColour(number % 24, isDark));
    button.append(dot, `${name} (${counts[number].toLocaleString("en")})`);
    button.title = "choose these particles";
    button.onclick = () => choose(number);
    return button;
  }));
  if (names.length > MOST_GROUPS) holder.append(`… of ${names.length.toLocaleString("en")}`);
}
