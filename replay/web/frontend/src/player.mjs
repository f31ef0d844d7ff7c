// Puts a player into every element with data-cast, and lets the links with
// data-seek move it. All it knows comes from data-* attributes, so the page
// needs no inline script.
import { create } from "asciinema-player";
import "asciinema-player/dist/bundle/asciinema-player.css";
import { firstOutput, shiftedTime } from "./time.mjs";

const idleLimit = 2; // seconds

// Addresses have milliseconds, recordings microseconds: going a little past a
// place has what happens there on the screen.
const margin = 0.002; // seconds

// fail says in the status line what went wrong.
function fail(element, state, what, err) {
  const status = document.getElementById(element.dataset.status ?? "");
  const why = err ? `: ${err.message.replace(/\.$/, "")}` : "";
  if (status) status.textContent = `${what}${why}.`;
  element.dataset.state = state;
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
    fail(element, "failed", "The recording could not be loaded", err);
    return;
  }
  if (!/^\[[^"]*"o"/m.test(text)) {
    fail(element, "empty", "Nothing was recorded");
    return;
  }
  const player = create({ data: text }, element, {
    idleTimeLimit: idleLimit,
    fit: "width",
    controls: true,
    keystrokeOverlay: element.dataset.keys === "true",
  });
  for (const type of ["play", "playing", "pause", "ended"]) {
    player.addEventListener(type, () => {
      element.dataset.player = type;
    });
  }
  const seek = (seconds) => player.seek(shiftedTime(text, seconds, idleLimit) + margin);
  for (const link of document.querySelectorAll("a[data-seek]")) {
    link.addEventListener("click", (event) => {
      event.preventDefault();
      seek(Number.parseFloat(link.dataset.seek));
      element.scrollIntoView({ block: "nearest" });
    });
  }
  // The first screen is shown by going there. The player's own poster would do
  // the same, but what it drew is lost when playing goes on from later.
  const wanted = Number.parseFloat(element.dataset.startAt);
  await seek(wanted > 0 ? wanted : firstOutput(text));
  element.dataset.state = "ready";
}

for (const element of document.querySelectorAll("[data-cast]")) {
  mount(element).catch((err) => fail(element, "failed", "The recording could not be played", err));
}
