// The list of personas: choose one, make one, make one the active one.

import type { QueryState } from "@keepdb/client/react";
import { useId, useState, type FormEvent } from "react";

import { useHub } from "./database.js";
import { Freshness } from "./freshness.js";
import { useAttempt } from "./notices.js";

export type Persona = {
  readonly id: string;
  readonly name: string;
  readonly description: string | null;
  readonly isActive: boolean;
  readonly usageCount: number;
};

type Props = {
  personas: QueryState<Persona>;
  chosen: string | null;
  onChoose: (id: string) => void;
};

export function Personas({ personas, chosen, onChoose }: Props) {
  const db = useHub();
  const attempt = useAttempt();
  const activate = (id: string) =>
    attempt(() =>
      // Together or not at all: no window ever sees two active personas, or none in between.
      db.commitAll([
        ...personas.data
          .filter((row) => row.isActive)
          .map((row) => ({ type: "personaDeactivated" as const, id: row.id })),
        { type: "personaActivated" as const, id },
        { type: "personaUsed" as const, id },
      ]),
    );
  return (
    <nav className="panel personas" aria-label="Personas">
      <header>
        <h2>Personas</h2>
        <Freshness of={personas} />
      </header>
      <ul>
        {personas.data.map((row) => (
          <li key={row.id} className="persona">
            <button
              type="button"
              className="choose"
              aria-current={row.id === chosen ? "true" : undefined}
              onClick={() => onChoose(row.id)}
            >
              <span className="avatar" aria-hidden="true">
                {[...row.name][0]?.toUpperCase()}
              </span>
              <span className="text">
                <span className="name">{row.name}</span>
                <span className="detail">{row.description ?? times(row.usageCount)}</span>
              </span>
            </button>
            <button
              type="button"
              className="activate"
              aria-pressed={row.isActive}
              aria-label={row.isActive ? `${row.name} is active` : `Activate ${row.name}`}
              onClick={() => row.isActive || activate(row.id)}
            />
          </li>
        ))}
      </ul>
      <NewPersona onMade={onChoose} />
    </nav>
  );
}

function NewPersona({ onMade }: { onMade: (id: string) => void }) {
  const db = useHub();
  const attempt = useAttempt();
  const field = useId();
  const [name, setName] = useState("");
  const create = async (event: FormEvent) => {
    event.preventDefault();
    if (!name.trim()) return;
    await attempt(async () => {
      const { ids } = await db.commit("personas.created", { name: name.trim() });
      setName("");
      onMade(ids[0] as string);
    });
  };
  return (
    <form className="new" onSubmit={create}>
      <label htmlFor={field} className="hidden">
        Name of a new persona
      </label>
      <input
        id={field}
        value={name}
        maxLength={200}
        placeholder="New persona"
        onChange={(event) => setName(event.target.value)}
      />
      <button type="submit" disabled={!name.trim()}>
        Create
      </button>
    </form>
  );
}

function times(count: number): string {
  if (count === 0) return "not used yet";
  return count === 1 ? "active once" : `active ${count} times`;
}
