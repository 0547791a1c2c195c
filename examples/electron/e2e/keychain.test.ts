// The app's own part in keeping the secret. Electron's safeStorage is played by AES with a key of this process.

import { strict as assert } from "node:assert";
import { createCipheriv, createDecipheriv, randomBytes } from "node:crypto";
import { mkdtemp, readdir, readFile, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, test } from "node:test";

import { keychainSecret } from "../src/main/keychain.js";

let folder: string;
let file: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "keepdb-keychain-"));
  file = join(folder, "keychain.bin");
});

afterEach(() => rm(folder, { recursive: true }));

test("the first start makes a secret, every later one finds the same", async () => {
  const system = keystore();
  const first = await keychainSecret(system, file, "darwin");
  const second = await keychainSecret(system, file, "darwin");

  assert.equal(first?.length, 32);
  assert.deepEqual(second, first);
  assert.notDeepEqual(await keychainSecret(keystore(), join(folder, "other.bin"), "darwin"), first);
});

test("the file is for its owner alone, and does not hold the secret as it is", async () => {
  const secret = (await keychainSecret(keystore(), file, "linux")) as Buffer;

  assert.equal((await stat(file)).mode & 0o777, 0o600);
  const kept = await readFile(file);
  assert.equal(kept.includes(secret), false);
  assert.equal(kept.includes(secret.toString("base64")), false);
  assert.deepEqual(await readdir(folder), ["keychain.bin"]);
});

test("where the system keeps no secrets there is none, and nothing is written", async () => {
  assert.equal(await keychainSecret(keystore({ available: false }), file, "win32"), null);
  assert.equal(await keychainSecret(keystore({ backend: "basic_text" }), file, "linux"), null);
  assert.deepEqual(await readdir(folder), []);
});

test("a secret that cannot be read is an error, not a reason to make another one", async () => {
  await keychainSecret(keystore(), file, "darwin");
  const before = await readFile(file);
  await assert.rejects(keychainSecret(keystore(), file, "darwin"));
  assert.deepEqual(await readFile(file), before);
});

type Backend = "basic_text" | "gnome_libsecret";

function keystore({ available = true, backend = "gnome_libsecret" as Backend } = {}) {
  const key = randomBytes(32);
  return {
    isAsyncEncryptionAvailable: async () => available,
    getSelectedStorageBackend: () => backend,
    encryptStringAsync: async (text: string) => {
      const nonce = randomBytes(12);
      const cipher = createCipheriv("aes-256-gcm", key, nonce);
      const sealed = Buffer.concat([cipher.update(text, "utf-8"), cipher.final()]);
      return Buffer.concat([nonce, cipher.getAuthTag(), sealed]);
    },
    decryptStringAsync: async (bytes: Buffer) => {
      const cipher = createDecipheriv("aes-256-gcm", key, bytes.subarray(0, 12)).setAuthTag(bytes.subarray(12, 28));
      const result = Buffer.concat([cipher.update(bytes.subarray(28)), cipher.final()]).toString("utf-8");
      return { result, shouldReEncrypt: false };
    },
  };
}
