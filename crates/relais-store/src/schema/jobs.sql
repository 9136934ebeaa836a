-- due_at is when the job may be leased next: its run time, the end of its present lease, or NULL once it is
-- done or dead.
CREATE TABLE jobs (
    id TEXT PRIMARY KEY,
    kind TEXT NOT NULL,
    payload TEXT NOT NULL,
    dedup_key TEXT,
    state TEXT NOT NULL,
    due_at BIGINT,
    attempts BIGINT NOT NULL,
    token BIGINT NOT NULL,
    worker TEXT,
    last_error TEXT,
    created_at BIGINT NOT NULL,
    finished_at BIGINT,
    UNIQUE (kind, dedup_key)
);

CREATE INDEX jobs_due ON jobs (kind, due_at);
CREATE INDEX jobs_finished ON jobs (finished_at);
