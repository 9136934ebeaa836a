"""With credentials required: who may do what, in the documented words."""

import pytest
import requests
from websockets.exceptions import ConnectionClosed, InvalidStatus

from listeners import SocketListener, StreamListener, changes

EMAIL, PASSWORD = "admin@example.com", "un mot de passe assez long"
CALLS = [("GET", "societes"), ("GET", "status"), ("GET", "societe/rsp-bgs/files"), ("GET", "changes"),
         ("GET", "download/rsp-bgs/a.json"), ("GET", "versions/rsp-bgs/a.json"), ("POST", "upload/rsp-bgs"),
         ("POST", "sync/rsp-bgs"), ("POST", "restore/rsp-bgs/a.json"), ("DELETE", "delete/rsp-bgs/a.json"),
         ("GET", "events"), ("GET", "societe/rsp-bgs/changes")]


@pytest.fixture
def guarded(make_server):
    """A server that requires credentials, with a file in each of two sociétés, and its administrator's token."""
    server = make_server(RELAIS_AUTH_MODE="required", RELAIS_ADMIN_EMAIL=EMAIL, RELAIS_ADMIN_PASSWORD=PASSWORD)
    reply = server.post("/api/connexion", json={"email": EMAIL, "password": PASSWORD})
    assert reply.status_code == 200, reply.text
    server.admin = bearer(reply.json()["token"])
    for societe in ("rsp-bgs", "rsp-neg"):
        server.put(societe, "a.json", f'"{societe}"', headers=server.admin)
    return server


def bearer(token):
    return {"Authorization": f"Bearer {token}"}


def new_key(server, *scopes):
    reply = server.post("/api/v1/keys", json={"name": "essai", "scopes": scopes}, headers=server.admin)
    assert reply.status_code == 201 and reply.json()["key"].startswith("rk_"), reply.text
    return reply.json()["key"]


def assert_refused(reply, status, detail):
    assert (reply.status_code, reply.json()["detail"]) == (status, detail)
    assert status != 401 or reply.headers["WWW-Authenticate"].startswith("Bearer")


def test_without_credentials_a_manifest_is_not_even_read(guarded):
    reply = guarded.post("/api/files/sync/rsp-bgs", data="{broken")
    assert_refused(reply, 401, "Authentification requise")


@pytest.mark.parametrize("method, path", CALLS)
def test_without_credentials_every_call_is_401(guarded, method, path):
    assert_refused(guarded.call(method, f"/api/files/{path}", json={"version": 1}), 401, "Authentification requise")


def test_without_credentials_there_is_no_socket(guarded):
    with pytest.raises(InvalidStatus) as refused:
        SocketListener(guarded)
    assert refused.value.response.status_code == 401


@pytest.mark.parametrize("headers, detail", [
    (bearer("rk_0_inconnue"), "Clé d'API invalide, expirée ou révoquée"),
    ({"X-API-Key": "rk_0_inconnue"}, "Clé d'API invalide, expirée ou révoquée"),
    (bearer("a.b.c"), "Token invalide ou expiré"),
    ({"Cookie": "relais_session=inconnue"}, "Session expirée, reconnectez-vous"),
])
def test_wrong_credentials_are_401(guarded, headers, detail):
    assert_refused(guarded.get("/api/files/societes", headers=headers), 401, detail)


def test_a_wrong_password_is_401(guarded):
    for email, password in ((EMAIL, "faux"), ("inconnue@example.com", PASSWORD)):
        reply = guarded.post("/api/auth/login", json={"email": email, "password": password})
        assert_refused(reply, 401, "Email ou mot de passe incorrect")


@pytest.mark.parametrize("trusted, seen", [("127.0.0.1", "198.51.100.7"), ("10.0.0.0/8", "127.0.0.1")])
def test_only_a_trusted_proxy_says_where_a_client_is(make_server, trusted, seen):
    server = make_server(RELAIS_AUTH_MODE="required", RELAIS_ADMIN_EMAIL=EMAIL, RELAIS_ADMIN_PASSWORD=PASSWORD,
                         RELAIS_TRUSTED_PROXIES=trusted)
    reply = server.post("/api/auth/login", json={"email": EMAIL, "password": PASSWORD},
                        headers={"X-Forwarded-For": "203.0.113.9, 198.51.100.7"})
    entries = server.get("/api/v1/audit", headers=bearer(reply.json()["token"])).json()["entries"]
    assert entries[0]["address"] == seen


def test_what_needs_no_credentials_stays_open(guarded):
    for path in ("/", "/docs", "/openapi.json", "/healthz", "/readyz"):
        assert guarded.get(path).status_code == 200


def test_a_session_is_signed_in_and_out(guarded):
    with requests.Session() as session:
        reply = session.post(f"{guarded.url}/api/auth/login", json={"email": EMAIL, "password": PASSWORD}, timeout=60)
        cookie = reply.headers["Set-Cookie"]
        assert "HttpOnly" in cookie and "SameSite=Lax" in cookie and reply.json()["user"]["email"] == EMAIL
        assert session.get(f"{guarded.url}/api/files/societes", timeout=60).ok
        assert session.get(f"{guarded.url}/api/auth/me", timeout=60).json()["user"]["email"] == EMAIL
        foreign = {"Origin": "https://ailleurs.example"}
        sync, own = f"{guarded.url}/api/files/sync/rsp-bgs", {"Origin": guarded.url}
        assert session.post(sync, headers=foreign, timeout=60).status_code == 403
        # A cookie alone does not show that one of our own pages sent it.
        assert session.post(sync, timeout=60).json()["code"] == "cross_site"
        assert session.post(sync, headers=own, timeout=60).ok
        with SocketListener(guarded, headers=own | {"Cookie": cookie.partition(";")[0]}) as listener:
            assert session.post(f"{guarded.url}/api/auth/logout", headers=own, timeout=60).ok
            with pytest.raises(ConnectionClosed) as closed:
                listener.frame()
            assert closed.value.rcvd.code == 1012
        session.headers["Cookie"] = cookie.partition(";")[0]
        assert session.get(f"{guarded.url}/api/files/societes", timeout=60).status_code == 401


@pytest.mark.parametrize("how", ["bearer", "header"])
def test_a_key_that_reads_one_societe(guarded, how):
    key = new_key(guarded, "relay:read:rsp-bgs")
    headers = bearer(key) if how == "bearer" else {"X-API-Key": key}
    call = lambda method, path: guarded.call(method, f"/api/files/{path}", headers=headers)
    assert call("GET", "societes").json() == {"societes": ["rsp-bgs"]}
    assert call("GET", "status").json()["total_files"] == 1
    assert guarded.download("rsp-bgs", "a.json", headers=headers).json() == "rsp-bgs"
    others = "Accès refusé à la société rsp-neg"
    for path in ("download/rsp-neg/a.json", "societe/rsp-neg/files", "versions/rsp-neg/a.json",
                 "changes?societe=rsp-neg", "events?societe=rsp-neg", "societe/rsp-neg/changes"):
        assert_refused(call("GET", path), 403, others)
    # Whether there is such a société is not told either.
    assert_refused(call("GET", "societe/inconnue/files"), 403, "Accès refusé à la société inconnue")
    own = "Accès refusé à la société rsp-bgs"
    assert_refused(guarded.upload("rsp-bgs", "a.json", "[1]", headers=headers), 403, own)
    assert_refused(call("DELETE", "delete/rsp-bgs/a.json"), 403, own)
    assert_refused(call("POST", "sync/rsp-bgs"), 403, own)
    assert guarded.download("rsp-bgs", "a.json", headers=guarded.admin).json() == "rsp-bgs"


def test_a_key_that_writes_one_societe(guarded):
    headers = bearer(new_key(guarded, "relay:write:rsp-bgs"))
    assert guarded.put("rsp-bgs", "b.json", "[1]", headers=headers)["changed"]
    assert guarded.delete("/api/files/delete/rsp-bgs/b.json", headers=headers).ok
    reply = guarded.upload("rsp-neg", "a.json", "[1]", headers=headers)
    assert_refused(reply, 403, "Accès refusé à la société rsp-neg")
    assert_refused(guarded.upload("neuve", "a.json", "[1]", headers=headers), 403, "Accès refusé à la société neuve")
    assert_refused(guarded.get("/api/v1/users", headers=headers), 403, "Only administrators have access")
    assert guarded.download("rsp-neg", "a.json", headers=guarded.admin).json() == "rsp-neg"


@pytest.mark.parametrize("kind", [SocketListener, StreamListener])
def test_a_listener_hears_only_what_it_may_read(guarded, kind):
    key = new_key(guarded, "relay:read:rsp-bgs")
    with kind(guarded, token=key) as listener:
        start = listener.welcome["cursor"]
        for number in range(5):
            guarded.put("rsp-neg", "a.json", f"[{number}]", headers=guarded.admin)
            guarded.delete("/api/files/delete/rsp-neg/a.json", headers=guarded.admin)
            guarded.put("rsp-bgs", "a.json", f"[{number}]", headers=guarded.admin)
        live = [listener.frame() for _ in range(5)]
    assert [(frame["societe"], frame["offset"]) for frame in live] == [("rsp-bgs", n) for n in range(2, 7)]
    # Nor does it learn on return what happened elsewhere.
    with kind(guarded, token=key, since=start) as listener:
        assert [listener.frame() for _ in range(5)] == live
        guarded.put("rsp-neg", "a.json", "[9]", headers=guarded.admin)
        guarded.put("rsp-bgs", "a.json", "[9]", headers=guarded.admin)
        assert listener.frame()["societe"] == "rsp-bgs"
    assert {frame["societe"] for frame in changes(guarded, headers=bearer(key))[0]} == {"rsp-bgs"}


def test_a_listener_may_not_ask_for_more(guarded):
    key = new_key(guarded, "relay:read:rsp-bgs")
    with pytest.raises(InvalidStatus) as refused:
        SocketListener(guarded, token=key, societes=["rsp-bgs", "rsp-neg"])
    assert refused.value.response.status_code == 403


def test_a_revoked_key_ends_its_connections(guarded):
    key = new_key(guarded, "relay:read:*")
    listener = SocketListener(guarded, token=key)
    assert guarded.delete(f"/api/v1/keys/{key.split('_')[1]}", headers=guarded.admin).status_code == 204
    with pytest.raises(ConnectionClosed):
        listener.frame()
    with pytest.raises(InvalidStatus) as refused:
        SocketListener(guarded, token=key)
    assert refused.value.response.status_code == 401
    assert guarded.get("/api/files/societes", headers=bearer(key)).status_code == 401


def test_grants_decide_what_a_user_may_do(guarded):
    user = {"email": "claire@example.com", "password": PASSWORD, "firstname": "Claire", "lastname": "D"}
    made = guarded.post("/api/v1/users", json=user, headers=guarded.admin)
    assert made.status_code == 201, made.text
    sign_in = guarded.post("/api/connexion", json={"email": user["email"], "password": PASSWORD})
    claire = bearer(sign_in.json()["token"])
    assert_refused(guarded.get("/api/files/societes", headers=claire), 403, "Accès refusé")
    refused = "Accès refusé à la société rsp-bgs"
    assert_refused(guarded.download("rsp-bgs", "a.json", headers=claire), 403, refused)
    grants = f"/api/v1/users/{made.json()['id']}/grants"
    assert guarded.call("PUT", grants, json={"societe": "rsp-bgs", "access": "read"}, headers=guarded.admin).ok
    assert guarded.get("/api/files/societes", headers=claire).json() == {"societes": ["rsp-bgs"]}
    assert guarded.download("rsp-bgs", "a.json", headers=claire).ok
    assert_refused(guarded.upload("rsp-bgs", "a.json", "[1]", headers=claire), 403, refused)
    with SocketListener(guarded, token=sign_in.json()["token"]) as listener:
        assert guarded.delete(f"{grants}/rsp-bgs", headers=guarded.admin).status_code == 204
        with pytest.raises(ConnectionClosed):
            listener.frame()
    assert_refused(guarded.download("rsp-bgs", "a.json", headers=claire), 403, refused)


@pytest.mark.parametrize("how", ["command line", "API"])
def test_a_revoked_key_loses_its_live_connection(guarded, how):
    key = new_key(guarded, "relay:read:rsp-bgs")
    with SocketListener(guarded, token=key) as listener:
        name = key.split("_")[1]
        if how == "API":
            assert guarded.delete(f"/api/v1/keys/{name}", headers=guarded.admin).status_code in (200, 204)
        else:
            guarded.run("key", "revoke", name)
        with pytest.raises(ConnectionClosed) as closed:
            listener.frame()
        assert closed.value.rcvd.code == 1012
    with pytest.raises(InvalidStatus):
        SocketListener(guarded, token=key)
