// Served while a revision is announced. Hides the notice of who has closed it before the page is painted, and closes it
// without a reload. Stores nothing: the answer sets the cookie.
(() => {
  "use strict";
  // As in consent.js: markup cannot name the prototypes away.
  const pure = (kind, name) => {
    const { get, value } = Object.getOwnPropertyDescriptor(kind.prototype, name);
    return Function.call.bind(get || value);
  };
  const page = document, root = pure(Document, "documentElement")(page), me = pure(Document, "currentScript")(page);
  const closest = pure(Element, "closest"), contains = pure(Node, "contains"), active = pure(Document, "activeElement");
  const action = pure(HTMLFormElement, "action"), submit = pure(HTMLFormElement, "submit");
  const ours = me.src.replace(/\/static\/[^/]*$/, "/notice");
  const hide = () => root.classList.add("consent-mw-noticed");
  if (pure(Document, "cookie")(page).split("; ").some((pair) => pair.endsWith(me.dataset.closed))) hide();
  pure(EventTarget, "addEventListener")(page, "submit", async (event) => {
    const form = event.target, notice = closest(event.submitter || form, ".consent-mw-notice");
    if (!notice || event.defaultPrevented || action(form) !== ours) return;
    event.preventDefault();
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
  });
})();
