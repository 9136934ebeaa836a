-- What is in the field. `type` is a name of the catalogue, `owner` a principal. `claim_hash` is there while somebody
-- may claim it.
CREATE TABLE modules (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    type TEXT NOT NULL,
    owner TEXT,
    secret_hash TEXT NOT NULL,
    claim_hash TEXT UNIQUE,
    created_at BIGINT NOT NULL,
    owned_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
) {clustered};
CREATE INDEX modules_owner ON modules (owner, id);
