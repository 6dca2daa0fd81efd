// Copy buttons: data-copy names the element whose text goes to the clipboard.
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
