-- One row: the life of the log, its last event, the first event that is still kept, and where the contents
-- beside an embedded database end.
CREATE TABLE log_head (
    id BIGINT PRIMARY KEY CHECK (id = 1),
    epoch TEXT NOT NULL,
    seq BIGINT NOT NULL,
    first_seq BIGINT NOT NULL,
    pack_end BIGINT NOT NULL
);

-- A topic's id is the seq of its first event.
CREATE TABLE topics (
    id {key},
    name TEXT NOT NULL UNIQUE,
    family TEXT NOT NULL,
    last_offset BIGINT NOT NULL
);

CREATE TABLE events (
    seq {key},
    topic_id BIGINT NOT NULL,
    topic_offset BIGINT NOT NULL,
    name TEXT NOT NULL,
    data TEXT NOT NULL,
    at BIGINT NOT NULL
);

-- Holds seq as well, so that a position is found in the index alone.
CREATE UNIQUE INDEX events_by_topic ON events (topic_id, topic_offset, seq);
