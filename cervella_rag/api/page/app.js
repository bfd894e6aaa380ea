// The page: one conversation, asked one question at a time. What the person does begins here.

import { stream, whenKeyIsNeeded } from "./api.js";
import { current, read, refreshConversations, setCurrent, showConversations } from "./conversations.js";
import { add, announce, find } from "./dom.js";
import { keep } from "./kept.js";
import { begin, label, language, speak, word, words } from "./language.js";
import { reindex, showIndex, showState } from "./memory.js";
import { Turn } from "./turn.js";

const NARROW = matchMedia("(max-width: 56rem)");
let stopping = null;

begin();
greet();
openSide(false);
find("language").lang = language === "it" ? "en" : "it";
whenKeyIsNeeded(() => { find("key-form").hidden = false; find("key").focus(); });
start();

function start() {
  tell(showState());
  tell(showIndex());
  tell(refreshConversations());
  if (current()) tell(openConversation(current()));
}

// What fails outside a turn is told in the header.
function tell(work) {
  work.catch((error) => { find("state").textContent = error.message; find("state").classList.add("failing"); });
}

find("form").addEventListener("submit", (event) => { event.preventDefault(); askQuestion(); });
find("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  keep("key", find("key").value.trim());
  find("key").value = "";
  find("key-form").hidden = true;
  start();
  find("message").focus();
});
find("stop").addEventListener("click", stop);
find("new").addEventListener("click", () => {
  if (current()) location.hash = "";
  else clear();
  openSide(false);
  find("message").focus();
});
find("reindex").addEventListener("click", () => tell(reindex()));
find("menu").addEventListener("click", () => openSide(find("menu").getAttribute("aria-expanded") !== "true"));
find("language").addEventListener("click", () => {
  find("language").lang = language;
  speak(language === "it" ? "en" : "it");
  showConversations();
  if (find("greeting")) { find("greeting").remove(); greet(); }
  tell(showState());
});
find("message").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) { event.preventDefault(); askQuestion(); }
});
addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  if (stopping) stop();
  else if (NARROW.matches && find("menu").getAttribute("aria-expanded") === "true") { openSide(false); find("menu").focus(); }
});
addEventListener("hashchange", () => {
  stop();
  openSide(false);
  showConversations();
  if (current()) tell(openConversation(current()));
  else clear();
});
NARROW.addEventListener("change", () => openSide(false));

// On a wide page the side stands always; on a narrow one it covers the rest.
function openSide(isOpen) {
  find("menu").setAttribute("aria-expanded", isOpen);
  find("side").hidden = NARROW.matches && !isOpen;
  find("talk").inert = NARROW.matches && isOpen;
  if (NARROW.matches && isOpen) find("new").focus();
}

function clear() {
  find("turns").replaceChildren();
  greet();
}

function greet() {
  const greeting = add(find("turns"), "section", "greeting");
  greeting.id = "greeting";
  label(add(greeting, "h2"), "greeting");
  label(add(greeting, "p"), "greeting_more");
  for (const suggestion of words("suggestions")) {
    const button = add(greeting, "button", "suggestion", suggestion);
    button.type = "button";
    button.addEventListener("click", () => { find("message").value = suggestion; askQuestion(); });
  }
}

async function openConversation(id) {
  let kept = null;
  try {
    kept = await read(id);
  } catch (error) {
    if (error.code === "conversation_unknown") setCurrent(null);
    throw error;
  }
  if (id !== current()) return; // another was opened meanwhile
  find("turns").replaceChildren();
  for (const turn of kept.turns) new Turn(find("turns"), turn.question).finish(turn);
  if (kept.turns.length) scrollToEnd(find("turns").lastElementChild);
}

function stop() { stopping?.abort(); }

async function askQuestion() {
  const message = find("message").value.trim();
  if (!message || stopping) return;
  find("greeting")?.remove();
  find("message").value = "";
  const turn = new Turn(find("turns"), message);
  const mine = stopping = new AbortController();
  setBusy(true);
  turn.wait({ stage: "searching" });
  announce(word("stage.searching"));
  scrollToEnd(turn.element);
  try {
    await hear(turn, message, mine.signal);
  } catch (error) {
    if (error.name === "AbortError") turn.breakOff("stopped");
    else turn.breakOff(null, error.message);
    if (error.code === "conversation_unknown") setCurrent(null);
    find("message").value ||= message; // to be asked again
  } finally {
    stopping = null;
    setBusy(false);
  }
}

async function hear(turn, message, signal) {
  for await (const event of stream(message, current(), signal)) {
    const isFollowing = isAtEnd();
    turn.take(event);
    if (isFollowing) requestAnimationFrame(() => scrollToEnd(turn.element));
    if (event.name !== "done") continue;
    announce(word("ready", { count: event.data.citations.length }));
    setCurrent(event.data.conversation_id);
    tell(refreshConversations());
    tell(showState());
  }
}

const isAtEnd = () => innerHeight + scrollY >= document.documentElement.scrollHeight - 80;

// To the end, and no further than the question's own beginning: an answer is read from its first line.
function scrollToEnd(turn) {
  const header = document.querySelector("header").offsetHeight;
  const start = scrollY + turn.getBoundingClientRect().top - header;
  scrollTo({ top: Math.min(start, document.documentElement.scrollHeight - innerHeight) });
}

// The one button of the form that can be pressed keeps the focus that was on the other.
function setBusy(isBusy) {
  const [shown, hidden] = isBusy ? ["stop", "send"] : ["send", "stop"];
  const wasFocused = document.activeElement === find(hidden);
  find(shown).hidden = false;
  find(hidden).hidden = true;
  if (wasFocused) find(shown).focus();
}
