// The filter of the memory list: part of a name, a range of importance, and one type with the live count of each.

import { useQuery } from "@keepdb/client/react";
import { useEffect, useRef } from "react";

import { useHub } from "./database.js";
import { MEMORY_TYPES, type MemoryFilter } from "./memory-filter.js";

type Props = { personaId: string; filter: MemoryFilter; onChange: (filter: MemoryFilter) => void };

export function Filter({ personaId, filter, onChange }: Props) {
  const box = useRef<HTMLInputElement>(null);
  useSlashKey(() => box.current?.focus());
  const bound = (which: "least" | "most", text: string) =>
    onChange({ ...filter, [which]: Math.min(100, Math.max(0, Math.trunc(Number(text)) || 0)) });
  return (
    <search className="filter">
      <div className="line">
        <input
          ref={box}
          type="search"
          aria-label="Filter by name"
          placeholder="Filter by name   ( / )"
          maxLength={200}
          value={filter.text}
          onChange={(event) => onChange({ ...filter, text: event.target.value })}
        />
        <span className="range">
          importance{" "}
          <input
            type="number"
            min={0}
            max={100}
            aria-label="Least importance"
            value={filter.least}
            onChange={(event) => bound("least", event.target.value)}
          />{" "}
          to{" "}
          <input
            type="number"
            min={0}
            max={100}
            aria-label="Most importance"
            value={filter.most}
            onChange={(event) => bound("most", event.target.value)}
          />
        </span>
        <select
          aria-label="Rows at most"
          value={filter.limit}
          onChange={(event) => onChange({ ...filter, limit: Number(event.target.value) })}
        >
          {[5, 20, 100].map((limit) => (
            <option key={limit} value={limit}>
              top {limit}
            </option>
          ))}
        </select>
      </div>
      <TypeCounts personaId={personaId} filter={filter} onChange={onChange} />
    </search>
  );
}

/** How many memories there are of each type: an aggregate that is kept up to date like any other query. */
function TypeCounts({ personaId, filter, onChange }: Props) {
  const db = useHub();
  const counts = useQuery(
    db.from("memoryEntities").where({ personaId }).groupBy("type").aggregate({ n: { count: "*" } }),
  );
  const byType = new Map(counts.data.map((row) => [row.type, row.n]));
  return (
    <div className="counts" role="group" aria-label="Types">
      {MEMORY_TYPES.map((type) => (
        <button
          key={type}
          type="button"
          data-type={type}
          aria-pressed={filter.type === type}
          onClick={() => onChange({ ...filter, type: filter.type === type ? null : type })}
        >
          {type} <b>{byType.get(type) ?? 0}</b>
        </button>
      ))}
    </div>
  );
}

/** "/" leads to the filter from anywhere but a field that somebody types into. */
function useSlashKey(focus: () => void) {
  const latest = useRef(focus);
  useEffect(() => {
    latest.current = focus;
  });
  useEffect(() => {
    const onKey = (event: KeyboardEvent) => {
      if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey) return;
      if ((event.target as HTMLElement).closest("input, select, textarea")) return;
      event.preventDefault();
      latest.current();
    };
    window.addEventListener("keydown", onKey);
    return () => window.removeEventListener("keydown", onKey);
  }, []);
}
