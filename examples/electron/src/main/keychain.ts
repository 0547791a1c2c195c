// The secret that the system's keychain keeps for us: 32 random bytes, encrypted by Electron's safeStorage (Keychain on
// macOS, DPAPI on Windows, the secret service or KWallet on Linux) and written beside the app's settings.

import { randomBytes } from "node:crypto";
import { open, readFile, rename } from "node:fs/promises";
import type { SafeStorage } from "electron";

type Keystore = Pick<
  SafeStorage,
  "isAsyncEncryptionAvailable" | "encryptStringAsync" | "decryptStringAsync" | "getSelectedStorageBackend"
>;

/**
 * The secret in `file`, made at the first call. Null where this system keeps no secrets: then the user has to type a
 * passphrase. On Linux without a keychain safeStorage "encrypts" with a key that is part of Electron (basic_text);
 * that protects nothing, so it counts as none.
 */
export async function keychainSecret(
  keystore: Keystore,
  file: string,
  platform: NodeJS.Platform = process.platform,
): Promise<Uint8Array | null> {
  if (!(await keystore.isAsyncEncryptionAvailable())) return null;
  if (platform === "linux" && ["basic_text", "unknown"].includes(keystore.getSelectedStorageBackend())) return null;
  const kept = await readFile(file).catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return null;
    throw error;
  });
  if (kept) return Buffer.from((await keystore.decryptStringAsync(kept)).result, "base64");
  const fresh = randomBytes(32);
  await writeSynced(file, await keystore.encryptStringAsync(fresh.toString("base64")));
  return fresh;
}

/** On the disk, and whole, before the database is made with it: without it only the recovery code would open that. */
async function writeSynced(file: string, content: Uint8Array): Promise<void> {
  const handle = await open(`${file}.new`, "w", 0o600);
  try {
    await handle.writeFile(content);
    await handle.sync();
  } finally {
    await handle.close();
  }
  await rename(`${file}.new`, file);
}
