-- What was asked for under a `client_id`, so that the same name with another text is noticed; nothing of a deleted message.
ALTER TABLE chat_messages ADD COLUMN client_digest TEXT;

-- Invitations to a group that wait.
CREATE INDEX chat_invitations_group ON chat_invitations (conversation_id, status);
