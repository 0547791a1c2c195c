// What a persona knows, most important first, under a filter that is live in both directions: typing and data.

import { useQuery } from "@keepdb/client/react";
import { memo, useCallback, useDeferredValue, useId, useState, type FormEvent } from "react";

import { useHub } from "./database.js";
import { Filter } from "./filter.js";
import { Freshness } from "./freshness.js";
import { EVERYTHING, MEMORY_TYPES, memoryQuery, type MemoryType } from "./memory-filter.js";
import { useAttempt } from "./notices.js";

type Memory = { readonly id: string; readonly name: string; readonly type: MemoryType; readonly importance: number };

export function Memories({ personaId, personaName }: { personaId: string; personaName: string }) {
  const db = useHub();
  const attempt = useAttempt();
  const [filter, setFilter] = useState(EVERYTHING);
  // The rows of the filter before stay until those of the new one are there, so that the list does not flicker.
  const memories = useQuery(memoryQuery(db, personaId, useDeferredValue(filter)), { keepPrevious: true });
  const weigh = useCallback(
    (id: string, importance: number) =>
      attempt(() => db.call("memoryEntities.updateImportance", id, { importance })),
    [db, attempt],
  );
  const forget = useCallback(
    (id: string) => attempt(() => db.commit("memoryEntities.deleted", {}, { id })),
    [db, attempt],
  );
  return (
    <main className="panel memories" aria-label={`What ${personaName} knows`}>
      <header>
        <h2>What {personaName} knows</h2>
        <Freshness of={memories} />
      </header>
      <Filter personaId={personaId} filter={filter} onChange={setFilter} />
      <ol className="list" aria-label="Memories">
        {memories.data.map((row) => (
          <MemoryRow key={row.id} memory={row} onWeigh={weigh} onForget={forget} />
        ))}
      </ol>
      {memories.status === "live" && memories.data.length === 0 && <p className="blank">Nothing fits.</p>}
      <NewMemory personaId={personaId} />
    </main>
  );
}

type RowProps = {
  memory: Memory;
  onWeigh: (id: string, importance: number) => void;
  onForget: (id: string) => void;
};

/** A row that did not change is the same object as before, so that memo keeps it from being drawn again. */
const MemoryRow = memo(function MemoryRow({ memory, onWeigh, onForget }: RowProps) {
  const { id, name, type, importance } = memory;
  const weigh = (by: number) => onWeigh(id, Math.min(100, Math.max(0, importance + by)));
  return (
    <li className="memory" data-id={id}>
      <span className="badge" data-type={type}>
        {type}
      </span>
      <span className="name">{name}</span>
      <meter min={0} max={100} value={importance} aria-label="Importance" />
      <span className="number">{importance}</span>
      <span className="tools">
        <button type="button" className="quiet" aria-label={`${name}: less important`} onClick={() => weigh(-5)}>
          −
        </button>
        <button type="button" className="quiet" aria-label={`${name}: more important`} onClick={() => weigh(5)}>
          +
        </button>
        <button type="button" className="quiet" aria-label={`Forget ${name}`} onClick={() => onForget(id)}>
          ✕
        </button>
      </span>
    </li>
  );
});

function NewMemory({ personaId }: { personaId: string }) {
  const db = useHub();
  const attempt = useAttempt();
  const field = useId();
  const [name, setName] = useState("");
  const [type, setType] = useState<MemoryType>("knowledge");
  const [importance, setImportance] = useState(50);
  const create = async (event: FormEvent) => {
    event.preventDefault();
    if (!name.trim()) return;
    const made = await attempt(() =>
      db.commit("memoryEntities.created", { personaId, name: name.trim(), type, importance }),
    );
    if (made) setName("");
  };
  return (
    <form className="new" onSubmit={create}>
      <label htmlFor={`${field} name`} className="hidden">
        Something to remember
      </label>
      <input
        id={`${field} name`}
        value={name}
        maxLength={500}
        placeholder="Something to remember"
        onChange={(event) => setName(event.target.value)}
      />
      <select aria-label="Type" value={type} onChange={(event) => setType(event.target.value as MemoryType)}>
        {MEMORY_TYPES.map((one) => (
          <option key={one}>{one}</option>
        ))}
      </select>
      <input
        type="number"
        aria-label="Importance of the new memory"
        min={0}
        max={100}
        value={importance}
        onChange={(event) => setImportance(Number(event.target.value))}
      />
      <button type="submit" disabled={!name.trim()}>
        Remember
      </button>
    </form>
  );
}
