// Which language the page speaks. An element that was given its words here changes them with the language.

import { keep, kept } from "./kept.js";
import { WORDS } from "./words.js";

const given = new WeakMap(); // element -> attribute or "" -> [key, values]

export let language = WORDS[kept("language")] ? kept("language") : preferred();

// The memory is Italian, and so is whoever asks for neither language.
function preferred() {
  return navigator.languages.map((tag) => tag.slice(0, 2)).find((tag) => tag in WORDS) ?? "it";
}

// "stage.reading" is found under "stage"; a `count` among the values chooses between "one" and "other".
export function word(key, values = {}) {
  let found = WORDS[language];
  for (const part of key.split(".")) found = found?.[part];
  if (found?.other) found = values.count === 1 ? found.one : found.other;
  return found?.replace(/\{(\w+)\}/g, (_, name) => values[name]);
}

export const words = (key) => WORDS[language][key];

export function label(element, key, values = {}, attribute = "") {
  element.dataset.words = "";
  given.set(element, { ...given.get(element), [attribute]: [key, values] });
  write(element, key, values, attribute);
  return element;
}

function write(element, key, values, attribute) {
  if (attribute) element.setAttribute(attribute, word(key, values));
  else element.textContent = word(key, values);
}

export function speak(chosen) {
  language = chosen;
  keep("language", chosen);
  document.documentElement.lang = chosen;
  for (const element of document.querySelectorAll("[data-words]")) {
    for (const [attribute, [key, values]] of Object.entries(given.get(element) ?? {})) {
      write(element, key, values, attribute);
    }
  }
}

// What stands in the page from the start: data-text="key", data-label="key", data-placeholder="key".
export function begin() {
  for (const element of document.querySelectorAll("[data-text]")) label(element, element.dataset.text);
  for (const element of document.querySelectorAll("[data-label]")) label(element, element.dataset.label, {}, "aria-label");
  for (const element of document.querySelectorAll("[data-placeholder]")) label(element, element.dataset.placeholder, {}, "placeholder");
  document.documentElement.lang = language;
}
