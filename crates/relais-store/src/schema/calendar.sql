-- One row: the last time of day that was believed, and, while the clock says another one, when that was last seen and for
-- how long it has been so.
CREATE TABLE calendar (
    id BIGINT PRIMARY KEY CHECK (id = 1),
    believed BIGINT NOT NULL,
    doubted_at BIGINT,
    doubted_ms BIGINT NOT NULL
);
