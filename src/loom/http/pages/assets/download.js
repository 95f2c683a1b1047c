/**
 * Saves a stream as a file. A link cannot send a token, so with a token the page fetches the bytes: straight to the
 * file if the browser allows that, else through bounded memory.
 */

import { getBytes, request } from "./api.js";
import { h } from "./dom.js";
import { bytes } from "./format.js";
import { token } from "./session.js";

const MOST = 512 << 20; // bytes held in memory

export async function save(path, id, size) {
  const name = `${id.split("/").at(-1)}.log`;
  // Only the bytes stored now: the download of a live stream would not end.
  if (!token()) return follow(`${path}?notail`, name);
  if (globalThis.showSaveFilePicker) {
    const file = await choose(name);
    if (file) await (await request(`${path}?notail`)).body.pipeTo(await file.createWritable());
    return undefined;
  }
  if (size > MOST) throw new Error(`${bytes(size)} is too much for this browser; use curl or loom cat.`);
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
