// Rows of tables. A click anywhere opens the row's own link. All text can be selected, including that of links: links
// cannot be dragged, and a click on one waits for a second click, because a double click selects a word. Keyboard and
// touch do not wait.
const DOUBLE_CLICK_MS = 300;
const LINKS = ".rows .pick, tr.leads .name a", CONTROLS = "a, button, input, select, textarea, label, summary";
let waiting;
document.addEventListener("mousedown", ({ target }) => {
  const link = target.closest?.(LINKS);
  if (link) link.draggable = false;
});
document.addEventListener("click", (click) => {
  clearTimeout(waiting);
  const control = click.target.closest?.(CONTROLS), own = control?.matches(LINKS);
  const link = control ? own && control : click.target.closest?.("tr.leads")?.querySelector(".name a");
  if (!link || click.defaultPrevented || click.shiftKey) return;
  if (click.ctrlKey || click.metaKey) return void (own || open(link.href));
  const isTouch = click.pointerType === "touch";
  if (own && (click.detail === 0 || isTouch)) return;
  click.preventDefault();
  if (click.detail > 1 || !getSelection().isCollapsed) return;
  waiting = setTimeout(() => location.assign(link.href), isTouch ? 0 : DOUBLE_CLICK_MS);
});
