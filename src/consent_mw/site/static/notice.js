// Served while a revision is announced. Hides the notice of who has closed it before the page is painted, and closes it
// without a reload. Stores nothing: the answer sets the cookie.
(() => {
  "use strict";
  // As in consent.js: neither markup nor a name of the site's changes what is read.
  const page = document, pure = (name, thing = page) => {
    const above = Object.getPrototypeOf(thing), own = Object.getOwnPropertyDescriptor(above, name);
    return own ? Function.call.bind(own.value || own.get) : pure(name, above);
  };
  const root = pure("documentElement")(page), me = pure("currentScript")(page), closest = pure("closest", me);
  const contains = pure("contains"), active = pure("activeElement"), bare = pure("createElement")(page, "form");
  const action = pure("action", bare), submit = pure("submit", bare);
  const ours = me.src.replace(/\/static\/[^/]*$/, "/notice");
  const hide = () => root.classList.add("consent-mw-noticed");
  if (pure("cookie")(page).split("; ").some((pair) => pair.endsWith(me.dataset.closed))) hide();
  pure("addEventListener")(page, "submit", async (event) => {
    const form = event.target, notice = closest(event.submitter || form, ".consent-mw-notice");
    if (!notice || action(form) !== ours) return;
    event.preventDefault();
    event.stopPropagation();
    try {
      const body = new URLSearchParams(new FormData(form)), headers = { Accept: "application/json" };
      const answer = await fetch(ours, { method: "POST", body, headers, redirect: "error" });
      if (!answer.ok) throw answer;
    } catch (error) {
      return submit(form); // no connection, or none allowed: as without this script
    }
    const inside = contains(notice, active(page)), find = (selector) => root.querySelector(selector);
    const next = find("main,[role=main],h1") || find("body");
    hide();
    if (!inside) return;
    if (next.tabIndex < 0) next.tabIndex = -1;
    next.focus({ preventScroll: true });
  }, true);
})();
