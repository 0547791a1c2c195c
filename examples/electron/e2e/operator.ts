// What an operator can see and do from outside: the connection file's key opens every service of a running database.

import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { decode, encode } from "@msgpack/msgpack";
import { Dealer } from "zeromq";

interface ConnectionFile {
  endpoints: Record<string, string>;
  server_keys: Record<string, string>;
  public: string;
  secret: string;
}

/** One request to one service of the database in a data directory; its answer. */
async function ask<Answer>(data: string, service: string, message: object): Promise<Answer> {
  const { run } = JSON.parse(await readFile(join(data, "lock"), "utf-8")) as { run: string };
  const file = JSON.parse(await readFile(join(run, "connection.json"), "utf-8")) as ConnectionFile;
  const socket = new Dealer({
    linger: 0,
    curveServerKey: file.server_keys[service] as string,
    curvePublicKey: file.public,
    curveSecretKey: file.secret,
    receiveTimeout: 5_000,
  });
  try {
    socket.connect(file.endpoints[service] as string);
    await socket.send([Buffer.from("1"), encode(message)]);
    const [, answer] = await socket.receive();
    return decode(answer as Buffer) as Answer;
  } finally {
    socket.close();
  }
}

type Status = { pid: number; actors: { name: string; pid: number; state: string }[] };

/** Process ids by the name of the actor, and that of the supervisor. */
export async function processes(data: string): Promise<Map<string, number>> {
  const status = await ask<Status>(data, "supervisor", { type: "get_status" });
  return new Map([["supervisor", status.pid], ...status.actors.map(({ name, pid }) => [name, pid] as const)]);
}

/** Subscriptions of all clients at all query actors. */
export async function subscribers(data: string): Promise<number> {
  const names = [...(await processes(data)).keys()].filter((name) => name.startsWith("query-"));
  const figures = await Promise.all(
    names.map((name) => ask<{ subscribers: number }>(data, name, { type: "query_status" })),
  );
  return figures.reduce((sum, { subscribers }) => sum + subscribers, 0);
}
