// All connections of this process: one per service, made when it is first used. When the database was started anew, they
// are all replaced, because its endpoints and keys are others.

import { Context, capability } from "zeromq";

import { KeepDBError } from "../core/errors.js";
import { type KeyPair, Outlet } from "./outlet.js";
import type { Ready } from "./sidecar.js";

export class Link {
  onFrame: (service: string, first: Uint8Array, body: Uint8Array) => void = () => undefined;
  onConnection: (service: string, isUp: boolean) => void = () => undefined;
  readonly #own: KeyPair;
  // Without `blocky`, a message that was never sent cannot hang our exit.
  readonly #context = new Context({ blocky: false });
  readonly #outlets = new Map<string, Outlet>();
  #ready: Ready | null = null;

  constructor(own: KeyPair) {
    if (capability.curve !== true) {
      throw new KeepDBError({
        code: "curve_missing",
        message: "This build of zeromq has no CURVE encryption.",
        fix: "Install zeromq from its package as it is; leave its prebuilt files in place and do not rebuild them.",
      });
    }
    this.#own = own;
  }

  /** Speak to this run of the database from now on. */
  open(ready: Ready): void {
    this.shut();
    this.#ready = ready;
  }

  /** Speak to nobody; what is sent meanwhile is lost, and sent again by whoever waits for an answer. */
  shut(): void {
    this.#ready = null;
    for (const outlet of this.#outlets.values()) {
      outlet.close();
    }
    this.#outlets.clear();
  }

  request(service: string, id: Uint8Array, body: Uint8Array): void {
    this.#outlet(service)?.request(id, body);
  }

  tell(service: string, body: Uint8Array): void {
    this.#outlet(service)?.tell(body);
  }

  #outlet(service: string): Outlet | undefined {
    return this.#outlets.get(service) ?? this.#connected(service);
  }

  #connected(service: string): Outlet | undefined {
    const endpoint = this.#ready?.endpoints[service];
    const key = this.#ready?.server_keys[service];
    if (endpoint === undefined || key === undefined) {
      return undefined;
    }
    const outlet: Outlet = new Outlet(this.#context, endpoint, key, this.#own, {
      onFrame: (first, body) => this.onFrame(service, first, body),
      onConnection: (isUp) => {
        if (this.#outlets.get(service) === outlet) {
          this.onConnection(service, isUp);
        }
      },
    });
    this.#outlets.set(service, outlet);
    return outlet;
  }
}
