// Elements, made one way only: text is set as text, never read as markup.

export const find = (id) => document.getElementById(id);

export function make(tag, className = "", text = "") {
  const element = document.createElement(tag);
  if (className) element.className = className;
  element.textContent = text;
  return element;
}

export function add(parent, tag, className = "", text = "") {
  const element = make(tag, className, text);
  parent.append(element);
  return element;
}

// Told to a screen reader and not shown.
export function announce(text) {
  find("announcer").textContent = text;
}
