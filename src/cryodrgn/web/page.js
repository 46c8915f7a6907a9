// The page: which run and epoch, what is remembered of its state, and the keys.

import { PALETTES } from "./colours.js";
import { download } from "./film.js";
import { LatentPanel } from "./latent_panel.js";
import { ParticlePanel } from "./particle_panel.js";
import { SelectionPanel } from "./selection_panel.js";
import { getJson, getNumbers } from "./server.js";
import { checked, decoded, encoded } from "./state.js";
import { TrainingPanel } from "./training_panel.js";
import { VolumePanel } from "./volume_panel.js";

const MOST_COLUMNS = 24;
// Nothing chosen, shown or compared.
const BLANK = { steps: [], anchors: [], a: null, b: null, map: "", tint: "", difference: false };
// What another run need not have.
const OF_A_RUN = { epoch: null, x: null, y: null, colour: ["", "density"], view: null };
const ARROWS = { ArrowLeft: "←", ArrowRight: "→", ArrowUp: "↑", ArrowDown: "↓" };
export const find = (id) => document.getElementById(id);

class Page {
  constructor() {
    this.state = { ...structuredClone(BLANK), run: 0, epoch: null, x: null, y: null, colour: ["", "density"], palette: "viridis", k: 10, tool: "lasso", dark: matchMedia("(prefers-color-scheme: dark)").matches };
    this.columns = new Map();
    this.timings = {};
    this.said = new Set();
    // A token in the address is in the cookie by now, and need not be seen over a shoulder.
    const here = new URL(location.href);
    const given = decoded(here.hash.slice(1));
    here.searchParams.delete("token");
    history.replaceState(null, "", here);
    if (given) Object.assign(this.state, given);
  }

  get api() {
    return `/api/runs/${this.state.run}`;
  }

  // A sentence for the user, once.
  say(sentence) {
    if (this.said.has(sentence)) return;
    this.said.add(sentence);
    const line = document.createElement("p");
    line.textContent = sentence;
    find("messages").append(line);
    setTimeout(() => {
      line.remove();
      this.said.delete(sentence);
    }, 20000);
  }

  // Does something; what is refused is said, what is superseded is forgotten.
  async tried(work) {
    try {
      return await work();
    } catch (error) {
      if (error.name !== "AbortError") {
        this.say(error.message);
        if (!("status" in error)) console.error(error);
      }
      return undefined;
    }
  }

  async start() {
    const listing = getJson("/api/runs");
    this.latent = new LatentPanel(this);
    this.volumes = new VolumePanel(this);
    this.selections = new SelectionPanel(this);
    this.particle = new ParticlePanel(this);
    this.training = new TrainingPanel(this);
    this.listen();
    this.paint();
    const { runs } = await listing;
    find("run").replaceChildren(...runs.map((run, i) => new Option(run.name, i)));
    if (this.state.run >= runs.length) this.state.run = 0;
    await this.openRun(runs[this.state.run]);
    document.body.dataset.ready = "yes";
  }

  async openRun(known = null) {
    const { state } = this;
    find("run").value = state.run;
    this.columns.clear();
    this.run = known && !known.gone ? known : await getJson(this.api);
    document.title = `${this.run.name} · cryoDRGN`;
    for (const note of this.run.notes) this.say(note);
    this.showEpochs(this.run.epochs, this.run.finished);
    const parts = [`${this.run.particles.toLocaleString("en")} particles`, `latent of ${this.run.latent_dim}`, `${this.run.box_size} px at ${Number(this.run.pixel_size.toPrecision(4))} Å/px`];
    find("facts").textContent = parts.join(" · ");
    find("latent").hidden = !this.run.particles;
    this.particle.open();
    await this.tried(() => this.latent.open());
    await this.tried(() => this.volumes.open());
    this.tried(() => this.selections.open());
    this.tried(() => this.training.open());
    this.changed();
  }

  showEpochs(epochs, finished) {
    const options = [new Option(finished ? "finished run" : "latest", "")];
    options.push(...epochs.map((epoch) => new Option(`epoch ${epoch}`, epoch)));
    find("epoch").replaceChildren(...options);
    find("epoch").value = this.state.epoch ?? "";
    this.epochs = epochs;
  }

  // A column by group and name; numbers for every particle, names of groups if they are such.
  async column([group, name]) {
    const key = `${group}\n${name}`;
    if (this.columns.has(key)) {
      const found = this.columns.get(key);
      this.columns.delete(key);
      this.columns.set(key, found);
      return found;
    }
    const asked = { group, name, epoch: this.state.epoch };
    const making = (async () => {
      const { values, about } = await getNumbers(`${this.api}/column`, asked);
      const names = about.names ? (await getJson(`${this.api}/column-names`, asked)).names : null;
      return { values, names, unit: about.unit };
    })();
    this.columns.set(key, making);
    making.catch(() => this.columns.delete(key));
    if (this.columns.size > MOST_COLUMNS) this.columns.delete(this.columns.keys().next().value);
    return making;
  }

  // Remember the state in the address, so that it is a link.
  changed() {
    clearTimeout(this.later);
    this.later = setTimeout(() => history.replaceState(null, "", `#${encoded(this.remembered())}`), 150);
  }

  remembered() {
    const { camera } = this.volumes;
    return { ...this.state, view: this.latent.scatter.view, camera: { turn: camera.turn.map((v) => Number(v.toFixed(6))), zoom: camera.zoom } };
  }

  paint() {
    const { dark } = this.state;
    document.documentElement.dataset.theme = dark ? "dark" : "light";
    this.latent.setDark(dark);
    this.volumes.setDark(dark);
  }

  async reopen(state) {
    Object.assign(this.state, structuredClone(BLANK), state);
    this.paint();
    await this.openRun();
  }

  listen() {
    find("palette").replaceChildren(...PALETTES.map((name) => new Option(name)));
    find("run").onchange = () => this.tried(() => this.reopen({ ...OF_A_RUN, run: Number(find("run").value) }));
    find("epoch").onchange = () => {
      this.state.epoch = find("epoch").value === "" ? null : Number(find("epoch").value);
      this.columns.clear();
      this.tried(async () => {
        await this.latent.refresh();
        await this.volumes.refresh();
        this.changed();
      });
    };
    find("theme").onclick = () => {
      this.state.dark = !this.state.dark;
      this.paint();
      this.changed();
    };
    find("copy-link").onclick = async () => {
      const link = `${location.origin}${location.pathname}#${encoded(this.remembered())}`;
      history.replaceState(null, "", link);
      await this.tried(() => navigator.clipboard.writeText(link));
    };
    find("save-state").onclick = () => download(new Blob([JSON.stringify(this.remembered())], { type: "application/json" }), `${this.run.name}.page.json`);
    find("open-state").onchange = async (event) => {
      const [file] = event.target.files;
      if (!file) return;
      let state = null;
      try {
        state = file.size < 1e8 ? checked(JSON.parse(await file.text())) : null;
      } catch {
        state = null;
      }
      // The same file may be opened once more.
      event.target.value = "";
      if (state) await this.tried(() => this.reopen(state));
      else this.say(`${file.name} is no state of this page`);
    };
    addEventListener("hashchange", () => {
      const state = decoded(location.hash.slice(1));
      if (state && encoded(state) !== encoded(checked(this.remembered()))) this.tried(() => this.reopen(state));
    });
    find("keys").onclick = () => find("help").showModal();
    const keys = this.keys();
    find("key-table").replaceChildren(...keys.map(([key, meaning]) => {
      const row = document.createElement("tr");
      const name = document.createElement("td");
      const mark = document.createElement("kbd");
      mark.textContent = ARROWS[key] ?? key;
      name.append(mark);
      const what = document.createElement("td");
      what.textContent = meaning;
      row.append(name, what);
      return row;
    }));
    addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey || /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName)) return;
      const found = keys.find(([key]) => key === event.key);
      if (found) {
        event.preventDefault();
        found[2]();
      }
    });
    addEventListener("resize", () => {
      this.latent.draw();
      this.volumes.camera.changed();
    });
  }

  keys() {
    const turn = (dx, dy) => () => this.volumes.camera.rotate(dx, dy);
    return [
      ...this.latent.tools.map(([name, key, text]) => [key, text, () => this.latent.take(name)]),
      ["i", "invert what is chosen", () => this.latent.step({ kind: "invert" })],
      ["u", "undo the last choice", () => this.latent.undo()],
      ["c", "choose nothing", () => this.latent.clear()],
      ["f", "fit all particles", () => find("fit").click()],
      ["s", "name and save what is chosen", () => find("name").focus()],
      ["+", "higher level", () => this.volumes.moveLevel(1.1)],
      ["-", "lower level", () => this.volumes.moveLevel(1 / 1.1)],
      ["k", "keep volume A as B", () => find("keep-b").click()],
      ["ArrowLeft", "turn the volumes", turn(-0.15, 0)],
      ["ArrowRight", "turn the volumes", turn(0.15, 0)],
      ["ArrowUp", "turn the volumes", turn(0, -0.15)],
      ["ArrowDown", "turn the volumes", turn(0, 0.15)],
      ["d", "dark or light", () => find("theme").click()],
      ["?", "show the keys", () => find("help").showModal()],
    ];
  }
}

const page = new Page();
window.page = page;
page.start().catch((error) => {
  page.say(error.message);
  document.body.dataset.ready = "no";
});
