// Copy buttons: data-copy names the element whose text goes to the clipboard; data-copy-link, one on the page that the
// link leads to, which is opened where the clipboard is closed.
document.documentElement.classList.add("scripted");
document.addEventListener("click", async ({ target }) => {
  const button = target.closest?.("[data-copy]");
  if (!button) return;
  const source = document.getElementById(button.dataset.copy), word = button.querySelector("[data-word]");
  getSelection().selectAllChildren(source); // so that where the clipboard is closed (http:), Ctrl-C does it
  const done = await navigator.clipboard?.writeText(source.textContent).then(() => true, () => false);
  word.textContent = done ? "Copied" : "Press Ctrl-C";
  if (done) getSelection().removeAllRanges();
  setTimeout(() => (word.textContent = "Copy"), 2500);
});
document.addEventListener("click", async (click) => {
  const link = click.target.closest?.("[data-copy-link]");
  if (!link || !navigator.clipboard || click.ctrlKey || click.metaKey || click.shiftKey) return;
  click.preventDefault();
  try {
    const page = document.createElement("template");
    page.innerHTML = await (await fetch(link.href)).text();
    await navigator.clipboard.writeText(page.content.querySelector("#" + link.dataset.copyLink).textContent);
  } catch {
    return location.assign(link.href);
  }
  const word = link.querySelector("[data-word]"), words = word.textContent;
  word.textContent = "Link copied";
  setTimeout(() => (word.textContent = words), 2500);
});
