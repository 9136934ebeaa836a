-- Who takes part, with what others see of them. People whom only an identity provider knows are here alone.
CREATE TABLE chat_people (
    id TEXT PRIMARY KEY,
    principal TEXT NOT NULL UNIQUE,
    firstname TEXT NOT NULL,
    lastname TEXT NOT NULL,
    email TEXT NOT NULL,
    last_seen_at BIGINT
) {clustered};

-- `pair` has both ids of a conversation between two, so that two people have one. `messages` is the number of
-- the last message.
CREATE TABLE chat_conversations (
    id TEXT PRIMARY KEY,
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    pair TEXT UNIQUE,
    created_by TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    messages BIGINT NOT NULL,
    active_at BIGINT NOT NULL
) {clustered};

-- `unread` is kept in the transaction of what changes it, so that it cannot drift.
CREATE TABLE chat_members (
    conversation_id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    role TEXT NOT NULL,
    joined_at BIGINT NOT NULL,
    read_to BIGINT NOT NULL,
    unread BIGINT NOT NULL,
    PRIMARY KEY (conversation_id, user_id)
) {clustered};
CREATE INDEX chat_members_user ON chat_members (user_id, conversation_id);

-- `number` counts in the conversation, from 1 and without gaps. A deleted message stays as a tombstone.
CREATE TABLE chat_messages (
    key {key},
    conversation_id TEXT NOT NULL,
    number BIGINT NOT NULL,
    id TEXT NOT NULL UNIQUE,
    sender_id TEXT NOT NULL,
    client_id TEXT,
    content TEXT NOT NULL,
    mentions TEXT NOT NULL,
    attachments TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    delivered_at BIGINT,
    edited_at BIGINT,
    deleted_at BIGINT,
    UNIQUE (conversation_id, number)
);
CREATE UNIQUE INDEX chat_messages_client ON chat_messages (sender_id, client_id);

-- Each time somebody read: up to which message, and when.
CREATE TABLE chat_reads (
    conversation_id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    up_to BIGINT NOT NULL,
    read_at BIGINT NOT NULL,
    PRIMARY KEY (conversation_id, user_id, up_to)
) {clustered};

-- `conversation_id` is the group of an invitation to one, and what an accepted invitation led to.
-- `pending` is the pair while it waits, so that nobody is invited twice.
CREATE TABLE chat_invitations (
    id TEXT PRIMARY KEY,
    from_user_id TEXT NOT NULL,
    to_user_id TEXT NOT NULL,
    conversation_id TEXT,
    status TEXT NOT NULL,
    message TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    answered_at BIGINT,
    pending TEXT UNIQUE
) {clustered};
CREATE INDEX chat_invitations_to ON chat_invitations (to_user_id, status);
CREATE INDEX chat_invitations_from ON chat_invitations (from_user_id, status);

-- The words of messages, by key, folded by the program: small letters without accents.
{sqlite}
CREATE VIRTUAL TABLE chat_search USING fts5(words, content = '', contentless_delete = 1);
{end}
{postgres}
CREATE TABLE chat_search (key BIGINT PRIMARY KEY, words TSVECTOR NOT NULL);
CREATE INDEX chat_search_words ON chat_search USING GIN (words);
{end}
