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
    // How many runs have been opened; answers of an earlier one are not shown.
    this.opening = 0;
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

  // The epoch whose latents are shown, as the server is asked for it: −1 is the finished run.
  get shownEpoch() {
    return this.resolved === undefined ? this.state.epoch : this.resolved ?? -1;
  }

  // What a promise comes to, unless another run is opened meanwhile.
  async ofRun(promise) {
    const { opening } = this;
    const found = await promise;
    if (opening !== this.opening) throw new DOMException("another run was opened", "AbortError");
    return found;
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
        const isOurs = "status" in error;
        this.say(isOurs ? error.message : `the page has a fault, which the browser's console describes: ${error.message}`);
        if (!isOurs) console.error(error);
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
    this.runs = (await listing).runs;
    find("run").replaceChildren(...this.runs.map((run, i) => new Option(run.name, i)));
    const note = this.takeRun(this.state);
    await this.tried(() => this.openRun(note));
    document.body.dataset.ready = "yes";
  }

  // The run that a state is of: numbers of runs are those of one server, names are not. A sentence
  // where this page does not have it.
  takeRun({ name }) {
    const { state, runs } = this;
    const named = runs.findIndex((run) => run.name === name);
    if (named >= 0) state.run = named;
    if (state.run >= runs.length) state.run = 0;
    if (named >= 0 || name === undefined) return null;
    Object.assign(state, structuredClone(BLANK), OF_A_RUN, { run: 0 });
    return `this link or state is of the run ${name}, which this page does not have; it has ${runs.map((run) => run.name).join(", ")}`;
  }

  async openRun(note = null) {
    const { state } = this;
    const opening = ++this.opening;
    // A point of the run that was open is none of this one.
    this.volumes.begin("");
    find("run").value = state.run;
    state.name = this.runs[state.run].name;
    this.columns.clear();
    this.resolved = undefined;
    find("messages").replaceChildren();
    this.said.clear();
    if (note) this.say(note);
    // Nothing is shown of a run that is gone.
    document.querySelector("main").hidden = true;
    this.run = await this.ofRun(getJson(this.api));
    document.querySelector("main").hidden = false;
    document.title = `${this.run.name} · cryoDRGN`;
    for (const note of this.run.notes) this.say(note);
    this.showEpochs(this.run.epochs, this.run.finished);
    const { particles, latent_dim: dim } = this.run;
    const parts = [`${this.run.box_size} px at ${Number(this.run.pixel_size.toPrecision(4))} Å/px`];
    if (particles) parts.unshift(`${particles.toLocaleString("en")} particles`, `latent of ${dim}`);
    find("facts").textContent = parts.join(" · ");
    for (const id of ["latent", "selection", "particle"]) find(id).hidden = !particles;
    for (const part of document.querySelectorAll(".of-latents")) part.hidden = !dim;
    this.particle.open();
    for (const panel of [this.latent, this.volumes]) {
      await this.tried(() => panel.open());
      if (opening !== this.opening) return;
    }
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
  async column([group, name], epoch = this.shownEpoch) {
    const key = `${group}\n${name}\n${epoch}`;
    if (this.columns.has(key)) {
      const found = this.columns.get(key);
      this.columns.delete(key);
      this.columns.set(key, found);
      return found;
    }
    const asked = { group, name, epoch };
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
    const { isFitted, view } = this.latent.scatter;
    return { ...this.state, view: isFitted ? null : view, camera: { turn: camera.turn.map((v) => Number(v.toFixed(6))), zoom: camera.zoom } };
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
    await this.openRun(this.takeRun(state));
  }

  listen() {
    find("palette").replaceChildren(...PALETTES.map((name) => new Option(name)));
    find("run").onchange = () => this.tried(() => this.reopen({ ...OF_A_RUN, run: Number(find("run").value), name: this.runs[Number(find("run").value)].name }));
    find("epoch").onchange = () => {
      this.state.epoch = find("epoch").value === "" ? null : Number(find("epoch").value);
      this.resolved = undefined;
      this.changed();
      this.tried(async () => {
        if (this.run.particles) {
          await this.latent.listColumns();
          await this.latent.refresh();
        }
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
      try {
        await navigator.clipboard.writeText(link);
        find("copy-link").textContent = "Copied";
        setTimeout(() => (find("copy-link").textContent = "Copy link"), 2000);
      } catch {
        this.say("this browser lets the page copy nothing: the link stands in the address bar");
      }
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
