// Served while a revision is announced. Hides the notice of who has closed it before the page is painted, and closes it
// without a reload. Stores nothing: the answer sets the cookie.
(() => {
  "use strict";
  const page = document, closed = page.currentScript.dataset.closed;
  const hide = () => page.documentElement.classList.add("consent-noticed");
  if (page.cookie.split("; ").some((pair) => pair.endsWith(closed))) hide();
  page.addEventListener("submit", async (event) => {
    const form = event.target, notice = form.closest(".consent-notice");
    if (!notice || event.defaultPrevented) return;
    event.preventDefault();
    try {
      const body = new URLSearchParams(new FormData(form));
      const answer = await fetch(form.action, { method: "POST", body, headers: { Accept: "application/json" } });
      if (!answer.ok) throw answer;
    } catch (error) {
      return form.submit(); // no connection, or none allowed: as without this script
    }
    const inside = notice.contains(page.activeElement), next = page.querySelector("main,[role=main],h1") || page.body;
    hide();
    if (!inside) return;
    if (next.tabIndex < 0) next.tabIndex = -1;
    next.focus({ preventScroll: true });
  });
})();
