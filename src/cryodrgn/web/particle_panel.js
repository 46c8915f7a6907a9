// One particle: its image beside what the model predicts of it.

import { drawImage, shortNumber } from "./charts.js";
import { getNumbers } from "./server.js";

const find = (id) => document.getElementById(id);
const HINT = "Hold the pointer over a particle, or tap one.";
const NAMES = { raw: "as stored", "low-passed": "low-passed, centred", "predicted low-passed": "predicted, low-passed", predicted: "predicted" };

export class ParticlePanel {
  constructor(page) {
    this.page = page;
    this.row = null;
  }

  // Of a run that is opened, nothing has been pointed at.
  open() {
    clearTimeout(this.later);
    this.asking?.abort();
    this.row = null;
    this.pictured = "";
    for (const id of ["particle-number", "pictures"]) find(id).replaceChildren();
    find("particle-facts").textContent = HINT;
  }

  // The particle under the pointer, once it stays.
  hover(scatter, px, py) {
    clearTimeout(this.later);
    this.later = setTimeout(() => {
      const row = scatter.nearest(px, py, 12);
      if (row >= 0) this.page.tried(() => this.show(row));
    }, 60);
  }

  async show(row) {
    const { page } = this;
    this.row = row;
    find("particle-number").textContent = row.toLocaleString("en");
    const colour = page.latent.coloured;
    const value = colour.names ? colour.names[colour.values[row]] ?? "–" : `${shortNumber(colour.values[row])} ${colour.unit}`;
    const at = [page.latent.scatter.x[row], page.latent.scatter.y[row]].map((v) => shortNumber(v));
    find("particle-facts").textContent = `${page.state.x[1]} ${at[0]}, ${page.state.y[1]} ${at[1]}, ${page.state.colour[0] === "clusters" ? "cluster" : page.state.colour[1]} ${value}`;
    const pictured = JSON.stringify([row, page.shownEpoch]);
    if (pictured === this.pictured) return;
    this.pictured = pictured;
    this.asking?.abort();
    this.asking = new AbortController();
    if (this.refusedRun === page.state.run) return;
    try {
      const { values, about } = await getNumbers(`${page.api}/pictures`, { row, epoch: page.shownEpoch }, { signal: this.asking.signal });
      this.draw(values, about.sides);
    } catch (error) {
      // Said once for a run whose images are gone, not for every particle.
      if (error.name !== "AbortError") this.refusedRun = page.state.run;
      find("pictures").replaceChildren();
      throw error;
    }
  }

  // Another epoch, colour or axis is shown: what is said of the particle follows.
  refresh() {
    if (this.row !== null && this.row < this.page.latent.scatter.count) this.page.tried(() => this.show(this.row));
  }

  draw(values, sides) {
    let place = 0;
    const figures = {};
    for (const [name, side] of Object.entries(sides)) {
      const figure = document.createElement("figure");
      const canvas = document.createElement("canvas");
      const caption = document.createElement("figcaption");
      caption.textContent = NAMES[name];
      drawImage(canvas, values.subarray(place, place + side * side), side);
      place += side * side;
      figure.append(canvas, caption);
      figures[name] = figure;
    }
    find("pictures").replaceChildren(...Object.keys(NAMES).filter((name) => figures[name]).map((name) => figures[name]));
  }
}
