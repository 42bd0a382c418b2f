// The banner answers without a reload; what waits for a purpose starts once it is allowed. Stores nothing.
(() => {
  "use strict";
  const TWICE = Symbol.for("consent-mw");
  if (window[TWICE]) return;
  window[TWICE] = true;
  // Markup can name an element like what is read here, <img name="currentScript"> or <input name="closest">, and would
  // then be read in its place. The prototypes cannot be named away.
  const pure = (kind, name) => {
    const { get, value } = Object.getOwnPropertyDescriptor(kind.prototype, name);
    return Function.call.bind(get || value);
  };
  const page = document, whole = pure(Document, "documentElement"), me = pure(Document, "currentScript")(page);
  const query = pure(Element, "querySelector"), all = pure(Element, "querySelectorAll");
  const matches = pure(Element, "matches"), closest = pure(Element, "closest"), remove = pure(Element, "remove");
  const contains = pure(Node, "contains"), kind = pure(Node, "nodeType"), active = pure(Document, "activeElement");
  const create = pure(Document, "createElement"), listen = pure(EventTarget, "addEventListener");
  let root = whole(page);
  const base = me.src.replace(/\/static\/[^/]*$/, ""), home = new URL(base);
  const BANNER = "[data-consent=banner]", WAITING = ":not(form)[data-consent=waiting]";
  const DIALOG = "dialog[data-consent=dialog]";
  const BLOCKED =
    ":is(script[type='text/plain'],template,iframe[data-src],img[data-src]):is([data-purpose],[data-category])";
  const OPEN = ":is(iframe,img)[src]:is([data-purpose],[data-category])";
  const find = (selector) => query(root, selector);
  const near = (node, selector) => kind(node) === 1 && closest(node, selector);
  const make = (name, props) => Object.assign(create(page, name), props);
  // Under require-trusted-types-for; a site that names its policies names ours: trusted-types consent-mw.
  let trust = { createHTML: String, createScript: String, createScriptURL: String };
  try {
    trust = window.trustedTypes?.createPolicy("consent-mw", trust) || trust;
  } catch (error) {
    console.warn("consent-mw:", error);
  }
  // One element in trouble does not stop the others.
  const each = (elements, work) => elements.forEach((element) => {
    try {
      work(element);
    } catch (error) {
      console.warn("consent-mw:", element, error);
    }
  });
  // Whether the page's markup leads to this path below our prefix, and nowhere else.
  const leads = (address, path) => {
    try {
      const { origin, pathname } = new URL(address, root.baseURI);
      return origin === home.origin && pathname.replace(/\/$/, "") === home.pathname.replace(/\/$/, "") + path;
    } catch (error) {
      return false;
    }
  };

  // The forms of what was put into the page stand at its end, so that its first form is its own.
  const loose = all(root, "form[id^=consent-mw-form-]");
  let state = null, loading, loaded = false, turn = 0;
  // A banner may come from a cache, a view that was kept, or a page that a script put into this one.
  const due = () => !state || (state.show && !(state.choice && state.waiting.length));
  // How high it is. In a sheet of our own: what hydrates the page compares its elements.
  let measure;
  try {
    const sheet = new CSSStyleSheet();
    page.adoptedStyleSheets.push(sheet);
    measure = new ResizeObserver(([{ target }]) => sheet.replaceSync(`:root{--consent-mw-room:${target.offsetHeight}px}`));
  } catch (error) {} // an older browser keeps the room of the highest
  // A filter or transform on the body takes `position: fixed` away: what is then out of sight goes into the top layer.
  const WHOLE = .98; // of a height that is no whole number of pixels
  let watch;
  try {
    watch = new IntersectionObserver(([{ intersectionRatio, target }]) => {
      if (intersectionRatio > WHOLE || !target.offsetHeight || getComputedStyle(target).position !== "fixed") return;
      target.popover = "manual";
      target.showPopover();
    }, { threshold: [0, WHOLE] });
  } catch (error) {}
  const showBanners = () => {
    each(all(root, ".consent-mw-pinned"), (banner) => {
      if (banner.popover && !matches(banner, ":popover-open")) banner.popover = null; // it was taken out and put back
      measure?.observe(banner);
      watch?.observe(banner);
    });
    each([...all(root, "#consent-mw" + BANNER)].slice(1), remove);
    if (state) each(all(root, BANNER), (banner) => due() ? banner.hidden = false : leave(banner));
  };
  const apply = (next) => {
    const news = JSON.stringify(next) !== JSON.stringify(state);
    state = next;
    loaded = true;
    showWhatWaits();
    bringWhatWaits();
    showBanners();
    if (!news) return;
    each(all(root, OPEN), recall);
    scan(root);
    dispatchEvent(new CustomEvent("consentchange", { detail: state }));
  };
  const read = async (path, body) => {
    const answer = await fetch(base + path, {
      method: body ? "POST" : "GET", body, headers: { Accept: "application/json" }, cache: "no-store", keepalive: !!body,
      redirect: "error",
    });
    if (!answer.ok) throw answer;
    return answer.json();
  };
  const ask = async (path, body) => {
    const mine = body ? 0 : ++turn;
    const next = await read(path, body);
    if (body) turn++; // an older reading that is still on its way is out of date
    if (body || mine === turn) apply(next);
  };
  const refresh = () => ask("/state").catch(() => (loaded = true, scan(root))).then(() => state);
  const need = () => loading || (loading = refresh());
  const allows = (purpose) => (state || need(), !!state && state.allowed.includes(purpose));
  // Resolves, once it is taken, to what asks whether it came back: a browser may keep no cookies.
  const choose = async (fields) => {
    await ask("/choice", new URLSearchParams(fields));
    tabs?.postMessage("");
    const mine = state.choice;
    return () => read("/state").then((next) => !mine || !!next.choice, () => true);
  };

  let tabs;
  const hear = () => {
    try {
      (tabs = new BroadcastChannel("consent-mw")).onmessage = refresh;
    } catch (error) {} // cookies are blocked, or there is none
  };
  hear();
  addEventListener("pagehide", () => tabs?.close()); // an open channel would keep the page out of the bfcache
  addEventListener("pageshow", (event) => event.persisted && (hear(), refresh()));
  listen(page, "prerenderingchange", refresh);

  const status = make("p", { className: "consent-mw consent-mw-status" });
  status.setAttribute("role", "status");
  const stand = () => { // also after the body was swapped, for a view that was kept with an older one
    if (status.isConnected) return;
    each(all(root, ".consent-mw-status"), remove);
    find("body")?.append(status);
  };
  stand();
  const READ_MS = 8000;
  let fading;
  const say = (text) => {
    stand();
    status.textContent = ""; // the same words twice are heard twice
    status.textContent = text;
    clearTimeout(fading);
    fading = setTimeout(() => status.textContent = "", READ_MS);
  };
  const focus = (element) => {
    if (element.tabIndex < 0) element.tabIndex = -1;
    element.focus({ preventScroll: true });
  };
  const goOn = () => focus(find("main,[role=main],h1") || find("body"));
  const leave = (section) => {
    const inside = contains(section, active(page));
    section.hidden = true;
    if (inside) goOn();
  };
  const showWhatWaits = () => each(all(root, WAITING), (section) => {
    each(all(section, "[name=waiting]"), (field) => {
      const id = field.value, item = closest(field, "li") || field;
      if (id === "all" ? state.waiting.length > 1 : state.waiting.some((one) => one.id === id)) return;
      const inside = contains(item, active(page));
      remove(field);
      if (query(item, "[name=waiting]")) return; // another one of its purpose waits
      remove(item);
      if (inside) focus(query(section, "button") || section);
    });
    if (!section.hidden && !query(section, "[name=waiting]")) leave(section);
  });
  // What waits and is asked about nowhere on a page of the site: an application without navigation gets its question here.
  let bringing;
  const bringWhatWaits = async () => {
    const asked = [...all(root, WAITING + " [name=waiting]")].map((field) => field.value).join();
    if (find("body.consent-mw") || bringing || !state.choice || state.waiting.every(({ id }) => asked.includes(id))) return;
    bringing = true;
    try {
      const body = await markup(base + "?waiting=1");
      each(all(root, WAITING + ".consent-mw-pinned"), remove);
      find("body").prepend(body);
    } catch (error) {} // nobody is asked, nothing is set
    bringing = false;
  };
  const action = pure(HTMLFormElement, "action"), submit = pure(HTMLFormElement, "requestSubmit");
  let busy = false, plain = false;
  listen(page, "submit", async (event) => {
    const form = event.target, button = event.submitter, box = button && near(button, `${BANNER},${WAITING},${DIALOG}`);
    if (plain || event.defaultPrevented || !button || !matches(form, "form[data-consent]")) return;
    if (!box) return; // the settings page shows the answer by itself
    if (!leads(button.getAttribute("formaction") || action(form), "/choice")) return;
    event.preventDefault();
    if (busy) return;
    busy = true;
    try {
      const kept = await choose([...new FormData(form), [button.name, button.value]]);
      kept().then((held) => say(me.dataset[held ? "saved" : "unsaved"] || ""));
      if (box.localName === "dialog") box.close();
      else if (matches(box, BANNER)) leave(box);
    } catch (error) { // no connection, or refused: the browser sends it, after this event
      setTimeout(() => (plain = true, submit(form, button), plain = false));
    }
    busy = false;
  });
  const markup = async (address) => {
    const answer = await fetch(address, { cache: "no-store", redirect: "error" });
    if (!answer.ok) throw answer;
    const template = make("template");
    template.innerHTML = trust.createHTML(await answer.text());
    each(template.content.querySelectorAll("link"), (link) => link.nonce = me.nonce);
    return template.content;
  };
  const fetched = async (address) => {
    const content = await markup(address);
    find("body").append(content);
    const dialog = find(DIALOG), style = dialog.querySelector("link");
    dialog.addEventListener("close", () => {
      dialog.remove(); // the next one shows what holds then
      if (active(page) === find("body")) goOn();
    });
    await new Promise((done) => style.onload = style.onerror = done);
    return dialog;
  };
  let opening;
  const show = async (href) => {
    const address = new URL(href && leads(href, "") ? href : base, base);
    address.searchParams.set("dialog", 1);
    try {
      const dialog = await (opening ||= find(DIALOG) || fetched(address));
      if (!dialog.open) dialog.showModal();
    } catch (error) {
      location.assign(base);
    }
    opening = null;
  };
  // Before the listeners of a router or hx-boost, which would swap our page into the site's.
  listen(page, "click", (event) => {
    const way = near(event.target, '[data-consent="settings"],a[href="#consent-mw"]');
    if (!way || event.defaultPrevented || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    event.stopPropagation();
    show(way.href);
  }, true);
  const hash = () => location.hash === "#consent-mw" && show();
  addEventListener("hashchange", hash);

  const placeholders = new WeakMap(), once = new WeakSet(), made = new WeakSet();
  // What the policy declares; a shop's own data-category="shoes" is none of ours.
  const declared = me.dataset.purposes?.split(" "), warned = new WeakSet();
  const purposes = (element) => {
    const names = (element.dataset.purpose || element.dataset.category || "").split(/[\s,]+/);
    const known = names.filter((name) => declared ? declared.includes(name) : name);
    if (known.length || warned.has(element) || !(element.localName === "script" || element.dataset.purpose)) return known;
    warned.add(element);
    throw new Error("names no purpose of the policy");
  };
  // Of a script, a frame or an image; never javascript:, data: or blob:. Throws for what is no address at all.
  const web = (address) => {
    const url = new URL(address, root.baseURI);
    if (/^https?:$/.test(url.protocol)) return url;
    throw new Error("is no address of the web");
  };
  const source = (element) => element.dataset.src || element.getAttribute("src");
  let queue = Promise.resolve();
  const PATIENCE_MS = 10000, RUNS = /^(module|.*script)?$/i;
  const run = (old) => queue = queue.then(() => new Promise((done) => {
    const script = make("script");
    for (const attribute of old.attributes) {
      if (!/^(type|src)$/.test(attribute.name)) script.setAttributeNode(attribute.cloneNode());
    }
    if (old.dataset.type) script.type = old.dataset.type;
    if (old.dataset.src || old.src) script.src = trust.createScriptURL(old.dataset.src || old.src);
    script.nonce = old.nonce;
    script.text = trust.createScript(old.text);
    script.async = old.hasAttribute("async");
    script.addEventListener("load", done);
    script.addEventListener("error", done);
    made.add(script);
    old.replaceWith(script);
    // The others keep their order, and do not wait for what is not run, was taken away or does not come.
    const waits = script.src && script.isConnected && !script.async && !script.noModule && !(script.event && script.htmlFor)
      && RUNS.test(script.type);
    if (waits) setTimeout(done, PATIENCE_MS);
    else done();
  })).catch((error) => console.warn("consent-mw:", old, error));
  const start = (element) => {
    if (element.localName === "script") {
      // Where what we start is trusted because we are, only what the page trusts too is started.
      if (me.dataset.strict !== undefined && element.nonce !== me.nonce) throw new Error("has no nonce");
      element.type = "text/queued"; // so that it is found once
      return run(element);
    }
    if (element.localName === "template") return element.replaceWith(element.content);
    const placeholder = placeholders.get(element), inside = placeholder && contains(placeholder, active(page));
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
    ["src", "srcset", "srcdoc"].forEach((name) => waits.removeAttribute(name));
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
    const host = web(source(element)).host;
    const box = make("div", { className: "consent-mw consent-mw-placeholder" });
    if (state) box.lang = state.language;
    box.setAttribute("role", "group");
    box.setAttribute("aria-label", element.title || host);
    const button = (textContent, onclick) =>
      make("button", { type: "button", className: "consent-mw-button", textContent, onclick });
    box.append(make("p", { textContent: `${words("why")} ${host}`.trim() }), 
      button(words("once"), () => (once.add(element), start(element))), button(words("always"), () => always(element)));
    placeholders.set(element, box);
    element.hidden = true;
    element.after(box);
  };
  const visit = (element) => {
    if (made.has(element) || element.namespaceURI !== root.namespaceURI) return;
    const names = purposes(element);
    if (!names.length) return;
    if (!loaded) return need();
    if (source(element)) web(source(element));
    if (names.every(allows)) start(element);
    else if (element.dataset.src && element.localName !== "script") hold(element);
  };
  const scan = (within) => each(all(within, BLOCKED), visit);
  const asks = (node) => matches(node, BANNER) ? node : query(node, BANNER), back = new WeakSet();
  const style = all(root, `link[href*="${home.pathname}/static/consent."]`);
  new MutationObserver((changes) => {
    const added = [], removed = [];
    root = whole(page);
    changes.forEach((change) => {
      added.push(...change.addedNodes);
      removed.push(...change.removedNodes);
    });
    const elements = added.filter((node) => kind(node) === 1);
    each(elements, (node) => {
      scan(node);
      if (matches(node, BLOCKED)) visit(node);
    });
    stand();
    if (elements.some(asks)) {
      showBanners();
      refresh();
    }
    // A framework that hydrates the whole document throws out what it did not render: once it is put back.
    each(removed, (node) => {
      const banner = kind(node) === 1 && matches(node, "html," + BANNER) && asks(node);
      if (!banner || back.has(banner) || find(BANNER) || !due()) return;
      back.add(banner);
      find("body").prepend(banner, ...style);
      showBanners();
      each(loose, (form) => form.isConnected || find("body").append(form));
    });
  }).observe(page, { childList: true, subtree: true });
  // An answer that left a cookie waiting says so, to whoever fetched it.
  try {
    new PerformanceObserver((list) => {
      if (list.getEntries().some(({ serverTiming = [] }) => serverTiming.some(({ name }) => name === "consent-mw"))) refresh();
    }).observe({ type: "resource" });
  } catch (error) {}

  const subscribe = (listener) => {
    const on = (event) => listener(event.detail);
    addEventListener("consentchange", on);
    if (state) listener(state);
    else need();
    return () => removeEventListener("consentchange", on);
  };
  window.consent = Object.freeze({ allows, show: () => void show(), subscribe, refresh });
  // The server has just said what is asked, unless this page comes from somewhere else.
  const [came] = performance.getEntriesByType("navigation");
  const fresh = came && came.transferSize && !came.workerStart && came.type !== "back_forward";
  if (find(BANNER + (fresh ? "[data-shared]" : ""))) need();
  showBanners();
  scan(root);
  hash();
})();
