// Markdown to elements. The library only reads it; elements are made here, from a short list, with text set as
// text: whatever the memory or a model writes, it cannot become markup, load anything or run.

import { add } from "./dom.js";
import { Marked } from "./vendor/marked.esm.js";

// HTML is text like any other. A definition, `[1]: http://...`, would turn a citation into somebody's link.
const nothing = () => undefined;
// A line stays a line: a quote may begin in the middle of a table.
const reader = new Marked({ breaks: true, tokenizer: { html: nothing, tag: nothing, def: nothing, reflink: nothing } });

const MARK = /\[(\d{1,3})\]/;
const DEEPEST = 20; // nested quotes and lists beyond it are text
const LONGEST = 100_000; // characters read as markdown; an answer has a tenth of it

// Write `text` into `element`. `mark` makes the element of a citation's number, or returns null.
export function write(element, text, mark = () => null) {
  element.replaceChildren();
  let tokens = null;
  try {
    if (text.length > LONGEST) throw new RangeError("too long");
    tokens = reader.lexer(text);
  } catch { // the library gives up on what is nested thousands of times
    add(element, "pre", "", text);
    return;
  }
  writeAll(element, tokens, { mark, depth: 0 });
}

function writeAll(parent, tokens, how) {
  for (const token of tokens) {
    if (how.depth > DEEPEST) parent.append(token.raw);
    else (BLOCKS[token.type] ?? INLINE[token.type] ?? plain)(parent, token, { ...how, depth: how.depth + 1 });
  }
}

const plain = (parent, token) => parent.append(token.raw);

const around = (tag) => (parent, token, how) => writeAll(add(parent, tag), token.tokens, how);

const BLOCKS = {
  space: () => {},
  hr: (parent) => add(parent, "hr"),
  code: (parent, token) => add(add(parent, "pre"), "code", "", token.text),
  blockquote: around("blockquote"),
  paragraph: around("p"),
  // The page has its own headings: those of an answer stand below them.
  heading: (parent, token, how) => writeAll(add(parent, `h${Math.min(token.depth + 3, 6)}`), token.tokens, how),
  list(parent, token, how) {
    const list = add(parent, token.ordered ? "ol" : "ul");
    if (token.ordered && token.start !== 1) list.start = token.start;
    for (const item of token.items) writeItem(add(list, "li"), item, how);
  },
  table(parent, token, how) {
    const frame = add(parent, "div", "table"); // a wide one scrolls by itself
    frame.tabIndex = 0;
    const table = add(frame, "table");
    writeRow(add(add(table, "thead"), "tr"), "th", token.header, how);
    const body = add(table, "tbody");
    for (const row of token.rows) writeRow(add(body, "tr"), "td", row, how);
  },
};

function writeItem(item, token, how) {
  if (token.task) item.append(token.checked ? "\u2611 " : "\u2610 ");
  writeAll(item, token.tokens.filter(({ type }) => type !== "checkbox"), how);
}

function writeRow(row, tag, cells, how) {
  for (const cell of cells) writeAll(add(row, tag), cell.tokens, how);
}

const INLINE = {
  br: (parent) => add(parent, "br"),
  strong: around("strong"),
  em: around("em"),
  del: around("del"),
  codespan: (parent, token) => add(parent, "code", "", token.text),
  escape: (parent, token) => parent.append(token.text),
  image: (parent, token) => parent.append(token.raw), // nothing is fetched
  text(parent, token, how) {
    if (token.tokens) writeAll(parent, token.tokens, how);
    else writeText(parent, token.text, how);
  },
  link(parent, token, how) {
    if (!/^https?:\/\//i.test(token.href)) return parent.append(token.raw);
    const link = add(parent, "a");
    link.href = token.href;
    link.rel = "noopener noreferrer";
    link.target = "_blank";
    writeAll(link, token.tokens, { ...how, mark: () => null });
  },
};

function writeText(parent, text, how) {
  text.split(MARK).forEach((piece, position) => {
    if (position % 2) parent.append(how.mark(Number(piece)) ?? `[${piece}]`);
    else parent.append(piece);
  });
}
