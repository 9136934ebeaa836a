-- How many people are in a conversation, kept in the transaction of what changes it.
ALTER TABLE chat_conversations ADD COLUMN members BIGINT NOT NULL DEFAULT 0;
UPDATE chat_conversations SET members =
    (SELECT COUNT(*) FROM chat_members m WHERE m.conversation_id = chat_conversations.id);

-- Members in the order in which they came: the first, the last, and pages of them.
CREATE INDEX chat_members_joined ON chat_members (conversation_id, joined_at, user_id);

-- Since when somebody has been connected; after the server was killed, what is left of that.
ALTER TABLE chat_people ADD COLUMN online_since BIGINT;
CREATE INDEX chat_people_online ON chat_people (online_since) WHERE online_since IS NOT NULL;

-- When this server last ran with somebody connected.
CREATE TABLE chat_alive (id BIGINT PRIMARY KEY, at BIGINT NOT NULL) {clustered};
INSERT INTO chat_alive (id, at) VALUES (1, 0);

-- Whom somebody wants to hear nothing of.
CREATE TABLE chat_blocks (
    user_id TEXT NOT NULL,
    blocked_id TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (user_id, blocked_id)
) {clustered};
CREATE INDEX chat_blocks_of ON chat_blocks (blocked_id, user_id);

-- How often somebody has refused another.
CREATE INDEX chat_invitations_pair ON chat_invitations (from_user_id, to_user_id, status, answered_at);
