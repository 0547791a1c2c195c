// Whether what a panel shows is up to date. While the database restarts the rows stay, and this says that they may be
// old.

import type { KeepDBError } from "@keepdb/client";

const WORDS = { idle: "idle", loading: "loading", live: "live", stale: "reconnecting", error: "failed" };

type Shown = { status: keyof typeof WORDS; error: KeepDBError | null };

export function Freshness({ of: { status, error } }: { of: Shown }) {
  return (
    <span role="status" className="freshness" data-status={status} title={error?.message}>
      {WORDS[status]}
    </span>
  );
}
