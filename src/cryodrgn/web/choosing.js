// Choices of particles as steps that can be done again: what is chosen follows from them alone.
//
// A mask has one byte for each particle. A polygon contains a point if a ray from it crosses an
// odd number of edges, computed in double precision, as numpy would.

export function isInside(px, py, polygon) {
  let inside = false;
  for (let i = 0, j = polygon.length - 1; i < polygon.length; j = i++) {
    const [xi, yi] = polygon[i];
    const [xj, yj] = polygon[j];
    if (yi > py !== yj > py && px < ((xj - xi) * (py - yi)) / (yj - yi) + xi) inside = !inside;
  }
  return inside;
}

const CELLS = 256;

// Cells of a grid over the polygon: 0 outside, 1 inside, 2 near an edge, where points are asked.
function cellsOf(polygon, box) {
  const cells = new Uint8Array(CELLS * CELLS);
  const width = (box.x1 - box.x0) / CELLS;
  const height = (box.y1 - box.y0) / CELLS;
  const column = (x) => Math.min(Math.max(Math.floor((x - box.x0) / width), 0), CELLS - 1);
  const row = (y) => Math.min(Math.max(Math.floor((y - box.y0) / height), 0), CELLS - 1);
  for (let i = 0, j = polygon.length - 1; i < polygon.length; j = i++) {
    const [[ax, ay], [bx, by]] = polygon[i][1] < polygon[j][1] ? [polygon[i], polygon[j]] : [polygon[j], polygon[i]];
    for (let r = Math.max(row(ay) - 1, 0); r <= Math.min(row(by) + 1, CELLS - 1); r++) {
      const low = Math.max(box.y0 + (r - 1) * height, ay);
      const high = Math.min(box.y0 + (r + 2) * height, by);
      const at = (y) => (by > ay ? ax + ((Math.min(Math.max(y, ay), by) - ay) * (bx - ax)) / (by - ay) : ax);
      const ends = by > ay ? [at(low), at(high)] : [ax, bx];
      const first = Math.max(column(Math.min(...ends)) - 1, 0);
      const last = Math.min(column(Math.max(...ends)) + 1, CELLS - 1);
      cells.fill(2, r * CELLS + first, r * CELLS + last + 1);
    }
  }
  for (let r = 0; r < CELLS; r++) {
    for (let c = 0; c < CELLS; c++) {
      const place = r * CELLS + c;
      if (cells[place] === 0 && isInside(box.x0 + (c + 0.5) * width, box.y0 + (r + 0.5) * height, polygon)) cells[place] = 1;
    }
  }
  return { cells, width, height };
}

export function polygonMask(xs, ys, polygon) {
  const mask = new Uint8Array(xs.length);
  if (polygon.length < 3) return mask;
  const px = polygon.map((p) => p[0]);
  const py = polygon.map((p) => p[1]);
  const box = { x0: Math.min(...px), x1: Math.max(...px), y0: Math.min(...py), y1: Math.max(...py) };
  if (!(box.x1 > box.x0 && box.y1 > box.y0)) return mask;
  const { cells, width, height } = cellsOf(polygon, box);
  for (let i = 0; i < xs.length; i++) {
    const x = xs[i];
    const y = ys[i];
    if (!(x >= box.x0 && x <= box.x1 && y >= box.y0 && y <= box.y1)) continue;
    const c = Math.min(((x - box.x0) / width) | 0, CELLS - 1);
    const r = Math.min(((y - box.y0) / height) | 0, CELLS - 1);
    const state = cells[r * CELLS + c];
    mask[i] = state === 2 ? (isInside(x, y, polygon) ? 1 : 0) : state;
  }
  return mask;
}

// Values between two ends; null is none, as infinite values are beyond every number.
export function rangeMask(values, low, high) {
  const mask = new Uint8Array(values.length);
  const [first, last] = [low ?? -Infinity, high ?? Infinity];
  for (let i = 0; i < values.length; i++) mask[i] = values[i] >= first && values[i] <= last ? 1 : 0;
  return mask;
}

export function groupMask(values, groups) {
  const wanted = new Set(groups);
  const mask = new Uint8Array(values.length);
  for (let i = 0; i < values.length; i++) mask[i] = wanted.has(values[i]) ? 1 : 0;
  return mask;
}

export function rowsMask(rows, count) {
  const mask = new Uint8Array(count);
  for (const row of rows) mask[row] = 1;
  return mask;
}

// How a step changes what is chosen: alone, with it, within it, or without it.
export const COMBINATIONS = {
  new: (a, b) => b,
  add: (a, b) => a | b,
  and: (a, b) => a & b,
  sub: (a, b) => a & (b ^ 1),
};

export function combined(before, mask, mode) {
  const combine = COMBINATIONS[mode] ?? COMBINATIONS.new;
  const after = new Uint8Array(mask.length);
  for (let i = 0; i < mask.length; i++) after[i] = combine(before ? before[i] : 0, mask[i]);
  return after;
}

export function inverted(mask, count) {
  const after = new Uint8Array(count);
  for (let i = 0; i < count; i++) after[i] = mask && mask[i] ? 0 : 1;
  return after;
}

export function countOf(mask) {
  let count = 0;
  for (let i = 0; i < mask.length; i++) count += mask[i];
  return count;
}

export function rowsOf(mask) {
  const rows = new Uint32Array(countOf(mask));
  for (let i = 0, n = 0; i < mask.length; i++) if (mask[i]) rows[n++] = i;
  return rows;
}
