// Particles as points: two coordinates, a colour and a choice each, added up pixel by pixel.
//
// A pixel has the mean colour of its points, the less of the ground the more they are, so that the
// picture does not depend on their order. Without a graphics card this draws a million points some
// twenty times faster than WebGL, and with one fast enough to move them.

import { groupTable, rampOf } from "./colours.js";

// Ends of the values that are finite numbers.
export function extentOf(values) {
  let low = Infinity;
  let high = -Infinity;
  for (let i = 0; i < values.length; i++) {
    const v = values[i];
    if (v < low && v > -Infinity) low = v;
    if (v > high && v < Infinity) high = v;
  }
  if (high > low) return [low, high];
  // Half a unit about a single value is nothing to a large one.
  const half = Math.max(0.5, Math.abs(low) * 1e-6);
  return Number.isFinite(low) ? [low - half, low + half] : [0, 1];
}

// Ends of the colour scale: the outermost hundredth on either side has the colour of the ends.
export function robustExtent(values) {
  const step = Math.max(1, Math.floor(values.length / 20000));
  const every = Float32Array.from({ length: Math.ceil(values.length / step) }, (_, i) => values[i * step]);
  const sample = every.filter(Number.isFinite).sort();
  if (!sample.length) return [0, 1];
  const [low, high] = [sample[Math.floor(sample.length * 0.01)], sample[Math.floor((sample.length - 1) * 0.99)]];
  return high > low ? [low, high] : extentOf(values);
}

// Discs of a few pixels have soft edges, in so many steps.
const STEPS = 16;

// Pixels of a disc around its middle one, and how much of each it covers.
function discOf(size) {
  const reach = Math.ceil(size / 2 - 0.5);
  const found = [];
  for (let dy = -reach; dy <= reach; dy++) {
    for (let dx = -reach; dx <= reach; dx++) {
      const cover = Math.round(STEPS * Math.min(Math.max(size / 2 + 0.5 - Math.hypot(dx, dy), 0), 1));
      if (cover) found.push({ dx, dy, cover });
    }
  }
  return found;
}

export class Scatter {
  constructor(canvas) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d", { alpha: false, willReadFrequently: true });
    this.count = 0;
    this.anyChosen = false;
    this.view = { cx: 0, cy: 0, wx: 1, wy: 1 };
    // Whether all points are in view by themselves, as they come and go.
    this.isFitted = true;
    this.dark = false;
    this.pending = false;
    // Called when the points have been drawn.
    this.painted = null;
  }

  setPoints(x, y) {
    this.x = x;
    this.y = y;
    this.count = x.length;
    this.known = null;
  }

  // Numbers of colours in a table, 0 for points that are not drawn.
  setShades(shades, table) {
    this.shades = shades;
    this.table = table;
  }

  setChosen(mask) {
    this.anyChosen = mask !== null;
    this.chosen = mask;
  }

  // Density of the points on the plane, see densityOf.
  density() {
    this.known ??= densityOf(this.x, this.y);
    return this.known;
  }

  fit() {
    const [x0, x1] = extentOf(this.x);
    const [y0, y1] = extentOf(this.y);
    this.isFitted = true;
    this.view = { cx: (x0 + x1) / 2, cy: (y0 + y1) / 2, wx: ((x1 - x0) / 2) * 1.05, wy: ((y1 - y0) / 2) * 1.05 };
  }

  draw() {
    if (this.pending) return;
    this.pending = true;
    requestAnimationFrame(() => {
      this.pending = false;
      this.drawNow();
    });
  }

  drawNow() {
    const { canvas, count } = this;
    const ratio = Math.min(window.devicePixelRatio || 1, 2);
    const [w, h] = [canvas.clientWidth, canvas.clientHeight].map((side) => Math.max(1, Math.round(side * ratio)));
    if (canvas.width !== w || canvas.height !== h) [canvas.width, canvas.height] = [w, h];
    if (this.image?.width !== w || this.image?.height !== h) {
      this.image = this.context.createImageData(w, h);
      this.sums = new Uint32Array(4 * w * h);
    }
    const ground = this.dark ? [23, 26, 31] : [255, 255, 255];
    const { data } = this.image;
    new Uint32Array(data.buffer).fill((255 << 24) | (ground[2] << 16) | (ground[1] << 8) | ground[0]);
    if (count && this.shades?.length === count) {
      // Many points are small and see-through, so that crowds show.
      const size = ratio * (count > 3e5 ? 1 : count > 3e4 ? 2 : count > 3000 ? 4 : 6);
      const opacity = count > 3e5 ? 0.4 : count > 3e4 ? 0.6 : 0.85;
      if (this.anyChosen) {
        this.layer({ part: 0, size, opacity: opacity * 0.7, fade: 0.75, ground });
        this.layer({ part: 1, size: size * 1.3, opacity: Math.min(1, opacity * 1.4), fade: 0, ground });
      } else this.layer({ part: null, size, opacity, fade: 0, ground });
    }
    this.context.putImageData(this.image, 0, 0);
    if (count) this.painted?.();
  }

  // Points of one part of the particles, over what is drawn already.
  layer({ part, size, opacity, fade, ground }) {
    const { sums, image } = this;
    sums.fill(0);
    const unit = size < 1.5 ? 1 : STEPS;
    if (unit === 1) this.addPixels(part);
    else this.addDiscs(part, discOf(size));
    const { data } = image;
    // The share of the ground that so many points leave.
    const left = Float32Array.from({ length: 64 * unit }, (_, n) => (1 - opacity) ** (n / unit));
    for (let p = 0; p < sums.length; p += 4) {
      const n = sums[p + 3];
      if (!n) continue;
      const through = n < left.length ? left[n] : 0;
      for (let c = 0; c < 3; c++) {
        const colour = (sums[p + c] / n) * (1 - fade) + ground[c] * fade;
        data[p + c] = colour + (data[p + c] - colour) * through;
      }
    }
  }

  // Where points lie on the picture: pixel = value · scale + shift.
  placing() {
    const { view, image } = this;
    const [sx, sy] = [image.width / (2 * view.wx), -image.height / (2 * view.wy)];
    return { sx, sy, ox: image.width / 2 - view.cx * sx, oy: image.height / 2 - view.cy * sy };
  }

  // As addDiscs with discs of one pixel, of a million points in half the time.
  addPixels(part) {
    const { x, y, shades, table, chosen, sums, count } = this;
    const { width, height } = this.image;
    const { sx, sy, ox, oy } = this.placing();
    for (let i = 0; i < count; i++) {
      const shade = shades[i] << 2;
      if (shade === 0 || (part !== null && chosen[i] !== part)) continue;
      const px = x[i] * sx + ox;
      const py = y[i] * sy + oy;
      if (!(px >= 0 && px < width && py >= 0 && py < height)) continue;
      const p = ((py | 0) * width + (px | 0)) << 2;
      sums[p] += table[shade];
      sums[p + 1] += table[shade + 1];
      sums[p + 2] += table[shade + 2];
      sums[p + 3]++;
    }
  }

  addDiscs(part, disc) {
    const { x, y, shades, table, chosen, sums, count } = this;
    const { width, height } = this.image;
    const { sx, sy, ox, oy } = this.placing();
    for (let i = 0; i < count; i++) {
      const shade = shades[i] << 2;
      if (shade === 0 || (part !== null && chosen[i] !== part)) continue;
      const px = Math.floor(x[i] * sx + ox);
      const py = Math.floor(y[i] * sy + oy);
      if (!(px > -20 && px < width + 20 && py > -20 && py < height + 20)) continue;
      for (const { dx, dy, cover } of disc) {
        const [cx, cy] = [px + dx, py + dy];
        if (cx < 0 || cx >= width || cy < 0 || cy >= height) continue;
        const p = (cy * width + cx) << 2;
        sums[p] += table[shade] * cover;
        sums[p + 1] += table[shade + 1] * cover;
        sums[p + 2] += table[shade + 2] * cover;
        sums[p + 3] += cover;
      }
    }
  }

  toData(px, py) {
    const { view, canvas } = this;
    return [view.cx + ((px / canvas.clientWidth) * 2 - 1) * view.wx, view.cy - ((py / canvas.clientHeight) * 2 - 1) * view.wy];
  }

  toPixels(x, y) {
    const { view, canvas } = this;
    return [(((x - view.cx) / view.wx + 1) / 2) * canvas.clientWidth, ((1 - (y - view.cy) / view.wy) / 2) * canvas.clientHeight];
  }

  nearest(px, py, within = Infinity) {
    const [x, y] = this.toData(px, py);
    const sx = this.canvas.clientWidth / (2 * this.view.wx);
    const sy = this.canvas.clientHeight / (2 * this.view.wy);
    let best = within * within;
    let found = -1;
    for (let i = 0; i < this.count; i++) {
      const dx = (this.x[i] - x) * sx;
      const dy = (this.y[i] - y) * sy;
      const d = dx * dx + dy * dy;
      if (d < best) [best, found] = [d, i];
    }
    return found;
  }

  look(view) {
    this.isFitted = false;
    this.view = { ...view };
  }

  pan(dx, dy) {
    this.isFitted = false;
    this.view.cx -= (dx / this.canvas.clientWidth) * 2 * this.view.wx;
    this.view.cy += (dy / this.canvas.clientHeight) * 2 * this.view.wy;
  }

  zoom(factor, px, py) {
    this.isFitted = false;
    const before = this.toData(px, py);
    this.view.wx *= factor;
    this.view.wy *= factor;
    const after = this.toData(px, py);
    this.view.cx += before[0] - after[0];
    this.view.cy += before[1] - after[1];
  }
}

// Numbers of colours in the table, 0 where there is no value; groups come round after 24.
export function shadesOf(values, isGroup, [low, high]) {
  const shades = new Uint8Array(values.length);
  const scale = 254 / (high - low);
  for (let i = 0; i < values.length; i++) {
    const v = values[i];
    if (!(v === v)) continue;
    if (isGroup) shades[i] = 1 + (v % 24);
    else shades[i] = 1.5 + Math.min(Math.max((v - low) * scale, 0), 254);
  }
  return shades;
}

export function tableOf(isGroup, palette, isDark = false) {
  return isGroup ? groupTable(isDark) : rampOf(palette, isDark);
}

// Density of the points themselves on the plane, as the share of the densest place.
export function densityOf(xs, ys) {
  const n = 200;
  const [x0, x1] = robustExtent(xs);
  const [y0, y1] = robustExtent(ys);
  const [padX, padY] = [(x1 - x0) * 0.2, (y1 - y0) * 0.2];
  const [sx, sy] = [n / (x1 - x0 + 2 * padX), n / (y1 - y0 + 2 * padY)];
  const cells = new Int32Array(xs.length);
  let grid = new Float32Array(n * n);
  for (let i = 0; i < xs.length; i++) {
    const column = Math.min(Math.max((xs[i] - x0 + padX) * sx, 0), n - 1);
    const row = Math.min(Math.max((ys[i] - y0 + padY) * sy, 0), n - 1);
    cells[i] = (row | 0) * n + (column | 0);
    if (xs[i] === xs[i] && ys[i] === ys[i]) grid[cells[i]]++;
  }
  const reach = xs.length > 1e5 ? 1 : 3;
  for (const [along, across] of [[1, n], [n, 1]]) {
    const next = new Float32Array(n * n);
    for (let a = 0; a < n; a++) {
      for (let b = 0; b < n; b++) {
        let sum = 0;
        for (let d = -reach; d <= reach; d++) if (a + d >= 0 && a + d < n) sum += grid[(a + d) * along + b * across];
        next[a * along + b * across] = sum;
      }
    }
    grid = next;
  }
  const values = new Float32Array(xs.length);
  for (let i = 0; i < xs.length; i++) values[i] = Math.sqrt(grid[cells[i]]);
  return values;
}
