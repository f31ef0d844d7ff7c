// Plays the recording of a bundle: the page lies in a folder with cast.js, which
// has set window.sallyportCast. Opened from a file, a page may fetch nothing.
import { create } from "asciinema-player";
import "asciinema-player/dist/bundle/asciinema-player.css";
import { firstOutput } from "./time.mjs";

const text = window.sallyportCast;
const status = document.getElementById("player-status");
if (typeof text !== "string") {
  status.textContent = "cast.js is missing: unpack the whole bundle, then open this page.";
} else if (!/^\[[^"]*"o"/m.test(text)) {
  status.textContent = "Nothing was recorded.";
} else {
  const player = create({ data: text }, document.getElementById("player"), { idleTimeLimit: 2, fit: "width", controls: true });
  player.seek(firstOutput(text)).then(() => {
    document.body.dataset.state = "ready";
  });
}
