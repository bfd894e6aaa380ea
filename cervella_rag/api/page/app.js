// The page: one question at a time, streamed. Text from the memory is only ever set as text.

const TEXTS = {
  it: {
    label: "La tua domanda", ask: "Chiedi", stop: "Ferma", lines: "righe", retired: "file ritirato, visto il", undated: "senza data",
    mode: { memory_only: "solo memoria, senza modello", llama_cpp: "modello in processo" },
    stage: { retrieved: "cerco nella memoria…", loading: "carico il modello…", reading: "leggo…" },
    keyLabel: "Chiave", enter: "Entra", keyNeeded: "Serve la chiave.",
    broken: "La risposta si è interrotta.", offline: "Il server non risponde.",
    cut: { length: "Risposta tagliata alla lunghezza massima.", incomplete: "La risposta può essere incompleta." },
  },
  en: {
    label: "Your question", ask: "Ask", stop: "Stop", lines: "lines", retired: "retired file, last seen", undated: "undated",
    mode: { memory_only: "memory only, no model", llama_cpp: "model in process" },
    stage: { retrieved: "searching the memory…", loading: "loading the model…", reading: "reading…" },
    keyLabel: "Key", enter: "Enter", keyNeeded: "A key is needed.",
    broken: "The answer broke off.", offline: "The server does not answer.",
    cut: { length: "Answer cut at its greatest length.", incomplete: "The answer may be incomplete." },
  },
};
const language = navigator.language.startsWith("en") ? "en" : "it";
const text = TEXTS[language];
const find = (id) => document.getElementById(id);
let stopping = null;
let conversation = null;
let key = kept();

document.documentElement.lang = language;
for (const element of document.querySelectorAll("[data-text]")) element.textContent = text[element.dataset.text];
showState();

find("form").addEventListener("submit", (event) => { event.preventDefault(); ask(); });
find("keyForm").addEventListener("submit", (event) => {
  event.preventDefault();
  keep(find("key").value.trim());
  find("key").value = "";
  find("keyForm").hidden = true;
  showState();
});
find("stop").addEventListener("click", () => stopping?.abort());
find("message").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) { event.preventDefault(); ask(); }
});

// Every request carries the key, once there is one; a refusal forgets it and asks again.
async function call(path, options = {}) {
  let response = null;
  try {
    const headers = { ...options.headers, "accept-language": language, ...(key && { "x-api-key": key }) };
    response = await fetch(path, { ...options, headers });
  } catch (error) {
    if (!/^[!-~]*$/.test(key)) return askForKey(); // no header can carry it
    throw error;
  }
  return response.status === 401 ? askForKey() : response;
}

function askForKey() {
  keep("");
  find("keyForm").hidden = false;
  find("key").focus();
  throw shown(text.keyNeeded);
}

// Where the browser keeps nothing, the key lives as long as the page.
function keep(given) {
  key = given;
  try { localStorage.setItem("cervella-key", given); } catch { /* see above */ }
}

function kept() {
  try { return localStorage.getItem("cervella-key") ?? ""; } catch { return ""; }
}

async function showState() {
  try {
    const ready = await (await call("/health/ready")).json();
    const failing = Object.values(ready.parts).find((part) => !part.ready);
    const [mode, ...model] = ready.parts.voice.detail.split(" ");
    find("state").textContent = failing ? failing.detail : [text.mode[mode] ?? mode, ...model].join(" ");
  } catch (error) { find("state").textContent = error.shown ?? text.offline; }
}

async function ask() {
  const message = find("message").value.trim();
  if (!message || stopping) return;
  const turn = add(find("turns"), "section");
  add(turn, "p", "question", message).scrollIntoView({ behavior: "smooth" });
  const answer = add(turn, "p", "answer", text.stage.retrieved);
  stopping = new AbortController();
  setBusy(true);
  try {
    await streamAnswer(message, turn, answer);
    find("message").value = "";
  } catch (error) {
    if (error.name !== "AbortError") add(turn, "p", "error", error.shown ?? text.offline);
    if (!turn.dataset.speaking) answer.remove();
  } finally {
    stopping = null;
    setBusy(false);
  }
}

async function streamAnswer(message, turn, answer) {
  const response = await call("/v1/chat", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ message, stream: true, conversation_id: conversation }),
    signal: stopping.signal,
  });
  if (!response.ok) throw shown((await response.json()).detail);
  let finished = false;
  for await (const { name, data } of events(response.body)) {
    if (name === "sources") data.sources.forEach((source) => addSource(turn, source));
    if (name === "status" && !turn.dataset.speaking && text.stage[data.stage]) {
      const share = data.total ? ` ${Math.floor((100 * data.done) / data.total)} %` : "";
      answer.textContent = text.stage[data.stage] + share;
    }
    if (name === "token") {
      if (!turn.dataset.speaking) answer.textContent = "";
      turn.dataset.speaking = "yes";
      answer.textContent += data.text;
    }
    if (name === "error") throw shown(data.detail);
    if (name === "done") {
      finished = true;
      conversation = data.conversation_id;
      if (text.cut[data.finish_reason]) add(turn, "p", "error", text.cut[data.finish_reason]);
    }
  }
  if (!finished) throw shown(text.broken);
}

async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let buffer = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    buffer += value;
    const frames = buffer.split("\n\n");
    buffer = frames.pop();
    for (const frame of frames) {
      const name = /^event: (.*)$/m.exec(frame)?.[1];
      const data = /^data: (.*)$/m.exec(frame)?.[1];
      if (name && data) yield { name, data: JSON.parse(data) };
    }
  }
}

function addSource(turn, source) {
  const details = add(turn, "details");
  const summary = add(details, "summary", "", `[${source.number}] ${source.path} `);
  add(summary, "small", "", `${text.lines} ${source.start_line}-${source.end_line} · ${source.date ?? text.undated}`);
  if (source.retired) add(summary, "small", "", ` · ${text.retired} ${source.retired}`);
  if (source.headings.length) add(details, "small", "", source.headings.join(" > "));
  add(details, "pre", "", source.quote);
}

function add(parent, tag, className = "", content = "") {
  const element = document.createElement(tag);
  element.className = className;
  element.textContent = content;
  parent.append(element);
  return element;
}

function shown(detail) { return Object.assign(new Error(detail), { shown: detail }); }

function setBusy(busy) {
  find("send").hidden = busy;
  find("stop").hidden = !busy;
  if (!busy) find("message").focus();
}
