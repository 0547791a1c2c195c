// The window: personas on the left; what the chosen one knows and says beside it.

import { useState } from "react";
import { useQuery } from "@keepdb/client/react";

import { Conversation } from "./conversation.js";
import { useHub } from "./database.js";
import { Memories } from "./memories.js";
import { Personas } from "./personas.js";

export function Hub() {
  const db = useHub();
  const [chosen, choose] = useState<string | null>(null);
  const personas = useQuery(
    db.from("personas").orderBy("name").select("name", "description", "isActive", "usageCount"),
  );
  const rows = personas.data;
  // Until somebody chooses, and when the chosen one is gone: the active persona, or the first.
  const persona = rows.find((row) => row.id === chosen) ?? rows.find((row) => row.isActive) ?? rows[0];
  return (
    <div className="hub">
      <Personas personas={personas} chosen={persona?.id ?? null} onChoose={choose} />
      {persona ? (
        <>
          <Memories key={persona.id} personaId={persona.id} personaName={persona.name} />
          <Conversation key={`${persona.id} talk`} personaId={persona.id} personaName={persona.name} />
        </>
      ) : (
        <main className="panel blank">
          {personas.status === "live" && <p>Nobody is here yet. Give your first persona a name on the left.</p>}
        </main>
      )}
    </div>
  );
}
