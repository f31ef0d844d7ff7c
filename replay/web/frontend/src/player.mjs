// Puts a player into every element with data-cast, and lets the links with
// data-seek move it. All it knows comes from data-* attributes, so the page
// needs no inline script.
import { create } from "asciinema-player";
import "asciinema-player/dist/bundle/asciinema-player.css";
import { shiftedTime } from "./time.mjs";

const idleLimit = 2; // seconds

// say replaces the text of the status line that element names.
function say(element, text) {
  const status = document.getElementById(element.dataset.status ?? "");
  if (status) status.textContent = text;
}

// load fetches the cast itself, rather than leaving it to the player, so that
// a refusal or an ended sign-in is said in words.
async function load(url) {
  const response = await fetch(url, { headers: { Accept: "application/x-asciicast" } });
  if (!response.ok) {
    const why = await response.json().catch(() => ({}));
    throw new Error(why.error ?? `the server answered ${response.status}`);
  }
  return response.text();
}

async function mount(element) {
  let text;
  try {
    text = await load(element.dataset.cast);
  } catch (err) {
    say(element, `The recording could not be loaded: ${err.message}.`);
    element.dataset.state = "failed";
    return;
  }
  if (!/^\[/m.test(text)) {
    say(element, "Nothing was recorded.");
    element.dataset.state = "empty";
    return;
  }
  const wanted = Number.parseFloat(element.dataset.startAt);
  const startAt = Number.isFinite(wanted) && wanted > 0 ? wanted : 0;
  const player = create({ data: text }, element, {
    preload: true,
    idleTimeLimit: idleLimit,
    startAt,
    poster: `npt:${shiftedTime(text, startAt, idleLimit) + 1}`,
    fit: "width",
    controls: true,
    keystrokeOverlay: element.dataset.keys === "true",
  });
  for (const type of ["play", "playing", "pause", "ended"]) {
    player.addEventListener(type, () => {
      element.dataset.player = type;
    });
  }
  for (const link of document.querySelectorAll("a[data-seek]")) {
    link.addEventListener("click", (event) => {
      event.preventDefault();
      player.seek(shiftedTime(text, Number.parseFloat(link.dataset.seek), idleLimit));
      element.scrollIntoView({ block: "nearest" });
    });
  }
  element.dataset.state = "ready";
}

for (const element of document.querySelectorAll("[data-cast]")) mount(element);
