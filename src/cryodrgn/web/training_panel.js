// A run under way: losses, rate, time left, verdict, and one state after every epoch.

import { drawImage, lineChart, projectionOf } from "./charts.js";
import { getJson, getNumbers, refused } from "./server.js";
import { halved } from "./volume_view.js";

const find = (id) => document.getElementById(id);
const EVERY = 2000;
const SELDOM = 15000;

function duration(seconds) {
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  return `${(seconds / 3600).toFixed(1)} h`;
}

export class TrainingPanel {
  constructor(page) {
    this.page = page;
    find("strip-go").onclick = () => page.tried(() => this.strip());
    find("strip-at").oninput = () => this.scrub(Number(find("strip-at").value));
  }

  async open() {
    clearTimeout(this.later);
    this.stamp = "";
    this.epochs = null;
    this.cards = [];
    find("strip").replaceChildren();
    find("half-maps").replaceChildren();
    await this.look();
    const curves = await this.page.tried(() => this.page.ofRun(getJson(`${this.page.api}/half-maps`)));
    if (!curves) return;
    const lines = Object.entries(curves).map(([name, points]) => ({ name, points }));
    if (lines.length) lineChart(find("half-maps"), lines, { xName: "spatial frequency (1/Å)", yName: "FSC of half maps", y0: 0, y1: 1, threshold: 0.143 });
  }

  // Asks whether there is anything new, and again after a while; a page in the background rests.
  async look() {
    clearTimeout(this.later);
    const { opening } = this.page;
    if (!document.hidden) await this.page.tried(() => this.update());
    if (opening !== this.page.opening) return;
    clearTimeout(this.later);
    this.later = setTimeout(() => this.look(), this.isRunning ? EVERY : SELDOM);
  }

  async update() {
    const { page } = this;
    const told = await page.ofRun(getJson(`${page.api}/progress`, { seen: this.stamp }));
    this.stamp = told.stamp;
    if (told.unchanged) return;
    this.isRunning = ["running", "silent", "unknown"].includes(told.state);
    this.show(told);
    const epochs = JSON.stringify([told.epochs, told.finished]);
    const isFirst = this.epochs === null;
    const isGrown = this.epochs !== epochs;
    this.epochs = epochs;
    if (isFirst) return;
    if (isGrown) await this.grown(told);
    // An analysis may have been made of a run that has ended.
    else if (!this.isRunning && page.run.particles) {
      page.columns.clear();
      await page.latent.listColumns();
    }
  }

  // A new epoch: its latents are shown, unless an earlier one was asked for.
  async grown(told) {
    const { page } = this;
    // With the first epoch, there is a latent space.
    if (!page.run.particles && page.run.latent_dim) return page.openRun();
    page.showEpochs(told.epochs, told.finished);
    if (page.state.epoch === null) {
      page.run = await page.ofRun(getJson(page.api));
      if (page.run.particles) {
        page.columns.clear();
        await page.latent.listColumns();
        await page.latent.refresh();
        await page.latent.replay(page.state.steps);
      }
      await page.volumes.refresh({ whole: !this.isRunning });
    }
    if (this.cards.length) await this.strip();
    return undefined;
  }

  show(told) {
    const parts = [{ running: "under way", finished: "finished", stopped: "stopped", silent: "says nothing any more", unknown: "under way, or written by another program" }[told.state]];
    if (told.reason) parts.push(told.reason);
    const done = told.losses.length;
    if (told.num_epochs) parts.push(`epoch ${done} of ${told.num_epochs} done`);
    if (told.rate) parts.push(`${Math.round(told.rate).toLocaleString("en")} images/s`);
    if (told.seconds_left && told.state === "running") parts.push(`${duration(told.seconds_left)} left`);
    if (told.device) parts.push(told.device);
    if (told.verdict) parts.push(told.verdict);
    find("progress").textContent = parts.join(" · ");
    const curve = (name) => ({ name, points: told.losses.filter((e) => Number.isFinite(e[name])).map((e) => [e.epoch + 1, e[name]]) });
    const error = curve("reconstruction");
    // Where nothing is added to the reconstruction error (linear models), it is the total.
    const isAll = error.points.length > 0 && told.losses.every((e) => e.reconstruction === e.total);
    const lines = [...isAll ? [] : [curve("total")], ...error.points.length ? [error] : []];
    if (told.losses.length > 0) lineChart(find("losses"), lines, { xName: "epochs done", yName: "loss" });
    else lineChart(find("losses"), [{ name: "total", points: told.steps.map((s) => [s.images, s.total]) }], { xName: "images", yName: "loss" });
    const explained = (told.held_out ?? []).filter((r) => Number.isFinite(r.explained)).map((r) => [r.epoch + 1, r.explained]);
    if (explained.length) lineChart(find("held-out"), [{ name: "explained", points: explained }], { xName: "epochs done", yName: "power explained, particles kept out" });
    else find("held-out").replaceChildren();
  }

  // The volume at one particle after every epoch, as projections.
  async strip() {
    const { page } = this;
    const row = page.state.a?.row ?? page.particle.row ?? 0;
    const side = page.run.instant ? page.run.box_size : Math.min(32, page.run.box_size);
    const { epochs } = await page.ofRun(getJson(page.api));
    if (!epochs.length) throw refused(`${page.run.name} keeps no epochs, only its result`);
    const done = new Map(this.cards.filter((card) => card.row === row).map((card) => [card.epoch, card]));
    // Asked for again, or of another run, before it is complete: the newer one goes on.
    const cards = [];
    this.cards = cards;
    for (const epoch of epochs) {
      let card = done.get(epoch);
      if (!card) {
        const { z } = page.run.latent_dim ? await page.ofRun(getJson(`${page.api}/latent`, { row, epoch })) : { z: [] };
        const { values, about } = await getNumbers(`${page.api}/volume`, { z: z.join(","), side, epoch });
        card = this.card(row, epoch, values, { ...this.scaled(values, about.side), about, point: { z, row: page.run.latent_dim ? row : null, epoch }, pixelSize: about.pixel_size, exact: async () => values });
      }
      if (this.cards !== cards) return;
      cards.push(card);
      find("strip").replaceChildren(...cards.map((one) => one.figure));
      find("strip-at").max = cards.length - 1;
    }
  }

  scaled(values, side) {
    const { halves, factor } = halved(values);
    return { halves, ...this.page.volumes.onScale({ factor, side }) };
  }

  card(row, epoch, values, volume) {
    const figure = document.createElement("figure");
    const canvas = document.createElement("canvas");
    const caption = document.createElement("figcaption");
    caption.textContent = `epoch ${epoch}`;
    drawImage(canvas, projectionOf(values, volume.side), volume.side);
    figure.append(canvas, caption);
    const card = { row, epoch, volume, figure };
    canvas.onclick = () => this.scrub(this.cards.indexOf(card));
    return card;
  }

  scrub(number) {
    const card = this.cards[number];
    if (!card) return;
    for (const one of this.cards) one.figure.classList.toggle("shown", one === card);
    find("strip-at").value = number;
    this.page.volumes.show("a", { ...card.volume, name: `particle ${card.row} after epoch ${card.epoch}` });
  }
}
