// Small charts as SVG, and pictures of arrays in grey.

const NS = "http://www.w3.org/2000/svg";

function element(name, attributes, text) {
  const made = document.createElementNS(NS, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

export function shortNumber(value, digits = 3) {
  if (!Number.isFinite(value)) return "–";
  return String(Number(value.toPrecision(digits)));
}

// The ends of an axis, with the digits by which they differ.
function endsOf(low, high) {
  const ratio = Math.max(Math.abs(low), Math.abs(high)) / (high - low);
  const digits = Number.isFinite(ratio) ? Math.min(5, Math.max(3, Math.ceil(Math.log10(ratio)) + 1)) : 3;
  return [shortNumber(low, digits), shortNumber(high, digits)];
}

// Lines of points [x, y], each with a name; the axes have names, too.
// A threshold is a horizontal line with its value. The ends y0 and y1 give way to values beyond.
export function lineChart(holder, lines, { xName, yName, y0, y1, threshold = null, height = 150 }) {
  holder.replaceChildren();
  const points = lines.flatMap((line) => line.points).filter(([x, y]) => Number.isFinite(x) && Number.isFinite(y));
  if (!points.length) return;
  const xs = points.map((p) => p[0]);
  const ys = points.map((p) => p[1]);
  const [left, bottom, width] = [46, 30, 320];
  const [ax, bx] = [Math.min(...xs), Math.max(...xs)];
  const [ay, by] = [Math.min(y0 ?? Infinity, ...ys), Math.max(y1 ?? -Infinity, ...ys)];
  const px = (x) => left + ((x - ax) / (bx - ax || 1)) * (width - left - 8);
  const py = (y) => height - bottom - ((y - ay) / (by - ay || 1)) * (height - bottom - 8);
  const svg = element("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `${yName} by ${xName}` });
  svg.append(element("path", { class: "axis", d: `M${left} 8V${height - bottom}H${width - 8}` }));
  const [lowest, highest] = endsOf(ay, by);
  svg.append(element("text", { x: left - 4, y: py(ay), class: "end" }, lowest));
  svg.append(element("text", { x: left - 4, y: py(by) + 6, class: "end" }, highest));
  svg.append(element("text", { x: left, y: height - 14 }, shortNumber(ax)));
  svg.append(element("text", { x: width - 8, y: height - 14, class: "end" }, shortNumber(bx)));
  svg.append(element("text", { x: (left + width) / 2, y: height - 2, class: "middle" }, `${xName} · ${yName}`));
  if (threshold !== null) {
    svg.append(element("path", { class: "threshold", d: `M${left} ${py(threshold)}H${width - 8}` }));
    svg.append(element("text", { x: left - 4, y: py(threshold) + 3, class: "end" }, threshold));
  }
  // Colours come round, with dashes the second time and dots the third.
  const dashes = (number) => ({ "stroke-dasharray": ["none", "6 3", "1.5 2.5"][Math.floor(number / 6) % 3] });
  lines.forEach((line, number) => {
    const d = line.points.map(([x, y], i) => `${i ? "L" : "M"}${px(x).toFixed(1)} ${py(y).toFixed(1)}`).join("");
    const path = element("path", { class: `line line${number % 6}`, d, ...dashes(number) });
    path.append(element("title", {}, line.name));
    svg.append(path);
    if (line.points.length === 1) svg.append(element("circle", { class: `dot line${number % 6}`, cx: px(line.points[0][0]), cy: py(line.points[0][1]), r: 3 }));
  });
  holder.append(svg);
  if (lines.length > 1) {
    const key = document.createElement("p");
    key.className = "key";
    lines.forEach((line, number) => {
      const item = document.createElement("span");
      item.className = `key${number % 6} turn${Math.floor(number / 6) % 3}`;
      item.textContent = line.name;
      key.append(item);
    });
    holder.append(key);
  }
}

export function drawImage(canvas, values, side) {
  canvas.width = canvas.height = side;
  const sorted = Float32Array.from(values).sort();
  const low = sorted[Math.floor(sorted.length * 0.005)];
  const high = sorted[Math.floor((sorted.length - 1) * 0.995)];
  const context = canvas.getContext("2d");
  const image = context.createImageData(side, side);
  for (let i = 0; i < values.length; i++) {
    const grey = Math.round((255 * (values[i] - low)) / (high - low || 1));
    image.data.set([grey, grey, grey, 255], 4 * i);
  }
  context.putImageData(image, 0, 0);
}

// Sum of a volume along z, as seen from above.
export function projectionOf(values, side) {
  const image = new Float32Array(side * side);
  for (let i = 0; i < values.length; i++) image[i % (side * side)] += values[i];
  return image;
}
