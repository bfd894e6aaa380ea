// What the index holds, reading the folders again with its progress, and whether a model speaks.

import { ask, readiness } from "./api.js";
import { add, announce, find } from "./dom.js";
import { label, word, words } from "./language.js";

const EVERY_MS = 700;
let watching = false;

export async function showState() {
  const ready = await readiness();
  const failing = Object.values(ready.parts).find((part) => !part.ready);
  const [mode, ...model] = ready.parts.voice.detail.split(" ");
  find("state").classList.toggle("failing", Boolean(failing));
  find("state").textContent = failing ? failing.detail : [words("mode")[mode] ?? mode, ...model].join(" ");
  showBanner(!failing && mode === "memory_only", ready.voices);
}

// Where memory only was chosen, there is no other voice whose reason could be told.
function showBanner(isShown, voices) {
  find("banner").hidden = !isShown;
  const reasons = voices.filter((voice) => !voice.ready);
  find("banner-why").hidden = !reasons.length;
  const list = find("banner-voices");
  list.replaceChildren();
  for (const voice of reasons) add(list, "li", "", voice.detail);
}

export async function showIndex() {
  try {
    const stats = await ask("v1/stats");
    const place = find("index-holds");
    place.replaceChildren();
    label(add(place, "span"), "memory_holds", stats);
    if (stats.newest) label(add(place, "span"), "memory_newest", stats);
    label(add(place, "span"), "memory_folders", { roots: Object.keys(stats.roots).join(", ") });
  } catch (error) {
    find("index-holds").textContent = error.message;
  }
  await watch(false);
}

export async function reindex() {
  await ask("v1/index", { method: "POST" });
  await watch(true);
}

// Follow a run until it ends; a run that somebody else started is followed too.
async function watch(wasAsked) {
  if (watching) return;
  watching = true;
  try {
    let job = await ask("v1/index");
    const isNews = wasAsked || job.state === "running";
    while (job.state === "running") {
      showProgress(job);
      await new Promise((done) => setTimeout(done, EVERY_MS));
      job = await ask("v1/index");
    }
    if (isNews) showReport(job);
  } finally {
    watching = false;
    find("progress").hidden = true;
    find("reindex").disabled = false;
  }
  if (wasAsked) await showIndex();
}

function showProgress({ stage, done, total }) {
  find("reindex").disabled = true;
  find("progress").hidden = false;
  label(find("progress-stage"), `reindexing.${words("reindexing")[stage] ? stage : ""}`);
  const bar = find("progress-bar");
  if (total) Object.assign(bar, { max: total, value: done });
  else bar.removeAttribute("value");
}

function showReport({ state, error, report }) {
  const place = find("index-report");
  place.replaceChildren();
  if (state === "failed") {
    add(place, "p", "notice", error);
    return announce(error);
  }
  const told = { ...report, seconds: (report.took_ms / 1000).toFixed(1) };
  label(add(place, "p"), "reindexed", told);
  announce(word("reindexed", told));
  showFiles(place, "refused", report.refused, ({ path, reason }) => `${path}: ${reason}`);
  showFiles(place, "skipped", report.skipped, ({ path, rule }) => `${path} (${rule})`);
}

function showFiles(place, key, files, line) {
  if (!files.length) return;
  const details = add(place, "details");
  label(add(details, "summary"), key, { count: files.length });
  const list = add(details, "ul");
  for (const file of files) add(list, "li", "", line(file));
}
