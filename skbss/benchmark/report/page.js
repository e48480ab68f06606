"use strict";
document.documentElement.classList.add("js");

// Tables: a click on a header sorts by its column, a second one the other way round.
for (const table of document.querySelectorAll("table")) {
  const heads = [...table.querySelectorAll("thead th")];
  heads.forEach((head, column) => {
    head.querySelector("button")?.addEventListener("click", () => {
      const now = head.getAttribute("aria-sort");
      const other = { ascending: "descending", descending: "ascending" };
      const order = other[now] || head.dataset.first;
      for (const each of heads) each.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", order);
      sort(table.tBodies[0], column, order === "ascending" ? 1 : -1);
    });
  });
}

function sort(body, column, sign) {
  const rows = [...body.rows].map((row) => {
    const value = row.cells[column].dataset.value ?? "";
    return { row, value, number: value === "" ? NaN : Number(value) };
  });
  const text = rows.some(({ value, number }) => value !== "" && Number.isNaN(number));
  rows.sort((a, b) => {
    if (a.value === "" || b.value === "") return (a.value === "") - (b.value === "");
    if (text) return sign * a.value.localeCompare(b.value, undefined, { numeric: true });
    return sign * (a.number - b.number);
  });
  body.append(...rows.map(({ row }) => row));
}

// Players: within a recording, a signal goes on where the one before it was.
let playing = null;

for (const recording of document.querySelectorAll("details.recording")) {
  const slider = recording.querySelector("input");
  const output = recording.querySelector("output");
  const stop = recording.querySelector(".stop");
  const signals = [...recording.querySelectorAll("td.signal")].map((cell) => ({
    audio: cell.querySelector("audio"),
    button: cell.querySelector("button"),
    head: cell.querySelector(".head"),
    picture: cell.querySelector(".picture"),
    name: cell.querySelector("button").getAttribute("aria-label").replace("Play ", ""),
  }));
  if (!signals.length) continue;
  for (const { head } of signals) head.hidden = true;
  let position = 0; // seconds
  let duration = 0;
  let current = null;

  function show() {
    const share = duration ? position / duration : 0;
    slider.value = 1000 * share;
    slider.setAttribute("aria-valuetext", `${position.toFixed(1)} seconds`);
    const what = current ? ` ${current.name.split(" of ")[0]}` : "";
    output.textContent = `${position.toFixed(1)} s${what}`;
    for (const { head } of signals) {
      head.style.left = `${100 * share}%`;
      head.hidden = position === 0;
    }
  }

  function follow() {
    if (!current || current.audio.paused) return;
    position = current.audio.currentTime;
    show();
    requestAnimationFrame(follow);
  }

  function pause() {
    if (!current) return;
    if (!current.audio.paused) position = current.audio.currentTime;
    current.audio.pause();
    current.button.setAttribute("aria-pressed", "false");
    current = null;
    playing = null;
    stop.disabled = true;
    show();
  }

  function play(signal) {
    playing?.();
    const { audio, button } = signal;
    const begin = () => {
      if (current !== signal) return;
      audio.play().catch((error) => {
        if (current !== signal) return;
        pause();
        output.textContent = `Cannot play this: ${error.message}`;
      });
      requestAnimationFrame(follow);
    };
    const start = () => {
      if (current !== signal) return;
      duration = audio.duration;
      if (position > duration - 0.05) position = 0;
      audio.addEventListener("seeked", begin, { once: true });
      audio.currentTime = position;
    };
    current = signal;
    playing = pause;
    stop.disabled = false;
    button.setAttribute("aria-pressed", "true");
    if (audio.readyState) return start();
    audio.addEventListener("loadedmetadata", start, { once: true });
    audio.addEventListener("error", () => {
      pause();
      output.textContent = "The audio file cannot be played.";
    }, { once: true });
    audio.load();
  }

  for (const signal of signals) {
    signal.audio.controls = false;
    signal.audio.addEventListener("ended", () => {
      if (current !== signal) return;
      pause();
      position = 0;
      show();
    });
    signal.button.addEventListener("click", () => (current === signal ? pause() : play(signal)));
    signal.picture.addEventListener("click", (event) => {
      const box = signal.picture.getBoundingClientRect();
      const length = signal.audio.duration || duration || Number(recording.dataset.duration);
      if (length) position = (length * (event.clientX - box.left)) / box.width;
      if (current === signal) signal.audio.currentTime = position;
      else play(signal);
    });
  }
  stop.addEventListener("click", pause);
  slider.addEventListener("input", () => {
    duration ||= Number(recording.dataset.duration);
    position = (slider.value / 1000) * duration;
    if (current) current.audio.currentTime = position;
    else show();
  });
}

// A link to a closed recording opens it; on paper all are open.
function open() {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (target instanceof HTMLDetailsElement) target.open = true;
}
addEventListener("hashchange", open);
open();
const closed = [];
addEventListener("beforeprint", () => {
  for (const each of document.querySelectorAll("details:not([open])")) {
    each.open = true;
    closed.push(each);
  }
});
addEventListener("afterprint", () => {
  while (closed.length) closed.pop().open = false;
});
