// The latent space: points on two axes, their colours, and the choice among them.

import { rampBar, showGroups } from "./colours.js";
import { shortNumber } from "./charts.js";
import { combined, countOf, groupMask, inverted, polygonMask, rangeMask, rowsMask, rowsOf } from "./choosing.js";
import { drawOverlay } from "./overlay.js";
import { onPinch } from "./pinch.js";
import { Scatter, densityOf, robustExtent, shadesOf, tableOf } from "./scatter.js";
import { getJson, getNumbers } from "./server.js";

const find = (id) => document.getElementById(id);
const same = (a, b) => a && b && a[0] === b[0] && a[1] === b[1];
// What a column is in words that users look for, where its name is another.
const WORDS = { misfit: "misfit (loss)", "row in the file": "row in the file (time)" };
const label = (column) => WORDS[column[1]] ?? column[1];
// Groups of columns that the particle file has, whatever the epoch; they are listed last.
const OF_FILE = ["poses and CTF", "sets", "groups", "particle file"];
const DENSITY = ["", "density"];
// A pointer that stayed as near to where it was pressed has been clicked; a finger trembles.
const CLICK_PX = { mouse: 4, pen: 6, touch: 10 };
const isMissing = (error) => [404, 422].includes(error.status);

export class LatentPanel {
  constructor(page) {
    this.page = page;
    this.scatter = new Scatter(find("points"));
    this.scatter.painted = () => this.timed();
    this.overlay = find("overlay");
    this.history = [];
    this.groups = [];
    // Choices are made one after another, in the order in which they were asked for.
    this.queue = Promise.resolve();
    this.turn = 0;
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
    if (this.coloured) this.paint();
    this.draw();
  }

  take(name) {
    this.page.state.tool = this.tools.some(([tool]) => tool === name) ? name : "lasso";
    for (const button of find("tools").children) button.setAttribute("aria-pressed", button.dataset.tool === this.page.state.tool);
    find("points").style.cursor = this.page.state.tool === "move" ? "grab" : "crosshair";
  }

  async open() {
    const { page } = this;
    this.fileGroups = null;
    this.coloured = null;
    if (!page.run.particles) return;
    await this.listColumns();
    await this.refresh({ fit: !page.state.view });
    if (page.state.view) this.scatter.look(page.state.view);
    await this.replay(page.state.steps);
    this.draw();
    // Reading the particle file may take a while; the picture does not wait for it.
    page.tried(() => this.listFileColumns());
  }

  async listFileColumns() {
    const { page } = this;
    const { groups, notes } = await page.ofRun(getJson(`${page.api}/file-columns`));
    for (const note of notes) page.say(note);
    this.fileGroups = groups;
    this.fill();
  }

  // Columns of the epoch that is shown; what is not there at it gives way to what is.
  async listColumns() {
    const { state, api } = this.page;
    const { groups, notes, epoch } = await this.page.ofRun(getJson(`${api}/columns`, { epoch: state.epoch }));
    for (const note of notes) this.page.say(note);
    this.groups = groups;
    this.page.resolved = epoch;
    const names = groups.flatMap(({ group, names: all }) => all.map((name) => [group, name]));
    const known = (column) => OF_FILE.includes(column[0]) || ["", "clusters"].includes(column[0]) || names.some((one) => same(one, column));
    for (const name of ["x", "y", "colour"]) if (state[name] && !known(state[name])) this.giveUp(name);
    [state.x, state.y] = [state.x ?? this.usual("x"), state.y ?? this.usual("y")];
    this.fill();
  }

  // What an axis or the colour shows unless something else is asked for.
  usual(name) {
    if (name === "colour") return DENSITY;
    const names = this.groups.flatMap(({ group, names: all }) => all.map((one) => [group, one]));
    const first = (...wanted) => wanted.map((one) => names.find((column) => column[1] === one)).find(Boolean);
    return name === "x" ? first("UMAP1", "PC1", "z1") ?? names[0] : first("UMAP2", "PC2") ?? DENSITY;
  }

  // A column that is not there: says so, and shows what is usual.
  giveUp(name, why = null) {
    const { state } = this.page;
    const lost = state[name];
    state[name] = this.usual(name);
    if (name !== "colour") state.view = null;
    this.page.say(`${why ?? `no column ${label(lost)} here`}: ${label(state[name])} is shown in its place`);
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

  async axis(column, other, epoch) {
    if (column[0] === "") return { values: densityOf(other, other), unit: "" };
    return this.page.column(column, epoch);
  }

  async columnsOf({ x: xName, y: yName }, epoch = this.page.shownEpoch) {
    const xs = this.page.column(xName, epoch);
    return Promise.all([xs, this.axis(yName, yName[0] === "" ? (await xs).values : null, epoch)]);
  }

  // Read the columns that are shown, and draw them; of several wishes the last one counts.
  async refresh({ fit = false } = {}) {
    const { page } = this;
    const { state } = page;
    const turn = ++this.turn;
    let found = null;
    try {
      found = await page.ofRun(this.columnsOf(state));
    } catch (error) {
      if (turn !== this.turn || !(await this.withoutMissing(error))) throw error;
      found = await page.ofRun(this.columnsOf(state));
    }
    if (turn !== this.turn) return;
    const [x, y] = found;
    this.scatter.setPoints(x.values, y.values);
    [this.xUnit, this.yUnit] = [x.unit, y.unit];
    const places = JSON.stringify([state.run, state.x, state.y]);
    if (fit || this.places !== places || this.scatter.isFitted) this.scatter.fit();
    this.places = places;
    this.scatter.setChosen(this.mask);
    await this.colour();
    this.showCount();
  }

  // True if an axis was missing, and has been given up.
  async withoutMissing(error) {
    if (!isMissing(error)) return false;
    let any = false;
    for (const name of ["x", "y"]) {
      const column = this.page.state[name];
      if (column[0] === "" || same(column, this.usual(name))) continue;
      try {
        await this.page.column(column);
      } catch (reason) {
        if (!isMissing(reason)) throw reason;
        this.giveUp(name, reason.message);
        any = true;
      }
    }
    if (any) this.fill();
    return any;
  }

  async colour() {
    const { page } = this;
    const { state } = page;
    const asked = state.colour;
    let column;
    if (same(asked, DENSITY)) column = { values: this.scatter.density(), unit: "", names: null };
    else if (same(asked, ["", "chosen"])) column = { values: new Float32Array(this.scatter.count), unit: "", names: null };
    else {
      try {
        column = await page.ofRun(page.column(asked));
      } catch (error) {
        if (!isMissing(error)) throw error;
        if (same(state.colour, asked)) this.giveUp("colour", error.message);
        this.fill();
        column = { values: this.scatter.density(), unit: "", names: null };
      }
    }
    // Another colour has been asked for meanwhile, or other points are shown.
    if (!same(state.colour, asked) && !same(state.colour, DENSITY)) return;
    if (column.values.length !== this.scatter.count) return;
    this.coloured = column;
    this.range = column.names ? [0, 1] : robustExtent(column.values);
    this.paint();
    this.page.selections?.showHistogram(column, this.range);
    this.page.particle?.refresh();
    this.draw();
  }

  // Colours of the points, which differ on a dark ground.
  paint() {
    const { coloured: column, range } = this;
    const isAngle = column.unit === "°" && range[1] - range[0] > 300;
    const palette = isAngle ? "circle" : this.page.state.palette;
    const isGroup = Boolean(column.names);
    this.scatter.setShades(shadesOf(column.values, isGroup, range), tableOf(isGroup, palette, this.scatter.dark));
    this.legend(column, palette);
  }

  legend(column, palette) {
    const { colour } = this.page.state;
    const { dark } = this.scatter;
    if (same(colour, ["", "chosen"])) return find("legend").replaceChildren();
    if (column.names) return showGroups(find("legend"), column, dark, (number) => this.step({ kind: "groups", column: colour, groups: [number], mode: find("mode").value }));
    const ends = same(colour, DENSITY) ? ["few", "many particles"] : this.range.map((v, i) => shortNumber(v) + (i ? ` ${column.unit}` : ""));
    return find("legend").replaceChildren(...rampBar(palette, `${label(colour)}: ${ends[0]}`, ends[1], dark));
  }

  // Choices

  // Choices follow each other, whatever they wait for.
  queued(work) {
    this.queue = this.queue.then(() => this.page.tried(work));
    return this.queue;
  }

  // A choice belongs to the epoch whose values it was made by.
  step(step) {
    const made = { ...step, epoch: this.page.shownEpoch };
    const begun = performance.now();
    return this.queued(async () => {
      this.choosing = begun;
      const mask = await this.page.ofRun(this.maskAfter(made, this.mask));
      this.history.push({ step: made, mask });
      this.page.state.steps.push(made);
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
    const epoch = step.epoch === undefined ? page.shownEpoch : step.epoch;
    if (step.kind === "polygon") {
      const [x, y] = await this.columnsOf(step, epoch);
      return polygonMask(x.values, y.values, step.polygon);
    }
    if (step.kind === "range") return rangeMask((await page.column(step.column, epoch)).values, step.low, step.high);
    if (step.kind === "groups") return groupMask((await page.column(step.column, epoch)).values, step.groups);
    if (step.kind === "saved") {
      const { values } = await getNumbers(`${page.api}/selection`, { name: step.name }, { kind: Uint32Array });
      return rowsMask(values, count);
    }
    throw new Error(`the state holds a choice that this version does not know: ${step.kind}`);
  }

  replay(steps) {
    return this.queued(async () => {
      this.history = [];
      const done = [];
      for (const step of steps) {
        const mask = await this.page.tried(() => this.page.ofRun(this.maskAfter(step, this.mask)));
        if (!mask) continue;
        this.history.push({ step, mask });
        done.push(step);
      }
      this.page.state.steps = done;
      this.showChoice();
    });
  }

  undo() {
    return this.queued(() => {
      this.history.pop();
      this.page.state.steps.pop();
      this.showChoice();
    });
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
    onPinch(canvas, (factor, ...at) => {
      this.grip = null;
      this.scatter.zoom(1 / factor, ...at);
      this.draw();
      page.changed();
    });
    canvas.addEventListener("pointerdown", (event) => {
      if (!event.isPrimary) {
        this.letGo();
        return;
      }
      canvas.setPointerCapture(event.pointerId);
      const at = place(event);
      this.grip = { from: at, last: at, track: [at], tool: event.button === 1 ? "move" : page.state.tool, within: CLICK_PX[event.pointerType] ?? CLICK_PX.mouse, isClick: true, hasPointed: false };
      // A finger may be the first of two, so that it points once it moves or leaves.
      if (event.pointerType !== "touch") this.pointed();
    });
    canvas.addEventListener("pointermove", (event) => {
      if (event.isPrimary) this.moved(place(event));
    });
    canvas.addEventListener("pointerup", () => this.released());
    canvas.addEventListener("pointercancel", () => this.letGo());
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
    grip.isClick &&= Math.hypot(at[0] - grip.track[0][0], at[1] - grip.track[0][1]) < grip.within;
    if (!grip.isClick) this.pointed();
    if (grip.tool === "move") {
      this.scatter.pan(at[0] - grip.last[0], at[1] - grip.last[1]);
      this.draw();
    }
    if (grip.tool === "volume" && grip.hasPointed) page.volumes.point(this, ...at);
    if (grip.tool === "path" && Math.hypot(at[0] - grip.from[0], at[1] - grip.from[1]) > 45) {
      grip.from = at;
      page.volumes.path.add(this, ...at);
    }
    grip.last = at;
    grip.track.push(at);
    this.drawOverlay();
  }

  // The place that was pressed is where a volume is decoded, or a path goes through; once.
  pointed() {
    const { grip, page } = this;
    if (grip.hasPointed) return;
    grip.hasPointed = true;
    if (grip.tool === "volume") page.volumes.point(this, ...grip.from);
    if (grip.tool === "path") page.volumes.path.add(this, ...grip.from);
  }

  // What was begun is not meant: a second finger has come, or the system has taken the pointer.
  letGo() {
    this.grip = null;
    this.drawOverlay();
  }

  released() {
    const { grip, page } = this;
    if (!grip) return;
    this.pointed();
    this.grip = null;
    let { track } = grip;
    // A finger points at nothing before it touches.
    if (grip.isClick) page.particle.hover(this.scatter, ...track[0]);
    if (grip.tool === "box") {
      const [[x0, y0], [x1, y1]] = [grip.from, grip.last];
      track = [[x0, y0], [x1, y0], [x1, y1], [x0, y1]];
    }
    if (["lasso", "box"].includes(grip.tool) && !grip.isClick && track.length > 2) {
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
    drawOverlay(this.overlay, this.scatter, this.grip, this.page.state);
  }
}
