// A chat page as those of an earlier chat are: of another origin, with a header of its own on every call, polling, and
// with a plain WebSocket if `?socket=1` says so. It reads what it knows and checks nothing: what it does not expect
// leaves it white, as such a page would be.
"use strict";

const query = new URLSearchParams(location.search);
const api = query.get("api");
const POLL_MS = 150;
const page = { user: null, token: null, conversations: [], invitations: [], groups: [], groupInvitations: [], found: [],
  open: null, messages: [], members: [], waiting: [], typing: "", heard: [] };
window.page = page;

async function call(method, path, body) {
  const headers = { "Content-Type": "application/json", "ngrok-skip-browser-warning": "true" };
  if (page.token) headers.Authorization = `Bearer ${page.token}`;
  const reply = await fetch(`${api}${path}`, { method, headers, body: body && JSON.stringify(body) });
  const answer = await reply.json();
  if (!reply.ok) throw new Error(`${path}: ${answer.message}`);
  return answer;
}

const chat = async (method, path, body) => (await call(method, `/api/admin/chat/${path}`, body)).data;

// ---- What is shown ----

function element(name, attributes, ...children) {
  const made = Object.assign(document.createElement(name), attributes);
  made.append(...children);
  return made;
}

const button = (label, act) => element("button", { type: "button", textContent: label, onclick: guarded(act) });
const list = (id, rows) => element("ul", { id }, ...rows.map((row) => element("li", {}, ...row)));

// Whatever fails leaves the page white, and says why.
function guarded(act) {
  return async (...given) => {
    try {
      await act(...given);
    } catch (error) {
      page.broken = String(error?.stack ?? error);
      document.querySelector("main").replaceChildren();
      throw error;
    }
  };
}

function mark(message) {
  if (message.sender_id !== page.user.id) return "";
  return message.is_read ? " ✓✓ lu" : message.delivered_at ? " ✓✓" : " ✓";
}

function render() {
  const typed = document.querySelector("#content")?.value ?? "";
  const parts = [
    list("conversations", page.conversations.map((one) => [
      `${one.participant.firstname} ${one.participant.lastname}`, one.status === "pending" ? " (en attente)" : "",
      one.last_message ? ` : ${one.last_message.content}` : "", one.unread_count ? ` [${one.unread_count}]` : "",
      button("ouvrir", () => open({ path: `conversations/${one.id}`, id: one.id })),
    ])),
    list("invitations", page.invitations.map((one) => [
      `${one.from_user.firstname} : ${one.message}`, button("accepter", () => respond("invitations", one._id, "accept")),
      button("refuser", () => respond("invitations", one._id, "reject")),
    ])),
    list("found", page.found.map((one) => [one.email, button("inviter", () => invite(one))])),
    list("groups", page.groups.map((one) => [
      one.name, button("ouvrir", () => open({ path: `groups/${one.id}`, id: one.id, group: true })),
      button("quitter", () => leave(one)),
    ])),
    list("group-invitations", page.groupInvitations.map((one) => [
      `${one.group_name} (${one.from_user.firstname})`, button("accepter", () => respond("group-invitations", one.id, "accept")),
    ])),
    list("members", page.members.map((one) => [`${one.firstname} ${one.role}`])),
    list("waiting", page.waiting.map((one) => [
      one.to_user.firstname, button("annuler", () => cancel(one)),
    ])),
    list("messages", page.messages.map((one) => [`${one.content}${mark(one)}`])),
    element("p", { id: "typing", textContent: page.typing }),
    element("input", { id: "content", value: typed }),
    button("envoyer", send),
  ];
  document.querySelector("main").replaceChildren(...parts);
}

// ---- What is done ----

async function load() {
  const [conversations, invitations, groups, groupInvitations] = await Promise.all([
    chat("GET", "conversations"), chat("GET", "invitations"), chat("GET", "groups"),
    chat("GET", "group-invitations/pending"),
  ]);
  page.conversations = conversations.conversations;
  page.invitations = invitations.invitations;
  page.groups = groups.groups;
  page.groupInvitations = groupInvitations.invitations;
  if (page.open) await look();
  render();
}

async function look() {
  const { path, group } = page.open;
  page.messages = (await chat("GET", `${path}/messages?limit=50`)).messages;
  if (page.messages.some((one) => one.sender_id !== page.user.id && !one.is_read)) await chat("POST", `${path}/mark-read`);
  page.members = group ? (await chat("GET", `${path}/members`)).members : [];
  page.waiting = group ? (await chat("GET", `${path}/pending-invitations`)).invitations : [];
}

async function open(which) {
  page.open = which;
  await load();
}

async function send() {
  const content = document.querySelector("#content").value;
  document.querySelector("#content").value = "";
  if (page.open.group && page.socket) {
    page.socket.send(JSON.stringify({ type: "group_typing", group_id: page.open.id, is_typing: true }));
  }
  await chat("POST", `${page.open.path}/messages`, { content });
  await load();
}

async function invite({ id }) {
  await chat("POST", "invitations", { toUserId: id, to_user_id: id, recipient_id: id, recipientId: id, message: "Bonjour" });
  page.found = [];
  await load();
}

async function respond(kind, id, action) {
  await chat("PUT", `${kind}/${id}/respond`, { action });
  await load();
}

async function leave({ id }) {
  await chat("POST", `groups/${id}/leave`);
  if (page.open?.id === id) Object.assign(page, { open: null, messages: [], members: [], waiting: [] });
  await load();
}

async function cancel({ id }) {
  await chat("PUT", `group-invitations/${id}/cancel`);
  await load();
}

// What a test does in place of a form.
page.search = guarded(async (words) => {
  page.found = (await chat("GET", `admins/search?q=${encodeURIComponent(words)}&limit=10`)).admins;
  render();
});
page.makeGroup = guarded(async (name, member_ids) => {
  await chat("POST", "groups", { name, member_ids });
  await load();
});
page.inviteToGroup = guarded(async (user_id) => {
  await chat("POST", `${page.open.path}/invite`, { user_id });
  await load();
});

// ---- How it hears ----

function listen() {
  page.socket = new WebSocket(`${api.replace("http", "ws")}/ws/chat`);
  page.socket.onopen = () => page.socket.send(JSON.stringify({ type: "authenticate", token: page.token }));
  page.socket.onmessage = guarded(async ({ data }) => {
    const frame = JSON.parse(data);
    page.heard.push(frame.type);
    switch (frame.type) {
      case "new_message": {
        const known = page.conversations.find((one) => one.id === frame.conversation_id);
        if (known && page.open?.id === known.id) page.messages.push(frame.message);
        break;
      }
      case "new_group_message":
        if (page.open?.id === frame.group_id) page.messages.push(frame.message);
        break;
      case "group_user_typing":
        page.typing = frame.is_typing ? `${frame.username} écrit…` : "";
        break;
      case "new_invitation":
        page.heardFrom = `${frame.invitation.from_user.firstname}`;
        await load();
        break;
      case "group_invitation":
        page.heardGroup = frame.invitation.group_name;
        await load();
        break;
      case "group_created": case "group_invitation_accepted": case "group_member_joined": case "group_member_left":
      case "group_messages_read": case "invitation_accepted": case "messages_read": case "messages_delivered":
        await load();
        break;
      case "authenticated":
        page.isIn = frame.success;
        break;
      default:
    }
    render();
  });
}

async function signIn(email, password) {
  const { token, user } = await call("POST", "/api/connexion", { email, password });
  Object.assign(page, { token, user });
  if (user.admin === 1) {
    await load();
    if (query.get("socket")) {
      listen();
    } else {
      const poll = guarded(async () => {
        await load();
        setTimeout(poll, POLL_MS);
      });
      setTimeout(poll, POLL_MS);
    }
  } else {
    document.querySelector("main").replaceChildren();
  }
}

const email = element("input", { id: "email" });
const password = element("input", { id: "password", type: "password" });
document.querySelector("main").append(email, password,
  element("button", { id: "sign-in", textContent: "Connexion", onclick: guarded(() => signIn(email.value, password.value)) }));
