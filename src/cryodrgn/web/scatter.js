// Particles as points: two coordinates, a colour and a choice each, drawn by WebGL2.

import { groupTable, rampOf } from "./colours.js";

const VERTEX = `#version 300 es
in float x; in float y; in float shade; in float chosen;
uniform vec2 centre; uniform vec2 scale; uniform float size; uniform int part; uniform sampler2D ramp;
out vec4 colour;
void main() {
  bool is_chosen = chosen > 0.0;
  bool shown = part == 0 || (part == 1) == is_chosen;
  vec2 place = (vec2(x, y) - centre) * scale;
  gl_Position = shown && shade >= 0.0 && place.x == place.x ? vec4(place, 0.0, 1.0) : vec4(2.0, 2.0, 2.0, 1.0);
  gl_PointSize = size * (part == 1 ? 1.3 : 1.0);
  colour = texture(ramp, vec2((shade * 255.0 + 0.5) / 256.0, 0.5));
}`;
const FRAGMENT = `#version 300 es
precision mediump float;
in vec4 colour; uniform float opacity; uniform float fade; uniform vec3 ground; uniform bool round_points;
out vec4 result;
void main() {
  if (round_points) { vec2 p = gl_PointCoord * 2.0 - 1.0; if (dot(p, p) > 1.0) discard; }
  result = vec4(mix(colour.rgb, ground, fade) , opacity);
}`;

export function compiled(gl, vertex, fragment) {
  const program = gl.createProgram();
  for (const [kind, text] of [[gl.VERTEX_SHADER, vertex], [gl.FRAGMENT_SHADER, fragment]]) {
    const shader = gl.createShader(kind);
    gl.shaderSource(shader, text);
    gl.compileShader(shader);
    if (!gl.getShaderParameter(shader, gl.COMPILE_STATUS)) throw new Error(gl.getShaderInfoLog(shader));
    gl.attachShader(program, shader);
  }
  gl.linkProgram(program);
  if (!gl.getProgramParameter(program, gl.LINK_STATUS)) throw new Error(gl.getProgramInfoLog(program));
  return program;
}

export function extentOf(values) {
  let low = Infinity;
  let high = -Infinity;
  for (let i = 0; i < values.length; i++) {
    const v = values[i];
    if (v < low) low = v;
    if (v > high) high = v;
  }
  if (!(high > low)) return Number.isFinite(low) ? [low - 0.5, low + 0.5] : [0, 1];
  return [low, high];
}

// Ends of the colour scale: the outermost hundredth on either side has the colour of the ends.
export function robustExtent(values) {
  const step = Math.max(1, Math.floor(values.length / 20000));
  const sample = [];
  for (let i = 0; i < values.length; i += step) if (Number.isFinite(values[i])) sample.push(values[i]);
  sample.sort((a, b) => a - b);
  if (!sample.length) return [0, 1];
  const [low, high] = [sample[Math.floor(sample.length * 0.01)], sample[Math.floor((sample.length - 1) * 0.99)]];
  return high > low ? [low, high] : extentOf(values);
}

export class Scatter {
  constructor(canvas) {
    this.canvas = canvas;
    const gl = canvas.getContext("webgl2", { alpha: false, antialias: false, preserveDrawingBuffer: true });
    if (!gl) throw new Error("this browser has no WebGL2, which drawing particles needs");
    this.gl = gl;
    this.program = compiled(gl, VERTEX, FRAGMENT);
    this.at = (name) => gl.getUniformLocation(this.program, name);
    this.buffers = {};
    this.ramp = gl.createTexture();
    this.count = 0;
    this.anyChosen = false;
    this.view = { cx: 0, cy: 0, wx: 1, wy: 1 };
    this.dark = false;
    this.pending = false;
  }

  setPoints(x, y) {
    this.x = x;
    this.y = y;
    this.count = x.length;
    this.fill("x", x);
    this.fill("y", y);
  }

  setShades(shades, table) {
    this.fill("shade", shades);
    const gl = this.gl;
    gl.bindTexture(gl.TEXTURE_2D, this.ramp);
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA, 256, 1, 0, gl.RGBA, gl.UNSIGNED_BYTE, table);
    for (const side of [gl.TEXTURE_MIN_FILTER, gl.TEXTURE_MAG_FILTER]) gl.texParameteri(gl.TEXTURE_2D, side, gl.NEAREST);
  }

  setChosen(mask) {
    this.anyChosen = mask !== null;
    this.fill("chosen", mask ?? new Uint8Array(this.count));
  }

  fill(name, values) {
    const gl = this.gl;
    this.buffers[name] ??= gl.createBuffer();
    gl.bindBuffer(gl.ARRAY_BUFFER, this.buffers[name]);
    gl.bufferData(gl.ARRAY_BUFFER, values, gl.STATIC_DRAW);
    const place = gl.getAttribLocation(this.program, name);
    if (place < 0) return;
    const bytes = values instanceof Uint8Array;
    gl.enableVertexAttribArray(place);
    gl.vertexAttribPointer(place, 1, bytes ? gl.UNSIGNED_BYTE : gl.FLOAT, false, 0, 0);
  }

  fit() {
    const [x0, x1] = extentOf(this.x);
    const [y0, y1] = extentOf(this.y);
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
    const { gl, canvas, view } = this;
    const ratio = Math.min(window.devicePixelRatio || 1, 2);
    const [w, h] = [Math.round(canvas.clientWidth * ratio), Math.round(canvas.clientHeight * ratio)];
    if (canvas.width !== w || canvas.height !== h) [canvas.width, canvas.height] = [w, h];
    gl.viewport(0, 0, w, h);
    const ground = this.dark ? [0.09, 0.1, 0.12] : [1, 1, 1];
    gl.clearColor(...ground, 1);
    gl.clear(gl.COLOR_BUFFER_BIT);
    if (!this.count || !this.buffers.shade || !this.buffers.chosen) return;
    gl.useProgram(this.program);
    gl.enable(gl.BLEND);
    gl.blendFunc(gl.SRC_ALPHA, gl.ONE_MINUS_SRC_ALPHA);
    gl.bindTexture(gl.TEXTURE_2D, this.ramp);
    gl.uniform2f(this.at("centre"), view.cx, view.cy);
    gl.uniform2f(this.at("scale"), 1 / view.wx, 1 / view.wy);
    // Many points are small and see-through, so that crowds show.
    const size = this.count > 3e5 ? 1.5 : this.count > 3e4 ? 2.5 : this.count > 3000 ? 4 : 6;
    gl.uniform1f(this.at("size"), size * ratio);
    gl.uniform1i(this.at("round_points"), size > 2 ? 1 : 0);
    gl.uniform3f(this.at("ground"), ...ground);
    const opacity = this.count > 3e5 ? 0.35 : this.count > 3e4 ? 0.6 : 0.85;
    const pass = (part, alpha, fade) => {
      gl.uniform1i(this.at("part"), part);
      gl.uniform1f(this.at("opacity"), alpha);
      gl.uniform1f(this.at("fade"), fade);
      gl.drawArrays(gl.POINTS, 0, this.count);
    };
    if (this.anyChosen) {
      pass(2, opacity * 0.7, 0.75);
      pass(1, Math.min(1, opacity * 1.4), 0);
    } else pass(0, opacity, 0);
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

  pan(dx, dy) {
    this.view.cx -= (dx / this.canvas.clientWidth) * 2 * this.view.wx;
    this.view.cy += (dy / this.canvas.clientHeight) * 2 * this.view.wy;
  }

  zoom(factor, px, py) {
    const before = this.toData(px, py);
    this.view.wx *= factor;
    this.view.wy *= factor;
    const after = this.toData(px, py);
    this.view.cx += before[0] - after[0];
    this.view.cy += before[1] - after[1];
  }
}

// Shades 0 … 1 of numbers, −1 where there is none; groups count from 0 and come round.
export function shadesOf(values, isGroup, [low, high]) {
  const shades = new Float32Array(values.length);
  for (let i = 0; i < values.length; i++) {
    const v = values[i];
    if (!(v === v)) shades[i] = -1;
    else if (isGroup) shades[i] = (v % 24) / 255;
    else shades[i] = Math.min(Math.max((v - low) / (high - low), 0), 1);
  }
  return shades;
}

export function tableOf(isGroup, palette) {
  return isGroup ? groupTable() : rampOf(palette);
}

// Density of the points themselves on the plane, as the share of the densest place.
export function densityOf(xs, ys) {
  const n = 200;
  const [x0, x1] = robustExtent(xs);
  const [y0, y1] = robustExtent(ys);
  const [padX, padY] = [(x1 - x0) * 0.2, (y1 - y0) * 0.2];
  const column = (x) => Math.min(Math.max(Math.floor(((x - x0 + padX) / (x1 - x0 + 2 * padX)) * n), 0), n - 1);
  const row = (y) => Math.min(Math.max(Math.floor(((y - y0 + padY) / (y1 - y0 + 2 * padY)) * n), 0), n - 1);
  let grid = new Float32Array(n * n);
  for (let i = 0; i < xs.length; i++) if (xs[i] === xs[i] && ys[i] === ys[i]) grid[row(ys[i]) * n + column(xs[i])]++;
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
  for (let i = 0; i < xs.length; i++) values[i] = Math.sqrt(grid[row(ys[i]) * n + column(xs[i])]);
  return values;
}
