-- Which events have other data since, and the event that tells so: whoever follows the log learns of both at once.
CREATE TABLE amendments (
    told_by BIGINT NOT NULL,
    seq BIGINT NOT NULL,
    PRIMARY KEY (told_by, seq)
) {clustered};
