// One file: what is in it, its versions, and what can be done with it, in a dialog.
import { $, T, access, bytes, call, make, pair, read, speak, when } from "./shared.js";

const PREVIEW_BYTES = 64 * 1024;

speak({
  preview: "Aperçu", versions: "Versions", current: "actuelle", see: "Aperçu", get: "Télécharger", put: "Restaurer",
  remove: "Supprimer le fichier", sure: (f) => `Supprimer ${f} ? Ses versions restent et peuvent être restaurées.`,
  yes: "Oui, supprimer", no: "Non", close: "Fermer", gone: (f) => `${f} est supprimé.`, undo: "Annuler",
  back: (n) => `La version ${n} est restaurée.`, part: (a, b) => `Le début : ${a} sur ${b}.`, version: (n) => `Version ${n}`,
  loading: "Chargement…", size: "Taille", time: "Modifié", year: "Année",
}, {
  preview: "Preview", versions: "Versions", current: "current", see: "Preview", get: "Download", put: "Restore",
  remove: "Delete the file", sure: (f) => `Delete ${f}? Its versions stay and can be restored.`,
  yes: "Yes, delete", no: "No", close: "Close", gone: (f) => `${f} is deleted.`, undo: "Undo",
  back: (n) => `Version ${n} is restored.`, part: (a, b) => `The beginning: ${a} of ${b}.`, version: (n) => `Version ${n}`,
  loading: "Loading…", size: "Size", time: "Modified", year: "Year",
});

const at = (...parts) => `api/files/${parts.map(encodeURIComponent).join("/")}`;

/** Where a file is, or a version of it. */
export const fileAt = (societe, filename, version) =>
  at("download", societe, filename) + (version ? `?version=${version}` : "");

/** A link to download it. A link cannot carry a key: with one, the file is fetched and then handed over. */
export function downloadLink(text, href, filename, attributes, report) {
  const link = make("a", text, { href, download: filename, ...attributes });
  if (access.key) link.onclick = async (click) => {
    click.preventDefault();
    try {
      const url = URL.createObjectURL(await (await call(href)).blob());
      make("a", null, { href: url, download: filename }).click();
      setTimeout(() => URL.revokeObjectURL(url), 60000);
    } catch (error) { report(error); }
  };
  return link;
}

let shown = null; // { societe, filename } while the dialog is open

/** Opens the dialog on a file; `closed` is called when it goes, `report` with what went wrong. */
export function openFile(societe, file, closed, report) {
  const { filename } = file;
  if (shown?.societe === societe && shown.filename === filename) return;
  shown = { societe, filename };
  const dialog = $("file"), failed = (error) => { $("file-note").textContent = error.message; };
  $("file-title").textContent = filename;
  $("file-facts").replaceChildren(pair("Société", societe), pair(T.size, bytes(file.size)),
    pair("Type", file.type_data), pair(T.year, file.annee), pair(T.time, when(file.last_modified)));
  $("file-note").textContent = "";
  $("file-actions").replaceChildren(
    downloadLink(T.get, fileAt(societe, filename), filename, { class: "action" }, failed),
    make("button", T.remove, { type: "button", class: "danger", onclick: () => askDelete(societe, filename, report) }));
  dialog.onclose = () => {
    shown = null;
    closed();
  };
  $("file-close").onclick = () => dialog.close();
  if (!dialog.open) dialog.showModal();
  preview(fileAt(societe, filename), T.preview, failed);
  listVersions(societe, filename, failed);
}

export function closeFile() {
  if ($("file").open) $("file").close();
}

/** Whether this file is in the dialog, which then shows what became of it. */
export function fileChanged(societe, filename) {
  if (shown?.societe !== societe || shown.filename !== filename) return;
  preview(fileAt(societe, filename), T.preview, () => {});
  listVersions(societe, filename, () => {});
}

/** The beginning of the text, laid out if all of it is there. */
async function preview(href, title, failed) {
  const mine = shown;
  $("preview-title").textContent = title;
  $("preview").textContent = T.loading;
  $("preview-part").hidden = true;
  try {
    const response = await call(href, { headers: { Range: `bytes=0-${PREVIEW_BYTES - 1}` } });
    const total = Number(response.headers.get("Content-Range")?.split("/")[1]) || 0;
    // A cut inside a character leaves a mark that is not shown.
    const text = (await response.text()).replace(/\uFFFD+$/, "");
    if (mine !== shown) return;
    const whole = total <= PREVIEW_BYTES;
    $("preview").textContent = whole ? laidOut(text) : text;
    $("preview-part").hidden = whole;
    $("preview-part").textContent = T.part(bytes(PREVIEW_BYTES), bytes(total));
  } catch (error) {
    if (mine !== shown) return;
    $("preview").textContent = "";
    failed(error);
  }
}

function laidOut(text) {
  try { return JSON.stringify(JSON.parse(text), null, 2); } catch { return text; }
}

async function listVersions(societe, filename, failed) {
  const mine = shown;
  try {
    const { versions } = await read(at("versions", societe, filename));
    if (mine === shown) $("versions").replaceChildren(...versions.map((one) => versionLine(societe, filename, one, failed)));
  } catch (error) {
    if (mine === shown) failed(error);
  }
}

function versionLine(societe, filename, { version, size, created_at: created, created_by: by, current }, failed) {
  const href = fileAt(societe, filename, version), item = make("li"), name = `${T.version(version)}, ${when(created)}`;
  const button = (text, onclick) => make("button", text, { type: "button", "aria-label": `${text}, ${name}`, onclick });
  item.append(make("span", [name, bytes(size), by].filter(Boolean).join(", ")));
  if (current) item.append(make("b", T.current));
  item.append(button(T.see, () => preview(href, `${T.preview}, ${T.version(version)}`, failed)),
    downloadLink(T.get, href, filename, { class: "action", "aria-label": `${T.get}, ${name}` }, failed));
  if (!current) item.append(button(T.put, () => restore(societe, filename, version, failed)));
  return item;
}

async function restore(societe, filename, version, failed) {
  try {
    await call(at("restore", societe, filename), {
      method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ version }),
    });
    $("file-note").textContent = T.back(version);
  } catch (error) { failed(error); }
}

/** Asks in the dialog, where the question is read before anything happens. */
function askDelete(societe, filename, report) {
  const before = [...$("file-actions").children];
  const back = () => $("file-actions").replaceChildren(...before);
  const yes = make("button", T.yes, { type: "button", class: "danger" });
  const no = make("button", T.no, { type: "button", onclick: back });
  yes.onclick = () => remove(societe, filename, report).catch((error) => {
    back();
    $("file-note").textContent = error.message;
  });
  $("file-actions").replaceChildren(make("p", T.sure(filename), { role: "alert" }), yes, no);
  no.focus();
}

/** What was deleted can be put back from the page: the version before the deletion is known. */
async function remove(societe, filename, report) {
  const { versions } = await read(at("versions", societe, filename));
  const last = versions.find(({ current }) => current) || versions[0];
  await call(at("delete", societe, filename), { method: "DELETE" });
  closeFile();
  const undo = make("button", T.undo, { type: "button" });
  undo.onclick = () => restore(societe, filename, last.version, report).then(() => { $("done").replaceChildren(); });
  $("done").replaceChildren(make("span", T.gone(filename)), undo);
}
