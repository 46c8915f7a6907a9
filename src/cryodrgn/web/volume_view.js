// A volume as its surface at a level, found along rays through a 3-D texture by WebGL2.
//
// Volumes are float32 with axes (z, y, x); the texture's axes are (x, y, z).

import { compiled } from "./scatter.js";
import { rampOf } from "./colours.js";

const VERTEX = `#version 300 es
in vec2 corner; out vec2 place;
void main() { place = corner; gl_Position = vec4(corner, 0.0, 1.0); }`;
const FRAGMENT = `#version 300 es
precision highp float; precision highp sampler3D;
in vec2 place; out vec4 result;
uniform sampler3D volume; uniform sampler3D other; uniform sampler3D blocks; uniform sampler2D ramp;
uniform mat3 turn; uniform float zoom; uniform vec2 aspect; uniform float level; uniform float sense;
uniform vec2 slab; uniform int both; uniform int tint; uniform vec2 tint_range; uniform vec3 ground; uniform vec3 base;
uniform float step_length; uniform float voxel; uniform float block;
float value(vec3 p) { float v = texture(volume, p).r * sense; return both == 1 ? abs(v) : v; }
vec3 slope(vec3 p) {
  vec2 d = vec2(voxel, 0.0);
  return vec3(value(p + d.xyy) - value(p - d.xyy), value(p + d.yxy) - value(p - d.yxy), value(p + d.yyx) - value(p - d.yyx));
}
void main() {
  vec3 origin = turn * vec3(place * aspect / zoom, -1.2), ray = turn * vec3(0.0, 0.0, 1.0);
  float b = dot(origin, ray), c = dot(origin, origin) - 0.75, root = b * b - c;
  result = vec4(ground, 1.0);
  if (root < 0.0) return;
  float from = max(-b - sqrt(root), 1.2 + slab.x), until = min(-b + sqrt(root), 1.2 + slab.y);
  float before = 0.0; bool first = true;
  for (float t = from; t < until; t += step_length) {
    vec3 p = origin + ray * t + 0.5;
    if (any(lessThan(p, vec3(0.0))) || any(greaterThan(p, vec3(1.0)))) { first = true; continue; }
    // Nothing within a block's side reaches the level: go that far.
    vec2 ends = texture(blocks, p).rg;
    float most = both == 1 ? max(ends.r, -ends.g) : sense > 0.0 ? ends.r : -ends.g;
    if (most < level) { t += block - step_length; first = false; continue; }
    float v = value(p);
    if (v >= level) {
      float low = first ? t : t - step_length, high = t;
      for (int i = 0; i < 5; i++) {
        float middle = 0.5 * (low + high);
        if (value(origin + ray * middle + 0.5) >= level) high = middle; else low = middle;
      }
      p = origin + ray * high + 0.5;
      vec3 g = slope(p);
      bool cut = first && t < from + step_length && slab.x > -0.85;
      vec3 normal = length(g) > 0.0 ? -normalize(g) : -ray;
      float light = cut ? 0.9 : 0.3 + 0.65 * max(dot(normal, normalize(turn * vec3(-0.4, 0.5, -1.0))), 0.0);
      vec3 colour = base;
      if (both == 1) colour = texture(volume, p).r > 0.0 ? vec3(0.84, 0.37, 0.0) : vec3(0.0, 0.45, 0.7);
      if (tint == 1) colour = texture(ramp, vec2(clamp((texture(other, p).r - tint_range.x) / (tint_range.y - tint_range.x), 0.002, 0.998), 0.5)).rgb;
      float rim = 1.0 - max(dot(normal, -ray), 0.0);
      result = vec4(colour * light + 0.12 * rim, 1.0);
      return;
    }
    before = v; first = false;
  }
}`;

// Milliseconds that a picture may take, while the volume turns and when it rests.
const COARSE_MS = 60;
const FINE_MS = 350;

export class Camera {
  constructor() {
    this.turn = [1, 0, 0, 0, 1, 0, 0, 0, 1];
    this.zoom = 1;
    this.views = new Set();
  }

  rotate(dx, dy) {
    const about = (axis, angle) => {
      const [c, s] = [Math.cos(angle), Math.sin(angle)];
      return axis === "y" ? [c, 0, -s, 0, 1, 0, s, 0, c] : [1, 0, 0, 0, c, s, 0, -s, c];
    };
    this.turn = product(product(this.turn, about("y", -dx)), about("x", -dy));
    this.changed();
  }

  changed(coarse = true) {
    for (const view of this.views) view.draw(coarse);
  }
}

// 3 × 3 matrices as WebGL has them, column after column.
function product(a, b) {
  const c = new Array(9).fill(0);
  for (let j = 0; j < 3; j++) for (let i = 0; i < 3; i++) for (let k = 0; k < 3; k++) c[3 * j + i] += a[3 * k + i] * b[3 * j + k];
  return c;
}

// A level at which a molecule shows: a few per cent of the box lie above it.
export function levelOf(values) {
  const step = Math.max(1, Math.floor(values.length / 50000));
  const sample = [];
  for (let i = 0; i < values.length; i += step) sample.push(values[i]);
  sample.sort((a, b) => a - b);
  const at = (share) => sample[Math.floor((sample.length - 1) * share)];
  return Math.max(at(0.965), at(0.999) * 0.25);
}

export class VolumeView {
  constructor(canvas, camera) {
    this.canvas = canvas;
    const gl = canvas.getContext("webgl2", { alpha: false, antialias: false, preserveDrawingBuffer: true });
    if (!gl) throw new Error("this browser has no WebGL2, which drawing volumes needs");
    this.gl = gl;
    this.program = compiled(gl, VERTEX, FRAGMENT);
    this.at = (name) => gl.getUniformLocation(this.program, name);
    const corners = gl.createBuffer();
    gl.bindBuffer(gl.ARRAY_BUFFER, corners);
    gl.bufferData(gl.ARRAY_BUFFER, new Float32Array([-1, -1, 1, -1, -1, 1, 1, 1]), gl.STATIC_DRAW);
    gl.enableVertexAttribArray(gl.getAttribLocation(this.program, "corner"));
    gl.vertexAttribPointer(gl.getAttribLocation(this.program, "corner"), 2, gl.FLOAT, false, 0, 0);
    this.textures = {};
    // Milliseconds per pixel, as last measured.
    this.cost = 1e-3;
    this.level = 0;
    this.slab = [-0.87, 0.87];
    this.size = null;
    this.both = false;
    this.base = [0.45, 0.62, 0.78];
    this.tint = null;
    this.dark = false;
    this.camera = camera;
    camera.views.add(this);
    this.steer();
  }

  // Values (z, y, x) of a cubic volume.
  setVolume(values, side) {
    if (this.values === values) return;
    this.values = values;
    this.side = side;
    this.upload("volume", 0, values, side);
    const gl = this.gl;
    const { ends, count } = blocksOf(values, side, this.factor_volume);
    this.textures.blocks ??= gl.createTexture();
    gl.activeTexture(gl.TEXTURE3);
    gl.bindTexture(gl.TEXTURE_3D, this.textures.blocks);
    gl.texImage3D(gl.TEXTURE_3D, 0, gl.RG16F, count, count, count, 0, gl.RG, gl.FLOAT, ends);
    for (const f of [gl.TEXTURE_MIN_FILTER, gl.TEXTURE_MAG_FILTER]) gl.texParameteri(gl.TEXTURE_3D, f, gl.NEAREST);
    for (const w of [gl.TEXTURE_WRAP_S, gl.TEXTURE_WRAP_T, gl.TEXTURE_WRAP_R]) gl.texParameteri(gl.TEXTURE_3D, w, gl.CLAMP_TO_EDGE);
    this.block = 1 / count;
  }

  setTint(values, side, range, palette) {
    this.tint = values ? range : null;
    if (!values) return;
    this.upload("other", 1, values, side);
    const gl = this.gl;
    this.textures.ramp ??= gl.createTexture();
    gl.activeTexture(gl.TEXTURE2);
    gl.bindTexture(gl.TEXTURE_2D, this.textures.ramp);
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA, 256, 1, 0, gl.RGBA, gl.UNSIGNED_BYTE, rampOf(palette));
    for (const f of [gl.TEXTURE_MIN_FILTER, gl.TEXTURE_MAG_FILTER]) gl.texParameteri(gl.TEXTURE_2D, f, gl.LINEAR);
  }

  upload(name, unit, values, side) {
    const gl = this.gl;
    this.textures[name] ??= gl.createTexture();
    gl.activeTexture(gl.TEXTURE0 + unit);
    gl.bindTexture(gl.TEXTURE_3D, this.textures[name]);
    gl.texImage3D(gl.TEXTURE_3D, 0, gl.R16F, side, side, side, 0, gl.RED, gl.FLOAT, scaledForHalf(values, this, name));
    for (const f of [gl.TEXTURE_MIN_FILTER, gl.TEXTURE_MAG_FILTER]) gl.texParameteri(gl.TEXTURE_3D, f, gl.LINEAR);
    for (const w of [gl.TEXTURE_WRAP_S, gl.TEXTURE_WRAP_T, gl.TEXTURE_WRAP_R]) gl.texParameteri(gl.TEXTURE_3D, w, gl.CLAMP_TO_EDGE);
  }

  draw(coarse = false) {
    clearTimeout(this.later);
    if (coarse) this.later = setTimeout(() => this.draw(false), 180);
    this.coarse = coarse;
    if (this.pending) return;
    this.pending = true;
    requestAnimationFrame(() => {
      this.pending = false;
      this.drawNow(this.coarse);
    });
  }

  drawNow(coarse = false) {
    const { gl, canvas } = this;
    // As sharp as this machine draws in time: without a graphics card, pixels cost.
    const budget = coarse ? COARSE_MS : FINE_MS;
    const wanted = (coarse ? 0.6 : 1) * Math.min(window.devicePixelRatio || 1, 1.5);
    const affordable = Math.sqrt(budget / this.cost / (canvas.clientWidth * canvas.clientHeight || 1));
    const ratio = Math.min(wanted, Math.max(affordable, 0.15));
    // The frames of a film have one size.
    const [w, h] = this.size ?? [canvas.clientWidth, canvas.clientHeight].map((side) => Math.max(1, Math.round(side * ratio)));
    if (canvas.width !== w || canvas.height !== h) [canvas.width, canvas.height] = [w, h];
    gl.viewport(0, 0, w, h);
    const ground = this.dark ? [0.09, 0.1, 0.12] : [1, 1, 1];
    gl.clearColor(...ground, 1);
    gl.clear(gl.COLOR_BUFFER_BIT);
    if (!this.values) return;
    const begun = performance.now();
    gl.useProgram(this.program);
    gl.uniform1i(this.at("blocks"), 3);
    gl.uniform1f(this.at("block"), this.block);
    gl.activeTexture(gl.TEXTURE0);
    gl.bindTexture(gl.TEXTURE_3D, this.textures.volume);
    gl.uniform1i(this.at("volume"), 0);
    gl.uniform1i(this.at("other"), 1);
    gl.uniform1i(this.at("ramp"), 2);
    gl.uniformMatrix3fv(this.at("turn"), false, this.camera.turn);
    gl.uniform1f(this.at("zoom"), this.camera.zoom * 2.1);
    const short = Math.min(w, h);
    gl.uniform2f(this.at("aspect"), w / short, h / short);
    const sense = this.level < 0 ? -1 : 1;
    gl.uniform1f(this.at("sense"), sense);
    gl.uniform1f(this.at("level"), Math.abs(this.level) * this.factor_volume);
    gl.uniform2f(this.at("slab"), ...this.slab);
    gl.uniform1i(this.at("both"), this.both ? 1 : 0);
    gl.uniform1i(this.at("tint"), this.tint ? 1 : 0);
    const range = this.tint ?? [0, 1];
    gl.uniform2f(this.at("tint_range"), range[0] * (this.factor_other ?? 1), range[1] * (this.factor_other ?? 1));
    gl.uniform3f(this.at("ground"), ...ground);
    gl.uniform3f(this.at("base"), ...this.base);
    gl.uniform1f(this.at("voxel"), 1 / this.side);
    gl.uniform1f(this.at("step_length"), (coarse ? 1.6 : 0.8) / this.side);
    gl.drawArrays(gl.TRIANGLE_STRIP, 0, 4);
    gl.readPixels(0, 0, 1, 1, gl.RGBA, gl.UNSIGNED_BYTE, new Uint8Array(4));
    const seconds = performance.now() - begun;
    this.cost = Math.max(seconds - 2, 0.1) / (w * h);
    this.drawn = seconds;
  }

  steer() {
    const { canvas, camera } = this;
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      this.grip = [event.clientX, event.clientY];
    });
    canvas.addEventListener("pointermove", (event) => {
      if (!this.grip) return;
      const [x, y] = this.grip;
      this.grip = [event.clientX, event.clientY];
      camera.rotate(((event.clientX - x) / canvas.clientWidth) * 4, ((event.clientY - y) / canvas.clientHeight) * 4);
    });
    for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, () => (this.grip = null));
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      camera.zoom = Math.min(Math.max(camera.zoom * Math.exp(-event.deltaY * 0.001), 0.3), 10);
      camera.changed();
    }, { passive: false });
  }
}

// Largest and smallest values of blocks of 8 voxels and of their neighbours.
function blocksOf(values, side, factor) {
  const count = Math.max(Math.ceil(side / 8), 1);
  const own = new Float32Array(2 * count ** 3);
  for (let i = 0; i < own.length; i += 2) [own[i], own[i + 1]] = [-Infinity, Infinity];
  // Blocks of equal share of the texture, which need not be whole voxels.
  const blockOf = Int32Array.from({ length: side }, (_, i) => Math.min(Math.floor(((i + 0.5) / side) * count), count - 1));
  let n = 0;
  for (let z = 0; z < side; z++) {
    for (let y = 0; y < side; y++) {
      const line = (blockOf[z] * count + blockOf[y]) * count;
      for (let x = 0; x < side; x++, n++) {
        const place = 2 * (line + blockOf[x]);
        const v = values[n];
        if (v > own[place]) own[place] = v;
        if (v < own[place + 1]) own[place + 1] = v;
      }
    }
  }
  const ends = own.slice();
  const at = (z, y, x) => 2 * ((z * count + y) * count + x);
  for (let z = 0; z < count; z++) for (let y = 0; y < count; y++) for (let x = 0; x < count; x++) {
    const here = at(z, y, x);
    for (let a = Math.max(z - 1, 0); a <= Math.min(z + 1, count - 1); a++) for (let b = Math.max(y - 1, 0); b <= Math.min(y + 1, count - 1); b++) for (let c = Math.max(x - 1, 0); c <= Math.min(x + 1, count - 1); c++) {
      const there = at(a, b, c);
      ends[here] = Math.max(ends[here], own[there]);
      ends[here + 1] = Math.min(ends[here + 1], own[there + 1]);
    }
  }
  for (let i = 0; i < ends.length; i++) ends[i] *= factor;
  // Half precision rounds; nothing that reaches a level may be passed over.
  for (let i = 0; i < ends.length; i += 2) [ends[i], ends[i + 1]] = [ends[i] + Math.abs(ends[i]) * 1e-3 + 1e-3, ends[i + 1] - Math.abs(ends[i + 1]) * 1e-3 - 1e-3];
  return { ends, count };
}

// Half precision ends at 65504 and is coarse near zero, so the largest value becomes 1000.
function scaledForHalf(values, view, name) {
  let largest = 0;
  for (let i = 0; i < values.length; i++) largest = Math.max(largest, Math.abs(values[i]) || 0);
  const factor = largest > 0 ? 1000 / largest : 1;
  view[`factor_${name}`] = factor;
  const scaled = new Float32Array(values.length);
  for (let i = 0; i < values.length; i++) scaled[i] = values[i] * factor;
  return scaled;
}
