// The latent space: points on two axes, their colours, and the choice among them.

import { cssColour, groupColour, rampBar } from "./colours.js";
import { shortNumber } from "./charts.js";
import { combined, countOf, groupMask, inverted, polygonMask, rangeMask, rowsMask, rowsOf } from "./choosing.js";
import { Scatter, densityOf, robustExtent, shadesOf, tableOf } from "./scatter.js";
import { getJson, getNumbers } from "./server.js";

const find = (id) => document.getElementById(id);
const same = (a, b) => a && b && a[0] === b[0] && a[1] === b[1];
// What a column is in words that users look for, where its name is another.
const WORDS = { misfit: "misfit (loss)", "row in the file": "row in the file (time)" };
const label = (column) => WORDS[column[1]] ?? column[1];

export class LatentPanel {
  constructor(page) {
    this.page = page;
    this.scatter = new Scatter(find("points"));
    this.scatter.painted = () => this.timed();
    this.overlay = find("overlay");
    this.history = [];
    this.groups = [];
    this.tools = [
      ["lasso", "l", "draw around particles"],
      ["box", "b", "choose a box of particles"],
      ["volume", "v", "decode the volume where one clicks or drags"],
      ["path", "p", "click or drag a path through the latent space"],
      ["move", "m", "move the particles; the wheel zooms with every tool"],
    ];
    find("tools").replaceChildren(...this.tools.map(([name, key, text]) => {
      const button = document.createElement("button");
      button.textContent = name[0].toUpperCase() + name.slice(1);
      button.title = `${text} (${key})`;
      button.dataset.tool = name;
      button.onclick = () => this.take(name);
      return button;
    }));
    this.listen();
    this.take(page.state.tool);
  }

  // How long the first picture took, and a choice until its number is said and until it is drawn.
  timed() {
    const { timings } = this.page;
    timings.picture ??= performance.now();
    if (this.choosing) timings.drawn = performance.now() - this.choosing;
    this.choosing = null;
  }

  get mask() {
    return this.history.length ? this.history[this.history.length - 1].mask : null;
  }

  setDark(dark) {
    this.scatter.dark = dark;
    this.draw();
  }

  take(name) {
    this.page.state.tool = this.tools.some(([tool]) => tool === name) ? name : "lasso";
    for (const button of find("tools").children) button.setAttribute("aria-pressed", button.dataset.tool === this.page.state.tool);
    find("points").style.cursor = this.page.state.tool === "move" ? "grab" : "crosshair";
  }

  async open() {
    const { page } = this;
    if (!page.run.particles) return;
    await this.listColumns();
    await this.refresh({ fit: !page.state.view });
    if (page.state.view) this.scatter.view = { ...page.state.view };
    await this.replay(page.state.steps);
    this.draw();
    // Reading the particle file may take a while; the picture does not wait for it.
    page.tried(async () => {
      const { groups, notes } = await getJson(`${page.api}/file-columns`);
      for (const note of notes) page.say(note);
      this.fileGroups = groups;
      this.fill();
    });
  }

  async listColumns() {
    const { state, api } = this.page;
    const { groups, notes } = await getJson(`${api}/columns`, { epoch: state.epoch });
    for (const note of notes) this.page.say(note);
    this.groups = groups;
    const names = groups.flatMap(({ group, names: all }) => all.map((name) => [group, name]));
    const first = (...wanted) => wanted.map((name) => names.find((column) => column[1] === name)).find(Boolean);
    const known = (column) => column && (names.some((one) => same(one, column)) || !groups.some((g) => g.group === column[0]));
    if (!known(state.x)) state.x = first("UMAP1", "PC1", "z1") ?? names[0];
    if (!known(state.y)) state.y = first("UMAP2", "PC2") ?? ["", "density"];
    this.fill();
  }

  fill() {
    const { state } = this.page;
    const groups = [...this.groups, ...(this.fileGroups ?? [])];
    const select = (holder, chosen, more) => {
      holder.replaceChildren();
      for (const { group, names } of [...more, ...groups]) {
        const part = document.createElement("optgroup");
        part.label = group || "computed";
        part.append(...names.map((name) => new Option(label([group, name]), JSON.stringify([group, name]))));
        holder.append(part);
      }
      const value = JSON.stringify(chosen);
      if (![...holder.options].some((option) => option.value === value)) holder.append(new Option(label(chosen), value));
      holder.value = value;
    };
    const density = { group: "", names: ["density"] };
    select(find("x"), state.x, []);
    select(find("y"), state.y, [density]);
    select(find("colour"), state.colour[0] === "clusters" ? ["clusters", "k-means"] : state.colour, [{ group: "", names: ["density", "chosen"] }, { group: "clusters", names: ["k-means"] }]);
    find("k").value = state.k;
    find("cluster-count").hidden = state.colour[0] !== "clusters";
    find("palette").value = state.palette;
  }

  async axis(column, other) {
    if (column[0] === "") return { values: densityOf(other, other), unit: "" };
    return this.page.column(column);
  }

  async columnsOf({ x: xName, y: yName }) {
    const xs = this.page.column(xName);
    return Promise.all([xs, this.axis(yName, yName[0] === "" ? (await xs).values : null)]);
  }

  // Read the columns that are shown, and draw them.
  async refresh({ fit = false } = {}) {
    const { state } = this.page;
    const [x, y] = await this.columnsOf(state);
    this.scatter.setPoints(x.values, y.values);
    [this.xUnit, this.yUnit] = [x.unit, y.unit];
    const places = JSON.stringify([state.run, state.x, state.y]);
    if (fit || this.places !== places) this.scatter.fit();
    this.places = places;
    this.scatter.setChosen(this.mask);
    await this.colour();
    this.showCount();
  }

  async colour() {
    const { state } = this.page;
    let column;
    if (same(state.colour, ["", "density"])) column = { values: this.scatter.density(), unit: "", names: null };
    else if (same(state.colour, ["", "chosen"])) column = { values: new Float32Array(this.scatter.count), unit: "", names: null };
    else column = await this.page.column(state.colour);
    this.coloured = column;
    this.range = column.names ? [0, 1] : robustExtent(column.values);
    const isAngle = column.unit === "°" && this.range[1] - this.range[0] > 300;
    const palette = isAngle ? "circle" : state.palette;
    this.scatter.setShades(shadesOf(column.values, Boolean(column.names), this.range), tableOf(Boolean(column.names), palette));
    this.legend(column, palette);
    this.page.selections?.showHistogram(column, this.range);
    this.draw();
  }

  legend(column, palette) {
    const holder = find("legend");
    holder.replaceChildren();
    if (same(this.page.state.colour, ["", "chosen"])) return;
    if (column.names) {
      const counts = new Uint32Array(column.names.length);
      for (const v of column.values) if (v === v) counts[v]++;
      column.names.slice(0, 200).forEach((name, number) => {
        const button = document.createElement("button");
        const dot = document.createElement("i");
        dot.style.background = cssColour(groupColour(number % 24));
        button.append(dot, `${name} (${counts[number].toLocaleString("en")})`);
        button.title = "choose these particles";
        button.onclick = () => this.step({ kind: "groups", column: this.page.state.colour, groups: [number], mode: find("mode").value });
        holder.append(button);
      });
      if (column.names.length > 200) holder.append(`… of ${column.names.length}`);
      return;
    }
    const ends = same(this.page.state.colour, ["", "density"]) ? ["few", "many particles"] : this.range.map((v, i) => shortNumber(v) + (i ? ` ${column.unit}` : ""));
    holder.append(...rampBar(palette, `${label(this.page.state.colour)}: ${ends[0]}`, ends[1]));
  }

  // Choices

  async step(step) {
    await this.page.tried(async () => {
      this.choosing = performance.now();
      const mask = await this.maskAfter(step, this.mask);
      this.history.push({ step, mask });
      this.page.state.steps.push(step);
      this.showChoice();
      this.page.timings.choice = performance.now() - (this.choosing ?? Infinity);
    });
  }

  async maskAfter(step, before) {
    const count = this.scatter.count;
    if (step.kind === "clear") return new Uint8Array(count);
    if (step.kind === "invert") return inverted(before, count);
    return combined(before, await this.maskOf(step, count), step.mode);
  }

  async maskOf(step, count) {
    const { page } = this;
    if (step.kind === "polygon") {
      const [x, y] = await this.columnsOf(step);
      return polygonMask(x.values, y.values, step.polygon);
    }
    if (step.kind === "range") return rangeMask((await page.column(step.column)).values, step.low, step.high);
    if (step.kind === "groups") return groupMask((await page.column(step.column)).values, step.groups);
    if (step.kind === "saved") {
      const { values } = await getNumbers(`${page.api}/selection`, { name: step.name }, { kind: Uint32Array });
      return rowsMask(values, count);
    }
    throw new Error(`the state holds a choice that this version does not know: ${step.kind}`);
  }

  async replay(steps) {
    this.history = [];
    const done = [];
    for (const step of steps) {
      const mask = await this.page.tried(() => this.maskAfter(step, this.mask));
      if (!mask) continue;
      this.history.push({ step, mask });
      done.push(step);
    }
    this.page.state.steps = done;
    this.showChoice();
  }

  undo() {
    this.history.pop();
    this.page.state.steps.pop();
    this.showChoice();
  }

  clear() {
    if (this.history.length) this.step({ kind: "clear" });
  }

  showChoice() {
    const { mask } = this;
    const any = mask && countOf(mask) > 0;
    this.scatter.setChosen(any ? mask : null);
    this.showCount();
    this.draw();
    this.page.changed();
  }

  showCount() {
    const all = this.scatter.count;
    const count = this.mask ? countOf(this.mask) : 0;
    const share = all ? (100 * count) / all : 0;
    find("count").textContent = `${count.toLocaleString("en")} of ${all.toLocaleString("en")} particles chosen (${share.toFixed(share < 10 ? 2 : 1)} %)`;
  }

  chosenRows() {
    return this.mask ? rowsOf(this.mask) : new Uint32Array(0);
  }

  // Pointer

  listen() {
    const canvas = find("points");
    const { page } = this;
    for (const [id, name] of [["x", "x"], ["y", "y"]]) {
      find(id).onchange = () => {
        page.state[name] = JSON.parse(find(id).value);
        page.tried(() => this.refresh({ fit: true })).then(() => page.changed());
      };
    }
    const recolour = () => {
      const value = JSON.parse(find("colour").value);
      page.state.k = Math.min(Math.max(Math.round(Number(find("k").value)) || 10, 2), 100);
      page.state.colour = value[0] === "clusters" ? ["clusters", String(page.state.k)] : value;
      page.state.palette = find("palette").value;
      find("cluster-count").hidden = value[0] !== "clusters";
      page.tried(() => this.colour()).then(() => page.changed());
    };
    for (const id of ["colour", "k", "palette"]) find(id).onchange = recolour;
    find("invert").onclick = () => this.step({ kind: "invert" });
    find("undo").onclick = () => this.undo();
    find("clear").onclick = () => this.clear();
    find("fit").onclick = () => {
      this.scatter.fit();
      this.draw();
      page.changed();
    };
    const place = (event) => {
      const box = canvas.getBoundingClientRect();
      return [event.clientX - box.left, event.clientY - box.top];
    };
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      this.grip = { from: place(event), last: place(event), track: [place(event)], tool: event.button === 1 ? "move" : page.state.tool };
      if (this.grip.tool === "volume") page.volumes.point(this, ...place(event));
      if (this.grip.tool === "path") page.volumes.addAnchor(this, ...place(event));
    });
    canvas.addEventListener("pointermove", (event) => this.moved(place(event)));
    for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, () => this.released());
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.scatter.zoom(Math.exp(event.deltaY * 0.001), ...place(event));
      this.draw();
      page.changed();
    }, { passive: false });
  }

  moved(at) {
    const { grip, page } = this;
    if (!grip) {
      page.particle.hover(this.scatter, ...at);
      return;
    }
    if (grip.tool === "move") {
      this.scatter.pan(at[0] - grip.last[0], at[1] - grip.last[1]);
      this.draw();
    }
    if (grip.tool === "volume") page.volumes.point(this, ...at);
    if (grip.tool === "path" && Math.hypot(at[0] - grip.from[0], at[1] - grip.from[1]) > 45) {
      grip.from = at;
      page.volumes.addAnchor(this, ...at);
    }
    grip.last = at;
    grip.track.push(at);
    this.drawOverlay();
  }

  released() {
    const { grip, page } = this;
    this.grip = null;
    if (!grip) return;
    let track = grip.track;
    if (grip.tool === "box") {
      const [[x0, y0], [x1, y1]] = [grip.from, grip.last];
      track = [[x0, y0], [x1, y0], [x1, y1], [x0, y1]];
    }
    if (["lasso", "box"].includes(grip.tool) && Math.hypot(grip.last[0] - grip.from[0], grip.last[1] - grip.from[1], track.length) > 4 && track.length > 2) {
      const polygon = track.map(([px, py]) => this.scatter.toData(px, py));
      this.step({ kind: "polygon", x: page.state.x, y: page.state.y, polygon, mode: find("mode").value });
    }
    if (grip.tool === "move") page.changed();
    this.drawOverlay();
  }

  draw() {
    this.scatter.draw();
    this.drawOverlay();
    this.drawAxes();
  }

  drawAxes() {
    const { view } = this.scatter;
    const { state } = this.page;
    if (!state.x) return;
    const unit = (text) => (text ? ` (${text})` : "");
    const marks = { x0: shortNumber(view.cx - view.wx), x1: shortNumber(view.cx + view.wx), xn: label(state.x) + unit(this.xUnit), y0: shortNumber(view.cy - view.wy), y1: shortNumber(view.cy + view.wy), yn: label(state.y) + unit(this.yUnit) };
    find("axes").replaceChildren(...Object.entries(marks).map(([name, text]) => {
      const mark = document.createElement("span");
      mark.className = name;
      mark.textContent = text;
      return mark;
    }));
  }

  drawOverlay() {
    const { overlay, scatter, grip, page } = this;
    const ratio = window.devicePixelRatio || 1;
    [overlay.width, overlay.height] = [overlay.clientWidth * ratio, overlay.clientHeight * ratio];
    const context = overlay.getContext("2d");
    context.scale(ratio, ratio);
    const ink = page.state.dark ? "#fff" : "#000";
    if (grip && ["lasso", "box"].includes(grip.tool)) {
      context.beginPath();
      if (grip.tool === "box") context.rect(...grip.from, grip.last[0] - grip.from[0], grip.last[1] - grip.from[1]);
      else grip.track.forEach(([x, y], i) => (i ? context.lineTo(x, y) : context.moveTo(x, y)));
      context.strokeStyle = ink;
      context.fillStyle = "rgba(0, 114, 178, .12)";
      context.fill();
      context.stroke();
    }
    const mark = (row, letter) => {
      if (row === null || row === undefined || row >= scatter.count) return null;
      const [x, y] = scatter.toPixels(scatter.x[row], scatter.y[row]);
      context.beginPath();
      context.arc(x, y, 7, 0, 7);
      context.fillStyle = "#d55e00";
      context.fill();
      context.fillStyle = "#fff";
      context.font = "bold 10px system-ui";
      context.textAlign = "center";
      context.fillText(letter, x, y + 3.5);
      return [x, y];
    };
    let before = null;
    page.state.anchors.forEach((anchor, i) => {
      const at = mark(anchor.row, String(i + 1));
      if (before && at) {
        context.strokeStyle = "#d55e00";
        context.beginPath();
        context.moveTo(...before);
        context.lineTo(...at);
        context.stroke();
      }
      before = at;
    });
    mark(page.state.a?.row, "A");
    mark(page.state.b?.row, "B");
  }
}
