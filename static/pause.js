// A button with data-pause pauses and resumes the live part that contains it, because a moving list is hard to read.
document.addEventListener("click", ({ target }) => {
  const button = target.closest?.("[data-pause]"), part = button?.closest("[data-live]");
  if (!part) return;
  part.paused = !part.paused; // live.js looks at it
  button.textContent = button.dataset.words.split("|")[Number(part.paused)];
  button.setAttribute("aria-pressed", part.paused);
});
