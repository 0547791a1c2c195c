// Builds the package twice, as ES modules and as CommonJS, with types for both.
import { execFileSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = dirname(fileURLToPath(import.meta.url));
const tsc = createRequire(import.meta.url).resolve("typescript/bin/tsc");

// What does something by being loaded, and must survive a bundler: the preload script, and a guard.
const sideEffects = ["./preload/index.js", "./main/guard.js"];

for (const [project, folder, type] of [
  ["tsconfig.json", "esm", "module"],
  ["tsconfig.cjs.json", "cjs", "commonjs"],
]) {
  execFileSync(process.execPath, [tsc, "-p", join(root, project)], { stdio: "inherit" });
  mkdirSync(join(root, "dist", folder), { recursive: true });
  // The nearest package.json decides how Node reads a .js file, and which modules a bundler may not leave out.
  writeFileSync(join(root, "dist", folder, "package.json"), `${JSON.stringify({ type, sideEffects })}\n`);
}
