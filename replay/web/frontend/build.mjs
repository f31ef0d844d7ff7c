// Bundles the player into ../static/dist, from where the Go binary embeds it:
// player.js and bundle.js, their stylesheets, and the licence of what is inside.
import { copyFile, mkdir } from "node:fs/promises";
import { build } from "esbuild";

const out = "../static/dist";
await mkdir(out, { recursive: true });
await build({
  entryPoints: { player: "src/player.mjs", bundle: "src/bundle.mjs" },
  outdir: out,
  bundle: true,
  minify: true,
  format: "iife",
  target: ["es2022"],
  legalComments: "none", // the licence file says it
  logLevel: "warning",
});
await copyFile("node_modules/asciinema-player/LICENSE", `${out}/player.LICENSE.txt`);
