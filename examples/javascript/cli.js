#!/usr/bin/env node
/**
 *     node cli.js upload rsp-bgs exports/comptes_global_annee_2023.json
 *     node cli.js list rsp-bgs
 *     node cli.js download rsp-bgs comptes_global_annee_2023.json
 *     node cli.js listen rsp-bgs
 *
 * RELAIS_SERVER names the server (http://127.0.0.1:8000 if unset), RELAIS_KEY a key if it wants one.
 */

import { readFile, writeFile } from "node:fs/promises";
import { basename } from "node:path";
import process from "node:process";

import { Relay } from "./relay.js";

const PLACE = ".relay-cursor";

const commands = {
  async upload(relay, societe, ...paths) {
    for (const path of paths) {
      const reply = await relay.upload(societe, basename(path), await readFile(path));
      console.log(reply.changed === false ? "unchanged" : "sent", reply.filename, reply.size);
    }
  },

  async list(relay, societe) {
    if (!societe) return console.log((await relay.societes()).join("\n"));
    for (const file of await relay.files(societe)) console.log(file.filename, file.size, file.last_modified);
  },

  async download(relay, societe, filename) {
    const { content } = await relay.download(societe, filename);
    await writeFile(basename(filename), content);
    console.log("received", filename, content.length);
  },

  /** Prints events and keeps the place in a file, so that the next start continues there. */
  async listen(relay, ...societes) {
    const kept = await readFile(PLACE, "utf8").catch(() => "");
    for await (const { event, cursor } of relay.listen({ societes, cursor: kept.trim() || undefined })) {
      if (event.type === "resync") console.log("too long away: list the files again");
      else console.log(event.type, event.societe, event.filename ?? "");
      await writeFile(PLACE, cursor);
    }
  },
};

const [name, ...rest] = process.argv.slice(2);
const command = Object.hasOwn(commands, name ?? "") ? commands[name] : undefined;
if (!command) {
  console.error("usage: node cli.js upload|list|download|listen [SOCIETE] [FILE…]");
  process.exit(2);
}
const relay = new Relay(process.env.RELAIS_SERVER ?? "http://127.0.0.1:8000", process.env.RELAIS_KEY);
try {
  await command(relay, ...rest);
} catch (error) {
  console.error(`relay: ${error.message}${error.cause ? ` (${error.cause.message})` : ""}`);
  process.exit(1);
}
