/**
 * Formats numbers and times for people. Pure.
 */

const UNITS = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];

/** Formats a number of bytes: 999 B, 1.5 KiB, 12 MiB. */
export function bytes(count) {
  let unit = 0;
  let value = count;
  while (value >= 1023.5 && unit < UNITS.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${unit && value < 9.95 ? value.toFixed(1) : Math.round(value)} ${UNITS[unit]}`;
}

/** Formats a whole number with separated thousands. */
export const count = (number) => number.toLocaleString("en-US");

/** Formats how many there are of something whose plural has an s: 1 line, 2,000 lines. */
export const amount = (number, what) => `${count(number)} ${what}${number === 1 ? "" : "s"}`;

const SPANS = [
  [60, 1, "s"],
  [3600, 60, "m"],
  [86400, 3600, "h"],
  [Infinity, 86400, "d"],
];

/** Formats a duration in its two largest units: 45s, 3m 12s, 2d 4h. */
export function span(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  const at = SPANS.findIndex(([below]) => whole < below);
  const [, unit, name] = SPANS[at];
  const text = `${Math.floor(whole / unit)}${name}`;
  if (!at) return text;
  const [, smaller, its] = SPANS[at - 1];
  const rest = Math.floor((whole % unit) / smaller);
  return rest ? `${text} ${rest}${its}` : text;
}

/** Formats an age in one unit: now, 45s ago, 3m ago. */
export function age(then, now) {
  const seconds = (now - then) / 1000;
  return seconds < 1.5 ? "now" : `${span(seconds).split(" ")[0]} ago`;
}

/** Returns the attributes of an element whose text is an age that grows. */
export const since = (milliseconds) => ({ "data-since": milliseconds });

const two = (part) => String(part).padStart(2, "0");

/** Formats the time of day, in the browser's time zone: 09:05:59. */
export function clock(milliseconds) {
  const time = new Date(milliseconds);
  return `${two(time.getHours())}:${two(time.getMinutes())}:${two(time.getSeconds())}`;
}

/** Formats a time near `now`: the time of day, with the date on another day. */
export function moment(milliseconds, now) {
  const [time, today] = [new Date(milliseconds), new Date(now)];
  if (time.toDateString() === today.toDateString()) return clock(milliseconds);
  return `${time.toLocaleDateString("en-US", { month: "short", day: "numeric" })}, ${clock(milliseconds)}`;
}

/** Formats a time since a start: 0:07, 12:34, 26:03:59. */
export function elapsed(milliseconds) {
  const seconds = Math.max(0, Math.floor(milliseconds / 1000));
  const [hours, minutes] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60];
  return `${hours ? `${hours}:${two(minutes)}` : minutes}:${two(seconds % 60)}`;
}

/** Formats a member of metadata on one line. */
export const member = (value) => (typeof value === "string" ? value : JSON.stringify(value));

/** Returns the members of a stream's metadata, which may be any JSON value. */
export function members(metadata) {
  if (metadata && typeof metadata === "object" && !Array.isArray(metadata)) return Object.entries(metadata);
  return metadata == null ? [] : [["metadata", metadata]];
}

/** Returns the path of a stream's page or, with `from` "/stream/", of its bytes. Slashes in an id are kept. */
export function pathOf(id, from = "/ui/stream/") {
  return from + id.split("/").map(encodeURIComponent).join("/");
}

/** Returns the id in the path of the page, after `from`. */
export function idOf(path, from = "/stream/") {
  return decodeURIComponent(path.slice(path.indexOf(from) + from.length));
}
