// What the pages share: the language, small helpers, calls to the server, signing in. Data only ever becomes text.

export const locale = navigator.languages.find((l) => /^(fr|en)/.test(l)) || "fr";
export const lang = locale.slice(0, 2);
export const order = new Intl.Collator(lang, { numeric: true });
export const $ = (id) => document.getElementById(id);
/** The API key of this visit, if one was given; it is forgotten with the page. */
export const access = { key: null };

const fr = {
  signin: "Connexion requise", email: "Adresse e-mail", password: "Mot de passe", login: "Se connecter",
  key: "Ou une clé d'API", keyNote: "Oubliée à la fermeture de la page.", useKey: "Utiliser la clé",
  connecting: "Connexion…", live: "En direct", offline: "Pas de réseau", signedOut: "Non connecté",
  forbidden: "Accès refusé", retry: (s) => `Déconnecté, nouvel essai dans ${s} s`,
  silent: "Le serveur ne répond pas. Vérifiez qu'il tourne et que le réseau passe.",
  odd: (s) => `Réponse inattendue (${s})`, units: ["o", "ko", "Mo", "Go"],
  unauthenticated: "Identifiants refusés", database_unavailable: "La base de données ne répond pas.",
};
const en = {
  signin: "Sign in", email: "E-mail address", password: "Password", login: "Sign in", key: "Or an API key",
  keyNote: "Forgotten when the page closes.", useKey: "Use the key",
  connecting: "Connecting…", live: "Live", offline: "No network", signedOut: "Not signed in",
  forbidden: "Access refused", retry: (s) => `Disconnected, trying again in ${s} s`,
  silent: "The server does not answer. Check that it runs and that the network works.",
  odd: (s) => `Unexpected answer (${s})`, units: ["B", "kB", "MB", "GB"],
  unauthenticated: "Credentials refused", database_unavailable: "The database does not answer.",
  invalid_credentials: "Wrong address or password",
};

export const T = { ...(lang === "en" ? en : fr) };

/** Adds the words of a page and puts them into the document; French that stands there is not repeated in `french`. */
export function speak(french, english) {
  Object.assign(T, lang === "en" ? english : french);
  document.documentElement.lang = lang;
  for (const node of document.querySelectorAll("[data-t]")) node.textContent = T[node.dataset.t] || node.textContent;
}

export function make(tag, text, attributes = {}, ...children) {
  const node = document.createElement(tag);
  if (text != null) node.textContent = text;
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") node[name] = value;
    else if (value != null) node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}

/** Fills a list. What is there already stays, so that a click or the focus is not lost when the list is drawn again. */
export function fill(list, nodes) {
  const wanted = new Set(nodes.map((node) => node.outerHTML));
  for (const old of [...list.children]) if (!wanted.has(old.outerHTML)) old.remove();
  let next = list.firstElementChild;
  for (const node of nodes) {
    if (next?.isEqualNode(node)) next = next.nextElementSibling;
    else list.insertBefore(node, next);
  }
  while (next) {
    const rest = next.nextElementSibling;
    next.remove();
    next = rest;
  }
}

/** A row of a description list. */
export const pair = (name, value) => make("div", null, {}, make("dt", name), make("dd", value));

export function bytes(n) {
  const unit = n < 1000 ? 0 : Math.min(3, Math.floor(Math.log10(n) / 3));
  return `${(n / 1000 ** unit).toLocaleString(locale, { maximumSignificantDigits: 3 })} ${T.units[unit]}`;
}

/** A time in the zone and the language of who reads. */
export function when(text, style = "short") {
  const at = new Date(text ?? NaN);
  return isNaN(at) ? "–" : at.toLocaleString(locale, { dateStyle: style, timeStyle: "medium" });
}

/** Runs `act` once for all calls within `ms`. */
export function together(ms, act) {
  let waiting = 0;
  return () => { waiting ||= setTimeout(() => { waiting = 0; act(); }, ms); };
}

// ---- HTTP ----

/** What an error says: the server in English below `api/v1`, else in French, or the page. */
export function told({ code, detail, message }, path) {
  const foreign = path.startsWith("api/v1") ? "fr" : "en";
  return lang === foreign && T[code] || [detail, message].find((said) => typeof said === "string");
}

export async function call(path, options = {}) {
  const headers = new Headers(options.headers);
  if (access.key) headers.set("Authorization", `Bearer ${access.key}`);
  const response = await fetch(path, { cache: "no-store", ...options, headers }).catch(() => {
    throw Object.assign(new Error(T.silent), { status: 0, body: {} });
  });
  if (response.ok) return response;
  const body = await response.json().catch(() => ({}));
  const text = told(body, path) || T.odd(`${response.status} ${response.statusText}`);
  throw Object.assign(new Error(text), { status: response.status, body });
}

export const read = async (path) => (await call(path, { signal: AbortSignal.timeout(20000) })).json();

// ---- The connection ----

export function showLink(state, text) {
  $("link").className = state;
  $("link").textContent = text;
}

export function showProblem(text) {
  $("problem").textContent = text;
  $("problem").hidden = !text;
}

/** Longer after each failure, and at random so that many pages do not return at the same moment. */
export function pause(failures) {
  return Math.min(30000, 1000 * 2 ** Math.min(failures, 5)) * (0.5 + Math.random() / 2);
}

// ---- Signing in ----

const field = (id, type, autocomplete, more = {}) => [
  make("label", T[id], { for: id }), make("input", null, { id, name: id, type, autocomplete, required: "", ...more })];

/** Hides the content and asks who is there; `isIn` is called when somebody is. */
export function askSignIn(message, isIn) {
  showLink("stopped", T.signedOut);
  showProblem(message);
  $("content").hidden = $("logout").hidden = true;
  if (!$("signin").hidden) return;
  $("signin").hidden = false;
  const enter = (how) => async (submit) => {
    submit.preventDefault();
    try {
      await how();
      $("signin").hidden = true;
      $("signin").replaceChildren();
      $("content").hidden = $("logout").hidden = false;
      showProblem("");
      isIn();
    } catch ({ message: why }) {
      access.key = null;
      showProblem(why);
    }
  };
  const note = make("p", T.keyNote, { id: "key-note" });
  $("signin").replaceChildren(
    make("h2", T.signin, { id: "signin-title" }),
    make("form", null, { id: "login", method: "post", action: "api/auth/login", onsubmit: enter(logIn) },
      ...field("email", "email", "username"), ...field("password", "password", "current-password"),
      make("button", T.login)),
    make("form", null, { id: "usekey", method: "post", onsubmit: enter(useKey) },
      ...field("key", "password", "off", { placeholder: "rk_…", "aria-describedby": "key-note" }), note,
      make("button", T.useKey)));
  $("email").focus();
}

async function logIn() {
  await call("api/auth/login", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ email: $("email").value, password: $("password").value }),
  });
  document.cookie = "signed_in=1; SameSite=Lax; path=/";
}

function useKey() {
  access.key = $("key").value.trim();
  return read("api/auth/me");
}

/** The button that ends the session; `leave` ends the connection first, which is no loss to be reported. */
export function offerLogout(leave) {
  $("logout").hidden = !document.cookie.includes("signed_in=1");
  $("logout").onclick = async () => {
    leave();
    if (!access.key) await call("api/auth/logout", { method: "POST" }).catch(() => {});
    document.cookie = "signed_in=; max-age=0; path=/";
    location.reload();
  };
}
