// Sends large bodies to calls that refuse them, with Node's own fetch, and prints what it was told.

const [url, wrong] = process.argv.slice(2);
const MB = 1024 * 1024;

async function told(path, headers, body) {
  const reply = await fetch(url + path, { method: "POST", headers, body, duplex: "half" });
  return [reply.status, (await reply.json()).code];
}

/** A body whose size nobody knows beforehand. */
function streamed(megabytes) {
  let left = megabytes;
  return new ReadableStream({
    pull(controller) {
      controller.enqueue(new Uint8Array(MB));
      left -= 1;
      if (left === 0) controller.close();
    },
  });
}

async function main() {
  const form = { "content-type": "multipart/form-data; boundary=b" };
  const calls = [
    ["/api/files/upload/rsp-bgs", form],
    ["/api/files/upload/rsp-bgs", { ...form, authorization: `Bearer ${wrong}` }],
    ["/api/nowhere", form],
  ];
  const found = [];
  for (const [path, headers] of calls) {
    for (let round = 0; round < 5; round += 1) {
      found.push(await told(path, headers, Buffer.alloc(40 * MB)));
      found.push(await told(path, headers, streamed(40)));
    }
  }
  console.log(JSON.stringify(found));
}

main().catch((error) => {
  console.error(error, error.cause);
  process.exit(1);
});
