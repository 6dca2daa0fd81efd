// Light, dark, or as the system has it: each press is the next of them. The choice is a cookie, which the server writes
// into the root element; the stylesheet does the rest.
const YEAR = 31536000, root = document.documentElement; // seconds
const WORDS = { "": "system", light: "light", dark: "dark" }, themes = Object.keys(WORDS);
document.addEventListener("click", ({ target }) => {
  const button = target.closest?.("[data-theme-switch]");
  if (!button) return;
  const now = themes[(themes.indexOf(root.dataset.theme ?? "") + 1) % themes.length];
  if (now) root.dataset.theme = now;
  else delete root.dataset.theme;
  const secure = location.protocol === "https:" ? "; secure" : "";
  const { path, docs } = document.body.dataset; // the page of the API is not below the dashboard
  for (const place of [path, docs]) document.cookie = `theme=${now}; path=${place}; max-age=${now ? YEAR : 0}; samesite=lax${secure}`;
  button.querySelector("[data-word]").textContent = `Theme: ${WORDS[now]}`;
});
