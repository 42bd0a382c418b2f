// The banner answers without a reload; what waits for a purpose starts once it is allowed. Stores nothing.
(() => {
  "use strict";
  const TWICE = Symbol.for("consent-mw");
  if (window[TWICE]) return;
  // Markup can name an element like what is read here, <img name="currentScript"> or <input name="closest">, and would
  // then be read in its place. A site has names too: class Node, const URL. Prototypes cannot be named away.
  const page = document, pure = (property, thing = page) => {
    const above = Object.getPrototypeOf(thing), own = Object.getOwnPropertyDescriptor(above, property);
    return own ? Function.call.bind(own.value || own.get) : pure(property, above);
  };
  const whole = pure("documentElement"), me = pure("currentScript")(page), create = pure("createElement");
  const query = pure("querySelector", me), select = pure("querySelectorAll", me), enclose = pure("append", me);
  const matches = pure("matches", me), closest = pure("closest", me), discard = pure("remove", me);
  const contains = pure("contains"), typeOf = pure("nodeType"), active = pure("activeElement");
  const listen = pure("addEventListener"), make = (tag, props) => Object.assign(create(page, tag), props);
  // An address, as the page reads it: without an origin if it is none.
  const at = (href) => make("a", { href });
  let root = whole(page);
  // Sites hide elements that are not defined yet: `:not(:defined) { visibility: hidden }`.
  try {
    ["consent-mw", "consent-mw-box"].forEach((tag) => customElements.define(tag, class extends HTMLElement {}));
  } catch {}
  const base = me.src.replace(/\/static\/[^/]*$/, "");
  const BANNER = "[data-consent=banner]", WAITING = ":not(form)[data-consent=waiting]";
  const DIALOG = "dialog[data-consent=dialog]";
  const BLOCKED =
    ":is(script[type='text/plain'],template,iframe[data-src],img[data-src]):is([data-purpose],[data-category])";
  const OPEN = ":is(iframe,img)[src]:is([data-purpose],[data-category])";
  const find = (selector) => query(root, selector);
  const isElement = (node) => typeOf(node) === 1;
  const near = (node, selector) => isElement(node) && closest(node, selector);
  const complain = (...words) => console.warn("consent-mw:", ...words);
  // Under require-trusted-types-for; a site that names its policies names ours: trusted-types consent-mw.
  let trust = { createHTML: String, createScript: String, createScriptURL: String };
  try {
    trust = window.trustedTypes?.createPolicy("consent-mw", trust) || trust;
  } catch (error) {
    complain(error);
  }
  // One element in trouble does not stop the others.
  const each = (elements, work) => elements.forEach((element) => {
    try {
      work(element);
    } catch (error) {
      complain(error, element);
    }
  });
  // Whether the page's markup leads to this path below our prefix, and nowhere else.
  const leads = (address, path) => at(address).href.replace(/\/?([?#].*)?$/, "") === base + path;

  // The forms of what was put into the page stand at its end, so that its first form is its own.
  const loose = select(root, "form[id^=consent-mw-form-]");
  let state = null, loading = null, loaded = false, turn = 0, fresh;
  // A banner may come from a cache, a view that was kept, or a page that a script put into this one.
  const due = () => !state || (state.show && !(state.choice && state.waiting.length));
  // How high it is. In a sheet of our own: what hydrates the page compares its elements.
  let measure;
  try {
    const sheet = new CSSStyleSheet();
    page.adoptedStyleSheets.push(sheet);
    measure = new ResizeObserver(([{ target }]) => sheet.replaceSync(":root{--consent-mw-room:" + target.offsetHeight + "px}"));
  } catch {} // an older browser keeps the room of the highest
  // A filter or transform on the body takes `position: fixed` away: what is then out of sight goes into the top layer.
  const WHOLE = .98; // of a height that is no whole number of pixels
  let watch;
  try {
    watch = new IntersectionObserver(([{ intersectionRatio, target }]) => {
      if (intersectionRatio > WHOLE || !target.offsetHeight || getComputedStyle(target).position !== "fixed") return;
      target.popover = "manual";
      target.showPopover();
    }, { threshold: [0, WHOLE] });
  } catch {}
  const showBanners = () => {
    each(select(root, ".consent-mw-pinned"), (banner) => {
      if (banner.popover && !matches(banner, ":popover-open")) banner.popover = null; // it was taken out and put back
      measure?.observe(banner);
      watch?.observe(banner);
    });
    each([...select(root, "#consent-mw" + BANNER)].slice(1), discard);
    if (state) each(select(root, BANNER), (banner) => due() ? banner.hidden = false : leave(banner));
  };
  const apply = (next) => {
    const news = JSON.stringify(next) !== JSON.stringify(state);
    state = next;
    loaded = true;
    showWhatWaits();
    bringWhatWaits();
    showBanners();
    if (!news) return;
    each(select(root, OPEN), recall);
    scan(root);
    dispatchEvent(new CustomEvent("consentchange", { detail: state }));
  };
  // An extension may put something in the place of fetch that never answers.
  const PATIENCE_MS = 10000;
  const soon = (promise) => Promise.race([promise, new Promise((done, fail) => setTimeout(fail, PATIENCE_MS))]);
  const read = async (path, fields) => {
    // A service worker that keeps whatever it has seen once would go on with an answer of before.
    const answer = await fetch(base + path + (fields ? "" : "?" + Date.now()), {
      method: fields && "POST", body: fields, headers: { Accept: "application/json" }, cache: "no-store",
      keepalive: fields, redirect: "error",
    });
    if (!answer.ok) throw answer;
    return answer.json();
  };
  const ask = async (path, fields) => {
    const mine = fields ? 0 : ++turn;
    const next = await read(path, fields);
    if (fields) turn++; // an older reading that is still on its way is out of date
    if (fields || mine === turn) apply(next);
  };
  const refresh = () => ask("/state").catch(() => {
    loaded = true;
    scan(root);
    if (!fresh) each(select(root, BANNER), leave); // of a service worker, offline: it may have been answered since
  }).then(() => state);
  const need = () => loading || (loading = refresh());
  const allows = (purpose) => (state || need(), !!state && state.allowed.includes(purpose));
  // Resolves, once it is taken, to what asks whether it came back: a browser may keep no cookies.
  const choose = async (fields) => {
    await soon(ask("/choice", new URLSearchParams(fields)));
    tabs?.postMessage("");
    const mine = state.choice;
    return () => read("/state").then((next) => !mine || !!next.choice, () => true);
  };

  let tabs;
  const hear = () => {
    try {
      (tabs = new BroadcastChannel("consent-mw")).onmessage = refresh;
    } catch {} // cookies are blocked, or there is none
  };
  hear();
  addEventListener("pagehide", () => tabs?.close()); // an open channel would keep the page out of the bfcache
  addEventListener("pageshow", (event) => event.persisted && (fresh = false, hear(), refresh()));
  listen(page, "prerenderingchange", refresh);

  const status = make("p", { className: "consent-mw consent-mw-status" });
  status.setAttribute("role", "status");
  const REST_MS = 1000; // a page may take out whatever it does not know
  let stood = 0;
  const stand = () => { // also after the body was swapped, for a view that was kept with an older one
    const place = find("body");
    if (status.isConnected || !place || Date.now() < stood + REST_MS) return;
    stood = Date.now();
    each(select(root, ".consent-mw-status"), discard);
    enclose(place, status);
  };
  stand();
  const READ_MS = 8000;
  let fading;
  const say = (text) => {
    stood = 0;
    stand();
    status.textContent = ""; // the same words twice are heard twice
    status.textContent = text;
    clearTimeout(fading);
    fading = setTimeout(() => status.textContent = "", READ_MS);
  };
  const move = (element) => {
    if (element.tabIndex < 0) element.tabIndex = -1;
    element.focus({ preventScroll: true });
  };
  const goOn = () => move(find("main,[role=main],h1") || find("body"));
  const leave = (section) => {
    const inside = contains(section, active(page));
    section.hidden = true;
    delete section.dataset.shared; // also where the page's address names it
    if (inside) goOn();
  };
  const showWhatWaits = () => each(select(root, WAITING), (section) => {
    each(select(section, "[name=waiting]"), (field) => {
      const id = field.value, item = closest(field, "li") || field;
      if (id === "all" ? state.waiting.length > 1 : state.waiting.some((one) => one.id === id)) return;
      const inside = contains(item, active(page));
      discard(field);
      if (query(item, "[name=waiting]")) return; // another one of its purpose waits
      discard(item);
      if (inside) move(query(section, "button") || section);
    });
    if (!section.hidden && !query(section, "[name=waiting]")) leave(section);
  });
  // What waits and is asked about nowhere on a page of the site: an application without navigation gets its question here.
  let bringing;
  const bringWhatWaits = async () => {
    const asked = [...select(root, WAITING + " [name=waiting]")].map((field) => field.value).join();
    if (find("body.consent-mw") || bringing || !state?.choice || state.waiting.every(({ id }) => asked.includes(id))) return;
    bringing = true;
    try {
      const question = await markup(base + "?waiting=1");
      each(select(root, WAITING + ".consent-mw-pinned"), discard);
      find("body").prepend(question);
    } catch {} // nobody is asked, nothing is set
    bringing = false;
  };
  const bare = create(page, "form"), action = pure("action", bare), submit = pure("requestSubmit", bare);
  let busy = false, plain = false;
  // Before the listeners of a site that sends each form by itself.
  listen(page, "submit", async (event) => {
    const form = event.target, button = event.submitter, box = button && near(button, BANNER + "," + WAITING + "," + DIALOG);
    // The settings page, which is no box, shows the answer by itself.
    if (plain || !box || !matches(form, "form[data-consent]")
      || !leads(button.getAttribute("formaction") || action(form), "/choice")) return;
    event.preventDefault();
    const again = busy;
    busy = true;
    try {
      event.stopPropagation();
      if (again) return;
      const kept = await choose([...new FormData(form), [button.name, button.value]]);
      kept().then((held) => say(me.dataset[held ? "saved" : "unsaved"] || ""));
      if (matches(box, DIALOG)) box.close();
      else if (matches(box, BANNER)) leave(box);
    } catch { // no connection, or refused: the browser sends it, after this event
      setTimeout(() => (plain = true, submit(form, button), plain = false));
    }
    busy = false;
  }, true);
  const markup = async (address) => {
    const answer = await fetch(address, { cache: "no-store", redirect: "error" });
    if (!answer.ok) throw answer;
    const template = make("template");
    template.innerHTML = trust.createHTML(await answer.text());
    each(template.content.querySelectorAll("link"), (link) => link.nonce = me.nonce);
    return template.content;
  };
  const fetched = async (address) => {
    find("body").append(await markup(address));
    const dialog = find(DIALOG), style = query(dialog, "link");
    dialog.onclose = () => {
      dialog.remove(); // the next one shows what holds then
      if (active(page) === find("body")) goOn();
    };
    await new Promise((done) => style.onload = style.onerror = done);
    return dialog;
  };
  let opening;
  const show = async (href) => {
    const address = at(href && leads(href, "") ? href : base);
    address.search += "&dialog=1";
    try {
      const dialog = await soon(opening ||= find(DIALOG) || fetched(address));
      if (!dialog.open) dialog.showModal();
    } catch {
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
  const asked = (element) => {
    const names = (element.dataset.purpose || element.dataset.category || "").split(/[\s,]+/);
    const known = names.filter((word) => declared ? declared.includes(word) : word);
    if (known.length || warned.has(element) || !(element.localName === "script" || element.dataset.purpose)) return known;
    warned.add(element);
    throw new Error("names no purpose");
  };
  // Of a script, a frame or an image; never javascript:, data: or blob:. Throws for what is no address at all.
  const web = (address) => {
    const url = at(address);
    if (/^https?:$/.test(url.protocol)) return url;
    throw new Error("is no address");
  };
  const source = (element) => element.dataset.src || element.getAttribute("src");
  let queue = Promise.resolve();
  const RUNS = /^(module|.*script)?$/i;
  const run = (old) => queue = queue.then(() => new Promise((done) => {
    const script = make("script");
    each([...old.attributes], (one) => /^(type|src)$/.test(one.name) || script.setAttributeNode(one.cloneNode()));
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
    const waits = script.src && script.isConnected && !script.async && !script.noModule && !matches(script, "[for][event]")
      && RUNS.test(script.type);
    if (waits) setTimeout(done, PATIENCE_MS);
    else done();
  })).catch(complain);
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
    placeholder?.remove();
    if (inside) move(element);
  };
  // A script cannot be stopped; a frame can be taken away, and the observer puts its placeholder back.
  const recall = (element) => {
    if (once.has(element) || asked(element).every(allows)) return;
    const waits = element.cloneNode();
    waits.dataset.src = element.getAttribute("src");
    ["src", "srcset", "srcdoc"].forEach((gone) => waits.removeAttribute(gone));
    element.replaceWith(waits);
  };
  const always = (element) => {
    if (!state) return show();
    const fields = { choice: "save", language: state.language, revision: state.revision };
    const put = (kind, answers) => Object.entries(answers || {}).forEach(([name, answer]) =>
      fields[`${kind}.${name}`] = answer === null ? "ask" : answer ? "yes" : "no");
    put("purpose", state.purposes);
    put("cookie", state.cookies);
    asked(element).forEach((word) => fields["purpose." + word] = "yes");
    choose(fields).catch(show);
  };
  const hold = (element) => {
    if (placeholders.has(element)) return;
    const words = (which) => element.dataset[which] || me.dataset[which] || "";
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
    const names = asked(element);
    if (!names.length) return;
    if (!loaded) return need();
    if (source(element)) web(source(element));
    if (names.every(allows)) start(element);
    else if (element.dataset.src && element.localName !== "script") hold(element);
  };
  const scan = (within) => each(select(within, BLOCKED), visit);
  const asks = (node) => matches(node, BANNER) && node || query(node, BANNER), back = new WeakMap();
  const MOST = 20;
  const style = select(root, 'link[href*="' + at(base).pathname + '/static/consent."]');
  new MutationObserver((changes) => {
    const added = [], removed = [];
    root = whole(page);
    changes.forEach((change) => {
      added.push(...change.addedNodes);
      removed.push(...change.removedNodes);
    });
    const elements = added.filter(isElement);
    each(elements, (node) => {
      scan(node);
      if (matches(node, BLOCKED)) visit(node);
    });
    stand();
    if (elements.some(asks)) {
      showBanners();
      refresh();
    }
    // A framework that hydrates the whole document throws out what it did not render, and so does one that morphs a body:
    // it is put back, if not for ever. A router that takes another body means no answer by it.
    each(removed.filter(isElement), (node) => {
      const banner = matches(node, "html,body," + BANNER) && asks(node);
      if (matches(node, "body")) bringWhatWaits();
      if (!banner || back.get(node) > MOST || find(BANNER) || !due()) return;
      back.set(node, -~back.get(node));
      find("body").prepend(banner, ...style);
      showBanners();
      each(loose, (form) => form.isConnected || find("body").append(form));
    });
  }).observe(page, { childList: true, subtree: true });
  // An answer that left a cookie waiting says so, to whoever fetched it; and to a page by a cookie, where it sees those.
  const hears = (news) => news.some(({ name }) => name.endsWith("-waiting")) && refresh();
  try {
    new PerformanceObserver((list) => list.getEntries().some(({ serverTiming = [] }) => hears(serverTiming)))
      .observe({ type: "resource", buffered: true });
    cookieStore.addEventListener("change", ({ changed }) => hears(changed));
  } catch {}

  const subscribe = (listener) => {
    const on = (event) => listener(event.detail);
    addEventListener("consentchange", on);
    if (state) listener(state);
    else need();
    return () => removeEventListener("consentchange", on);
  };
  window[TWICE] = Object.freeze({ allows, show: () => void show(), subscribe, refresh });
  // An element of that name is none, and what the site calls so stays the site's.
  if (Object.hasOwn(window, "consent")) complain("window.consent is not ours:", TWICE);
  else window.consent = window[TWICE];
  // The server has just said what is asked, unless this page comes from somewhere else.
  const came = window.performance?.getEntriesByType?.("navigation")[0];
  fresh = came?.transferSize && !came.workerStart && came.type !== "back_forward";
  if (find(BANNER + (fresh ? "[data-shared]" : ""))) need();
  showBanners();
  scan(root);
  hash();
})();
