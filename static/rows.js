// Rows of tables. A click anywhere opens the row's own link. All text can be selected, that of links, too: a link is not
// dragged, and because a double click selects a word, the first click waits for a second. Keys and fingers do not wait.
const SECOND_CLICK = 300; // milliseconds
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
  const isFinger = click.pointerType === "touch";
  if (own && (click.detail === 0 || isFinger)) return;
  click.preventDefault();
  if (click.detail > 1 || !getSelection().isCollapsed) return;
  waiting = setTimeout(() => location.assign(link.href), isFinger ? 0 : SECOND_CLICK);
});
