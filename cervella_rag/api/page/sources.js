// The numbered passages of one answer: each opens to its lines, with where they stand and why they were found.

import { add } from "./dom.js";
import { label } from "./language.js";

export class Sources {
  constructor(turn) {
    this.section = add(turn, "section", "sources");
    this.section.hidden = true;
    label(add(this.section, "h3"), "sources");
    this.shown = new Map(); // number -> details
  }

  show(citations) {
    this.section.hidden = !citations.length;
    for (const citation of citations) {
      if (!this.shown.has(citation.number)) this.shown.set(citation.number, source(this.section, citation));
    }
  }

  // What was found and not cited steps back.
  settle(cited) {
    const numbers = new Set(cited.map(({ number }) => number));
    const others = [...this.shown].filter(([number]) => !numbers.has(number));
    if (!numbers.size || !others.length) return;
    const more = add(this.section, "details", "also-found");
    label(add(more, "summary"), "also_found", { count: others.length });
    for (const [, details] of others) more.append(details);
  }

  // The element of `[number]` within the answer, null where there is no such source.
  mark(number) {
    if (!this.shown.has(number)) return null;
    const button = document.createElement("button");
    button.type = "button";
    button.className = "mark";
    button.textContent = number;
    label(button, "mark", { number }, "aria-label");
    button.addEventListener("click", () => this.open(number));
    return button;
  }

  open(number) {
    const details = this.shown.get(number);
    for (let place = details; place; place = place.parentElement.closest("details")) place.open = true;
    details.scrollIntoView({ block: "nearest" });
    details.querySelector("summary").focus();
  }
}

function source(section, citation) {
  const details = add(section, "details", "source");
  const summary = add(details, "summary");
  add(summary, "span", "number", citation.number);
  const title = add(summary, "span", "title");
  const cut = citation.path.lastIndexOf("/") + 1;
  add(title, "span", "folder", citation.path.slice(0, cut));
  add(title, "span", "file", citation.path.slice(cut));
  writePlace(add(title, "span", "place"), citation);
  writeWarnings(title, citation);
  if (citation.headings.length) add(details, "p", "headings", citation.headings.join(" › "));
  writeLines(details, citation);
  if (citation.why) label(add(details, "p", "why"), "why", { why: citation.why });
  return details;
}

function writePlace(place, citation) {
  const { start_line: start, end_line: end } = citation;
  label(add(place, "span"), start === end ? "one_line" : "lines", { start, end });
  if (citation.date) add(place, "time", "", citation.date).dateTime = citation.date;
  else label(add(place, "span"), "undated");
  for (const name of ["session", "status"]) {
    if (citation[name]) label(add(place, "span"), name, { [name]: citation[name] });
  }
}

function writeWarnings(title, citation) {
  const { retired, superseded_by: by, stale } = citation;
  if (retired) label(add(title, "span", "warning"), "retired", { date: retired });
  if (by) label(add(title, "span", "warning"), "superseded", { by });
  if (stale) label(add(title, "span", "warning"), "stale");
}

// The lines as they are in the file, under their numbers.
function writeLines(details, citation) {
  const lines = add(details, "ol", "lines");
  lines.start = citation.start_line;
  for (const line of citation.quote.split("\n")) add(lines, "li", "", line);
}
