-- Messages from this key on have no words yet: they are noted in the background, soon after the message.
INSERT INTO chat_backfill (task, below) SELECT 'fresh words', COALESCE(MAX(key), 0) + 1 FROM chat_messages;
