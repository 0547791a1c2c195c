// React on top of live queries: a provider, and hooks that draw a component anew exactly when its rows have changed.

export { KeepDBProvider, useDatabase } from "./provider.js";
export { type QueryState, type QueryStatus, type UseQueryOptions, useQuery } from "./use-query.js";
export { useCommit } from "./use-commit.js";
