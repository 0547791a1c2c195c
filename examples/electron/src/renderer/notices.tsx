// What went wrong with something the user asked for, in one place of the window, with what to do about it.

import { KeepDBError } from "@keepdb/client";
import { createContext, useCallback, useContext, useState, type ReactNode } from "react";

type Attempt = (deed: () => Promise<unknown>) => Promise<boolean>;

const AttemptContext = createContext<Attempt | null>(null);

/** attempt(deed): carries it out; false, and a notice, if it was refused. */
export function useAttempt(): Attempt {
  const attempt = useContext(AttemptContext);
  if (!attempt) throw new Error("useAttempt needs <Notices> around it");
  return attempt;
}

export function Notices({ children }: { children: ReactNode }) {
  const [notice, show] = useState<{ message: string; fix: string } | null>(null);
  const attempt = useCallback<Attempt>(async (deed) => {
    try {
      await deed();
      show(null);
      return true;
    } catch (error) {
      if (!(error instanceof KeepDBError)) throw error;
      show({ message: error.message, fix: error.fix });
      return false;
    }
  }, []);
  return (
    <AttemptContext value={attempt}>
      {children}
      <div role="alert" className="notices">
        {notice && (
          <div className="notice">
            <p>
              <strong>{notice.message}</strong> {notice.fix}
            </p>
            <button type="button" className="quiet" aria-label="Dismiss" onClick={() => show(null)}>
              ✕
            </button>
          </div>
        )}
      </div>
    </AttemptContext>
  );
}
