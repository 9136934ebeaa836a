-- What an MQTT broker was asked for under the name that it knows this server by: what it keeps sending until told not to.
CREATE TABLE mqtt_filters (
    client_id TEXT NOT NULL,
    filter TEXT NOT NULL,
    PRIMARY KEY (client_id, filter)
) {clustered};
