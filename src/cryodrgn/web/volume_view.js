// A volume as its surface at a level, found along rays through a 3-D texture by WebGL2.
//
// Volumes are float32 with axes (z, y, x); the texture's axes are (x, y, z).

import { rampOf } from "./colours.js";
import { onPinch } from "./pinch.js";

const VERTEX = `#version 300 es
in vec2 corner; out vec2 place;
void main() { place = corner; gl_Position = vec4(corner, 0.0, 1.0); }`;
const FRAGMENT = `#version 300 es
precision highp float; precision highp sampler3D;
in vec2 place; out vec4 result;
uniform sampler3D volume; uniform sampler3D other; uniform sampler3D blocks; uniform sampler2D ramp;
uniform mat3 turn; uniform float zoom; uniform vec2 aspect; uniform float level;
uniform vec2 slab; uniform int both; uniform int tint; uniform vec2 tint_range; uniform vec3 ground; uniform vec3 base;
uniform float step_length; uniform float voxel; uniform int blocks_across;
float value(vec3 p) { float v = texture(volume, p).r; return both == 1 ? abs(v) : v; }
vec3 slope(vec3 p) {
  vec2 d = vec2(voxel, 0.0);
  return vec3(value(p + d.xyy) - value(p - d.xyy), value(p + d.yxy) - value(p - d.yxy), value(p + d.yyx) - value(p - d.yyx));
}
void main() {
  // The ray in texture coordinates, and the part of it within the box and the slab.
  vec3 origin = turn * vec3(place * aspect / zoom, -1.2) + 0.5, ray = turn * vec3(0.0, 0.0, 1.0);
  ray += vec3(lessThan(abs(ray), vec3(1e-6))) * 1e-6;
  vec3 one = -origin / ray, two = (1.0 - origin) / ray, near = min(one, two), far = max(one, two);
  float from = max(max(near.x, max(near.y, near.z)), 1.2 + slab.x);
  float until = min(min(far.x, min(far.y, far.z)), 1.2 + slab.y);
  result = vec4(ground, 1.0);
  float across = float(blocks_across), t = from;
  while (t < until) {
    vec3 p = origin + ray * t;
    vec3 cell = clamp(floor(p * across), 0.0, across - 1.0);
    vec3 leave = ((cell + step(0.0, ray)) / across - origin) / ray;
    float end = min(max(min(leave.x, min(leave.y, leave.z)), t + 1e-4), until);
    // Nothing within this block reaches the level: go on behind it.
    if (texelFetch(blocks, ivec3(cell), 0).r < level) { t = end + 1e-5; continue; }
    for (; t <= end; t += step_length) {
      if (value(origin + ray * t) < level) continue;
      float low = max(t - step_length, from), high = t;
      for (int i = 0; i < 5; i++) {
        float middle = 0.5 * (low + high);
        if (value(origin + ray * middle) >= level) high = middle; else low = middle;
      }
      p = origin + ray * high;
      vec3 g = slope(p);
      bool cut = t == from && slab.x > -0.85;
      vec3 normal = length(g) > 0.0 ? -normalize(g) : -ray;
      float light = cut ? 0.9 : 0.3 + 0.65 * max(dot(normal, normalize(turn * vec3(-0.4, 0.5, -1.0))), 0.0);
      vec3 colour = base;
      if (both == 1) colour = texture(volume, p).r > 0.0 ? vec3(0.84, 0.37, 0.0) : vec3(0.0, 0.45, 0.7);
      if (tint == 1) colour = texture(ramp, vec2(clamp((texture(other, p).r - tint_range.x) / (tint_range.y - tint_range.x), 0.002, 0.998), 0.5)).rgb;
      float rim = 1.0 - max(dot(normal, -ray), 0.0);
      result = vec4(colour * light + 0.12 * rim, 1.0);
      return;
    }
  }
}`;

function compiled(gl, vertex, fragment) {
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

// Milliseconds that a picture may take, while the volume turns and when it rests.
const COARSE_MS = 20;
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

// A level at which a molecule shows: a few per cent of the box lie above it, and hardly any of what
// lies outside of the sphere in the box, where no molecule is and noise is largest.
export function levelOf({ halves, factor }) {
  const side = Math.round(Math.cbrt(halves.length));
  const isOutside = (at) => {
    const square = (place) => (place - (side >> 1)) ** 2;
    return 4 * (square(at % side) + square(Math.floor(at / side) % side) + square(Math.floor(at / side / side))) > side ** 2;
  };
  const step = Math.max(1, Math.floor(halves.length / 50000));
  const places = Array.from({ length: Math.ceil(halves.length / step) }, (_, i) => i * step);
  const sorted = (chosen) => Float32Array.from(chosen, (at) => floatOf(halves[at]) / factor).sort();
  const share = (values, part) => values[Math.floor((values.length - 1) * part)] ?? 0;
  const whole = sorted(places);
  // Where noise is as large as the molecule, some of it is shown rather than nothing.
  const noise = Math.min(1.3 * share(sorted(places.filter(isOutside)), 0.999), 0.6 * share(whole, 1));
  return Math.max(share(whole, 0.965), share(whole, 0.999) * 0.25, noise, 0);
}

// Values of another volume where the surface of one lies, but for the outermost: ends of its colours.
export function rangeOnSurface(other, { halves, factor, side }, level) {
  const found = [];
  const step = Math.max(1, Math.floor(halves.length / 300000));
  const place = (at) => Math.floor(((at + 0.5) * other.side) / side);
  for (let i = 0; i < halves.length; i += step) {
    const value = floatOf(halves[i]) / factor;
    if (value < level || value > 1.5 * level) continue;
    const [x, y, z] = [i % side, Math.floor(i / side) % side, Math.floor(i / side / side)].map(place);
    found.push(floatOf(other.halves[(z * other.side + y) * other.side + x]) / other.factor);
  }
  const sorted = Float32Array.from(found).sort();
  const [low, high] = [0.02, 0.98].map((part) => sorted[Math.floor((sorted.length - 1) * part)] ?? 0);
  return high > low ? [low, high] : [low, low + (Math.abs(low) || 1) * 1e-3];
}

export class VolumeView {
  constructor(canvas, camera) {
    this.canvas = canvas;
    this.gl = null;
    this.textures = {};
    // Called when a picture has been drawn.
    this.painted = null;
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

  // WebGL is begun with the first volume: compiling takes a while, particles come first.
  begin() {
    const gl = this.canvas.getContext("webgl2", { alpha: false, antialias: false, preserveDrawingBuffer: true });
    if (!gl) throw Object.assign(new Error("this browser has no WebGL2, which drawing volumes needs; particles, choices and .mrc files work without"), { status: 0 });
    this.gl = gl;
    // Rows of half precision, of odd numbers of blocks too.
    gl.pixelStorei(gl.UNPACK_ALIGNMENT, 2);
    this.program = compiled(gl, VERTEX, FRAGMENT);
    this.at = (name) => gl.getUniformLocation(this.program, name);
    const corners = gl.createBuffer();
    gl.bindBuffer(gl.ARRAY_BUFFER, corners);
    gl.bufferData(gl.ARRAY_BUFFER, new Float32Array([-1, -1, 1, -1, -1, 1, 1, 1]), gl.STATIC_DRAW);
    gl.enableVertexAttribArray(gl.getAttribLocation(this.program, "corner"));
    gl.vertexAttribPointer(gl.getAttribLocation(this.program, "corner"), 2, gl.FLOAT, false, 0, 0);
  }

  // A cubic volume (z, y, x) as halved; with `both`, surfaces at the level and its negative.
  setVolume(volume, both = false) {
    if (this.shown === volume) return;
    if (!this.gl) this.begin();
    this.shown = volume;
    this.both = both;
    this.side = volume.side;
    this.upload("volume", 0, volume);
    const gl = this.gl;
    const { most, count } = volume.blocks ?? blocksOf(volume.halves, volume.side, both);
    this.textures.blocks ??= gl.createTexture();
    gl.activeTexture(gl.TEXTURE3);
    gl.bindTexture(gl.TEXTURE_3D, this.textures.blocks);
    gl.texImage3D(gl.TEXTURE_3D, 0, gl.R16F, count, count, count, 0, gl.RED, gl.HALF_FLOAT, most);
    for (const f of [gl.TEXTURE_MIN_FILTER, gl.TEXTURE_MAG_FILTER]) gl.texParameteri(gl.TEXTURE_3D, f, gl.NEAREST);
    for (const w of [gl.TEXTURE_WRAP_S, gl.TEXTURE_WRAP_T, gl.TEXTURE_WRAP_R]) gl.texParameteri(gl.TEXTURE_3D, w, gl.CLAMP_TO_EDGE);
    this.blocksAcross = count;
  }

  // Nothing to see: of a run that is opened, or has no volumes.
  clear() {
    this.shown = null;
    if (!this.gl) return;
    this.gl.clearColor(...this.ground, 1);
    this.gl.clear(this.gl.COLOR_BUFFER_BIT);
  }

  get ground() {
    return this.dark ? [0.09, 0.1, 0.12] : [1, 1, 1];
  }

  setTint(volume, range, palette) {
    this.tint = volume ? range : null;
    if (!volume) return;
    if (!this.gl) this.begin();
    this.upload("other", 1, volume);
    const gl = this.gl;
    this.textures.ramp ??= gl.createTexture();
    gl.activeTexture(gl.TEXTURE2);
    gl.bindTexture(gl.TEXTURE_2D, this.textures.ramp);
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA, 256, 1, 0, gl.RGBA, gl.UNSIGNED_BYTE, rampOf(palette));
    for (const f of [gl.TEXTURE_MIN_FILTER, gl.TEXTURE_MAG_FILTER]) gl.texParameteri(gl.TEXTURE_2D, f, gl.LINEAR);
  }

  upload(name, unit, { halves, factor, side }) {
    const gl = this.gl;
    this[`factor_${name}`] = factor;
    this.textures[name] ??= gl.createTexture();
    gl.activeTexture(gl.TEXTURE0 + unit);
    gl.bindTexture(gl.TEXTURE_3D, this.textures[name]);
    gl.texImage3D(gl.TEXTURE_3D, 0, gl.R16F, side, side, side, 0, gl.RED, gl.HALF_FLOAT, halves);
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
    if (!this.shown) return;
    // As sharp as this machine draws in time: without a graphics card, pixels cost.
    const budget = coarse ? COARSE_MS : FINE_MS;
    const wanted = (coarse ? 0.6 : 1) * Math.min(window.devicePixelRatio || 1, 1.5);
    const affordable = Math.sqrt(budget / this.cost / (canvas.clientWidth * canvas.clientHeight || 1));
    const ratio = Math.min(wanted, Math.max(affordable, coarse ? 0.25 : 0.5));
    // The frames of a film have one size.
    const [w, h] = this.size ?? [canvas.clientWidth, canvas.clientHeight].map((side) => Math.max(1, Math.round(side * ratio)));
    if (canvas.width !== w || canvas.height !== h) [canvas.width, canvas.height] = [w, h];
    gl.viewport(0, 0, w, h);
    const { ground } = this;
    gl.clearColor(...ground, 1);
    gl.clear(gl.COLOR_BUFFER_BIT);
    const begun = performance.now();
    gl.useProgram(this.program);
    gl.uniform1i(this.at("blocks"), 3);
    gl.uniform1i(this.at("blocks_across"), this.blocksAcross);
    gl.activeTexture(gl.TEXTURE0);
    gl.bindTexture(gl.TEXTURE_3D, this.textures.volume);
    gl.uniform1i(this.at("volume"), 0);
    gl.uniform1i(this.at("other"), 1);
    gl.uniform1i(this.at("ramp"), 2);
    gl.uniformMatrix3fv(this.at("turn"), false, this.camera.turn);
    gl.uniform1f(this.at("zoom"), this.camera.zoom * 2.1);
    const short = Math.min(w, h);
    gl.uniform2f(this.at("aspect"), w / short, h / short);
    gl.uniform1f(this.at("level"), this.level * this.factor_volume);
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
    // Some milliseconds pass before the first pixel.
    this.cost = Math.max(seconds - 15, 0.3) / (w * h);
    this.painted?.();
  }

  steer() {
    const { canvas, camera } = this;
    const zoom = (factor) => {
      camera.zoom = Math.min(Math.max(camera.zoom * factor, 0.3), 10);
      camera.changed();
    };
    onPinch(canvas, (factor) => {
      this.grip = null;
      zoom(factor);
    });
    canvas.addEventListener("pointerdown", (event) => {
      if (!event.isPrimary) return;
      canvas.setPointerCapture(event.pointerId);
      this.grip = [event.clientX, event.clientY];
    });
    canvas.addEventListener("pointermove", (event) => {
      if (!this.grip || !event.isPrimary) return;
      const [x, y] = this.grip;
      this.grip = [event.clientX, event.clientY];
      camera.rotate(((event.clientX - x) / canvas.clientWidth) * 4, ((event.clientY - y) / canvas.clientHeight) * 4);
    });
    for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, () => (this.grip = null));
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      zoom(Math.exp(-event.deltaY * 0.001));
    }, { passive: false });
  }
}

const BLOCK = 4;

// Largest values within blocks, as the server's largest_of_blocks has them, for volumes that are made
// here; with `both`, largest sizes.
export function blocksOf(halves, side, both = false) {
  const count = Math.max(Math.ceil(side / BLOCK), 1);
  const first = Int32Array.from({ length: count }, (_, c) => Math.max(Math.floor((c * side) / count - 0.5), 0));
  const last = Int32Array.from({ length: count }, (_, c) => Math.min(Math.floor(((c + 1) * side) / count - 0.5) + 1, side - 1));
  // One axis after another, of lines whose values are `stride` apart.
  const along = (from, lines, stride) => {
    const to = new Int16Array(lines * count * stride);
    for (let line = 0, n = 0; line < lines; line++) {
      for (let c = 0; c < count; c++) {
        for (let s = 0; s < stride; s++, n++) {
          const end = (line * side + last[c]) * stride + s;
          let most = 0;
          for (let at = (line * side + first[c]) * stride + s; at <= end; at += stride) most = Math.max(most, from[at]);
          to[n] = most;
        }
      }
    }
    return to;
  };
  const signed = new Int16Array(halves.buffer, halves.byteOffset, halves.length);
  const sizes = both ? signed.map((v) => v & 0x7fff) : signed;
  const most = along(along(along(sizes, 1, side * side), count, side), count * count, 1);
  return { most: new Uint16Array(most.buffer), count };
}

function floatOf(half) {
  const [exponent, rest] = [(half >> 10) & 31, half & 1023];
  const size = exponent ? (1 + rest / 1024) * 2 ** (exponent - 15) : rest * 2 ** -24;
  return half & 0x8000 ? -size : size;
}

// Numbers in half precision as bits, and the factor by which they were multiplied: half precision
// ends at 65504 and is coarse near zero, so the largest becomes 1000. Rounded to the nearest.
export function halved(values) {
  let largest = 0;
  for (let i = 0; i < values.length; i++) largest = Math.max(largest, Math.abs(values[i]) || 0);
  const factor = largest > 0 ? 1000 / largest : 1;
  const halves = new Uint16Array(values.length);
  const one = new Float32Array(1);
  const bits = new Uint32Array(one.buffer);
  for (let i = 0; i < values.length; i++) {
    // Numbers below 2⁻¹⁴, a hundred-thousandth of the largest, count in steps of 2⁻²⁴.
    const size = Math.abs(values[i] * factor) || 0;
    one[0] = size;
    halves[i] = (size < 2 ** -14 ? Math.round(size * 2 ** 24) : (bits[0] - 0x38000000 + 0x1000) >>> 13) | (values[i] < 0 ? 0x8000 : 0);
  }
  return { halves, factor };
}
