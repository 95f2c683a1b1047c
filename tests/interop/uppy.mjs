// Upload files with Uppy, at the defaults of its plugin for tus, and print the result as JSON:
// node uppy.mjs URL FILE... The result has the URL of each upload, in the order of the files.
import fs from "node:fs";
import path from "node:path";
import Uppy from "@uppy/core";
import Tus from "@uppy/tus";

const [endpoint, ...files] = process.argv.slice(2);
const uppy = new Uppy().use(Tus, { endpoint });
for (const file of files) {
  const data = fs.readFileSync(file);
  data.size = data.length;
  uppy.addFile({ name: path.basename(file), type: "text/plain", data });
}
const { successful, failed } = await uppy.upload();
console.log(JSON.stringify({ urls: successful.map((file) => file.uploadURL), failed: failed.map((file) => file.error) }));
