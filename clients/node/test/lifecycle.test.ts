// Starting, failing to start, stopping, and what is left behind: nothing.

import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, readFileSync } from "node:fs";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { test } from "node:test";
import { setTimeout } from "node:timers/promises";
import { Worker } from "node:worker_threads";

import { type DatabaseStatus, KeepDBError, connect, createDatabase } from "@keepdb/client/main";
import { linkedPorts } from "@keepdb/client/testing";

import { command, pidsOf, start, until } from "./place.js";

/** Whether a process runs; one that has ended and waits for its parent to notice does not. */
function runs(pid: number): boolean {
  try {
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, "utf8"));
  } catch {
    return false;
  }
}

async function gone(pids: readonly number[]): Promise<void> {
  const deadline = performance.now() + 10_000;
  while (pids.some(runs)) {
    assert.ok(performance.now() < deadline, `still there: ${pids.filter(runs).join(", ")}`);
    await setTimeout(10);
  }
}

async function inDirectory(work: (directory: string) => Promise<void>): Promise<void> {
  const directory = await mkdtemp(join(tmpdir(), "keepdb-"));
  try {
    await work(directory);
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

const failure = async (attempt: Promise<unknown>): Promise<KeepDBError> => {
  const error: unknown = await attempt.then(
    () => assert.fail("it started"),
    (reason: unknown) => reason,
  );
  assert.ok(error instanceof KeepDBError, String(error));
  return error;
};

test("a new database tells its recovery code once, and the code opens it", () =>
  inDirectory(async (directory) => {
    const made = await createDatabase({ directory, command, passphrase: "one" });
    assert.match(made.recoveryCode ?? "", /^[0-9A-Z-]{20,}/i);
    assert.equal(made.status, "ready");
    await made.commit("personas.created", { name: "Kept" });
    await made.close();
    assert.equal(made.status, "stopped");

    const opened = await createDatabase({ directory, command, recovery: made.recoveryCode ?? "" });
    assert.equal(opened.recoveryCode, null);
    assert.equal((await opened.from("personas").get()).rows[0]?.["name"], "Kept");
    await opened.close();

    const wrong = await failure(createDatabase({ directory, command, passphrase: "two" }));
    assert.equal(wrong.code, "wrong_key");
    assert.equal(wrong.retryable, false);
  }));

test("a keychain secret opens a database", () =>
  inDirectory(async (directory) => {
    const keychain = new Uint8Array(32).fill(7);
    const made = await createDatabase({ directory, command, keychain });
    await made.close();
    await (await createDatabase({ directory, command, keychain })).close();
    const wrong = await failure(createDatabase({ directory, command, keychain: new Uint8Array(32).fill(8) }));
    assert.equal(wrong.code, "wrong_key");
  }));

test("the secret is in no argument and no environment, a second database is refused, and closing leaves nothing", async () => {
  const place = await start({ passphrase: "very secret words" });
  const pids = [place.database.pid as number, ...Object.values(await pidsOf(place.database))];
  const { run } = JSON.parse(await readFile(join(place.directory, "lock"), "utf8")) as { run: string };
  assert.ok(existsSync(run));
  assert.ok(pids.length > 5 && pids.every(runs));
  for (const file of pids.flatMap((pid) => [`/proc/${pid}/cmdline`, `/proc/${pid}/environ`])) {
    assert.equal((await readFile(file)).includes("very secret words"), false);
  }
  const second = await failure(
    createDatabase({ directory: place.directory, command, passphrase: "very secret words" }),
  );
  assert.equal(second.code, "already_running");

  const live = place.database.from("personas").live();
  live.subscribe(() => undefined);
  const waiting = place.database.from("personas").get({ atLeast: 1_000_000 });
  const refused = assert.rejects(waiting, { code: "closed" });
  await place.close();
  await refused;
  await gone(pids);
  assert.equal(existsSync(run), false);
  assert.equal(live.current.error?.code, "closed");
  await assert.rejects(place.database.commit("personas.created", { name: "Late" }), { code: "closed" });
});

test("closing twice, and closing while it restarts, are fine", async () => {
  const place = await start();
  const pids = [place.database.pid as number, ...Object.values(await pidsOf(place.database))];
  process.kill(pids[0] as number, "SIGKILL");
  await Promise.all([place.database.close(), place.database.close()]);
  await place.close();
  await gone(pids);
});

test("a start that fails says why: its own code, its status, and its last words", async () => {
  const say = (code: string) => [process.execPath, "-e", code, "--"];
  const ended = await failure(start({ command: say("console.error('no disk in drive'); process.exit(3)") }));
  assert.equal(ended.code, "start_failed");
  assert.match(ended.message, /status 3/);
  assert.match(ended.message, /no disk in drive/);

  const line = JSON.stringify({ event: "failed", code: "data_unusable", message: "No.", fix: "Yes." });
  const failed = await failure(start({ command: say(`console.error('trace'); console.log(${JSON.stringify(line)})`) }));
  assert.deepEqual([failed.code, failed.fix], ["data_unusable", "Yes."]);
  assert.match(failed.message, /^No\.[^]*trace/);

  const missing = await failure(start({ command: ["/no/such/program"] }));
  assert.equal(missing.code, "start_failed");
  assert.match(missing.message, /ENOENT/);
});

test("a start that is silent or aborted ends, and takes its process along", () =>
  inDirectory(async (directory) => {
    const pidFile = join(directory, "pid");
    const silent = [
      process.execPath,
      "-e",
      `fs.writeFileSync(${JSON.stringify(pidFile)}, String(process.pid)); setInterval(() => {}, 1000)`,
      "--",
    ];
    const late = await failure(start({ directory, command: silent, startTimeoutMs: 500 }));
    assert.equal(late.code, "start_failed");
    assert.match(late.message, /500 ms/);
    await gone([Number(await readFile(pidFile, "utf8"))]);

    const reason = new Error("the user quit");
    const controller = new AbortController();
    const attempt = start({ directory, command: silent, signal: controller.signal });
    controller.abort(reason);
    await assert.rejects(attempt, reason);
  }));

test("an end is seen and closing ends although an actor is frozen and holds the pipes", async () => {
  let restarted!: () => void;
  const ready = new Promise<void>((resolve) => (restarted = resolve));
  const seen: DatabaseStatus[] = [];
  const onStatus = (status: DatabaseStatus) => {
    seen.push(status);
    if (status === "ready" && seen.includes("restarting")) {
      restarted();
    }
  };
  const place = await start({ onStatus, stopTimeoutMs: 2_000 });
  const pids = await pidsOf(place.database);
  const frozen = pids["query-1"] as number;
  process.kill(frozen, "SIGSTOP");
  process.kill(place.database.pid as number, "SIGKILL");
  try {
    await ready;
  } finally {
    process.kill(frozen, "SIGKILL");
  }
  const again = await pidsOf(place.database);
  const frozenAgain = again["query-1"] as number;
  process.kill(frozenAgain, "SIGSTOP");
  process.kill(place.database.pid as number, "SIGKILL");
  const closed = await Promise.race([place.close().then(() => "closed"), setTimeout(15_000, "hangs", { ref: false })]);
  process.kill(frozenAgain, "SIGKILL");
  assert.equal(closed, "closed");
});

test("callbacks that throw are heard of, and neither keep it from restarting nor from closing", async () => {
  const uncaught: string[] = [];
  process.setUncaughtExceptionCaptureCallback((error) => uncaught.push(error.message));
  const broken = (what: string) => () => {
    throw new Error(what);
  };
  try {
    const place = await start({ onStatus: broken("onStatus"), onExit: broken("onExit") });
    const { database } = place;
    const pid = database.pid as number;
    process.kill(pid, "SIGKILL");
    while (database.status !== "ready" || database.pid === pid) {
      await setTimeout(20);
    }
    await database.from("personas").get();
    const pids = [database.pid as number, ...Object.values(await pidsOf(database))];
    await place.close();
    await gone(pids);
    assert.deepEqual(uncaught, ["onStatus", "onStatus", "onExit", "onStatus", "onStatus"]);
  } finally {
    process.setUncaughtExceptionCaptureCallback(null);
  }
});

test("closing while thousands of live queries wait for their turn stops the database", async () => {
  const place = await start();
  const pids = [place.database.pid as number, ...Object.values(await pidsOf(place.database))];
  for (let usageCount = 0; usageCount < 5_000; usageCount++) {
    place.database.from("personas").where({ usageCount }).live().subscribe(() => undefined);
  }
  await place.close();
  await gone(pids);
});

test("a window that is attached after the end is told so at once", async () => {
  const place = await start();
  await place.close();
  const [main, window] = linkedPorts();
  place.database.attach(main);
  await assert.rejects(connect(window, { timeoutMs: 5_000 }), { code: "closed" });
});

test("a program that prints what is no message becomes ready all the same", () =>
  inDirectory(async (directory) => {
    const script = join(directory, "program.mjs");
    await writeFile(
      script,
      `import { spawn } from "node:child_process";
       console.log("null"); console.log("7"); console.log("no JSON");
       const [program, ...rest] = ${JSON.stringify(command)};
       spawn(program, [...rest, ...process.argv.slice(2)], { stdio: "inherit" });`,
    );
    const place = await start({ command: [process.execPath, script] });
    await place.database.from("personas").get();
    await place.close();
  }));

test("when it comes back with fewer query actors, live queries and reads move to those there are", () =>
  inDirectory(async (directory) => {
    const workers = join(directory, "workers");
    const script = join(directory, "program.mjs");
    await writeFile(workers, "2");
    await writeFile(
      script,
      `import { spawn } from "node:child_process"; import { readFileSync } from "node:fs";
       const [program, ...rest] = ${JSON.stringify(command)};
       const count = readFileSync(${JSON.stringify(workers)}, "utf8");
       spawn(program, [...rest, ...process.argv.slice(2), "--set=query.workers=" + count], { stdio: "inherit" })
         .on("close", () => process.exit(1));`,
    );
    const place = await start({ command: [process.execPath, script] });
    const windows = [place.database, await place.openWindow()];
    const lives = windows.flatMap((db) =>
      [1, 2, 3, 4].map((usageCount) => db.from("personas").where({ usageCount, description: "moved" }).live()),
    );
    const shows = (status: string, rows: number) =>
      Promise.all(
        lives.map((live) =>
          until<{ status: string; rows: readonly unknown[] }>(
            (tell) => live.subscribe(tell),
            (found) => found.status === status && found.rows.length === rows,
          ),
        ),
      );
    lives.forEach((live) => live.subscribe(() => undefined));
    await shows("live", 0);
    await writeFile(workers, "1");
    process.kill((await place.database.serverStatus()).pid, "SIGKILL");
    await shows("stale", 0);
    const events = [1, 2, 3, 4].map((usageCount) => ({
      type: "personas.created",
      data: { name: "Moved", description: "moved", usageCount },
    }));
    await place.database.commitAll(events, { timeoutMs: 30_000 });
    await shows("live", 1);
    for (const db of windows) {
      await Promise.all(Array.from({ length: 8 }, () => db.from("personas").get()));
    }
    await place.close();
  }));

test("a database that ends again and again is given up with a reason", async () => {
  await inDirectory(async (directory) => {
    const marker = join(directory, "broken");
    const script = join(directory, "program.mjs");
    // The real program, until the marker says that it is broken.
    await writeFile(
      script,
      `import { spawn } from "node:child_process"; import { existsSync } from "node:fs";
       if (existsSync(${JSON.stringify(marker)})) { console.error("broken beyond repair"); process.exit(1); }
       const [program, ...rest] = ${JSON.stringify(command)};
       spawn(program, [...rest, ...process.argv.slice(2)], { stdio: "inherit" }).on("close", () => process.exit(1));`,
    );
    let started!: ReturnType<typeof start>;
    const ended = new Promise<void>((resolve) => {
      const onStatus = (status: DatabaseStatus) => status === "failed" && resolve();
      started = start({ command: [process.execPath, script], onStatus });
    });
    const place = await started;
    const pids = [place.database.pid as number, ...Object.values(await pidsOf(place.database))];
    const live = place.database.from("personas").live();
    live.subscribe(() => undefined);
    await writeFile(marker, "");
    process.kill(place.database.pid as number, "SIGKILL");
    pids.slice(1).forEach((pid) => process.kill(pid, "SIGKILL"));
    const commit = place.database.commit("personas.created", { name: "In vain" }, { timeoutMs: 60_000 });
    const refused = assert.rejects(commit, { code: "start_failed" });
    await ended;
    assert.equal(live.current.status, "error");
    assert.match(live.current.error?.message ?? "", /broken beyond repair/);
    await refused;
    await assert.rejects(place.database.from("personas").get(), { code: "start_failed" });
    await place.close();
    await gone(pids);
  });
});

/** A Node process of its own that runs this code. */
function script(code: string): ChildProcess {
  return spawn(process.execPath, ["--input-type=module", "-e", code], {
    cwd: new URL("..", import.meta.url),
    stdio: ["ignore", "pipe", "inherit"],
  });
}

const opening = `
  import { startTestDatabase } from "@keepdb/client/testing";
  const place = await startTestDatabase({ command: ${JSON.stringify(command)} });
  place.database.from("personas").live().subscribe(() => undefined);
`;

test("when the host is killed, the database is gone within two seconds", async () => {
  const host = script(`${opening}
    const { actors, pid } = await place.database.serverStatus();
    console.log(JSON.stringify({ pids: [pid, ...actors.map(({ pid }) => pid)], directory: place.directory }));
    setInterval(() => {}, 1000);`);
  const [line] = (await once(createInterface({ input: host.stdout as NodeJS.ReadableStream }), "line")) as [string];
  const { pids, directory } = JSON.parse(line) as { pids: number[]; directory: string };
  assert.ok(pids.every(runs));
  host.kill("SIGKILL");
  const killedAt = performance.now();
  await gone(pids);
  assert.ok(performance.now() - killedAt < 2_000);
  await rm(directory, { recursive: true, force: true });
});

test("after closing, nothing keeps the process alive", async () => {
  const host = script(`${opening} await place.close();`);
  const [status] = (await once(host, "exit", { signal: AbortSignal.timeout(30_000) })) as [number];
  assert.equal(status, 0);
});

test("a worker thread may not load it", async () => {
  const worker = new Worker(
    new URL(
      "data:text/javascript," +
        encodeURIComponent(`await import(${JSON.stringify(import.meta.resolve("@keepdb/client/main"))})`),
    ),
  );
  const [error] = (await once(worker, "error")) as [{ code?: string }];
  assert.equal(error.code, "wrong_process");
});
