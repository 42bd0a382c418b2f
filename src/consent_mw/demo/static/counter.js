// What analytics would do: it runs only once its purpose is allowed, and says so on the page.
const counter = document.getElementById("counter");
counter.classList.add("running");
counter.querySelector(".state").textContent = counter.dataset.running;
