// When a service counts as gone, as back, and as having forgotten subscriptions.

import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as pause } from "node:timers/promises";

import { decode, encode } from "@msgpack/msgpack";

import { Watch } from "../dist/esm/main/watch.js";

type Announced = [epoch: string | null, lost: boolean];

/** A watch over one service that answers pings as it is set. */
class Service {
  epoch = "E1";
  subscriptions = 1;
  answersIn = 1;
  readonly announced: Announced[] = [];
  readonly watch: Watch = new Watch({
    request: (service, name, body) => {
      const { type } = decode(body) as { type: string };
      if (type === "ping" && this.answersIn < Infinity) {
        const pong = encode({ type: "pong", epoch: this.epoch, subscriptions: this.subscriptions });
        setTimeout(() => this.watch.take(service, Buffer.from(name).toString(), pong), this.answersIn);
      }
    },
    announce: (_, epoch, lost) => this.announced.push([epoch, lost]),
  });

  hold(name: string): void {
    this.watch.hold("query-1", name, this.epoch);
  }

  release(name: string): void {
    this.watch.release("query-1", name);
  }

  async reconnect(): Promise<void> {
    this.watch.onConnection("query-1", false);
    this.watch.onConnection("query-1", true);
    await pause(50);
  }
}

test("a service that answers every ping late is there all the same", async () => {
  const service = new Service();
  service.answersIn = 700;
  service.hold("1.s1");
  await pause(3_500);
  assert.deepEqual(service.announced, [["E1", false]]);
  service.watch.close();
});

test("a service that answers nothing is silent, and back when it answers again, although nothing is held there any more", async () => {
  const service = new Service();
  service.answersIn = Infinity;
  service.hold("1.s1");
  await pause(2_700);
  assert.deepEqual(service.announced, [[null, false]]);
  service.release("1.s1");
  service.answersIn = 1;
  await pause(2_600);
  assert.deepEqual(service.announced, [
    [null, false],
    ["E1", false],
  ]);
  service.watch.close();
});

test("subscriptions made on a new actor before its first answer are missed when its connection is replaced", async () => {
  const service = new Service();
  service.hold("1.s1");
  await pause(600);
  service.epoch = "E2";
  service.hold("1.s2");
  service.release("1.s1");
  await pause(600);
  service.subscriptions = 0;
  await service.reconnect();
  assert.deepEqual(service.announced, [
    ["E1", false],
    ["E2", false],
    [null, false],
    ["E2", true],
  ]);
  service.watch.close();
});

test("a subscription that the service has ended itself is not taken for a loss of all", async () => {
  const service = new Service();
  service.subscriptions = 2;
  service.hold("1.s1");
  service.hold("1.s2");
  await pause(600);
  service.subscriptions = 1;
  await pause(450);
  service.release("1.s2");
  await pause(1_100);
  assert.deepEqual(service.announced, [["E1", false]]);
  service.watch.close();
});
