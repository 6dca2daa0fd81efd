// Times in UTC or in the browser's own zone. The choice is a cookie; the server writes every time accordingly.
const YEAR = 31536000; // seconds
document.addEventListener("click", ({ target }) => {
  const choice = target.closest?.("[data-zone]");
  if (!choice || choice.getAttribute("aria-pressed") === "true") return;
  const zone = choice.dataset.zone && Intl.DateTimeFormat().resolvedOptions().timeZone;
  const secure = location.protocol === "https:" ? "; secure" : "";
  document.cookie = `zone=${zone}; path=${document.body.dataset.path}; max-age=${zone ? YEAR : 0}; samesite=lax${secure}`;
  location.reload();
});
