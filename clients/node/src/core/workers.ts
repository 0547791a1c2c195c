// Which query service answers a read: they take turns, and those that are known to be away are passed over.

export class Workers {
  #names: readonly string[] = [];
  readonly #away = new Set<string>();
  #turn = 0;

  constructor(services: readonly string[]) {
    this.onServices(services);
  }

  /** The next one in turn; bound, so that it can be handed on. */
  readonly next = (): string => {
    for (let tries = 0; tries < this.#names.length; tries++) {
      const name = this.#names[this.#turn++ % this.#names.length] as string;
      if (!this.#away.has(name)) {
        return name;
      }
    }
    return this.#names[this.#turn++ % this.#names.length] ?? "query-1";
  };

  /** There are these services now. */
  onServices(services: readonly string[]): void {
    this.#names = services.filter((name) => name.startsWith("query-")).sort();
    for (const name of this.#away) {
      if (!this.#names.includes(name)) {
        this.#away.delete(name);
      }
    }
  }

  onService(service: string, isThere: boolean): void {
    if (isThere) {
      this.#away.delete(service);
    } else {
      this.#away.add(service);
    }
  }
}
