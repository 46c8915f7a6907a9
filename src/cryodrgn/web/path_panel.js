// A path through the latent space, and the film of the volumes along it.

import { download, frameOf, gifOf, videoKind, videoOf } from "./film.js";
import { refused } from "./server.js";

const find = (id) => document.getElementById(id);
const MOST_FILM_BYTES = 4e8;

export class PathPanel {
  constructor(page, volumes) {
    [this.page, this.volumes] = [page, volumes];
    this.frames = [];
    this.listen();
  }

  async followAnchors() {
    const { state } = this.page;
    const anchors = await Promise.all(state.anchors.map((anchor) => this.volumes.renewed(anchor)));
    state.anchors = anchors;
    this.showAnchors();
  }

  async add(panel, px, py) {
    const row = panel.scatter.nearest(px, py);
    const { anchors } = this.page.state;
    if (row < 0 || anchors.at(-1)?.row === row) return;
    const anchor = { z: [], row };
    anchors.push(anchor);
    await this.page.tried(async () => {
      anchor.z = (await this.volumes.renewed(anchor)).z;
    });
    if (!anchor.z.length) anchors.splice(anchors.indexOf(anchor), 1);
    this.forgetFrames();
    panel.drawOverlay();
    this.page.changed();
  }

  // Of another path, epoch or run; a film that is being made is given up.
  forgetFrames() {
    if (this.isMaking) this.volumes.begin("");
    this.frames = [];
    this.filmed = "";
    this.showAnchors();
  }

  showAnchors() {
    const { anchors } = this.page.state;
    find("anchors").textContent = anchors.length ? `${anchors.length} point${anchors.length > 1 ? "s" : ""}` : "no points yet; take the tool Path";
    find("frame").max = Math.max(this.frames.length - 1, 0);
    find("frame").disabled = this.frames.length < 2;
  }

  // Points on the straight pieces between the anchors, evenly in number.
  pathPoints() {
    const { anchors } = this.page.state;
    const count = Math.min(Math.max(Number(find("path-count").value) || 12, 2), 200);
    if (anchors.length < 2) throw refused("a path needs two points at least: take the tool Path and click");
    return Array.from({ length: count }, (_, i) => {
      const place = (i / (count - 1)) * (anchors.length - 1);
      const low = Math.min(Math.floor(place), anchors.length - 2);
      const [p, q] = [anchors[low].z, anchors[low + 1].z];
      return p.map((v, d) => v + (place - low) * (q[d] - v));
    });
  }

  // Decodes the volumes of the path, unless they are there; gives way to whatever one does next.
  async makeFilm() {
    const { page } = this;
    const points = this.pathPoints();
    const wanted = JSON.stringify([points, page.state.run, page.shownEpoch]);
    if (this.filmed === wanted) return;
    // Frames of half precision are kept, as large as this much memory lets them be.
    const largest = 2 * Math.floor((MOST_FILM_BYTES / 2 / points.length) ** (1 / 3) / 2);
    const side = Math.min(page.run.box_size, page.run.instant ? largest : 64);
    this.forgetFrames();
    const { turn, signal } = this.volumes.begin("decoding …");
    this.volumes.leaveMap();
    this.isMaking = true;
    try {
      for (const z of points) {
        find("busy").textContent = `decoding ${this.frames.length + 1} of ${points.length} …`;
        const frame = await this.volumes.fetched({ z, row: null }, side, { page: `${this.volumes.wisher}a`, turn }, { signal });
        this.requireTurn(turn);
        this.frames.push(frame);
        this.showAnchors();
        this.showFrame(this.frames.length - 1);
      }
    } finally {
      if (turn === this.volumes.turn) this.isMaking = false;
      this.volumes.end(turn);
    }
    this.filmed = wanted;
  }

  requireTurn(turn) {
    if (turn !== this.volumes.turn) throw new DOMException("the film is not wanted any more", "AbortError");
  }

  async play() {
    await this.makeFilm();
    const { turn } = this.volumes;
    for (let i = 0; i < this.frames.length; i++) {
      this.requireTurn(turn);
      this.showFrame(i);
      await new Promise((resolve) => setTimeout(resolve, 80));
    }
  }

  showFrame(number) {
    const frame = this.frames[number];
    if (!frame) return;
    const { page } = this;
    find("frame").value = number;
    page.state.a = frame.point;
    this.volumes.show("a", frame);
    page.latent.drawOverlay();
    page.changed();
  }

  // A frame that is drawn already, for films.
  drawFrame(number) {
    this.showFrame(number);
    this.volumes.a.drawNow();
  }

  async gif() {
    await this.makeFilm();
    return this.filming(async () => {
      const pictures = this.frames.map((_, i) => {
        this.drawFrame(i);
        return frameOf(this.volumes.a.canvas);
      });
      return gifOf([...pictures, ...pictures.slice(1, -1).reverse()]);
    });
  }

  // Pictures of one size, while they are taken.
  async filming(work) {
    const { clientWidth, clientHeight } = this.volumes.a.canvas;
    const scale = 400 / Math.max(clientWidth, clientHeight);
    this.volumes.a.size = [clientWidth, clientHeight].map((side) => 2 * Math.max(Math.round((side * scale) / 2), 8));
    try {
      return await work();
    } finally {
      this.volumes.a.size = null;
      this.volumes.a.draw();
    }
  }

  listen() {
    const { page } = this;
    const bound = (id, event, work) => find(id).addEventListener(event, () => page.tried(work));
    bound("play", "click", () => this.play());
    bound("frame", "input", () => this.showFrame(Number(find("frame").value)));
    bound("gif", "click", async () => download(await this.gif(), `${page.run.name}_path.gif`));
    bound("video", "click", async () => {
      if (!videoKind()) throw refused("this browser writes no video; take the .gif");
      await this.makeFilm();
      const video = await this.filming(() => videoOf(this.volumes.a.canvas, (i) => this.drawFrame(i), this.frames.length));
      download(video, `${page.run.name}_path.${video.type.startsWith("video/mp4") ? "mp4" : "webm"}`);
    });
    bound("clear-path", "click", () => {
      page.state.anchors = [];
      this.forgetFrames();
      page.latent.drawOverlay();
      page.changed();
    });
  }
}
