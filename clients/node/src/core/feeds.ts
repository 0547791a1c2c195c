// All subscriptions of one database object: finding the one that a push is for, and making them a few at a time.

import type { Channel } from "./channel.js";
import type { KeepDBError } from "./errors.js";
import { Feed, type Sink } from "./feed.js";
import { numberOf, subscriptionName } from "./names.js";
import type { Requests } from "./requests.js";

/** Subscriptions that are being made at once; thousands at a time would only wait in the server instead. */
const SUBSCRIBING_MAX = 64;

export class Feeds {
  readonly channel: Channel;
  readonly requests: Requests;
  /** The next query service in turn. */
  readonly service: () => string;
  /** Why nothing will be answered any more. */
  ended: KeepDBError | null = null;
  readonly #feeds = new Map<number, Feed>();
  readonly #queue: (() => void)[] = [];
  #subscribing = 0;
  #isPumping = false;
  #last = 0;

  constructor(channel: Channel, requests: Requests, service: () => string) {
    this.channel = channel;
    this.requests = requests;
    this.service = service;
  }

  /** A subscription, not made yet: `renew` makes it, and from then on the sink hears from it until it is stopped. */
  open(sink: Sink): Feed {
    const number = ++this.#last;
    const feed = new Feed(this, number, this.#subOf(number), sink);
    this.#feeds.set(number, feed);
    return feed;
  }

  /** Take in a push. */
  take(service: string, first: Uint8Array, body: Uint8Array): void {
    const number = numberOf(first, this.channel.prefix.length);
    const feed = this.#feeds.get(number);
    if (feed !== undefined) {
      feed.take(service, body);
    } else {
      // It was given up while it was being made.
      this.channel.release(service, this.#subOf(number));
    }
  }

  onService(service: string, epoch: string | null, lost: boolean): void {
    for (const feed of [...this.#feeds.values()]) {
      feed.onService(service, epoch, lost);
    }
  }

  onServices(names: readonly string[]): void {
    for (const feed of [...this.#feeds.values()]) {
      feed.onServices(names);
    }
  }

  end(error: KeepDBError): void {
    this.ended ??= error;
    this.#queue.length = 0;
    for (const feed of [...this.#feeds.values()]) {
      feed.fail(error);
    }
  }

  forget(number: number): void {
    this.#feeds.delete(number);
  }

  /** Wait for a turn at subscribing; whoever begins says `leave` once. */
  enter(begin: () => void): void {
    this.#queue.push(begin);
    this.#pump();
  }

  leave(): void {
    this.#subscribing--;
    this.#pump();
  }

  /** A loop, because beginning may be over at once: thousands of those in a row would be as deep a recursion. */
  #pump(): void {
    if (this.#isPumping) {
      return;
    }
    this.#isPumping = true;
    while (this.#subscribing < SUBSCRIBING_MAX) {
      const begin = this.#queue.shift();
      if (begin === undefined) {
        break;
      }
      this.#subscribing++;
      begin();
    }
    this.#isPumping = false;
  }

  #subOf(number: number): string {
    return subscriptionName(this.channel.prefix, number);
  }
}
