-- What devices are to do and did. `params` and `result` are JSON; `finished_at` is there once nothing happens to a
-- command any more. `client_id` is what the principal calls it.
CREATE TABLE module_commands (
    id TEXT PRIMARY KEY,
    module TEXT NOT NULL,
    principal TEXT NOT NULL,
    client_id TEXT,
    command TEXT NOT NULL,
    params TEXT NOT NULL,
    state TEXT NOT NULL,
    delivery TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    sent_at BIGINT,
    attempts BIGINT NOT NULL,
    finished_at BIGINT,
    result TEXT,
    UNIQUE (principal, client_id)
);
CREATE INDEX module_commands_of ON module_commands (module, id);
CREATE INDEX module_commands_open ON module_commands (module, id) WHERE finished_at IS NULL;
CREATE INDEX module_commands_finished ON module_commands (finished_at) WHERE finished_at IS NOT NULL;
