// The one error class of this package. Its codes are the server's, listed in docs/errors.md, and a few of its own.

/** What an error is made of; also how it travels between processes. */
export interface ErrorParts {
  readonly code: string;
  readonly message: string;
  readonly fix: string;
  readonly retryable?: boolean;
}

/**
 * Every deliberate error of KeepDB.
 *
 * code: stable, to match on. message: what happened and why. fix: what to do about it. retryable: the same call may
 * succeed later without any change.
 */
export class KeepDBError extends Error {
  readonly code: string;
  readonly fix: string;
  readonly retryable: boolean;

  constructor(parts: ErrorParts, options?: { cause?: unknown }) {
    super(parts.message, options);
    this.name = "KeepDBError";
    this.code = parts.code;
    this.fix = parts.fix;
    this.retryable = parts.retryable ?? false;
  }

  /** As plain data, for a MessagePort: errors lose their members when they are cloned. */
  parts(): ErrorParts {
    return { code: this.code, message: this.message, fix: this.fix, retryable: this.retryable };
  }
}

/** The answer is none that the request can have. */
export function protocolError(service: string, found: string): KeepDBError {
  return new KeepDBError({
    code: "protocol_error",
    message: `The ${service} service answered with ${found}.`,
    fix: "Client and server are of different versions; update both.",
  });
}

/** A call that cannot be meant. */
export function usage(message: string, fix: string): KeepDBError {
  return new KeepDBError({ code: "usage", message, fix });
}

/** The same error for a commit on its way. Under a new number it would be another commit, so it must not be repeated. */
export function uncertain(error: KeepDBError): KeepDBError {
  return new KeepDBError({
    ...error.parts(),
    message: `${error.message} The commit may have been carried out.`,
    retryable: false,
  });
}

/** Calls back; what it throws is seen as an uncaught error, and stops nobody here. */
export function tell<T>(callback: ((value: T) => void) | undefined, value: T): void {
  try {
    callback?.(value);
  } catch (error) {
    queueMicrotask(() => {
      throw error;
    });
  }
}

/** This database object was closed. */
export function closedError(): KeepDBError {
  return new KeepDBError({
    code: "closed",
    message: "This database was closed.",
    fix: "Connect again; close it only when nothing is needed from it any more.",
  });
}
