-- The event that told an invitation to whom it is for. Of one to talk, the next event told it to the other devices of
-- whoever sent it.
ALTER TABLE chat_invitations ADD COLUMN seq BIGINT;
