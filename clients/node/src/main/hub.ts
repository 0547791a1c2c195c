// Where the windows' frames meet the connections. Each window has a seat with a number; every name it gives to a request
// or a subscription begins with that number, so answers and pushes find their way by their first frame. Bodies are never
// decoded here.

import type { ErrorParts } from "../core/errors.js";
import { clientOf, namesSomeSubscription, textOf } from "../core/names.js";
import { COMMIT_NAME, Committer } from "./committer.js";
import type { Link } from "./link.js";
import { Seat } from "./seat.js";
import type { Ready } from "./sidecar.js";
import { PING_NAME, Watch } from "./watch.js";

const [COMMIT, PING] = [COMMIT_NAME.charCodeAt(0), PING_NAME.charCodeAt(0)];

export class Hub {
  readonly link: Link;
  readonly watch: Watch;
  readonly committer: Committer;
  /** Of the database that runs now. */
  services: readonly string[] = [];
  /** Why nothing is answered any more. */
  ended: ErrorParts | null = null;
  readonly #seats = new Map<number, Seat>();
  #last = -1;

  constructor(link: Link) {
    this.link = link;
    this.committer = new Committer((name, body) => link.request("writer", name, body));
    this.watch = new Watch({
      request: (service, name, body) => link.request(service, name, body),
      announce: (service, epoch, lost) => {
        for (const seat of this.#seats.values()) {
          seat.onService(service, epoch, lost);
        }
      },
    });
    link.onFrame = (service, first, body) => this.#route(service, first, body);
    link.onConnection = (service, isUp) => {
      this.watch.onConnection(service, isUp);
      if (isUp && service === "writer") {
        this.committer.alive();
      }
    };
  }

  /** A seat for the main process itself, or for one more window. */
  join(who: "main" | "window"): Seat {
    const number = ++this.#last;
    const seat = new Seat(this, number, who === "main", () => this.#seats.delete(number));
    this.#seats.set(number, seat);
    return seat;
  }

  /** The database runs, for the first time or again. */
  begin(ready: Ready): void {
    this.services = Object.keys(ready.endpoints);
    this.link.open(ready);
    this.watch.allBack(this.services);
    for (const seat of this.#seats.values()) {
      seat.onServices(seat.services);
    }
  }

  /** The database process ended, and may be started again. */
  pause(): void {
    this.link.shut();
    this.watch.allGone();
  }

  /** Nothing is answered from now on. */
  end(error: ErrorParts): void {
    this.ended ??= error;
    for (const seat of [...this.#seats.values()]) {
      seat.onEnd(error);
    }
    this.watch.close();
    this.committer.close();
    this.link.shut();
  }

  #route(service: string, first: Uint8Array, body: Uint8Array): void {
    const client = clientOf(first);
    if (client >= 0) {
      const isTaken = this.#seats.get(client)?.deliver(service, first, body) ?? false;
      if (!isTaken && namesSomeSubscription(first)) {
        // The window left while this subscription was being made, or another speaks under its name.
        this.watch.release(service, textOf(first));
      }
    } else if (first[0] === COMMIT) {
      this.committer.take(first, body);
    } else if (first[0] === PING) {
      this.watch.take(service, textOf(first), body);
    }
  }
}
