// Volumes: decoded where one points, two side by side, their difference, films of paths.

import { shortNumber } from "./charts.js";
import { rampBar } from "./colours.js";
import { download } from "./film.js";
import { PathPanel } from "./path_panel.js";
import { getJson, getNumbers, query, refused } from "./server.js";
import { Camera, VolumeView, halved, levelOf, rangeOnSurface } from "./volume_view.js";

const find = (id) => document.getElementById(id);
// Å that a box is wide; sizes that differ by less than a hundredth are one.
const extent = ({ side, pixelSize }) => side * pixelSize;
const isNear = (one, other) => Math.abs(one / other - 1) < 0.01;
const boxOf = ({ side, pixelSize }) => `${side} px at ${Number(pixelSize.toPrecision(3))} Å/px`;

export class VolumePanel {
  constructor(page) {
    this.page = page;
    this.camera = new Camera();
    this.a = new VolumeView(find("a"), this.camera);
    this.b = new VolumeView(find("b"), this.camera);
    this.b.base = [0.8, 0.6, 0.4];
    this.turn = 0;
    // By which the server tells the wishes of this page from those of others.
    this.wisher = crypto.randomUUID?.() ?? String(Math.random());
    this.path = new PathPanel(page, this);
    this.shown = { a: null, b: null };
    // What one step of the slider adds to the level, by side.
    this.levels = new Map();
    this.a.painted = () => this.timed();
    this.listen();
  }

  // How long it took from a wish to the picture of its volume.
  timed() {
    if (!this.wished || this.shown.a?.turn !== this.turn) return;
    const lasted = performance.now() - this.wished;
    this.page.timings.sight ??= lasted;
    if (this.shown.a.side < this.page.run.box_size) return;
    this.page.timings.volume = lasted;
    this.wished = null;
  }

  setDark(dark) {
    for (const view of [this.a, this.b]) {
      view.dark = dark;
      view.draw();
    }
  }

  async open() {
    const { page } = this;
    const { state } = page;
    const { map } = state;
    if (state.camera) Object.assign(this.camera, state.camera);
    find("maps").replaceChildren(new Option("decoded", ""), ...page.run.maps.map((name) => new Option(name)));
    find("tint").replaceChildren(new Option("nothing", ""), new Option("difference to B", "other"), ...page.run.maps.map((name) => new Option(name, `map:${name}`)));
    find("tint").value = state.tint ?? "";
    await page.tried(() => this.takeTint(find("tint").value));
    find("difference").checked = Boolean(state.difference);
    this.shown = { a: null, b: null };
    for (const view of [this.a, this.b]) view.clear();
    find("about-a").textContent = "A: take the tool Volume and click among the particles";
    this.render();
    this.path.forgetFrames();
    const { opening } = page;
    await page.tried(() => this.path.followAnchors());
    const { a, b } = state;
    if (b) await page.tried(async () => (b.map ? this.showMap(b.map, "b") : this.decode(await this.renewed(b), { into: "b" })));
    if (opening !== page.opening) return;
    if (map) await page.tried(() => this.showMap(map));
    else if (!page.run.latent_dim) await page.tried(() => this.decode({ z: [], row: null }));
    else await page.tried(async () => (a ? this.decode(await this.renewed(a)) : this.first()));
  }

  // To begin with, the volume where particles lie densest.
  async first() {
    const { scatter } = this.page.latent;
    if (!scatter.count) return;
    const density = scatter.density();
    let most = 0;
    for (let i = 0; i < density.length; i++) if (density[i] > density[most]) most = i;
    await this.at(most);
  }

  // While a training is under way, networks are not asked for more than a small volume of every epoch.
  async refresh({ whole = true } = {}) {
    const { page } = this;
    const { a, b, map } = page.state;
    this.path.forgetFrames();
    await page.tried(() => this.path.followAnchors());
    if (b?.z) await page.tried(async () => this.decode(await this.renewed(b), { into: "b", whole }));
    if (map) return;
    if (a) await page.tried(async () => this.decode(await this.renewed(a), { whole }));
    else if (page.run.latent_dim) await page.tried(() => this.first());
  }

  // Latents of a particle differ from epoch to epoch, unless a point is of an epoch of its own.
  async renewed(point) {
    const { page } = this;
    if (point.row === null || point.epoch !== undefined) return point;
    const { z } = await page.ofRun(getJson(`${page.api}/latent`, { row: point.row, epoch: page.shownEpoch }));
    return { z, row: point.row };
  }

  point(panel, px, py) {
    const row = panel.scatter.nearest(px, py);
    if (row < 0) return;
    const exact = !find("on-particles").checked;
    if (!exact && row === this.lastRow) return;
    this.lastRow = row;
    this.page.tried(() => this.at(row, exact ? panel.scatter.toData(px, py) : null));
  }

  async at(row, place = null) {
    const { page } = this;
    const { state } = page;
    const turn = ++this.turn;
    const asked = place ? { row, x_group: state.x[0], x_name: state.x[1], x: place[0], y_group: state.y[0], y_name: state.y[1], y: place[1] } : { row };
    const { z, moved } = await getJson(`${page.api}/${place ? "point" : "latent"}`, { ...asked, epoch: page.shownEpoch });
    if (turn !== this.turn) return;
    await this.decode({ z, row: place && moved ? null : row });
  }

  // Begins what takes the place of whatever is under way: its number, and its signal to give up.
  begin(text) {
    this.path.isMaking = false;
    this.asking?.abort();
    this.asking = new AbortController();
    find("busy").textContent = text;
    return { turn: ++this.turn, signal: this.asking.signal };
  }

  end(turn) {
    if (turn === this.turn) find("busy").textContent = "";
  }

  // A small volume at once, then the whole one; both are given up when one moves on.
  async decode(point, { into = "a", whole: isWanted = true } = {}) {
    const { page } = this;
    const { turn, signal } = this.begin("decoding …");
    page.state[into] = point;
    if (into === "a") this.leaveMap();
    page.latent.drawOverlay();
    const whole = page.run.box_size;
    const quarter = Math.max(16, 2 * Math.round(whole / 8));
    const sides = page.run.instant || quarter >= whole ? [whole] : isWanted ? [quarter, whole] : [quarter];
    if (into === "a") [this.wished, page.timings.sight] = [performance.now(), null];
    try {
      for (const side of sides) {
        const volume = await this.fetched(point, side, { page: `${this.wisher}${into}`, turn }, { signal });
        if (turn !== this.turn) return;
        this.show(into, { ...volume, turn });
      }
    } finally {
      this.end(turn);
    }
    find("z").value = point.z.map((v) => Number(v.toPrecision(5))).join(" ");
    page.changed();
  }

  // A decoded volume takes the place of a map in A.
  leaveMap() {
    this.page.state.map = "";
    find("maps").value = "";
  }

  // A decoded volume with half precision, which pictures need no more than; `exact` is the whole.
  async fetched(point, side, wish = {}, options = {}) {
    const { page } = this;
    const asked = { z: point.z.join(","), side, epoch: point.epoch ?? page.shownEpoch };
    const path = `${page.api}/volume`;
    const { values, about } = await getNumbers(path, { ...asked, ...wish, precision: "half" }, { ...options, kind: Uint16Array });
    let whole = null;
    // Of that epoch, if a later one has ended since; the finished run is −1.
    const exact = () => (whole ??= getNumbers(path, { ...asked, epoch: about.epoch ?? -1 }).then((got) => got.values));
    const voxels = about.side ** 3;
    const blocks = { most: values.subarray(voxels), count: about.blocks };
    return { halves: values.subarray(0, voxels), blocks, ...this.onScale(about), about, point, pixelSize: about.pixel_size, exact };
  }

  // Sides share the values of the transform, so that voxels of a smaller one are larger in value:
  // factors count from the values of the whole box, and one level fits all.
  onScale({ factor, side }) {
    return { factor: factor * (this.page.run.box_size / side) ** 3, side };
  }

  async showMap(name, into = "a") {
    const { page } = this;
    if (!name) {
      this.leaveMap();
      if (page.state.a) await this.decode(await this.renewed(page.state.a));
      else await this.first();
      return;
    }
    // A volume that is being decoded must not take the place of the map.
    const { turn } = this.begin("reading …");
    try {
      const { values, side, pixelSize } = await this.mapOf(name);
      if (turn !== this.turn) return;
      if (into === "a") page.state.map = name;
      this.show(into, { ...halved(values), side, about: {}, point: null, pixelSize, name, map: name, exact: async () => values });
    } finally {
      this.end(turn);
      find("maps").value = page.state.map;
    }
    page.latent.drawOverlay();
    page.changed();
  }

  // A map of the run, if it is a cube.
  async mapOf(name) {
    const { page } = this;
    const { values, about } = await page.ofRun(getNumbers(`${page.api}/map`, { name }));
    const [nz, ny, nx] = about.sides;
    if (nz !== ny || ny !== nx) throw refused(`${name} is no cube, but ${nz} × ${ny} × ${nx}`);
    return { values, side: nx, pixelSize: about.pixel_size };
  }

  show(into, volume) {
    const { state } = this.page;
    // The level belongs to a side, whose states share it: what is small is smooth and low.
    if (into === "a") {
      if (volume.name || !this.shown.a || this.shown.a.name) this.levels.clear();
      if (!this.levels.has(volume.side)) this.levels.set(volume.side, levelOf(volume) / 300);
    }
    this.shown[into] = volume;
    this.describe(into, volume);
    if (into === "a") this.a.setVolume(volume);
    if (typeof state.level === "number") find("level").value = state.level;
    if (typeof state.slab === "number") find("slab").value = state.slab;
    this.render();
  }

  describe(into, { about, point, name, side, pixelSize }) {
    const holder = find(`about-${into}`);
    const head = into.toUpperCase();
    const isOne = !this.page.run.latent_dim;
    const what = name ?? (isOne ? "the structure" : point.row === null ? "a point" : `particle ${point.row.toLocaleString("en")}`);
    const epoch = point?.epoch >= 0 && !name ? ` after epoch ${point.epoch}` : "";
    holder.replaceChildren(`${head}: ${what}${epoch}, ${boxOf({ side, pixelSize })} `);
    if (about.supported === undefined) return;
    const flag = document.createElement("span");
    flag.className = about.supported ? "supported" : "extrapolated";
    flag.textContent = about.supported ? "● supported" : "▲ extrapolated";
    flag.title = `farther from particles than ${Math.round(100 * about.rank)} % of the particles are from one another`;
    holder.append(flag);
  }

  // Why A and B cannot be compared voxel by voxel; empty if they can.
  notComparable() {
    const { a, b } = this.shown;
    if (!a || !b || (a.side === b.side && isNear(a.pixelSize, b.pixelSize))) return "";
    return `B − A needs one box: A has ${boxOf(a)}, B has ${boxOf(b)}`;
  }

  // B − A from exact numbers; null while they are fetched, after which all is drawn again.
  difference() {
    const { a, b } = this.shown;
    const isWanted = find("difference").checked || find("tint").value === "other";
    if (!isWanted || !a || !b || this.notComparable()) return null;
    if (this.compared?.a === a && this.compared.b === b) return this.compared.volume;
    const compared = { a, b, volume: null };
    this.compared = compared;
    this.page.tried(async () => {
      const [one, two] = await Promise.all([a.exact(), b.exact()]);
      const values = two.map((v, i) => v - one[i]);
      compared.volume = { ...halved(values), side: a.side, most: levelOf(halved(values.map(Math.abs))) || 1 };
      this.render();
    });
    return null;
  }

  // Level, slab, tint and the second view follow their controls.
  render() {
    const { a, b, shown } = this;
    const slab = Number(find("slab").value) / 1000;
    const scale = this.levels.get(shown.a?.side) ?? 0;
    for (const [name, view] of [["a", a], ["b", b]]) {
      view.level = Number(find("level").value) * (this.levels.get(shown[name]?.side) ?? scale);
      view.slab = [-0.87 + (1 - slab) * 0.87, 0.87];
    }
    const difference = this.difference();
    const isDifference = find("difference").checked && difference;
    if (shown.b) this.describe("b", shown.b);
    if (isDifference) {
      b.setVolume(difference, true);
      b.level = difference.most * (Number(find("level").value) / 300);
      find("about-b").prepend("B − A: orange is more in B, blue is less. ");
    } else if (shown.b) b.setVolume(shown.b);
    const why = find("difference").checked || find("tint").value === "other" ? this.notComparable() : "";
    if (why) find("about-b").append(document.createElement("br"), why);
    find("pair").classList.toggle("one", !shown.b);
    find("figure-b").hidden = !shown.b;
    this.colour(difference);
    a.draw(true);
    b.draw(true);
  }

  // A in the colours of the difference, or of a map where its surface lies.
  colour(difference) {
    const { a, shown } = this;
    const tint = find("tint").value;
    const legend = find("tint-legend");
    legend.replaceChildren();
    if (tint === "other" && difference) {
      a.setTint(difference, [-difference.most, difference.most], "blue–orange");
      legend.append(...rampBar("blue–orange", "less in B", "more in B"));
    } else if (tint && this.tintMap?.name === tint && shown.a && !isNear(extent(this.tintMap), extent(shown.a))) {
      a.setTint(null);
      legend.append(`${tint.slice(4)} is a box of ${shortNumber(extent(this.tintMap))} Å, A one of ${shortNumber(extent(shown.a))} Å: A is not coloured`);
    } else if (tint && this.tintMap?.name === tint && shown.a) {
      const range = rangeOnSurface(this.tintMap, shown.a, a.level);
      a.setTint(this.tintMap, range, "viridis");
      const unit = tint.includes("local_resolution") ? " Å" : "";
      legend.append(...rampBar("viridis", `${tint.slice(4)}: ${shortNumber(range[0])}`, shortNumber(range[1]) + unit));
    } else a.setTint(null);
  }

  // What A is coloured by: nothing, the difference to B, or a map of the run.
  async takeTint(value) {
    const { page } = this;
    page.state.tint = value;
    if (value === "other" && !page.state.b) page.say("there is no B to compare with yet: A → B keeps the volume in A as B");
    if (!value.startsWith("map:")) return;
    const { values, side, pixelSize } = await this.mapOf(value.slice(4));
    this.tintMap = { name: value, ...halved(values), side, pixelSize };
  }

  moveLevel(factor) {
    find("level").value = Number(find("level").value) * factor;
    this.page.state.level = Number(find("level").value);
    this.render();
    this.page.changed();
  }

  listen() {
    const { page } = this;
    const bound = (id, event, work) => find(id).addEventListener(event, () => page.tried(work));
    for (const id of ["level", "slab"]) {
      bound(id, "input", () => {
        page.state[id] = Number(find(id).value);
        this.render();
        page.changed();
      });
    }
    bound("difference", "change", () => {
      page.state.difference = find("difference").checked;
      if (page.state.difference && !this.shown.b) page.say("there is no B to compare with yet: A → B keeps the volume in A as B");
      this.render();
      page.changed();
    });
    bound("tint", "change", async () => {
      await this.takeTint(find("tint").value);
      this.render();
      page.changed();
    });
    bound("keep-b", "click", () => {
      if (!this.shown.a) return;
      this.shown.b = this.shown.a;
      page.state.b = this.shown.a.map ? { map: this.shown.a.map } : { ...this.shown.a.point };
      this.describe("b", this.shown.b);
      this.render();
      page.latent.drawOverlay();
      page.changed();
    });
    bound("maps", "change", () => this.showMap(find("maps").value));
    bound("go", "click", () => {
      const z = find("z").value.split(/[\s,;]+/).filter(Boolean).map(Number);
      const { latent_dim: dim } = page.run;
      if (z.length !== dim || !z.every(Number.isFinite)) throw refused(`a point of this latent space is ${dim} number${dim > 1 ? "s" : ""}, one after another: ${find("z").value || "none is given"}`);
      return this.decode({ z, row: null });
    });
    bound("mrc", "click", () => download(this.fileLink(), `${this.fileName()}.mrc`));
    bound("png", "click", () => {
      this.a.drawNow();
      return new Promise((resolve) => find("a").toBlob((blob) => resolve(download(blob, `${this.fileName()}.png`))));
    });
    bound("cxc", "click", () => {
      download(this.fileLink(), `${this.fileName()}.mrc`);
      const script = `# open this file in ChimeraX, with the .mrc beside it\nopen ${this.fileName()}.mrc\nvolume #1 style surface step 1 level ${this.a.level.toPrecision(6)} color #7ba4c7\nlighting soft\nview\n`;
      download(new Blob([script], { type: "text/plain" }), `${this.fileName()}.cxc`);
    });
  }

  // What is shown in A, as the name of a file and as a link to it: a map of the run, or a volume of
  // the epoch that it was decoded from.
  get volumeShown() {
    if (!this.shown.a) throw refused("no volume is shown yet: take the tool Volume and click");
    return this.shown.a;
  }

  fileName() {
    const { map, point, about } = this.volumeShown;
    const epoch = Number.isInteger(about.epoch) ? `_epoch_${about.epoch}` : "";
    const what = map ? map.replace(/\.mrc$/, "") : `${point.row ?? "point"}${epoch}`;
    return `${this.page.run.name}_${what}`.replace(/[^\p{L}\p{N}_-]/gu, "_");
  }

  fileLink() {
    const { api } = this.page;
    const { map, point, about } = this.volumeShown;
    if (map) return `${api}/map.mrc${query({ name: map })}`;
    return `${api}/volume.mrc${query({ z: point.z.join(","), epoch: about.epoch ?? -1 })}`;
  }
}
