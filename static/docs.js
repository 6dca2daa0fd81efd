// Swagger UI is dark where the root element has a class; the theme is that of the dashboard. Before the page is drawn.
const root = document.documentElement, system = matchMedia("(prefers-color-scheme: dark)");
const follow = () => root.classList.toggle("dark-mode", (root.dataset.theme ?? (system.matches ? "dark" : "light")) === "dark");
new MutationObserver(follow).observe(root, { attributes: true, attributeFilter: ["data-theme"] });
system.addEventListener("change", follow);
follow();
