// What the unlock window may ask of the main process, for its preload and its page alike.

export interface Unlock {
  /** Why the user is asked. */
  reason(): Promise<string>;
  /** Closes the window and opens the database with this. */
  submit(secret: string, isRecoveryCode: boolean): Promise<void>;
}
