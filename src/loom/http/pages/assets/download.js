/**
 * A stream as a file. A link cannot send a token, so with one the bytes come through the page: straight to the file
 * where the browser allows that, else through its memory, which has a bound.
 */

import { getBytes, request } from "./api.js";
import { h } from "./dom.js";
import { bytes } from "./format.js";
import { token } from "./session.js";

const MOST = 512 << 20; // bytes kept in memory

export async function save(path, id, size) {
  const name = `${id.split("/").at(-1)}.log`;
  // What is there now: of a live stream a download would not end.
  if (!token()) return follow(`${path}?notail`, name);
  if (globalThis.showSaveFilePicker) {
    const file = await choose(name);
    if (file) await (await request(`${path}?notail`)).body.pipeTo(await file.createWritable());
    return undefined;
  }
  if (size > MOST) throw new Error(`${bytes(size)} are too many for this browser: use curl or loom cat.`);
  const url = URL.createObjectURL(new Blob([await getBytes(path, 0, size)]));
  follow(url, name);
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
  return undefined;
}

async function choose(suggestedName) {
  try {
    return await globalThis.showSaveFilePicker({ suggestedName });
  } catch (error) {
    if (error.name === "AbortError") return null;
    throw error;
  }
}

function follow(href, download) {
  const link = h("a", { href, download });
  document.body.append(link);
  link.click();
  link.remove();
}
