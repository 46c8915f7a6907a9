// Latents and volumes of a report, which is opened from disk: its data stand in the page.

import { shortNumber } from "./charts.js";
import { Scatter, robustExtent, shadesOf, tableOf } from "./scatter.js";
import { Camera, VolumeView, halved, levelOf } from "./volume_view.js";

function bytesOf(text) {
  return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
}

// Numbers of 8 or 16 bits between two ends, of which zero stands for the lower one.
function numbersOf({ data, bits, low, high }) {
  const bytes = bytesOf(data);
  const whole = bits === 16 ? new Uint16Array(bytes.buffer) : bytes;
  const step = (high - low) / (2 ** bits - 1);
  return Float32Array.from(whole, (v) => low + step * v);
}

function choice(holder, name, entries, changed) {
  const label = document.createElement("label");
  const select = document.createElement("select");
  select.append(...entries.map((entry, i) => new Option(entry, i)));
  select.onchange = () => changed(Number(select.value));
  label.append(`${name} `, select);
  holder.append(label, " ");
  return select;
}

function showLatents(holder, { planes, clusters }) {
  const bar = document.createElement("p");
  const canvas = document.createElement("canvas");
  holder.append(bar, canvas);
  const scatter = new Scatter(canvas);
  const labels = clusters && numbersOf(clusters);
  const colour = (number) => {
    const values = number === 1 ? labels : scatter.density();
    scatter.setShades(shadesOf(values, number === 1, robustExtent(values)), tableOf(number === 1, "viridis"));
    scatter.draw();
  };
  let coloured = null;
  const plane = (number) => {
    scatter.setPoints(numbersOf(planes[number].x), numbersOf(planes[number].y));
    scatter.setChosen(null);
    scatter.fit();
    colour(Number(coloured.value));
  };
  choice(bar, "axes", planes.map((one) => one.name), plane);
  coloured = choice(bar, "colour", labels ? ["density", "cluster"] : ["density"], colour);
  plane(0);
  redrawnOnResize(() => scatter.draw());
  let grip = null;
  canvas.onpointerdown = (event) => {
    canvas.setPointerCapture(event.pointerId);
    grip = [event.clientX, event.clientY];
  };
  canvas.onpointermove = (event) => {
    if (!grip) return;
    scatter.pan(event.clientX - grip[0], event.clientY - grip[1]);
    grip = [event.clientX, event.clientY];
    scatter.draw();
  };
  canvas.onpointerup = () => (grip = null);
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    const box = canvas.getBoundingClientRect();
    scatter.zoom(Math.exp(event.deltaY * 0.001), event.clientX - box.left, event.clientY - box.top);
    scatter.draw();
  }, { passive: false });
}

function slider(holder, name, most, value, moved) {
  const label = document.createElement("label");
  const input = document.createElement("input");
  Object.assign(input, { type: "range", min: 0, max: most, value });
  input.oninput = () => moved(Number(input.value));
  label.append(`${name} `, input);
  holder.append(label, " ");
  return input;
}

function showVolumes(holder, series) {
  const bar = document.createElement("p");
  const canvas = document.createElement("canvas");
  const caption = document.createElement("p");
  holder.append(bar, canvas, caption);
  const view = new VolumeView(canvas, new Camera());
  let chosen = series[0];
  let number = 0;
  const show = () => {
    const volume = chosen.volumes[number];
    for (const one of [chosen.volumes[0], volume]) if (!one.halves) Object.assign(one, halved(numbersOf(one)));
    view.setVolume(volume);
    view.level = (levelOf(chosen.volumes[0]) * Number(level.value)) / 300;
    caption.textContent = `${volume.caption} · level ${shortNumber(view.level)}`;
    view.draw(true);
  };
  choice(bar, "volumes", series.map((one) => one.name), (place) => {
    [chosen, number] = [series[place], 0];
    which.max = chosen.volumes.length - 1;
    which.value = 0;
    show();
  });
  const which = slider(bar, "number", chosen.volumes.length - 1, 0, (value) => {
    number = value;
    show();
  });
  const level = slider(bar, "level", 1000, 300, show);
  show();
  redrawnOnResize(() => view.draw());
}

// Pictures have the size of their places, which a turned phone changes.
function redrawnOnResize(draw) {
  addEventListener("resize", draw);
}

const holder = document.getElementById("live-views");
try {
  const data = JSON.parse(document.getElementById("live-data").textContent);
  holder.hidden = false;
  for (const [kind, show] of [["latents", showLatents], ["volumes", showVolumes]]) {
    if (!data[kind]) continue;
    const part = document.createElement("div");
    holder.append(part);
    try {
      show(part, data[kind]);
    } catch (error) {
      // Without WebGL2, the pictures below show the same.
      part.remove();
      console.warn(error);
    }
  }
  holder.hidden = !holder.querySelector("canvas");
  holder.dataset.ready = "yes";
} catch (error) {
  holder.hidden = true;
  console.warn(error);
}
