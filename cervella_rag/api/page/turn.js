// One question with its answer, while it comes and when it has come.

import { add, announce } from "./dom.js";
import { label, word, words } from "./language.js";
import { write } from "./markdown.js";
import { Sources } from "./sources.js";

export class Turn {
  constructor(parent, question) {
    this.element = add(parent, "article", "turn");
    const asked = add(this.element, "h2", "question");
    label(add(asked, "span", "unseen"), "you_asked");
    add(asked, "span", "", question);
    this.text = "";
    this.answer = add(this.element, "div", "answer");
    this.waiting = add(this.element, "p", "waiting");
    this.notices = add(this.element, "div", "notices");
    this.actions = add(this.element, "div", "actions");
    this.sources = new Sources(this.element);
    this.frame = 0;
  }

  take({ name, data }) {
    if (name === "status") this.wait(data);
    if (name === "sources") this.sources.show(data.sources);
    if (name === "token") this.speak(data.text);
    if (name === "done") this.finish(data);
  }

  wait({ stage, done, total }) {
    if (this.text || !words("stage")[stage]) return;
    label(this.waiting, `stage.${stage}`);
    if (total) this.waiting.append(` ${Math.floor((100 * done) / total)} %`);
  }

  // Written at most once a frame: every piece changes what the markdown before it means.
  speak(piece) {
    this.waiting.hidden = true;
    this.text += piece;
    this.frame ||= requestAnimationFrame(() => { this.frame = 0; this.write(); });
  }

  write() {
    write(this.answer, this.text, (number) => this.sources.mark(number));
  }

  finish({ answer, citations, mode, model, grounded, finish_reason: reason, timings_ms: timings }) {
    this.end();
    this.text = answer;
    this.sources.show(citations);
    this.sources.settle(citations);
    // Read aloud once and whole: an answer that is read while it grows is read many times.
    this.answer.setAttribute("aria-live", "polite");
    this.write();
    if (words("cut")[reason]) this.notice(`cut.${reason}`);
    if (!grounded && mode !== "memory_only") this.notice("ungrounded");
    this.writeActions(mode, model, timings);
  }

  end() {
    cancelAnimationFrame(this.frame);
    this.frame = 0;
    this.waiting.hidden = true;
  }

  // Stopped or failed: what was said stays as it is, marked as such.
  breakOff(key, detail = "") {
    this.end();
    if (this.text) this.write();
    this.answer.classList.add("broken");
    const notice = this.notice(key);
    if (detail) notice.textContent = detail;
    if (!this.text) this.sources.section.remove();
  }

  notice(key) {
    const notice = add(this.notices, "p", "notice");
    notice.setAttribute("role", "alert");
    return key ? label(notice, key) : notice;
  }

  writeActions(mode, model, timings) {
    const copy = add(this.actions, "button", "quiet copy");
    copy.type = "button";
    label(copy, "copy");
    copy.addEventListener("click", () => this.copy(copy));
    const said = [words("mode")[mode] ?? mode, model].filter(Boolean).join(" · ");
    label(add(this.actions, "span", "voice"), "voice", { voice: said });
    if (timings) {
      const seconds = (name) => (name in timings ? (timings[name] / 1000).toFixed(1) : "-");
      label(add(this.actions, "span", "took"), "took", { first: seconds("first_token"), total: seconds("total") });
    }
  }

  async copy(button) {
    try {
      await navigator.clipboard.writeText(this.text);
      label(button, "copied");
      announce(word("copied"));
      setTimeout(() => label(button, "copy"), 2000);
    } catch { label(button, "copy_failed"); } // not a secure page, or not allowed
  }
}
