// Bundles the app into dist/: the main process (packages stay outside, zeromq cannot be bundled), the preload
// scripts (a sandboxed preload is one CommonJS file), the pages. With --e2e also the tests, into dist-e2e/.

import { cp, readdir, rm } from "node:fs/promises";
import { build } from "esbuild";

const options = { bundle: true, sourcemap: true, logLevel: "warning", target: "es2023" };
const browser = { ...options, platform: "browser", format: "esm", jsx: "automatic" };
const production = { minify: true, define: { "process.env.NODE_ENV": '"production"' } };

async function buildApp() {
  await rm("dist", { recursive: true, force: true });
  await build({
    ...options,
    entryPoints: { main: "src/main/main.ts" },
    outdir: "dist",
    outExtension: { ".js": ".mjs" },
    platform: "node",
    format: "esm",
    packages: "external",
  });
  await build({
    ...options,
    entryPoints: { preload: "src/preload.ts", "unlock-preload": "src/unlock/preload.ts" },
    outdir: "dist",
    outExtension: { ".js": ".cjs" },
    platform: "node",
    format: "cjs",
    external: ["electron"],
    sourcemap: false,
  });
  await build({
    ...browser,
    ...production,
    entryPoints: { renderer: "src/renderer/index.tsx", unlock: "src/unlock/unlock.ts" },
    outdir: "dist",
  });
  await cp("src/renderer/index.html", "dist/index.html");
  await cp("src/unlock/unlock.html", "dist/unlock.html");
}

async function buildTests() {
  await rm("dist-e2e", { recursive: true, force: true });
  const tests = (await readdir("e2e")).filter((name) => name.endsWith(".test.ts"));
  await build({
    ...options,
    entryPoints: tests.map((name) => `e2e/${name}`),
    outdir: "dist-e2e",
    outExtension: { ".js": ".mjs" },
    platform: "node",
    format: "esm",
    packages: "external",
  });
  // The real preload; only `electron` is ours, see e2e/electron-in-page.ts.
  await build({
    ...options,
    entryPoints: { preload: "src/preload.ts" },
    outdir: "dist-e2e",
    platform: "browser",
    format: "iife",
    alias: { electron: "./e2e/electron-in-page.ts" },
    sourcemap: false,
  });
}

await buildApp();
if (process.argv.includes("--e2e")) await buildTests();
