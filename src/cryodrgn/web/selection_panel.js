// Named selections: saved in the folder of the run, combined, exported, taken away.

import { getJson, post, query, refused } from "./server.js";

const find = (id) => document.getElementById(id);

export class SelectionPanel {
  constructor(page) {
    this.page = page;
    this.seen = new Map();
    find("save").onclick = () => page.tried(() => this.save());
    find("name").onkeydown = (event) => {
      if (event.key === "Enter") page.tried(() => this.save());
    };
    find("threshold").onclick = () => {
      const column = page.state.colour;
      const [low, high] = ["low", "high"].map((id) => (find(id).value === "" ? null : Number(find(id).value)));
      page.latent.step({ kind: "range", column, low, high, mode: find("mode").value });
    };
  }

  async open() {
    if (!this.page.run.particles) return;
    const { selections, notes } = await getJson(`${this.page.api}/selections`);
    for (const note of notes) this.page.say(note);
    this.show(selections);
  }

  show(selections) {
    this.seen = new Map(selections.map((one) => [one.name, one.version]));
    find("saved").replaceChildren(...selections.map((one) => this.row(one)));
  }

  row({ name, exports }) {
    const row = document.createElement("tr");
    const cell = (...parts) => {
      const made = document.createElement("td");
      made.append(...parts);
      row.append(made);
    };
    const button = (text, title, work) => {
      const made = document.createElement("button");
      made.textContent = text;
      made.title = title;
      made.onclick = work;
      return made;
    };
    const { page } = this;
    cell(name);
    cell(button("Select", "select these particles; whether they replace the old selection, are added to it, intersected with it, or removed from it is set above the particles", () => page.latent.step({ kind: "saved", name, mode: find("mode").value })));
    cell(button("Export", "write them back in the format of the particle file", () => page.tried(async () => {
      await post(`${page.api}/export`, { name });
      await this.open();
    })));
    cell(...[".pkl", ...exports].map((ending) => {
      const link = document.createElement("a");
      link.href = `${page.api}/download${query({ name, ending })}`;
      link.textContent = ending;
      link.download = "";
      return link;
    }));
    return row;
  }

  async save() {
    const { page } = this;
    const name = find("name").value.trim();
    const rows = page.latent.chosenRows();
    if (!rows.length) throw refused("no particles are chosen; draw around some first");
    find("saved-note").textContent = "";
    try {
      await post(`${page.api}/selection`, { name, seen: this.seen.get(name) }, rows);
      find("saved-note").textContent = `${rows.length.toLocaleString("en")} particles saved as ${name}`;
    } finally {
      await this.open();
    }
  }

  // Only what particles have of themselves and what is a quantity has a threshold.
  showHistogram({ values, names }, [low, high]) {
    const holder = find("histogram");
    holder.replaceChildren();
    const isQuantity = this.page.state.colour[0] !== "" && !names;
    find("by-value").hidden = !isQuantity;
    if (!isQuantity) for (const id of ["low", "high"]) find(id).value = "";
    if (!isQuantity || !(high > low) || !values.some(Number.isFinite)) return;
    const counts = new Float64Array(60);
    for (let i = 0; i < values.length; i++) {
      const v = values[i];
      if (v === v) counts[Math.min(Math.max(Math.floor(((v - low) / (high - low)) * 60), 0), 59)]++;
    }
    const most = Math.max(...counts);
    const NS = "http://www.w3.org/2000/svg";
    const svg = document.createElementNS(NS, "svg");
    svg.setAttribute("viewBox", "0 0 300 50");
    svg.setAttribute("aria-label", "how many particles have which value");
    counts.forEach((count, i) => {
      const bar = document.createElementNS(NS, "rect");
      const height = (48 * count) / most;
      for (const [key, value] of Object.entries({ class: "bars", x: i * 5, y: 50 - height, width: 4, height })) bar.setAttribute(key, value);
      svg.append(bar);
    });
    holder.append(svg);
    for (const [id, value] of [["low", low], ["high", high]]) find(id).value = Number(value.toPrecision(4));
  }
}
