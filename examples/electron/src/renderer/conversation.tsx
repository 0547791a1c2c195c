// Conversations with a persona: messages are child rows of a conversation, each sealed with its key on disk.

import { useQuery } from "@keepdb/client/react";
import { useEffect, useRef, useState, type FormEvent } from "react";

import { useHub } from "./database.js";
import { Freshness } from "./freshness.js";
import { useAttempt } from "./notices.js";

const MESSAGES_SHOWN = 200;

export function Conversation({ personaId, personaName }: { personaId: string; personaName: string }) {
  const db = useHub();
  const attempt = useAttempt();
  const [chosen, choose] = useState<string | null>(null);
  const conversations = useQuery(
    db
      .from("conversations")
      .where({ personaId, isArchived: false })
      .orderBy("-createdAt")
      .limit(50)
      .select("title", "createdAt"),
  );
  const current = conversations.data.find((row) => row.id === chosen) ?? conversations.data[0];
  const begin = () =>
    attempt(async () => {
      const title = `Talk ${conversations.data.length + 1}`;
      const { ids } = await db.commit("conversations.created", { personaId, title });
      choose(ids[0] as string);
    });
  return (
    <aside className="panel conversation" aria-label="Conversation">
      <header>
        <h2>Conversation</h2>
        <Freshness of={conversations} />
      </header>
      <div className="line">
        <select
          aria-label="Which conversation"
          value={current?.id ?? ""}
          disabled={!current}
          onChange={(event) => choose(event.target.value)}
        >
          {conversations.data.map((row) => (
            <option key={row.id} value={row.id}>
              {row.title ?? "Untitled"}
            </option>
          ))}
        </select>
        <button type="button" onClick={begin}>
          New
        </button>
      </div>
      {current ? (
        <Messages key={current.id} conversationId={current.id} personaName={personaName} />
      ) : (
        conversations.status === "live" && <p className="blank">No conversation with {personaName} yet.</p>
      )}
    </aside>
  );
}

function Messages({ conversationId, personaName }: { conversationId: string; personaName: string }) {
  const db = useHub();
  const end = useRef<HTMLLIElement>(null);
  // The latest ones, read backwards; shown forwards.
  const messages = useQuery(
    db
      .from("conversations.messages")
      .where({ parent: conversationId })
      .orderBy("-position")
      .limit(MESSAGES_SHOWN)
      .select("role", "content", "timestamp"),
  );
  const latest = messages.data[0]?.id;
  useEffect(() => {
    end.current?.scrollIntoView({ block: "nearest" });
  }, [latest]);
  return (
    <>
      <ol className="messages" aria-label="Messages" aria-live="polite">
        {messages.data.toReversed().map((row) => (
          <li key={row.id} data-role={row.role}>
            <p>{row.content}</p>
            <time dateTime={new Date(row.timestamp).toISOString()}>
              {row.role === "user" ? "You" : personaName}, {CLOCK.format(row.timestamp)}
            </time>
          </li>
        ))}
        <li ref={end} className="end" aria-hidden="true" />
      </ol>
      <NewMessage conversationId={conversationId} personaName={personaName} />
    </>
  );
}

function NewMessage({ conversationId, personaName }: { conversationId: string; personaName: string }) {
  const db = useHub();
  const attempt = useAttempt();
  const [content, setContent] = useState("");
  const [role, setRole] = useState<"user" | "assistant">("user");
  const send = async (event: FormEvent) => {
    event.preventDefault();
    if (!content.trim()) return;
    const sent = await attempt(() => db.call("conversations.addMessage", conversationId, { role, content }));
    if (sent) setContent("");
  };
  return (
    <form className="new" onSubmit={send}>
      <select
        aria-label="Who speaks"
        value={role}
        onChange={(event) => setRole(event.target.value as typeof role)}
      >
        <option value="user">You</option>
        <option value="assistant">{personaName}</option>
      </select>
      <input
        aria-label="Message"
        placeholder="Say something"
        value={content}
        onChange={(event) => setContent(event.target.value)}
      />
      <button type="submit" disabled={!content.trim()}>
        Send
      </button>
    </form>
  );
}

const CLOCK = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
