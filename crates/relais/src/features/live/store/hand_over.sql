-- Where in the log a module began to be its owner's: its `seq` of the event that says so, which depends on no clock. What
-- is not in the log any more was before everything that is. And what a module is called by those who administer: its next
-- owner finds it under that name, or under its id.
ALTER TABLE modules ADD COLUMN owned_seq BIGINT NOT NULL DEFAULT 0;
ALTER TABLE modules ADD COLUMN given_name TEXT;
UPDATE modules SET owned_seq = COALESCE((
    SELECT MAX(e.seq) FROM events e JOIN topics t ON t.id = e.topic_id
    WHERE t.name = 'module:' || modules.id
    AND (e.name = 'module_added' OR (e.name = 'module_updated' AND e.data LIKE '%"emptied":true%'))
), 0);
UPDATE modules SET given_name = name WHERE owner IS NULL AND claimed_with IS NULL AND last_owner IS NULL;
