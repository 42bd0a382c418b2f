// The shop's own comforts: stock as JSON, a poem as a stream, talk over a WebSocket. Each has a plain link without it.

function line(list, text, name = "") {
  const item = document.createElement("li");
  item.textContent = text;
  item.className = name;
  list.append(item);
  return item;
}

function onClick(id, act) {
  const card = document.getElementById(id);
  if (!card) return;
  const button = card.querySelector(".button");
  button.addEventListener("click", (event) => {
    event.preventDefault();
    const list = card.querySelector(".output");
    list.replaceChildren();
    act(button.href, list);
  });
}

onClick("stock", async (address, list) => {
  const books = await (await fetch(address)).json();
  for (const book of books) line(list, `${book.title}: ${book.copies} ${list.dataset.copies}`);
});

onClick("poem", (address, list) => {
  const stream = new EventSource(address);
  stream.onmessage = (message) => line(list, message.data);
  stream.addEventListener("end", () => { stream.close(); list.dataset.done = ""; });
});

const chat = document.querySelector("#chat form");
if (chat) {
  const list = document.querySelector("#chat .output");
  let socket;
  chat.querySelector("fieldset").disabled = false;
  chat.addEventListener("submit", (event) => {
    event.preventDefault();
    const words = chat.elements.words.value;
    line(list, words, "mine");
    chat.reset();
    if (socket && socket.readyState === WebSocket.OPEN) { socket.send(words); return; }
    socket = new WebSocket(new URL(chat.dataset.path, location.href.replace(/^http/, "ws")));
    socket.onopen = () => socket.send(words);
    socket.onmessage = (message) => line(list, message.data);
  });
}

// The panel tells what the server did with this page, so after a choice the server is asked again. For who now
// wants to be asked its answer leaves cookies waiting, and our script brings the questions; while one is open, a new reading
// would make it out of date.
const panel = document.getElementById("panel");
let told = false;
addEventListener("consentchange", async ({ detail }) => {
  const first = !told;
  told = true;
  if (first && (detail.choice || "") === panel.dataset.choice) return;
  if (detail.waiting.length) return;
  const page = new DOMParser().parseFromString(await (await fetch(location)).text(), "text/html");
  const running = document.getElementById("counter").className;
  panel.replaceChildren(...page.getElementById("panel").childNodes);
  panel.dataset.choice = detail.choice || "";
  document.getElementById("counter").className = running;
});
