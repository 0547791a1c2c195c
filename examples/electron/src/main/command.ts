// How to start the database process.

import { existsSync } from "node:fs";
import { join } from "node:path";

/**
 * KEEPDB names a program; else the one that `make demo` leaves in this checkout; else the one in PATH. An app that is
 * shipped would name the copy among its own resources: join(process.resourcesPath, "keepdb", "keepdb").
 */
export function command(): string[] {
  if (process.env.KEEPDB) return [process.env.KEEPDB];
  const program = process.platform === "win32" ? "Scripts/keepdb.exe" : "bin/keepdb";
  const checkout = join(import.meta.dirname, "../../../.venv", program);
  return [existsSync(checkout) ? checkout : "keepdb"];
}
