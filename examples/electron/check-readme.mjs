// Compiles the code that the README at the root of the repository shows for Electron, with what it leaves to the reader
// declared.

import { execFileSync } from "node:child_process";
import { mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";

const folder = fileURLToPath(new URL("dist-e2e/readme/", import.meta.url));
const FILES = [
  ["main.ts", "declare const preload: string;\ndeclare function secretFromSafeStorage(): Promise<Uint8Array>;\n"],
  ["preload.ts", ""],
  [
    "renderer.tsx",
    'import { createRoot } from "react-dom/client";\nimport type { Schema } from "../../src/generated/schema.js";\n' +
      "declare const element: HTMLElement;\n",
  ],
];

const readme = await readFile(new URL("../../README.md", import.meta.url), "utf-8");
const section = /^## From Electron\n(.*?)^## /ms.exec(readme)?.[1] ?? "";
const blocks = [...section.matchAll(/^```tsx?\n(.*?)^```/gms)].map(([, code]) => code);
if (blocks.length !== FILES.length) {
  throw new Error(`README.md shows ${blocks.length} pieces of TypeScript for Electron instead of ${FILES.length}`);
}
await rm(folder, { recursive: true, force: true });
await mkdir(folder, { recursive: true });
for (const [at, [name, declarations]] of FILES.entries()) {
  await writeFile(`${folder}${name}`, declarations + blocks[at]);
}
const options = {
  extends: "../../tsconfig.json",
  include: ["."],
  compilerOptions: { noUnusedLocals: false, typeRoots: ["../../node_modules/@types"] },
};
await writeFile(`${folder}tsconfig.json`, JSON.stringify(options));
execFileSync("npx", ["tsc", "-p", folder], { stdio: "inherit" });
