// The server: every request carries the language and, once there is one, the key.

import { keep, kept } from "./kept.js";
import { language, word } from "./language.js";

// An error whose words are for the person.
export class Told extends Error {
  constructor(words, code = "") { super(words); this.code = code; }
}

let askForKey = () => {};
export function whenKeyIsNeeded(ask) { askForKey = ask; }

// A refusal forgets the key and asks for another.
async function call(path, options = {}) {
  const key = kept("key");
  if (!/^[!-~]*$/.test(key)) return refused(); // no header can carry it
  const headers = { ...options.headers, "accept-language": language, ...(key && { "x-api-key": key }) };
  let response = null;
  try {
    response = await fetch(path, { ...options, headers });
  } catch (error) {
    throw error.name === "AbortError" ? error : new Told(word("offline"));
  }
  return response.status === 401 ? refused() : response;
}

function refused() {
  keep("key", "");
  askForKey();
  throw new Told(word("key_needed"), "key_refused");
}

// The JSON of an answer, null where it has none; a problem document is thrown in its own words.
export async function ask(path, options = {}) {
  const response = await call(path, options);
  if (!response.ok) throw await problem(response);
  return response.status === 204 ? null : response.json();
}

async function problem(response) {
  try {
    const { detail, title, code } = await response.json();
    return new Told(detail || title, code);
  } catch { return new Told(word("offline")); }
}

// Ready or not, the body tells of every part.
export async function readiness() {
  const response = await call("health/ready");
  try { return await response.json(); } catch { throw new Told(word("offline")); }
}

// The events of one answer, {name, data}; the last one is "done", or it breaks off with an error.
export async function* stream(message, conversation, signal) {
  const response = await call("v1/chat", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ message, stream: true, conversation_id: conversation }),
    signal,
  });
  if (!response.ok) throw await problem(response);
  for await (const event of events(response.body)) {
    if (event.name === "error") throw new Told(event.data.detail, event.data.code);
    yield event;
    if (event.name === "done") return;
  }
  throw new Told(word("broken"));
}

async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let buffer = "";
  for (;;) {
    const { done, value } = await read(reader);
    if (done) return;
    const frames = (buffer + value).split("\n\n");
    buffer = frames.pop();
    for (const frame of frames) {
      const name = /^event: (.*)$/m.exec(frame)?.[1];
      const data = /^data: (.*)$/m.exec(frame)?.[1];
      if (name && data) yield { name, data: JSON.parse(data) };
    }
  }
}

async function read(reader) {
  try {
    return await reader.read();
  } catch (error) {
    throw error.name === "AbortError" ? error : new Told(word("broken"));
  }
}
