-- How each module was when the server last wrote it down. `version` orders changes over all modules, `telemetry` is
-- JSON. A module has none before it first reports.
CREATE TABLE module_states (
    id TEXT PRIMARY KEY,
    online BIGINT NOT NULL,
    last_seen BIGINT,
    version BIGINT NOT NULL,
    telemetry TEXT NOT NULL
) {clustered};
