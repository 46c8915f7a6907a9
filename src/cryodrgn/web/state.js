// The state of the page as text: a link, or a small file.

export function encoded(state) {
  const bytes = new TextEncoder().encode(JSON.stringify(state));
  let letters = "";
  for (const byte of bytes) letters += String.fromCharCode(byte);
  return btoa(letters).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

export function decoded(text) {
  try {
    const letters = atob(text.replaceAll("-", "+").replaceAll("_", "/"));
    const state = JSON.parse(new TextDecoder().decode(Uint8Array.from(letters, (letter) => letter.charCodeAt(0))));
    return checked(state);
  } catch {
    return null;
  }
}

const isText = (value) => typeof value === "string";
const isColumn = (value) => Array.isArray(value) && value.length === 2 && value.every(isText);
const isEnd = (value) => value === null || Number.isFinite(value);
const isPlace = (value) => Array.isArray(value) && value.length === 2 && value.every(Number.isFinite);

// What each kind of choice is made of.
const STEPS = {
  polygon: ({ x, y, polygon }) => isColumn(x) && isColumn(y) && Array.isArray(polygon) && polygon.every(isPlace),
  range: ({ column, low, high }) => isColumn(column) && isEnd(low) && isEnd(high),
  groups: ({ column, groups }) => isColumn(column) && Array.isArray(groups) && groups.every(Number.isInteger),
  saved: ({ name }) => isText(name),
  invert: () => true,
  clear: () => true,
};

function isStep(step) {
  if (typeof step !== "object" || step === null || !Object.hasOwn(STEPS, step.kind)) return false;
  return STEPS[step.kind](step) && isEpoch(step.epoch);
}

function isEpoch(value) {
  return value === undefined || value === null || Number.isInteger(value);
}

function isPoint(value) {
  return typeof value === "object" && value !== null && Array.isArray(value.z) && value.z.every(Number.isFinite) && isEpoch(value.epoch);
}

function pointOf({ z, row, epoch }) {
  const found = { z, row: Number.isInteger(row) ? row : null };
  return epoch === undefined ? found : { ...found, epoch };
}

// Only what a state has, of the type that it has there.
export function checked(state) {
  if (typeof state !== "object" || state === null || Array.isArray(state)) return null;
  const found = {};
  const kinds = { name: "string", palette: "string", tool: "string", dark: "boolean", difference: "boolean", tint: "string", map: "string" };
  for (const [name, kind] of Object.entries(kinds)) if (typeof state[name] === kind) found[name] = state[name];
  for (const name of ["k", "level", "slab"]) if (Number.isFinite(state[name])) found[name] = state[name];
  if (Number.isInteger(state.run) && state.run >= 0) found.run = state.run;
  for (const name of ["x", "y", "colour"]) if (isColumn(state[name])) found[name] = state[name];
  if (state.epoch === null || Number.isInteger(state.epoch)) found.epoch = state.epoch;
  if (Array.isArray(state.steps)) found.steps = state.steps.filter(isStep);
  for (const name of ["a", "b"]) if (isPoint(state[name])) found[name] = pointOf(state[name]);
  if (isText(state.b?.map)) found.b = { map: state.b.map };
  if (Array.isArray(state.anchors)) found.anchors = state.anchors.filter(isPoint).map(pointOf);
  const { view, camera } = state;
  if (view && [view.cx, view.cy, view.wx, view.wy].every(Number.isFinite) && view.wx > 0 && view.wy > 0) found.view = view;
  if (camera && Array.isArray(camera.turn) && camera.turn.length === 9 && camera.turn.every(Number.isFinite) && camera.zoom > 0 && Number.isFinite(camera.zoom)) found.camera = camera;
  return found;
}
