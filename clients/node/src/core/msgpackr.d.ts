// The library has no types for its build without `eval`; this is what we use of it.

declare module "msgpackr/unpack-no-eval" {
  export class Unpackr {
    constructor(options: { useRecords: false; mapsAsObjects: true; int64AsType: "auto" });
    unpack(bytes: Uint8Array): unknown;
  }
}
