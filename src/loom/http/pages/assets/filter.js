/**
 * The language of the filter box. Pure.
 *
 * `build/ state:live,open commit=3f2` means: ids that begin with `build/`, in one of these states, with this `commit`
 * in the metadata. Quotes keep spaces: `title="a b"`.
 */

const WORD = /(?:[^\s"]|"[^"]*"?)+/g;
export const STATES = ["live", "interrupted", "open", "complete", "aborted"];
export const ACTIVE = STATES.slice(0, 3);
export const OUTCOMES = ["success", "failure", "cancelled", "skipped"];

/** Parses a filter into `{prefix, states, metadata: [[key, value]], unknown}`; `unknown` has the other words. */
export function parseFilter(text) {
  const filter = { prefix: "", states: [], metadata: [], unknown: [] };
  for (const word of text.match(WORD) ?? []) {
    const plain = word.replaceAll('"', "");
    const state = /^(?:state|is)[:=](.*)$/.exec(plain);
    const member = /^(?:meta\.)?([^=]+)=(.*)$/.exec(plain);
    if (state) {
      const named = state[1].split(",").filter(Boolean);
      filter.states.push(...named.filter((name) => STATES.includes(name)));
      filter.unknown.push(...named.filter((name) => !STATES.includes(name)));
    } else if (member) filter.metadata.push([member[1], member[2]]);
    else if (!filter.prefix) filter.prefix = plain;
    else filter.unknown.push(plain);
  }
  return filter;
}

/** Returns the query of `GET /streams` for a filter within these states, null if no stream can match. */
export function queryOf(filter, among, { limit, cursor } = {}) {
  const states = filter.states.length ? among.filter((state) => filter.states.includes(state)) : among;
  if (!states.length) return null;
  const query = new URLSearchParams({ state: states.join(",") });
  if (filter.prefix) query.set("prefix", filter.prefix);
  for (const [name, value] of filter.metadata) query.append(`meta.${name}`, value);
  if (limit) query.set("limit", limit);
  if (cursor) query.set("cursor", cursor);
  return query;
}

/** Returns true if a row of the list matches. */
export function matches(filter, row) {
  return (
    row.id.startsWith(filter.prefix) &&
    (!filter.states.length || filter.states.includes(row.state)) &&
    filter.metadata.every(([name, value]) => textOf(row.metadata?.[name]) === value)
  );
}

function textOf(value) {
  return value === undefined || typeof value === "string" ? value : JSON.stringify(value);
}
