// The list of conversations: go on with one, forget one. The open one is the address's `#c=ID`.

import { ask } from "./api.js";
import { add, find } from "./dom.js";
import { label, language, word } from "./language.js";

let cards = [];

export const current = () => new URLSearchParams(location.hash.slice(1)).get("c");

// Without an entry in the history for every question; `hashchange` is for what the person does.
export function setCurrent(id) {
  history.replaceState(null, "", id ? `#c=${encodeURIComponent(id)}` : location.pathname + location.search);
  showConversations();
}

export const read = (id) => ask(`v1/conversations/${encodeURIComponent(id)}`);

export async function refreshConversations() {
  ({ conversations: cards } = await ask("v1/conversations"));
  showConversations();
}

export function showConversations() {
  const list = find("conversations");
  const focused = list.contains(document.activeElement) ? document.activeElement.dataset.focus : null;
  list.replaceChildren();
  find("no-conversations").hidden = cards.length > 0;
  for (const card of cards) showCard(list, card);
  if (focused) [...list.querySelectorAll("[data-focus]")].find((item) => item.dataset.focus === focused)?.focus();
}

function showCard(list, card) {
  const item = add(list, "li");
  const link = add(item, "a", "", card.title);
  link.href = `#c=${encodeURIComponent(card.conversation_id)}`;
  link.dataset.focus = card.conversation_id;
  if (card.conversation_id === current()) link.setAttribute("aria-current", "true");
  const details = add(link, "small");
  const day = new Intl.DateTimeFormat(language, { day: "numeric", month: "short" }).format(new Date(card.updated));
  details.textContent = `${day} · ${word("turns", { count: card.turns })}`;
  const button = add(item, "button", "quiet", "\u00d7");
  button.type = "button";
  label(button, "delete_of", { title: card.title }, "aria-label");
  label(button, "delete", {}, "title");
  button.addEventListener("click", () => remove(card));
}

async function remove({ conversation_id: id, title }) {
  if (!confirm(word("delete_sure", { title }))) return;
  try {
    await ask(`v1/conversations/${encodeURIComponent(id)}`, { method: "DELETE" });
  } catch (error) {
    if (error.code !== "conversation_unknown") throw error; // gone already, which is what was wanted
  }
  if (id === current()) location.hash = "";
  find("new").focus();
  await refreshConversations();
}
