// Requests to the page's server; what it refuses becomes an error with its sentence.

export class Refused extends Error {
  constructor(sentence, status) {
    super(sentence);
    this.status = status;
  }
}

// What cannot be done, said without the server.
export const refused = (sentence) => new Refused(sentence, 0);

async function answered(path, options) {
  let answer;
  try {
    answer = await fetch(path, { credentials: "same-origin", ...options });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused("the server does not answer any more: it was stopped, or the tunnel to it is closed", 0);
  }
  if (answer.ok) return answer;
  let said = {};
  try {
    said = await answer.json();
  } catch {
    said = { error: `the server answered ${answer.status}` };
  }
  if (said.superseded) throw new DOMException("superseded", "AbortError");
  throw new Refused(said.error ?? "the server refused", answer.status);
}

export function query(values) {
  const said = Object.entries(values).filter(([, value]) => value !== null && value !== undefined && value !== "");
  return said.length ? `?${new URLSearchParams(said)}` : "";
}

export async function getJson(path, values = {}, options = {}) {
  return (await answered(path + query(values), options)).json();
}

export async function getNumbers(path, values = {}, { signal, kind = Float32Array } = {}) {
  const answer = await answered(path + query(values), { signal });
  const about = JSON.parse(answer.headers.get("x-about") ?? "{}");
  return { values: new kind(await answer.arrayBuffer()), about };
}

export async function post(path, values = {}, body = null) {
  return (await answered(path + query(values), { method: "POST", body })).json();
}
