// Made by `keepdb typegen` from version 1 of a schema. Do not edit: change the schema and run it again.
//
// Integers are `number`; one beyond 2^53 arrives as `bigint`. Times are ms since 1970, UTC. An encrypted field is null
// once its key was destroyed. Fields that the schema requires are never null here; a row from before a field was
// declared may still lack its value.

/** Names the content of the schema; `describe` and `writer_status` tell the server's. */
export const schemaHash = "9eaa73d86217256e6062db4d4f0b71428c8dbe92e253123a0d4f0214893fe101";

export type JsonValue =
  | string
  | number
  | boolean
  | null
  | readonly JsonValue[]
  | { readonly [name: string]: JsonValue };

/** Somebody the user talks to. */
export interface PersonasRow {
  readonly id: string;
  readonly name: string;
  readonly description: string | null;
  /** An image as a data URI or the name of a file of the app. */
  readonly avatar: string | null;
  readonly personality: JsonValue;
  readonly settings: NonNullable<JsonValue>;
  readonly memoryConfig: NonNullable<JsonValue>;
  readonly privateMemory: JsonValue;
  /** A map: service -> key. */
  readonly apiKeys: JsonValue;
  readonly isActive: boolean;
  readonly lastUsed: number | null;
  readonly usageCount: number;
  readonly createdAt: number;
  readonly updatedAt: number;
  readonly deletedAt: number | null;
}

/** Data of personas.created. */
export interface PersonasCreate {
  /** At most 200 characters. */
  readonly name: string;
  /** At most 20000 characters. */
  readonly description?: string | null;
  /** An image as a data URI or the name of a file of the app. */
  readonly avatar?: string | null;
  readonly personality?: JsonValue;
  /** Default: {}. */
  readonly settings?: NonNullable<JsonValue>;
  /** Default: {}. */
  readonly memoryConfig?: NonNullable<JsonValue>;
  readonly privateMemory?: JsonValue;
  /** A map: service -> key. */
  readonly apiKeys?: JsonValue;
  /** Default: false. */
  readonly isActive?: boolean;
  readonly lastUsed?: number | null;
  /** 0 or more. Default: 0. */
  readonly usageCount?: number;
}

/** Data of personas.updated: at least one field; null clears it. */
export interface PersonasUpdate {
  /** At most 200 characters. */
  readonly name?: string;
  /** At most 20000 characters. */
  readonly description?: string | null;
  /** An image as a data URI or the name of a file of the app. */
  readonly avatar?: string | null;
  readonly personality?: JsonValue;
  readonly settings?: NonNullable<JsonValue>;
  readonly memoryConfig?: NonNullable<JsonValue>;
  readonly privateMemory?: JsonValue;
  /** A map: service -> key. */
  readonly apiKeys?: JsonValue;
  readonly isActive?: boolean;
  readonly lastUsed?: number | null;
  /** 0 or more. */
  readonly usageCount?: number;
}

/** Something a persona knows. */
export interface MemoryEntitiesRow {
  readonly id: string;
  readonly personaId: string | null;
  readonly type: "person" | "concept" | "event" | "task" | "conversation" | "knowledge";
  readonly name: string;
  readonly content: string | null;
  readonly summary: string | null;
  readonly tags: readonly string[];
  readonly importance: number;
  readonly accessCount: number;
  readonly lastAccessed: number | null;
  readonly embedding: readonly number[] | null;
  readonly embeddingModel: string | null;
  readonly memoryTier: "hot" | "warm" | "cold";
  readonly compressionApplied: boolean;
  readonly connectionCount: number;
  readonly metadata: NonNullable<JsonValue>;
  readonly createdAt: number;
  readonly updatedAt: number;
  readonly deletedAt: number | null;
}

/** A row of memoryEntities.connections. */
export interface MemoryEntitiesConnectionsRow {
  readonly id: string;
  readonly parent: string;
  /** 1, 2, 3 … within the list. */
  readonly position: number;
  readonly toId: string;
  readonly kind: "related" | "causes" | "partOf" | "precedes" | "supports" | "contradicts";
  readonly strength: number;
}

/** The same, in the list `connections` of its parent. */
export type MemoryEntitiesConnectionsItem = Omit<MemoryEntitiesConnectionsRow, "parent" | "position">;

/** One of `connections` in memoryEntities.created. */
export interface MemoryEntitiesConnectionsCreate {
  /** Made up when left out. */
  readonly id?: string;
  readonly toId: string;
  /** Default: "related". */
  readonly kind?: "related" | "causes" | "partOf" | "precedes" | "supports" | "contradicts";
  /** 0.0 to 1.0. Default: 0.5. */
  readonly strength?: number;
}

/** Data of memoryEntities.created. */
export interface MemoryEntitiesCreate {
  readonly personaId?: string | null;
  readonly type: "person" | "concept" | "event" | "task" | "conversation" | "knowledge";
  /** At most 500 characters. */
  readonly name: string;
  readonly content?: string | null;
  readonly summary?: string | null;
  /** Default: []. */
  readonly tags?: readonly string[];
  /** 0 to 100. Default: 50. */
  readonly importance?: number;
  /** 0 or more. Default: 0. */
  readonly accessCount?: number;
  readonly lastAccessed?: number | null;
  /** At most 4096 numbers. */
  readonly embedding?: readonly number[] | null;
  /** At most 200 characters. */
  readonly embeddingModel?: string | null;
  /** Default: "hot". */
  readonly memoryTier?: "hot" | "warm" | "cold";
  /** Default: false. */
  readonly compressionApplied?: boolean;
  /** 0 or more. Default: 0. */
  readonly connectionCount?: number;
  /** Default: {}. */
  readonly metadata?: NonNullable<JsonValue>;
  /** Each is added by memoryConnectionAdded. */
  readonly connections?: readonly MemoryEntitiesConnectionsCreate[];
}

/** Data of memoryEntities.updated: at least one field; null clears it. */
export interface MemoryEntitiesUpdate {
  readonly personaId?: string | null;
  readonly type?: "person" | "concept" | "event" | "task" | "conversation" | "knowledge";
  /** At most 500 characters. */
  readonly name?: string;
  readonly content?: string | null;
  readonly summary?: string | null;
  readonly tags?: readonly string[];
  /** 0 to 100. */
  readonly importance?: number;
  /** 0 or more. */
  readonly accessCount?: number;
  readonly lastAccessed?: number | null;
  /** At most 4096 numbers. */
  readonly embedding?: readonly number[] | null;
  /** At most 200 characters. */
  readonly embeddingModel?: string | null;
  readonly memoryTier?: "hot" | "warm" | "cold";
  readonly compressionApplied?: boolean;
  /** 0 or more. */
  readonly connectionCount?: number;
  readonly metadata?: NonNullable<JsonValue>;
}

/** Data of memoryImportanceUpdated. */
export interface MemoryImportanceUpdatedData {
  /** 0 to 100. */
  readonly importance: number;
}

/** Data of memoryConnectionAdded. */
export interface MemoryConnectionAddedData {
  /** Made up when left out. */
  readonly connectionId?: string;
  readonly toId: string;
  /** Default: "related". */
  readonly kind?: "related" | "causes" | "partOf" | "precedes" | "supports" | "contradicts";
  /** 0.0 to 1.0. Default: 0.5. */
  readonly strength?: number;
}

/** A conversation with a persona. */
export interface ConversationsRow {
  readonly id: string;
  readonly personaId: string | null;
  readonly sessionId: string | null;
  readonly title: string | null;
  readonly summary: string | null;
  readonly sentiment: "positive" | "neutral" | "negative" | "mixed" | null;
  readonly topics: readonly string[];
  readonly importance: number;
  readonly isArchived: boolean;
  readonly archivedAt: number | null;
  readonly createdAt: number;
  readonly updatedAt: number;
  readonly deletedAt: number | null;
}

/** A row of conversations.messages. */
export interface ConversationsMessagesRow {
  readonly id: string;
  readonly parent: string;
  /** 1, 2, 3 … within the list. */
  readonly position: number;
  readonly role: "user" | "assistant" | "system" | "tool";
  readonly content: string | null;
  readonly timestamp: number;
}

/** The same, in the list `messages` of its parent. */
export type ConversationsMessagesItem = Omit<ConversationsMessagesRow, "parent" | "position">;

/** One of `messages` in conversations.created. */
export interface ConversationsMessagesCreate {
  /** Made up when left out. */
  readonly id?: string;
  readonly role: "user" | "assistant" | "system" | "tool";
  readonly content: string;
  /** Default: the time of the commit. */
  readonly timestamp?: number;
}

/** Data of conversations.created. */
export interface ConversationsCreate {
  readonly personaId?: string | null;
  /** At most 200 characters. */
  readonly sessionId?: string | null;
  /** At most 500 characters. */
  readonly title?: string | null;
  readonly summary?: string | null;
  readonly sentiment?: "positive" | "neutral" | "negative" | "mixed" | null;
  /** Default: []. */
  readonly topics?: readonly string[];
  /** 0 to 100. Default: 50. */
  readonly importance?: number;
  /** Default: false. */
  readonly isArchived?: boolean;
  readonly archivedAt?: number | null;
  /** Each is added by messageAdded. */
  readonly messages?: readonly ConversationsMessagesCreate[];
}

/** Data of conversations.updated: at least one field; null clears it. */
export interface ConversationsUpdate {
  readonly personaId?: string | null;
  /** At most 200 characters. */
  readonly sessionId?: string | null;
  /** At most 500 characters. */
  readonly title?: string | null;
  readonly summary?: string | null;
  readonly sentiment?: "positive" | "neutral" | "negative" | "mixed" | null;
  readonly topics?: readonly string[];
  /** 0 to 100. */
  readonly importance?: number;
  readonly isArchived?: boolean;
  readonly archivedAt?: number | null;
}

/** Data of messageAdded. */
export interface MessageAddedData {
  /** Made up when left out. */
  readonly messageId?: string;
  readonly role: "user" | "assistant" | "system" | "tool";
  readonly content: string;
  /** Default: the time of the commit. */
  readonly timestamp?: number;
}

/** Steps a persona can carry out. */
export interface WorkflowsRow {
  readonly id: string;
  readonly name: string;
  readonly description: string | null;
  readonly personaId: string | null;
  readonly definition: NonNullable<JsonValue>;
  readonly isTemplate: boolean;
  readonly isPublic: boolean;
  readonly tags: readonly string[];
  readonly executionCount: number;
  readonly lastExecuted: number | null;
  readonly createdAt: number;
  readonly updatedAt: number;
  readonly deletedAt: number | null;
}

/** Data of workflows.created. */
export interface WorkflowsCreate {
  /** At most 200 characters. */
  readonly name: string;
  /** At most 20000 characters. */
  readonly description?: string | null;
  readonly personaId?: string | null;
  readonly definition: NonNullable<JsonValue>;
  /** Default: false. */
  readonly isTemplate?: boolean;
  /** Default: false. */
  readonly isPublic?: boolean;
  /** Default: []. */
  readonly tags?: readonly string[];
  /** 0 or more. Default: 0. */
  readonly executionCount?: number;
  readonly lastExecuted?: number | null;
}

/** Data of workflows.updated: at least one field; null clears it. */
export interface WorkflowsUpdate {
  /** At most 200 characters. */
  readonly name?: string;
  /** At most 20000 characters. */
  readonly description?: string | null;
  readonly personaId?: string | null;
  readonly definition?: NonNullable<JsonValue>;
  readonly isTemplate?: boolean;
  readonly isPublic?: boolean;
  readonly tags?: readonly string[];
  /** 0 or more. */
  readonly executionCount?: number;
  readonly lastExecuted?: number | null;
}

/** One document per window and name, such as its layout or scroll position. */
export interface UiStateRow {
  readonly id: string;
  readonly windowId: string;
  readonly name: string;
  readonly document: NonNullable<JsonValue>;
  readonly createdAt: number;
  readonly updatedAt: number;
  readonly deletedAt: number | null;
}

/** Data of uiState.created. */
export interface UiStateCreate {
  /** At most 128 characters. */
  readonly windowId: string;
  /** At most 128 characters. */
  readonly name: string;
  /** Default: {}. */
  readonly document?: NonNullable<JsonValue>;
}

/** Data of uiState.updated: at least one field; null clears it. */
export interface UiStateUpdate {
  /** At most 128 characters. */
  readonly windowId?: string;
  /** At most 128 characters. */
  readonly name?: string;
  readonly document?: NonNullable<JsonValue>;
}

/** What a client is typed with. */
export interface Schema {
  collections: {
    personas: {
      row: PersonasRow;
      create: PersonasCreate;
      update: PersonasUpdate;
      kinds: {
        id: "id";
        name: "text";
        description: "text";
        avatar: "text";
        personality: "encrypted";
        settings: "json";
        memoryConfig: "json";
        privateMemory: "encrypted";
        apiKeys: "encrypted";
        isActive: "boolean";
        lastUsed: "timestamp";
        usageCount: "integer";
        createdAt: "timestamp";
        updatedAt: "timestamp";
        deletedAt: "timestamp";
      };
      refs: {};
      lists: {};
    };
    memoryEntities: {
      row: MemoryEntitiesRow;
      create: MemoryEntitiesCreate;
      update: MemoryEntitiesUpdate;
      kinds: {
        id: "id";
        personaId: "ref";
        type: "enum";
        name: "text";
        content: "encrypted";
        summary: "text";
        tags: "list";
        importance: "integer";
        accessCount: "integer";
        lastAccessed: "timestamp";
        embedding: "vector";
        embeddingModel: "text";
        memoryTier: "enum";
        compressionApplied: "boolean";
        connectionCount: "integer";
        metadata: "json";
        createdAt: "timestamp";
        updatedAt: "timestamp";
        deletedAt: "timestamp";
      };
      refs: { personaId: "personas" };
      lists: { connections: "memoryEntities.connections" };
    };
    "memoryEntities.connections": {
      row: MemoryEntitiesConnectionsRow;
      item: MemoryEntitiesConnectionsItem;
      create: never;
      update: never;
      kinds: { id: "id"; parent: "id"; position: "integer"; toId: "ref"; kind: "enum"; strength: "real" };
      refs: { parent: "memoryEntities"; toId: "memoryEntities" };
      lists: {};
    };
    conversations: {
      row: ConversationsRow;
      create: ConversationsCreate;
      update: ConversationsUpdate;
      kinds: {
        id: "id";
        personaId: "ref";
        sessionId: "text";
        title: "text";
        summary: "text";
        sentiment: "enum";
        topics: "list";
        importance: "integer";
        isArchived: "boolean";
        archivedAt: "timestamp";
        createdAt: "timestamp";
        updatedAt: "timestamp";
        deletedAt: "timestamp";
      };
      refs: { personaId: "personas" };
      lists: { messages: "conversations.messages" };
    };
    "conversations.messages": {
      row: ConversationsMessagesRow;
      item: ConversationsMessagesItem;
      create: never;
      update: never;
      kinds: {
        id: "id";
        parent: "id";
        position: "integer";
        role: "enum";
        content: "encrypted";
        timestamp: "timestamp";
      };
      refs: { parent: "conversations" };
      lists: {};
    };
    workflows: {
      row: WorkflowsRow;
      create: WorkflowsCreate;
      update: WorkflowsUpdate;
      kinds: {
        id: "id";
        name: "text";
        description: "text";
        personaId: "ref";
        definition: "json";
        isTemplate: "boolean";
        isPublic: "boolean";
        tags: "list";
        executionCount: "integer";
        lastExecuted: "timestamp";
        createdAt: "timestamp";
        updatedAt: "timestamp";
        deletedAt: "timestamp";
      };
      refs: { personaId: "personas" };
      lists: {};
    };
    uiState: {
      row: UiStateRow;
      create: UiStateCreate;
      update: UiStateUpdate;
      kinds: {
        id: "id";
        windowId: "text";
        name: "text";
        document: "json";
        createdAt: "timestamp";
        updatedAt: "timestamp";
        deletedAt: "timestamp";
      };
      refs: {};
      lists: {};
    };
  };
  events: {
    "personas.created": { id: "optional"; data: PersonasCreate };
    "personas.updated": { id: "required"; data: PersonasUpdate };
    "personas.deleted": { id: "required"; data: Record<string, never> };
    personaActivated: { id: "required"; data: Record<string, never> };
    personaDeactivated: { id: "required"; data: Record<string, never> };
    /** Counts a use. It leaves updatedAt alone, because nobody edited the persona. */
    personaUsed: { id: "required"; data: Record<string, never> };
    "memoryEntities.created": { id: "optional"; data: MemoryEntitiesCreate };
    "memoryEntities.updated": { id: "required"; data: MemoryEntitiesUpdate };
    "memoryEntities.deleted": { id: "required"; data: Record<string, never> };
    memoryEntityAccessed: { id: "required"; data: Record<string, never> };
    memoryImportanceUpdated: { id: "required"; data: MemoryImportanceUpdatedData };
    memoryConnectionAdded: { id: "required"; data: MemoryConnectionAddedData };
    "conversations.created": { id: "optional"; data: ConversationsCreate };
    "conversations.updated": { id: "required"; data: ConversationsUpdate };
    "conversations.deleted": { id: "required"; data: Record<string, never> };
    messageAdded: { id: "required"; data: MessageAddedData };
    conversationArchived: { id: "required"; data: Record<string, never> };
    "workflows.created": { id: "optional"; data: WorkflowsCreate };
    "workflows.updated": { id: "required"; data: WorkflowsUpdate };
    "workflows.deleted": { id: "required"; data: Record<string, never> };
    workflowExecuted: { id: "required"; data: Record<string, never> };
    "uiState.created": { id: "optional"; data: UiStateCreate };
    "uiState.updated": { id: "required"; data: UiStateUpdate };
    "uiState.deleted": { id: "required"; data: Record<string, never> };
  };
  methods: {
    "personas.activate": "personaActivated";
    "personas.deactivate": "personaDeactivated";
    "personas.incrementUsage": "personaUsed";
    "memoryEntities.updateAccess": "memoryEntityAccessed";
    "memoryEntities.updateImportance": "memoryImportanceUpdated";
    "memoryEntities.addConnection": "memoryConnectionAdded";
    "conversations.addMessage": "messageAdded";
    "conversations.archive": "conversationArchived";
    "workflows.execute": "workflowExecuted";
  };
}
