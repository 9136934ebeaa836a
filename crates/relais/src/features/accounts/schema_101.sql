-- What a person signed in with counts for one generation; what ends it all begins the next.
ALTER TABLE users ADD COLUMN generation BIGINT NOT NULL DEFAULT 1;
ALTER TABLE sessions ADD COLUMN generation BIGINT NOT NULL DEFAULT 1;
