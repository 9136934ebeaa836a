-- Whose points there are. `series` has the names, and over which time blocks have points, as JSON. `module` is null once
-- the module is gone and its rows are still to be deleted. Points of the journal up to `journal_done` are in blocks;
-- blocks of hours before `rolled_to` are in the aggregates; `last_hour` is the newest hour that has a block.
CREATE TABLE history_modules (
    id {key},
    module TEXT UNIQUE,
    series TEXT NOT NULL,
    journal_done BIGINT NOT NULL,
    rolled_to BIGINT NOT NULL,
    last_hour BIGINT NOT NULL
);

-- Everything that came within about a second, of all modules.
CREATE TABLE history_journal (
    id {key},
    data {blob} NOT NULL
);

-- Points of a module within an hour, in several parts.
CREATE TABLE history_blocks (
    module BIGINT NOT NULL,
    hour BIGINT NOT NULL,
    part BIGINT NOT NULL,
    data {blob} NOT NULL,
    PRIMARY KEY (module, hour, part)
);

-- Aggregates of a module: `width` is that of each in milliseconds, `start` where the row begins.
CREATE TABLE history_aggregates (
    module BIGINT NOT NULL,
    width BIGINT NOT NULL,
    start BIGINT NOT NULL,
    data {blob} NOT NULL,
    PRIMARY KEY (module, width, start)
);

{postgres}
-- What is compressed already is not compressed again.
ALTER TABLE history_journal ALTER COLUMN data SET STORAGE EXTERNAL;
ALTER TABLE history_blocks ALTER COLUMN data SET STORAGE EXTERNAL;
ALTER TABLE history_aggregates ALTER COLUMN data SET STORAGE EXTERNAL;
{end}
