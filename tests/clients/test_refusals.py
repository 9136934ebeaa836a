"""Refusals reach clients that are still sending: Node's fetch, which gives up on a connection that is reset."""

from test_socketio_clients import run_node


def test_node_learns_why_its_upload_is_refused(make_server):
    server = make_server(RELAIS_AUTH_MODE="required")
    found = run_node("refused.cjs", server.url, "not-a-token")
    assert found[:20] == [[401, "unauthenticated"]] * 20
    assert found[20:] == [[404, "not_found"]] * 10
