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

// Only what a state has, of the type that it has there.
export function checked(state) {
  if (typeof state !== "object" || state === null || Array.isArray(state)) return null;
  const found = {};
  const kinds = { run: "number", palette: "string", tool: "string", k: "number", dark: "boolean", difference: "boolean", level: "number", slab: "number", tint: "string", map: "string" };
  for (const [name, kind] of Object.entries(kinds)) if (typeof state[name] === kind) found[name] = state[name];
  for (const name of ["x", "y", "colour"]) {
    const value = state[name];
    if (Array.isArray(value) && value.length === 2 && value.every((part) => typeof part === "string")) found[name] = value;
  }
  if (state.epoch === null || Number.isInteger(state.epoch)) found.epoch = state.epoch;
  if (Array.isArray(state.steps)) found.steps = state.steps.filter((step) => typeof step === "object" && step && typeof step.kind === "string");
  for (const name of ["a", "b"]) if (isPoint(state[name])) found[name] = { z: state[name].z.map(Number), row: Number.isInteger(state[name].row) ? state[name].row : null };
  if (typeof state.b?.map === "string") found.b = { map: state.b.map };
  if (Array.isArray(state.anchors)) found.anchors = state.anchors.filter(isPoint);
  if (state.view && ["cx", "cy", "wx", "wy"].every((n) => Number.isFinite(state.view[n]))) found.view = state.view;
  const { camera } = state;
  if (camera && Array.isArray(camera.turn) && camera.turn.length === 9 && camera.turn.every(Number.isFinite) && Number.isFinite(camera.zoom)) found.camera = camera;
  return found;
}

function isPoint(value) {
  return typeof value === "object" && value !== null && Array.isArray(value.z) && value.z.every(Number.isFinite);
}
