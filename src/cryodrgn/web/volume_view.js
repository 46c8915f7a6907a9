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
uniform sampler3D volume; uniform sampler3D other; uniform sampler2D ramp;
uniform mat3 turn; uniform float zoom; uniform vec2 aspect; uniform float level; uniform float sense;
uniform vec2 slab; uniform int both; uniform int tint; uniform vec2 tint_range; uniform vec3 ground; uniform vec3 base;
uniform float step_length; uniform float voxel;
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
    const gl = canvas.getContext("webgl2", { antialias: false, preserveDrawingBuffer: true });
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
    this.level = 0;
    this.slab = [-0.87, 0.87];
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
    this.values = values;
    this.side = side;
    this.upload("volume", 0, values, side);
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
    const ratio = (coarse ? 0.5 : 1) * Math.min(window.devicePixelRatio || 1, 1.5);
    const [w, h] = [Math.max(1, Math.round(canvas.clientWidth * ratio)), Math.max(1, Math.round(canvas.clientHeight * ratio))];
    if (canvas.width !== w || canvas.height !== h) [canvas.width, canvas.height] = [w, h];
    gl.viewport(0, 0, w, h);
    const ground = this.dark ? [0.09, 0.1, 0.12] : [1, 1, 1];
    gl.clearColor(...ground, 1);
    gl.clear(gl.COLOR_BUFFER_BIT);
    if (!this.values) return;
    gl.useProgram(this.program);
    gl.activeTexture(gl.TEXTURE0);
    gl.bindTexture(gl.TEXTURE_3D, this.textures.volume);
    gl.uniform1i(this.at("volume"), 0);
    gl.uniform1i(this.at("other"), 1);
    gl.uniform1i(this.at("ramp"), 2);
    gl.uniformMatrix3fv(this.at("turn"), false, this.camera.turn);
    gl.uniform1f(this.at("zoom"), this.camera.zoom * 1.5);
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
