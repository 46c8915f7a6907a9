// What lies over the points: the stroke that is being drawn, the path, and the places of A and B.

export function drawOverlay(overlay, scatter, grip, state) {
  const ratio = window.devicePixelRatio || 1;
  [overlay.width, overlay.height] = [overlay.clientWidth * ratio, overlay.clientHeight * ratio];
  const context = overlay.getContext("2d");
  context.scale(ratio, ratio);
  const ink = state.dark ? "#fff" : "#000";
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
  state.anchors.forEach((anchor, i) => {
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
  if (!state.map) mark(state.a?.row, "A");
  mark(state.b?.row, "B");
}
