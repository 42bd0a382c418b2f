// The banner answers without a reload; what waits for a purpose starts once it is allowed. Stores nothing.
(() => {
  "use strict";
  if (window.consent && window.consent.allows) return; // included twice
  const page = document, me = page.currentScript, base = me.src.replace(/\/static\/[^/]*$/, "");
  const BANNER = '[data-consent="banner"]', WAITING = 'section[data-consent="waiting"]';
  const DIALOG = 'dialog[data-consent="dialog"]';
  const BLOCKED =
    ":is(script[type='text/plain'],template,iframe[data-src],img[data-src]):is([data-purpose],[data-category])";
  const find = (selector) => page.querySelector(selector);
  const make = (name, props) => Object.assign(page.createElement(name), props);

  let state = null, loading, loaded = false, turn = 0;
  const apply = (next) => {
    const news = JSON.stringify(next) !== JSON.stringify(state);
    state = next;
    loaded = true;
    showWhatWaits();
    if (!news) return;
    const banner = find(BANNER), due = state.show && !(state.choice && state.waiting.length);
    if (banner && due) banner.hidden = false;
    else if (banner) leave(banner);
    scan(page);
    dispatchEvent(new CustomEvent("consentchange", { detail: state }));
  };
  const ask = async (path, body) => {
    const mine = body ? 0 : ++turn;
    const answer = await fetch(base + path, {
      method: body ? "POST" : "GET", body, headers: { Accept: "application/json" }, cache: "no-store", keepalive: !!body,
    });
    if (!answer.ok) throw answer;
    const next = await answer.json();
    if (body) turn++; // an older reading that is still on its way is out of date
    if (body || mine === turn) apply(next);
  };
  const refresh = () => ask("/state").catch(() => (loaded = true, scan(page))).then(() => state);
  const need = () => loading || (loading = refresh());
  const allows = (purpose) => (state || need(), !!state && state.allowed.includes(purpose));
  const choose = async (fields) => {
    await ask("/choice", new URLSearchParams(fields));
    tabs.postMessage("");
  };

  let tabs;
  const listen = () => (tabs = new BroadcastChannel("consent")).onmessage = refresh;
  listen();
  addEventListener("pagehide", () => tabs.close()); // an open channel would keep the page out of the bfcache
  addEventListener("pageshow", (event) => event.persisted && (listen(), refresh()));

  const status = make("p", { className: "consent-status" });
  status.setAttribute("role", "status");
  page.body.append(status);
  let opener;
  const focus = (element) => {
    if (element.tabIndex < 0) element.tabIndex = -1;
    element.focus({ preventScroll: true });
  };
  const leave = (section) => {
    const inside = section.contains(page.activeElement);
    section.hidden = true;
    if (inside) focus(opener && opener.isConnected ? opener : find("main,[role=main],h1") || page.body);
    opener = null;
  };
  const showWhatWaits = () => page.querySelectorAll(WAITING).forEach((section) => {
    for (const form of section.querySelectorAll("form")) {
      const id = form.elements.waiting.value, item = form.closest("li") || form;
      if (id === "all" ? state.waiting.length > 1 : state.waiting.some((each) => each.id === id)) continue;
      const inside = item.contains(page.activeElement);
      item.remove();
      if (inside) focus(section.querySelector("button") || (section.tabIndex = -1, section));
    }
    if (!section.hidden && !section.querySelector("form")) leave(section);
  });
  let busy = false, plain = false;
  page.addEventListener("submit", async (event) => {
    const form = event.target, button = event.submitter, box = form.closest(`${BANNER},${WAITING},${DIALOG}`);
    if (plain || event.defaultPrevented || !button || !form.matches("form[data-consent]")) return;
    if (!box && !form.dataset.saved) return; // the settings page shows the answer by itself
    event.preventDefault();
    if (busy) return;
    busy = true;
    try {
      await choose([...new FormData(form), [button.name, button.value]]);
      status.textContent = "";
      status.textContent = form.dataset.saved || "";
      if (box && box.close) box.close();
      else if (box && box.matches(BANNER)) leave(box);
    } catch (error) { // no connection, or refused: the browser sends it, after this event
      setTimeout(() => (plain = true, form.requestSubmit(button), plain = false));
    }
    busy = false;
  });
  const show = () => {
    const dialog = find(DIALOG), banner = find(BANNER);
    if (dialog) return dialog.open || dialog.showModal();
    if (!banner) return location.assign(base);
    opener = page.activeElement;
    banner.hidden = false;
    focus(banner.querySelector("h2") || banner);
  };
  page.addEventListener("click", (event) => {
    const way = event.target.closest && event.target.closest('[data-consent="settings"],a[href="#consent"]');
    // A link to the settings page leads there.
    if (!way || event.defaultPrevented || (way.href && way.hash !== "#consent" && !find(DIALOG))) return;
    event.preventDefault();
    show();
  });
  const hash = () => location.hash === "#consent" && show();
  addEventListener("hashchange", hash);

  const placeholders = new WeakMap();
  const purposes = (element) => (element.dataset.purpose || element.dataset.category).split(/[\s,]+/).filter(Boolean);
  let queue = Promise.resolve();
  const run = (old) => queue = queue.then(() => new Promise((done) => {
    const script = page.createElement("script");
    for (const { name, value } of old.attributes) if (name !== "type") script.setAttribute(name, value);
    if (old.dataset.type) script.type = old.dataset.type;
    if (old.dataset.src) script.src = old.dataset.src;
    script.nonce = old.nonce;
    script.text = old.text;
    script.async = old.hasAttribute("async");
    script.addEventListener("load", done);
    script.addEventListener("error", done);
    old.replaceWith(script);
    if (!script.src || script.async) done(); // the others keep their order
  }));
  const start = (element) => {
    if (element.localName === "script") {
      element.type = "text/queued"; // so that it is found once
      return run(element);
    }
    if (element.localName === "template") return element.replaceWith(element.content);
    const placeholder = placeholders.get(element), inside = placeholder && placeholder.contains(page.activeElement);
    element.src = element.dataset.src;
    element.removeAttribute("data-src");
    element.hidden = false;
    if (placeholder) placeholder.remove();
    if (inside) focus(element);
  };
  const always = (element) => {
    if (!state) return show();
    const fields = { choice: "save", language: state.language, revision: state.revision };
    const put = (kind, answers) => Object.entries(answers || {}).forEach(([name, answer]) =>
      fields[`${kind}.${name}`] = answer === null ? "ask" : answer ? "yes" : "no");
    put("purpose", state.purposes);
    put("cookie", state.cookies);
    purposes(element).forEach((name) => fields["purpose." + name] = "yes");
    choose(fields).catch(show);
  };
  const hold = (element) => {
    if (placeholders.has(element)) return;
    const words = (name) => element.dataset[name] || me.dataset[name] || "";
    const host = new URL(element.dataset.src, location).host;
    const box = make("div", { className: "consent-placeholder" });
    box.setAttribute("role", "group");
    box.setAttribute("aria-label", element.title || host);
    const button = (textContent, onclick) =>
      make("button", { type: "button", className: "consent-button", textContent, onclick });
    box.append(make("p", { textContent: `${words("why")} ${host}`.trim() }), 
      button(words("once") || "Once", () => start(element)), button(words("always") || "Always", () => always(element)));
    placeholders.set(element, box);
    element.hidden = true;
    element.after(box);
  };
  const visit = (element) => {
    if (!loaded) return need();
    if (state && purposes(element).every(allows)) start(element);
    else if (element.dataset.src && element.localName !== "script") hold(element);
  };
  const scan = (root) => root.querySelectorAll(BLOCKED).forEach(visit);
  new MutationObserver((changes) => changes.forEach(({ addedNodes }) => addedNodes.forEach((node) => {
    if (!node.matches) return;
    if (node.matches(BLOCKED)) visit(node);
    scan(node);
  }))).observe(page, { childList: true, subtree: true });

  const subscribe = (listener) => {
    const on = (event) => listener(event.detail);
    addEventListener("consentchange", on);
    if (state) listener(state);
    else need();
    return () => removeEventListener("consentchange", on);
  };
  window.consent = Object.freeze({ allows, show, subscribe, refresh });
  if (find(BANNER + "[data-shared]")) need();
  scan(page);
  hash();
})();
