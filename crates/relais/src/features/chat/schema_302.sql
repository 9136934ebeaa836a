-- The words of messages, by key, made by the program: the same in both databases, which take them as they are. Those
-- that each database made of the texts are gone; `chat_backfill` says which messages still wait for theirs.
DROP TABLE chat_search;
{sqlite}
CREATE VIRTUAL TABLE chat_words USING fts5(
    words, content = '', contentless_delete = 1, detail = none, tokenize = 'ascii');
{end}
{postgres}
CREATE TABLE chat_words (key BIGINT PRIMARY KEY, words TSVECTOR NOT NULL);
-- What has just been written is in the index as well, so that looking words up costs the same at any time.
CREATE INDEX chat_words_words ON chat_words USING GIN (words) WITH (fastupdate = off);
{end}

-- The event that told a message first; and the later ones that have its text as well. What is edited or deleted is
-- edited or deleted there, too.
ALTER TABLE chat_messages ADD COLUMN seq BIGINT;
CREATE TABLE chat_told (
    key BIGINT NOT NULL,
    seq BIGINT NOT NULL,
    PRIMARY KEY (key, seq)
) {clustered};

-- What the program does little by little after an upgrade: `words` of messages with a key below, and the `log`: events
-- with a seq below. 0: done.
CREATE TABLE chat_backfill (
    task TEXT PRIMARY KEY,
    below BIGINT NOT NULL
) {clustered};
INSERT INTO chat_backfill (task, below) SELECT 'words', COALESCE(MAX(key) + 1, 0) FROM chat_messages;
INSERT INTO chat_backfill (task, below)
    SELECT 'log', COALESCE(MAX(seq) + 1, 0) FROM log_head WHERE EXISTS (SELECT 1 FROM chat_messages);
