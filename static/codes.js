// A field with data-codes searches the server for codes while somebody types in it: the ARIA combobox with a list box.
// A text area with data-codes, one code per line, gets such a field above it that adds lines. Without this module both
// are plain fields.
const SETTLED = 150; // milliseconds without typing before the server is asked
let made = 0;

function element(name, attributes, ...inside) {
  const one = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) one.setAttribute(key, value);
  one.append(...inside);
  return one;
}

function combobox(field, address, choose, addsUnknown) {
  const list = element("ul", { role: "listbox", id: `codes-${++made}`, class: "codes", hidden: "", "aria-label": "Codes" });
  const said = element("span", { class: "visually-hidden", role: "status" });
  let options = [], active = -1, timer = 0, asked = 0;
  const attributes = { role: "combobox", "aria-expanded": "false", "aria-controls": list.id, "aria-autocomplete": "list", autocomplete: "off" };
  for (const [key, value] of Object.entries(attributes)) field.setAttribute(key, value);
  field.removeAttribute("list");
  const around = element("span", { class: "with-codes" });
  field.replaceWith(around);
  around.append(field, list, said);

  function mark(place) {
    active = place;
    options.forEach((option, at) => option.setAttribute("aria-selected", at === active));
    if (active < 0) return field.removeAttribute("aria-activedescendant");
    field.setAttribute("aria-activedescendant", options[active].id);
    options[active].scrollIntoView({ block: "nearest" });
  }
  function close() {
    clearTimeout(timer);
    asked++; // an answer that is on its way comes too late
    options = [];
    mark(-1);
    list.hidden = true;
    field.setAttribute("aria-expanded", "false");
  }
  function take(place) {
    const code = options[place].dataset.code;
    close();
    choose(code);
  }
  function show({ codes, more }) {
    const typed = field.value.trim(), unknown = addsUnknown && typed && !codes.includes(typed) ? [typed] : [];
    options = [...codes, ...unknown].map((code, at) => {
      const isolated = element("bdi", {}, code); // it may be written from right to left
      const words = at < codes.length ? [isolated] : ["Add ", isolated, " ", element("small", {}, "not known yet")];
      return element("li", { role: "option", id: `${list.id}-${at}`, "data-code": code, "aria-selected": "false" }, ...words);
    });
    const rest = more ? [element("li", { role: "presentation", class: "hint" }, "There are more. Type more of the code.")] : [];
    list.replaceChildren(...options, ...rest);
    said.textContent = codes.length ? `${codes.length}${more ? " or more" : ""} codes` : "No known code contains this text.";
    list.hidden = !options.length;
    field.setAttribute("aria-expanded", String(!list.hidden));
    mark(-1);
  }
  async function ask() {
    const turn = ++asked, url = new URL(address, location.href);
    url.searchParams.set("text", field.value);
    try {
      const answer = await fetch(url, { redirect: "manual" });
      if (answer.ok && turn === asked && document.activeElement === field) show(await answer.json());
    } catch {
      close(); // the server is away, so the field is a plain one
    }
  }
  field.addEventListener("input", ({ isTrusted }) => isTrusted && (clearTimeout(timer), (timer = setTimeout(ask, SETTLED))));
  field.addEventListener("blur", close);
  list.addEventListener("mousedown", (event) => event.preventDefault()); // the field keeps the focus
  list.addEventListener("click", ({ target }) => {
    const place = options.indexOf(target.closest("[role=option]"));
    if (place >= 0) take(place);
  });
  field.addEventListener("keydown", (event) => {
    const move = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (move && list.hidden) ask();
    else if (move) mark((active + move + options.length + (active < 0 && move < 0 ? 1 : 0)) % options.length);
    else if (event.key === "Enter" && active >= 0) take(active);
    else if (event.key === "Enter" && addsUnknown && field.value.trim()) options.length ? mark(0) : ask(); // no line yet
    else if (event.key === "Escape" && !list.hidden) close();
    else return;
    event.preventDefault();
  });
}

function changed(field) { // as if somebody had typed: a preview or another script looks at it
  for (const kind of ["input", "change"]) field.dispatchEvent(new Event(kind, { bubbles: true }));
}

for (const field of document.querySelectorAll("[data-codes]")) {
  const { codes: address, add } = field.dataset;
  if (field.tagName !== "TEXTAREA") {
    combobox(field, address, (code) => ((field.value = code), changed(field)), false);
    continue;
  }
  const search = element("input", { class: "form-control", "aria-label": add, placeholder: add, spellcheck: "false" });
  field.before(search);
  const choose = (code) => {
    const lines = field.value.split("\n").map((line) => line.trim()).filter(Boolean);
    if (!lines.includes(code)) field.value = [...lines, code].join("\n") + "\n";
    search.value = "";
    changed(field);
  };
  combobox(search, address, choose, true);
  // What is typed and not added counts, too: an empty list may mean all customers.
  field.form?.addEventListener("submit", () => search.value.trim() && choose(search.value.trim()));
}
