// A field with data-codes searches the server for codes while the user types: an ARIA combobox with a list box. A text
// area with data-codes, one code per line, gets such a field above it that adds lines. Without this module both are
// plain fields.
const DEBOUNCE_MS = 150; // time without typing before a request
let lists = 0;

function element(name, attributes, ...inside) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...inside);
  return node;
}

function combobox(field, address, choose, addsUnknown) {
  const list = element("ul", { role: "listbox", id: `codes-${++lists}`, class: "codes", hidden: "", "aria-label": "Codes" });
  const status = element("span", { class: "visually-hidden", role: "status" });
  let options = [], active = -1, timer = 0, requests = 0;
  const attributes = { role: "combobox", "aria-expanded": "false", "aria-controls": list.id, "aria-autocomplete": "list", autocomplete: "off" };
  for (const [key, value] of Object.entries(attributes)) field.setAttribute(key, value);
  field.removeAttribute("list");
  const around = element("span", { class: "with-codes" });
  field.replaceWith(around);
  around.append(field, list, status);

  function mark(place) {
    active = place;
    options.forEach((option, at) => option.setAttribute("aria-selected", at === active));
    if (active < 0) return field.removeAttribute("aria-activedescendant");
    field.setAttribute("aria-activedescendant", options[active].id);
    options[active].scrollIntoView({ block: "nearest" });
  }
  function close() {
    clearTimeout(timer);
    requests++; // ignore the response to a pending request
    options = [];
    mark(-1);
    list.hidden = true;
    field.setAttribute("aria-expanded", "false");
  }
  function pick(place) {
    const code = options[place].dataset.code;
    close();
    choose(code);
  }
  function show({ codes, more }) {
    const typed = field.value.trim(), unknown = addsUnknown && typed && !codes.includes(typed) ? [typed] : [];
    options = [...codes, ...unknown].map((code, at) => {
      const isolated = element("bdi", {}, code); // a code may be written from right to left
      const words = at < codes.length ? [isolated] : ["Add ", isolated, " ", element("small", {}, "not known yet")];
      return element("li", { role: "option", id: `${list.id}-${at}`, "data-code": code, "aria-selected": "false" }, ...words);
    });
    const rest = more ? [element("li", { role: "presentation", class: "hint" }, "More codes match. Type more characters.")] : [];
    list.replaceChildren(...options, ...rest);
    status.textContent = codes.length ? `${codes.length}${more ? " or more" : ""} codes` : "No known code contains this text.";
    list.hidden = !options.length;
    field.setAttribute("aria-expanded", String(!list.hidden));
    mark(-1);
  }
  async function search() {
    const request = ++requests, url = new URL(address, location.href);
    url.searchParams.set("text", field.value);
    try {
      const response = await fetch(url, { redirect: "manual" });
      if (response.ok && request === requests && document.activeElement === field) show(await response.json());
    } catch {
      close(); // the server cannot be reached, so this is a plain field
    }
  }
  field.addEventListener("input", ({ isTrusted }) => isTrusted && (clearTimeout(timer), (timer = setTimeout(search, DEBOUNCE_MS))));
  field.addEventListener("blur", close);
  list.addEventListener("mousedown", (event) => event.preventDefault()); // the field keeps the focus
  list.addEventListener("click", ({ target }) => {
    const place = options.indexOf(target.closest("[role=option]"));
    if (place >= 0) pick(place);
  });
  field.addEventListener("keydown", (event) => {
    const move = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (move && list.hidden) search();
    else if (move) mark((active + move + options.length + (active < 0 && move < 0 ? 1 : 0)) % options.length);
    else if (event.key === "Enter" && active >= 0) pick(active);
    else if (event.key === "Enter" && addsUnknown && field.value.trim()) options.length ? mark(0) : search(); // adds no line yet
    else if (event.key === "Escape" && !list.hidden) close();
    else return;
    event.preventDefault();
  });
}

function notifyChange(field) { // a preview or another script may listen
  for (const kind of ["input", "change"]) field.dispatchEvent(new Event(kind, { bubbles: true }));
}

for (const field of document.querySelectorAll("[data-codes]")) {
  const { codes: address, add } = field.dataset;
  if (field.tagName !== "TEXTAREA") {
    combobox(field, address, (code) => ((field.value = code), notifyChange(field)), false);
    continue;
  }
  const adder = element("input", { class: "form-control", "aria-label": add, placeholder: add, spellcheck: "false" });
  field.before(adder);
  const choose = (code) => {
    const lines = field.value.split("\n").map((line) => line.trim()).filter(Boolean);
    if (!lines.includes(code)) field.value = [...lines, code].join("\n") + "\n";
    adder.value = "";
    notifyChange(field);
  };
  combobox(adder, address, choose, true);
  // Add a code that was typed but not added, because an empty list may mean all customers.
  field.form?.addEventListener("submit", () => adder.value.trim() && choose(adder.value.trim()));
}
