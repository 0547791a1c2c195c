// The files of a window and the policy they are served under. Windows load them through a scheme of the app's own,
// so that no page runs with the rights of file://, and nothing but these files can be reached by it.

import { readFile } from "node:fs/promises";
import { join } from "node:path";

/** Our own scripts and styles, and nothing else: no inline code, no eval, no network, no frames. */
export const CONTENT_SECURITY_POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; " +
  "base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const TYPES = new Map([
  ["index.html", "text/html; charset=utf-8"],
  ["renderer.js", "text/javascript; charset=utf-8"],
  ["renderer.css", "text/css; charset=utf-8"],
  ["unlock.html", "text/html; charset=utf-8"],
  ["unlock.js", "text/javascript; charset=utf-8"],
]);

/** The answer to a request for a page or one of its files; 404 for anything that is not in the list above. */
export async function serve(folder: string, url: string, policy = CONTENT_SECURITY_POLICY): Promise<Response> {
  const name = new URL(url).pathname.slice(1) || "index.html";
  const type = TYPES.get(name);
  if (!type) return new Response("Not found", { status: 404 });
  return new Response(await readFile(join(folder, name)), {
    headers: {
      "content-type": type,
      "content-security-policy": policy,
      "x-content-type-options": "nosniff",
    },
  });
}
