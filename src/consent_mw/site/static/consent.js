// The banner answers without a reload; what waits for a purpose starts once it is allowed. Stores nothing.
(() => {
  "use strict";
  if (window.consent && window.consent.allows) return; // included twice
  const page = document, me = page.currentScript, base = me.src.replace(/\/static\/[^/]*$/, "");
  const BANNER = '[data-consent="banner"]', WAITING = 'section[data-consent="waiting"]';
  const DIALOG = 'dialog[data-consent="dialog"]';
  const BLOCKED =
    ":is(script[type='text/plain'],template,iframe[data-src],img[data-src]):is([data-purpose],[data-category])";
  const OPEN = ":is(iframe,img)[src]:is([data-purpose],[data-category])";
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
    page.querySelectorAll(OPEN).forEach(recall);
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
  const say = (text) => {
    status.textContent = ""; // the same words twice are heard twice
    status.textContent = text;
  };
  const focus = (element) => {
    if (element.tabIndex < 0) element.tabIndex = -1;
    element.focus({ preventScroll: true });
  };
  const goOn = () => focus(find("main,[role=main],h1") || page.body);
  const leave = (section) => {
    const inside = section.contains(page.activeElement);
    section.hidden = true;
    if (inside) goOn();
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
    if (!box) return; // the settings page shows the answer by itself
    event.preventDefault();
    if (busy) return;
    busy = true;
    try {
      await choose([...new FormData(form), [button.name, button.value]]);
      say(me.dataset.saved || "");
      if (box && box.close) box.close();
      else if (box && box.matches(BANNER)) leave(box);
    } catch (error) { // no connection, or refused: the browser sends it, after this event
      setTimeout(() => (plain = true, form.requestSubmit(button), plain = false));
    }
    busy = false;
  });
  const fetched = async (address) => {
    const answer = await fetch(address, { cache: "no-store" });
    if (!answer.ok) throw answer;
    page.body.insertAdjacentHTML("beforeend", await answer.text());
    const dialog = find(DIALOG), style = dialog.querySelector("link");
    dialog.addEventListener("close", () => {
      dialog.remove(); // the next one shows what holds then
      if (page.activeElement === page.body) goOn();
    });
    await new Promise((done) => style.onload = style.onerror = done);
    return dialog;
  };
  let opening;
  const show = async (href) => {
    const address = new URL(`${href}`.startsWith(base) ? href : base);
    address.searchParams.set("dialog", 1);
    try {
      const dialog = await (opening ||= find(DIALOG) || fetched(address));
      if (!dialog.open) dialog.showModal();
    } catch (error) {
      location.assign(base);
    }
    opening = null;
  };
  page.addEventListener("click", (event) => {
    const way = event.target.closest && event.target.closest('[data-consent="settings"],a[href="#consent"]');
    if (!way || event.defaultPrevented || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    show(way.href);
  });
  const hash = () => location.hash === "#consent" && show();
  addEventListener("hashchange", hash);

  const placeholders = new WeakMap(), once = new WeakSet();
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
    placeholders.delete(element);
    if (placeholder) placeholder.remove();
    if (inside) focus(element);
  };
  // A script cannot be stopped; a frame can be taken away, and the observer puts its placeholder back.
  const recall = (element) => {
    if (once.has(element) || purposes(element).every(allows)) return;
    const waits = element.cloneNode();
    waits.dataset.src = element.getAttribute("src");
    waits.removeAttribute("src");
    element.replaceWith(waits);
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
    if (state) box.lang = state.language;
    box.setAttribute("role", "group");
    box.setAttribute("aria-label", element.title || host);
    const button = (textContent, onclick) =>
      make("button", { type: "button", className: "consent-button", textContent, onclick });
    box.append(make("p", { textContent: `${words("why")} ${host}`.trim() }), 
      button(words("once") || "Once", () => (once.add(element), start(element))), button(words("always") || "Always", () => always(element)));
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
  window.consent = Object.freeze({ allows, show: () => void show(), subscribe, refresh });
  if (find(BANNER + "[data-shared]")) need();
  scan(page);
  hash();
})();
