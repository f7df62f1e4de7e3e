// What pages do by themselves when a script may run: show what is new, and keys. Without it links and forms do the same.
"use strict";
(() => {
  const EVERY_MS = 5000;
  const page = document;
  const all = (what, from) => [...(from || page).querySelectorAll(what)];
  const one = (what, from) => (from || page).querySelector(what);
  const stored = (name) => { try { return localStorage.getItem(name) !== "off"; } catch { return true; } };
  const store = (name, on) => { try { localStorage.setItem(name, on ? "on" : "off"); } catch { /* kept for this page only */ } };

  const script = (root) => {
    all(".js", root).forEach((node) => { node.hidden = false; });
    all(".nojs", root).forEach((node) => { node.hidden = true; });
  };

  // a switch in the foot that is remembered
  const toggle = (id) => {
    const button = one("#" + id);
    const state = { on: stored(id) };
    const show = () => button && button.setAttribute("aria-pressed", String(state.on));
    show();
    if (button) button.addEventListener("click", () => { state.on = !state.on; store(id, state.on); show(); });
    return state;
  };

  // --- what is new ---
  const trouble = (text) => {
    const banner = one("#trouble");
    if (!banner) return;
    banner.textContent = text;
    banner.hidden = text === "";
  };
  const busy = (part) => part.contains(page.activeElement) && page.activeElement.matches("input:not([type=checkbox]), select, textarea");
  const exchange = (fresh) => {
    const marked = new Set(all("input[type=checkbox]:checked").map((box) => box.value));
    const open = all("details").map((node) => node.open);
    const row = page.activeElement && page.activeElement.closest("[data-row]");
    for (const part of all("[data-live]")) {
      const other = fresh.getElementById(part.id);
      if (!other || busy(part) || other.innerHTML === part.innerHTML) continue;
      const before = new Set(all("[data-row]", part).map((row) => row.dataset.id));
      script(other);
      part.replaceChildren(...other.childNodes);
      if (before.size) all("[data-row]", part).filter((row) => !before.has(row.dataset.id)).forEach((row) => row.classList.add("fresh"));
    }
    all("input[type=checkbox]").forEach((box) => { box.checked = marked.has(box.value); });
    if (all("details").length === open.length) all("details").forEach((node, i) => { node.open = open[i]; });
    page.title = fresh.title;
    mark();
    // who walks with keys stays where they were
    if (row && !row.isConnected && current()) { const link = one("a", current()); if (link) link.focus({ preventScroll: true }); }
  };
  const take = async (answer) => {
    if (answer.redirected && new URL(answer.url).pathname === "/sign-in") { location.assign(answer.url); return; }
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    if (!answer.ok) {
      const why = fresh.querySelector(".message p");
      trouble((why ? why.textContent : "The page cannot be asked for.") + " What stands here may be old; trying again.");
      return;
    }
    trouble("");
    // the first event has come, or the page is another one now
    if (one("[data-first]") && !fresh.querySelector("[data-first]")) { location.reload(); return; }
    exchange(fresh);
  };
  const look = async () => {
    try { await take(await fetch(location.href, { headers: { accept: "text/html" }, cache: "no-store" })); } catch { trouble("The program does not answer. What stands here is old; trying again."); }
  };
  let live = { on: true };
  const loop = () => setTimeout(async () => { if (live.on && !page.hidden) await look(); loop(); }, EVERY_MS);

  // --- keys ---
  let here = null;
  const rows = () => all("[data-keys] [data-row]");
  const mark = () => {
    rows().forEach((row) => row.classList.toggle("here", row.dataset.id === here));
  };
  const move = (by) => {
    const list = rows();
    if (!list.length) return;
    const at = list.findIndex((row) => row.dataset.id === here);
    const next = list[Math.max(0, Math.min(list.length - 1, at < 0 ? (by > 0 ? 0 : list.length - 1) : at + by))];
    here = next.dataset.id;
    mark();
    const link = one("a", next);
    if (link) link.focus({ preventScroll: true });
    next.scrollIntoView({ block: "nearest" });
  };
  const current = () => rows().find((row) => row.dataset.id === here);
  const judge = async (verdict) => {
    const part = one("[data-keys=judge]");
    if (!part || !part.dataset.may || !current()) return;
    const list = rows();
    const at = list.findIndex((row) => row.dataset.id === here);
    const after = list[at + 1] || list[at - 1];
    const body = new URLSearchParams({ token: part.dataset.token, id: here, verdict, back: location.pathname + location.search });
    try {
      const answer = await fetch("/alerts/verdict", { method: "POST", body, headers: { accept: "text/html" } });
      await take(answer);
      if (!current() && after) { here = after.dataset.id; mark(); }
    } catch { trouble("The verdict did not get through. Try again."); }
  };
  const press = (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input:not([type=checkbox]), select, textarea")) return;
    const mode = one("[data-keys]");
    if (!mode) return;
    const key = event.key;
    if (key === "j" || key === "k") move(key === "j" ? 1 : -1);
    else if (key === "x" && current()) { const box = one("input[type=checkbox]", current()); if (box) box.checked = !box.checked; }
    else if ((key === "a" || key === "f") && mode.dataset.keys === "one") { const button = one(`#judge button[data-key=${key}]`); if (button) button.click(); }
    else if (key === "a" || key === "f") judge(key === "a" ? "true_positive" : "false_positive");
    else return;
    event.preventDefault();
  };

  script(page);
  live = toggle("live");
  const keys = toggle("keys");
  page.addEventListener("keydown", (event) => { if (keys.on) press(event); });
  page.addEventListener("focusin", (event) => {
    const row = event.target.closest && event.target.closest("[data-keys] [data-row]");
    if (row) { here = row.dataset.id; mark(); }
  });
  const retry = one("[data-retry]");
  if (retry) setTimeout(() => location.reload(), Number(retry.dataset.retry) * 1000);
  else if (one("[data-live]")) loop();
})();
