-- What the log has forgotten is forgotten here, too, the oldest first.
CREATE INDEX chat_told_seq ON chat_told (seq);
