// A DOM for react-dom, which looks for one while it is loaded: import this first.

// By a name the compiler does not follow: the types of happy-dom need those of a newer Node.
const happyDom: string = "happy-dom";
const { Window } = (await import(happyDom)) as { Window: new () => { document: Document; navigator: Navigator } };

const window = new Window();
const { document, navigator } = window;
for (const [name, value] of Object.entries({ window, document, navigator })) {
  // Node has a navigator of its own since version 21.
  if (!(name in globalThis)) {
    Object.defineProperty(globalThis, name, { value, configurable: true });
  }
}

export {};
