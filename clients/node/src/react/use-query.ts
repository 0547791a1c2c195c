// A live query as React state, on useSyncExternalStore: every component that is drawn in one pass sees the same rows.

import { useCallback, useEffect, useMemo, useRef, useSyncExternalStore } from "react";

import type { KeepDBError } from "../core/errors.js";
import type { Snapshot, Status } from "../core/live.js";
import type { Query } from "../core/query.js";

/** `idle`: there is no query. The others are those of a live query. */
export type QueryStatus = Status | "idle";

/** What a component knows of its query. The same object until something changes; unchanged rows stay the same objects. */
export interface QueryState<Row> {
  /** Rows; none before the first result. */
  readonly data: readonly Row[];
  readonly status: QueryStatus;
  /** Why it has ended, with the status `error`. */
  readonly error: KeepDBError | null;
  /** The position `data` is true for. */
  readonly seq: number;
}

export interface UseQueryOptions {
  /** While another query loads, show the rows of the one before: for filters that change with every keystroke. */
  readonly keepPrevious?: boolean;
}

const IDLE: Snapshot<never> & { status: Status } = Object.freeze({
  rows: [],
  status: "loading",
  error: null,
  seq: 0,
  cursor: null,
});

/**
 * The rows of a query, kept up to date while the component is mounted.
 *
 * The query may be built while rendering: equal queries share one subscription, whatever object they come as. null or
 * undefined: no query yet. A component that is taken down and put up again soon finds its rows in place.
 */
export function useQuery<Row>(query: Query<Row> | null | undefined, options: UseQueryOptions = {}): QueryState<Row> {
  const live = query?.live() ?? null;
  const subscribe = useCallback((onChange: () => void) => live?.subscribe(onChange) ?? nothing, [live]);
  const snapshot = useSyncExternalStore<Snapshot<Row>>(
    subscribe,
    () => live?.current ?? IDLE,
    // On a server nothing is live.
    () => IDLE,
  );
  const shown = usePrevious(snapshot, options.keepPrevious === true);
  return useMemo(
    () => ({
      data: shown.rows,
      status: live === null ? "idle" : snapshot.status,
      error: snapshot.error,
      seq: shown.seq,
    }),
    [live === null, shown.rows, shown.seq, snapshot.status, snapshot.error],
  );
}

/** The last snapshot that had a result, while this one has none yet. */
function usePrevious<Row>(snapshot: Snapshot<Row>, wanted: boolean): Snapshot<Row> {
  const previous = useRef(snapshot);
  const shown = wanted && snapshot.status === "loading" ? previous.current : snapshot;
  useEffect(() => {
    previous.current = shown;
  }, [shown]);
  return shown;
}

function nothing(): void {
  // There was no subscription.
}
