// Volumes: decoded where one points, two side by side, their difference, films of paths.

import { shortNumber } from "./charts.js";
import { rampBar } from "./colours.js";
import { download, frameOf, gifOf, videoKind, videoOf } from "./film.js";
import { getJson, getNumbers, query } from "./server.js";
import { Camera, VolumeView, halved, levelOf, rangeOnSurface } from "./volume_view.js";

const find = (id) => document.getElementById(id);
const MOST_FILM_BYTES = 4e8;
const PAGE = crypto.randomUUID?.() ?? String(Math.random());

export class VolumePanel {
  constructor(page) {
    this.page = page;
    this.camera = new Camera();
    this.a = new VolumeView(find("a"), this.camera);
    this.b = new VolumeView(find("b"), this.camera);
    this.b.base = [0.8, 0.6, 0.4];
    this.turn = 0;
    this.frames = [];
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
    if (state.camera) Object.assign(this.camera, state.camera);
    find("maps").replaceChildren(new Option("decoded", ""), ...page.run.maps.map((name) => new Option(name)));
    find("tint").replaceChildren(new Option("nothing", ""), new Option("difference to B", "other"), ...page.run.maps.map((name) => new Option(name, `map:${name}`)));
    find("tint").value = state.tint ?? "";
    await page.tried(() => this.takeTint(find("tint").value));
    find("difference").checked = Boolean(state.difference);
    this.shown = { a: null, b: null };
    this.frames = [];
    this.showAnchors();
    if (!page.run.latent_dim) return page.tried(() => this.decode({ z: [], row: null }));
    if (state.b) await page.tried(() => (state.b.map ? this.showMap(state.b.map, "b") : this.decode(state.b, { into: "b" })));
    if (state.a) await page.tried(() => this.decode(state.a));
    else await page.tried(() => this.first());
    if (state.map) await page.tried(() => this.showMap(state.map));
    return undefined;
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
    const { a, b } = this.page.state;
    if (b?.z) await this.page.tried(async () => this.decode({ z: await this.latentOf(b), row: b.row }, { into: "b", whole }));
    if (a) await this.page.tried(async () => this.decode({ z: await this.latentOf(a), row: a.row }, { whole }));
  }

  // Latents of a particle differ from epoch to epoch.
  async latentOf({ z, row }) {
    const { page } = this;
    return row === null ? z : (await getJson(`${page.api}/latent`, { row, epoch: page.state.epoch })).z;
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
    const { z, moved } = await getJson(`${page.api}/${place ? "point" : "latent"}`, { ...asked, epoch: state.epoch });
    if (turn !== this.turn) return;
    await this.decode({ z, row: place && moved ? null : row });
  }

  // A small volume at once, then the whole one; both are given up when one moves on.
  async decode(point, { into = "a", whole: isWanted = true } = {}) {
    const { page } = this;
    const turn = ++this.turn;
    this.asking?.abort();
    this.asking = new AbortController();
    const { signal } = this.asking;
    page.state[into] = point;
    page.latent.drawOverlay();
    const whole = page.run.box_size;
    const quarter = Math.max(16, 2 * Math.round(whole / 8));
    const sides = page.run.instant || quarter >= whole ? [whole] : isWanted ? [quarter, whole] : [quarter];
    find("busy").textContent = "decoding …";
    if (into === "a") [this.wished, page.timings.sight] = [performance.now(), null];
    for (const side of sides) {
      const volume = await this.fetched(point, side, { page: `${PAGE}${into}`, turn }, { signal });
      if (into === "a" && turn !== this.turn) return;
      this.show(into, { ...volume, turn });
    }
    find("busy").textContent = "";
    find("z").value = point.z.map((v) => Number(v.toPrecision(5))).join(" ");
    page.changed();
  }

  // A decoded volume with half precision, which pictures need no more than; `exact` is the whole.
  async fetched(point, side, wish = {}, options = {}) {
    const { page } = this;
    const asked = { z: point.z.join(","), side, epoch: page.state.epoch };
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
    if (into === "a") page.state.map = name;
    if (!name) {
      if (page.state.a) await this.decode(page.state.a);
      return;
    }
    // A volume that is being decoded must not take the place of the map.
    const turn = ++this.turn;
    this.asking?.abort();
    const { values, about } = await getNumbers(`${page.api}/map`, { name });
    if (turn !== this.turn) return;
    find("busy").textContent = "";
    const [nz, ny, nx] = about.sides;
    if (nz !== ny || ny !== nx) throw Object.assign(new Error(`${name} is no cube, but ${nz} × ${ny} × ${nx}`), { status: 0 });
    find("maps").value = page.state.map ?? "";
    this.show(into, { ...halved(values), side: nx, about: {}, point: null, pixelSize: about.pixel_size, name, map: name, exact: async () => values });
    page.changed();
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
    holder.replaceChildren(`${head}: ${name ?? (point.row === null ? "a point" : `particle ${point.row.toLocaleString("en")}`)}, ${side} px at ${Number(pixelSize.toPrecision(3))} Å/px `);
    if (about.supported === undefined) return;
    const flag = document.createElement("span");
    flag.className = about.supported ? "supported" : "extrapolated";
    flag.textContent = about.supported ? "● supported" : "▲ extrapolated";
    flag.title = `farther from particles than ${Math.round(100 * about.rank)} % of the particles are from one another`;
    holder.append(flag);
  }

  // B − A from exact numbers; null while they are fetched, after which all is drawn again.
  difference() {
    const { a, b } = this.shown;
    const isWanted = find("difference").checked || find("tint").value === "other";
    if (!isWanted || !a || !b || a.side !== b.side) return null;
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
    if (isDifference) {
      b.setVolume(difference, true);
      b.level = difference.most * (Number(find("level").value) / 300);
    } else if (shown.b) b.setVolume(shown.b);
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
    const { values, about } = await getNumbers(`${page.api}/map`, { name: value.slice(4) });
    this.tintMap = { name: value, ...halved(values), side: about.sides[0] };
  }

  moveLevel(factor) {
    find("level").value = Number(find("level").value) * factor;
    this.page.state.level = Number(find("level").value);
    this.render();
    this.page.changed();
  }

  // Paths

  async addAnchor(panel, px, py) {
    const row = panel.scatter.nearest(px, py);
    const { anchors } = this.page.state;
    if (row < 0 || anchors.at(-1)?.row === row) return;
    const anchor = { z: [], row };
    anchors.push(anchor);
    await this.page.tried(async () => {
      anchor.z = await this.latentOf(anchor);
    });
    this.frames = [];
    this.showAnchors();
    panel.drawOverlay();
    this.page.changed();
  }

  showAnchors() {
    const { anchors } = this.page.state;
    find("anchors").textContent = anchors.length ? `${anchors.length} points` : "no points yet; take the tool Path";
    find("frame").max = Math.max(this.frames.length - 1, 0);
  }

  // Points on the straight pieces between the anchors, evenly in number.
  pathPoints() {
    const { anchors } = this.page.state;
    const count = Math.min(Math.max(Number(find("path-count").value) || 12, 2), 200);
    if (anchors.length < 2) throw Object.assign(new Error("a path needs two points at least: take the tool Path and click"), { status: 0 });
    return Array.from({ length: count }, (_, i) => {
      const place = (i / (count - 1)) * (anchors.length - 1);
      const low = Math.min(Math.floor(place), anchors.length - 2);
      const [p, q] = [anchors[low].z, anchors[low + 1].z];
      return p.map((v, d) => v + (place - low) * (q[d] - v));
    });
  }

  async makeFilm() {
    const { page } = this;
    const points = this.pathPoints();
    // Frames of half precision are kept, as large as this much memory lets them be.
    const largest = 2 * Math.floor((MOST_FILM_BYTES / 2 / points.length) ** (1 / 3) / 2);
    const side = Math.min(page.run.box_size, page.run.instant ? largest : 64);
    this.frames = [];
    for (const z of points) {
      find("busy").textContent = `decoding ${this.frames.length + 1} of ${points.length} …`;
      this.frames.push(await this.fetched({ z, row: null }, side));
      this.showAnchors();
      this.showFrame(this.frames.length - 1);
    }
    find("busy").textContent = "";
    for (let i = 0; i < this.frames.length; i++) {
      this.showFrame(i);
      await new Promise((resolve) => setTimeout(resolve, 80));
    }
  }

  showFrame(number) {
    const frame = this.frames[number];
    if (!frame) return;
    find("frame").value = number;
    this.shown.a = frame;
    this.describe("a", frame);
    this.a.setVolume(frame);
    this.render();
  }

  // A frame that is drawn already, for films.
  drawFrame(number) {
    this.showFrame(number);
    this.a.drawNow();
  }

  async gif() {
    if (!this.frames.length) await this.makeFilm();
    return this.filming(async () => {
      const pictures = this.frames.map((_, i) => {
        this.drawFrame(i);
        return frameOf(this.a.canvas);
      });
      return gifOf([...pictures, ...pictures.slice(1, -1).reverse()]);
    });
  }

  // Pictures of one size, while they are taken.
  async filming(work) {
    const { clientWidth, clientHeight } = this.a.canvas;
    const scale = 400 / Math.max(clientWidth, clientHeight);
    this.a.size = [clientWidth, clientHeight].map((side) => 2 * Math.max(Math.round((side * scale) / 2), 8));
    try {
      return await work();
    } finally {
      this.a.size = null;
      this.a.draw();
    }
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
      page.state.b = this.shown.a.map ? { map: this.shown.a.map } : page.state.a;
      this.describe("b", this.shown.b);
      this.render();
      page.latent.drawOverlay();
      page.changed();
    });
    bound("maps", "change", () => this.showMap(find("maps").value));
    bound("go", "click", () => {
      const z = find("z").value.split(/[\s,;]+/).filter(Boolean).map(Number);
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
    bound("play", "click", () => this.makeFilm());
    bound("frame", "input", () => this.showFrame(Number(find("frame").value)));
    bound("gif", "click", async () => download(await this.gif(), `${page.run.name}_path.gif`));
    bound("video", "click", async () => {
      if (!videoKind()) throw Object.assign(new Error("this browser writes no video; take the .gif"), { status: 0 });
      if (!this.frames.length) await this.makeFilm();
      const video = await this.filming(() => videoOf(this.a.canvas, (i) => this.drawFrame(i), this.frames.length));
      download(video, `${page.run.name}_path.${video.type.startsWith("video/mp4") ? "mp4" : "webm"}`);
    });
    bound("clear-path", "click", () => {
      page.state.anchors = [];
      this.frames = [];
      this.showAnchors();
      page.latent.drawOverlay();
      page.changed();
    });
  }

  // What is shown in A, as the name of a file and as a link to it: a map of the run, or a volume of
  // the epoch that it was decoded from.
  get volumeShown() {
    if (!this.shown.a) throw Object.assign(new Error("no volume is shown yet: take the tool Volume and click"), { status: 0 });
    return this.shown.a;
  }

  fileName() {
    const { map, point, about } = this.volumeShown;
    const epoch = Number.isInteger(about.epoch) ? `_epoch_${about.epoch}` : "";
    const what = map ? map.replace(/\.mrc$/, "") : `${point.row ?? "point"}${epoch}`;
    return `${this.page.run.name}_${what}`.replace(/[^\w-]/g, "_");
  }

  fileLink() {
    const { api } = this.page;
    const { map, point, about } = this.volumeShown;
    if (map) return `${api}/map.mrc${query({ name: map })}`;
    return `${api}/volume.mrc${query({ z: point.z.join(","), epoch: about.epoch ?? -1 })}`;
  }
}
