// Keeps the parts of a page fresh. An element with data-live is fetched again from that address and patched in place:
// focus, selection, scrolling and what was opened stay. Without this module every page is complete, only less live.
const MOVING = 2000, STILL = 15000, WATCHED = 120000, PATIENCE = 10000, SETTLED = 400, opened = Date.now(); // milliseconds
const REFRESHES = { "X-Tally-Refresh": "1" }; // nobody does anything: a session is not to be kept alive by this
let parts = [], typed = false;

function find(tried) { // a part may bring another, which is asked for at once
  parts = parts.filter(({ node }) => node.isConnected);
  for (const node of document.querySelectorAll("[data-live]"))
    if (!parts.some((part) => part.node === node)) parts.push({ node, fresh: Date.now(), tried });
}

function patch(old, fresh) {
  if (old.isEqualNode(fresh)) return;
  if (old.nodeType !== Node.ELEMENT_NODE) return void (old.data = fresh.data);
  for (const { name } of [...old.attributes]) if (!fresh.hasAttribute(name) && name !== "open") old.removeAttribute(name);
  for (const { name, value } of fresh.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  const wanted = new Set([...fresh.children].map((child) => child.dataset.key));
  for (const child of [...old.children]) if (child.dataset.key && !wanted.has(child.dataset.key)) child.remove();
  const kept = new Map([...old.children].filter((child) => child.dataset.key).map((child) => [child.dataset.key, child]));
  let place = old.firstChild;
  for (const child of [...fresh.childNodes]) {
    const key = child.dataset?.key;
    const twin = key ? kept.get(key) : place?.nodeName === child.nodeName && !place.dataset?.key && place;
    if (twin === place && twin) place = place.nextSibling;
    else old.insertBefore(twin || child, place);
    if (twin && !("live" in (twin.dataset ?? {}))) patch(twin, child); // a part inside keeps itself
    else if (key && kept.size) child.classList.add("is-new");
  }
  for (let next; place; place = next) next = place.nextSibling, place.remove();
}

function address({ live, form }) { // that of a part which depends on a form has its fields
  if (!form) return live;
  const fields = new FormData(document.getElementById(form));
  fields.delete("csrf_token");
  return `${live}?${new URLSearchParams(fields)}`;
}

async function refresh(part) {
  part.tried = Date.now(), part.asking = true, part.changed = 0;
  try {
    const answer = await fetch(address(part.node.dataset), { headers: REFRESHES, redirect: "manual", signal: AbortSignal.timeout(PATIENCE) });
    if (answer.type === "opaqueredirect") { // the session ended: a reload leads to the sign-in, but would lose what was typed
      if (!typed) return location.reload();
      return void (part.trouble = "you are signed out");
    }
    if ((part.trouble = answer.ok ? "" : "the server answers with an error")) return;
    const html = document.createElement("template");
    html.innerHTML = await answer.text();
    patch(part.node, html.content.firstElementChild);
    part.fresh = Date.now();
    find(0);
  } catch {
    part.trouble = "can't reach the server";
  } finally {
    part.asking = false;
  }
}

function tell(part) {
  const note = part.node.querySelector("[data-freshness]");
  if (!note) return; // it has not come yet
  const seconds = Math.floor((Date.now() - part.fresh) / 1000);
  const ago = seconds < 2 ? "just now" : seconds < 60 ? `${seconds} s ago` : `${Math.floor(seconds / 60)} min ago`;
  const words = `${part.node.paused ? "paused, " : part.trouble ? part.trouble + ", " : ""}updated ${ago}`;
  if (note.textContent !== words) note.textContent = words;
  note.classList.toggle("is-stale", Boolean(part.trouble));
}

async function look(part) {
  const { moving, calm, form } = part.node.dataset; // the first two are "" where they are there
  const eager = part.trouble || (calm === undefined && (moving === "" || Date.now() - opened < WATCHED));
  const settled = part.changed ? part.changed + SETTLED : Infinity;
  const due = form && !part.trouble ? settled : part.tried + (eager ? MOVING : STILL);
  if (!document.hidden && !part.node.paused && !part.asking && Date.now() >= due) await refresh(part);
  tell(part);
}

document.documentElement.classList.add("scripted");
find(Date.now());
setInterval(() => parts.forEach(look), 500);
document.addEventListener("input", ({ target }) => {
  typed ||= target.form?.method === "post";
  for (const part of parts) if (target.form && part.node.dataset.form === target.form.id) part.changed = Date.now();
});
document.addEventListener("visibilitychange", () => parts.forEach(look));
