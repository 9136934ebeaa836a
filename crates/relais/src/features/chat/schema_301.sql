-- Messages that have reached no device of another member: few, and found without the others. With `delivered_at` in it
-- SQLite prefers it to the index on the numbers alone.
CREATE INDEX chat_messages_undelivered ON chat_messages (conversation_id, delivered_at, number, sender_id)
    WHERE delivered_at IS NULL;

-- Read marks by the message that they are about.
CREATE INDEX chat_reads_number ON chat_reads (conversation_id, up_to);

-- Of each member the last 100 read marks stay, and of what is older the last of each day.
DELETE FROM chat_reads WHERE (conversation_id, user_id, up_to) IN (
    SELECT m.conversation_id, m.user_id, m.up_to FROM (
        SELECT conversation_id, user_id, up_to, read_at,
            ROW_NUMBER() OVER (PARTITION BY conversation_id, user_id ORDER BY up_to DESC) AS place,
            LEAD(read_at) OVER (PARTITION BY conversation_id, user_id ORDER BY up_to) AS next_at
        FROM chat_reads
    ) AS m WHERE m.place > 100 AND m.next_at / 86400000 = m.read_at / 86400000
);
