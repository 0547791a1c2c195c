// The floor under every figure taken in Node: one CURVE round trip to a process that sends back what it gets.
//
// Standard input has a JSON object of the endpoint, its public key and our own two keys.

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

import { figure, median, timed } from "./measuring.mjs";

const { Dealer } = createRequire(new URL("../../clients/node/package.json", import.meta.url))("zeromq");
const { endpoint, serverKey, publicKey, secretKey } = JSON.parse(readFileSync(0, "utf8"));
const socket = new Dealer({ curveServerKey: serverKey, curvePublicKey: publicKey, curveSecretKey: secretKey, linger: 0 });
socket.connect(endpoint);
const body = Buffer.alloc(100, "x");

const roundTrip = async () => {
  await socket.send(["1", body]);
  await socket.receive();
};
await timed(500, roundTrip);
figure("node_round_trip_p50_us", median(await timed(3_000, roundTrip)) * 1000, "bare CURVE round trip, 100 bytes, ipc");
socket.close();
