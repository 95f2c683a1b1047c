/**
 * Bytes that are not text: how they are detected and shown. Pure. The bytes decide, not the content type.
 */

const LOOKED = 8192; // bytes at the start that are examined
const WIDTH = 16;

/** Returns true if the first bytes of a stream have a NUL, or much that is not UTF-8 or a common control. */
export function isBinary(bytes) {
  const start = bytes.subarray(0, LOOKED);
  if (start.includes(0)) return true;
  const text = new TextDecoder().decode(start);
  let odd = 0;
  for (const char of text) {
    const code = char.charCodeAt(0);
    if (code === 0xfffd || (code < 0x20 && !"\t\n\r\b\f\x1b\x07".includes(char))) odd += 1;
  }
  return odd > 0.3 * text.length;
}

/** Returns rows `{offset, hex, text}` of 16 bytes each. */
export function hexRows(bytes) {
  const rows = [];
  for (let offset = 0; offset < bytes.length; offset += WIDTH) {
    const part = [...bytes.subarray(offset, offset + WIDTH)];
    const hex = part.map((byte) => byte.toString(16).padStart(2, "0"));
    rows.push({
      offset: offset.toString(16).padStart(8, "0"),
      hex: `${hex.slice(0, 8).join(" ")}  ${hex.slice(8).join(" ")}`,
      text: part.map((byte) => (byte >= 0x20 && byte < 0x7f ? String.fromCharCode(byte) : "·")).join(""),
    });
  }
  return rows;
}
