// What the browser keeps between visits; where it keeps nothing, as long as the page lives.

const here = new Map();

export function kept(name) {
  try { return localStorage.getItem(`cervella-${name}`) ?? here.get(name) ?? ""; } catch { return here.get(name) ?? ""; }
}

export function keep(name, value) {
  here.set(name, value);
  try { localStorage.setItem(`cervella-${name}`, value); } catch { /* see above */ }
}
