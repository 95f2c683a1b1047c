/**
 * The language of the filter box. Pure.
 *
 * `nightly state:live outcome:failure commit=3f2` means: ids that contain `nightly`, in this state, with this outcome, and
 * with this `commit` in the metadata. Quotes keep spaces: `title="a b"`.
 */

const WORD = /(?:[^\s"]|"[^"]*"?)+/g;
export const STATES = ["live", "interrupted", "open", "complete", "aborted"];
export const ACTIVE = STATES.slice(0, 3);
export const OUTCOMES = ["success", "failure", "cancelled", "skipped"];
const KNOWN = [...STATES, ...OUTCOMES];

/**
 * Parses a filter within the ids that begin with `prefix`. `errors` has a sentence for each word that means nothing: no
 * list is right then.
 */
export function parseFilter(text, prefix = "") {
  const filter = { prefix, contains: "", states: [], outcomes: [], metadata: [], errors: [] };
  for (const word of text.match(WORD) ?? []) {
    const plain = word.replaceAll('"', "");
    const standing = /^(?:state|outcome|is)[:=](.*)$/.exec(plain);
    const member = /^(?:meta\.)?([^=]+)=(.*)$/.exec(plain);
    if (standing) for (const name of standing[1].split(",")) stand(filter, name);
    else if (member) filter.metadata.push([member[1], member[2]]);
    else if (!filter.contains) filter.contains = plain;
    else filter.errors.push(`“${plain}” is one word too many: a filter has one part of an id. Quotes keep spaces.`);
  }
  return filter;
}

function stand(filter, name) {
  if (STATES.includes(name)) filter.states.push(name);
  else if (OUTCOMES.includes(name)) filter.outcomes.push(name);
  else filter.errors.push(`There is no state or outcome “${name}”; there are ${KNOWN.join(", ")}.`);
}

/** Returns true if the filter admits only some streams under its prefix. */
export const narrows = ({ contains, states, outcomes, metadata }) =>
  Boolean(contains || states.length || outcomes.length || metadata.length);

/** Returns the query of `GET /streams` for a filter within these states, null if no stream can match. */
export function queryOf(filter, among = STATES, { limit, cursor, count } = {}) {
  const allowed = filter.outcomes.length ? among.filter((state) => state === "complete") : among;
  const states = filter.states.length ? allowed.filter((state) => filter.states.includes(state)) : allowed;
  if (!states.length || filter.errors.length) return null;
  const query = new URLSearchParams({ state: states.join(",") });
  if (filter.prefix) query.set("prefix", filter.prefix);
  if (filter.contains) query.set("contains", filter.contains);
  if (filter.outcomes.length) query.set("outcome", filter.outcomes.join(","));
  for (const [name, value] of filter.metadata) query.append(`meta.${name}`, value);
  if (limit) query.set("limit", limit);
  if (cursor) query.set("cursor", cursor);
  if (count) query.set("count", "");
  return query;
}

/** Returns true if a row of the list matches. */
export function matches(filter, row) {
  return (
    row.id.startsWith(filter.prefix) &&
    row.id.includes(filter.contains) &&
    (!filter.states.length || filter.states.includes(row.state)) &&
    (!filter.outcomes.length || filter.outcomes.includes(row.outcome)) &&
    filter.metadata.every(([name, value]) => textOf(row.metadata?.[name]) === value)
  );
}

/** Returns the texts that complete the last word of a filter, from the rows in view. */
export function completions(text, rows) {
  const [before, word] = /^(.*?)(\S*)$/.exec(text).slice(1);
  const words = new Set(KNOWN.map((name) => `${OUTCOMES.includes(name) ? "outcome" : "state"}:${name}`));
  for (const { metadata } of rows) {
    if (!metadata || typeof metadata !== "object" || Array.isArray(metadata)) continue;
    for (const [name, value] of Object.entries(metadata)) {
      const known = textOf(value);
      words.add(word.includes("=") ? `${name}=${/\s/.test(known) ? `"${known}"` : known}` : `${name}=`);
    }
  }
  const fits = (each) => each !== word && each.toLowerCase().startsWith(word.toLowerCase());
  return [...words].filter(fits).slice(0, 20).map((each) => before + each);
}

function textOf(value) {
  return value === undefined || typeof value === "string" ? value : JSON.stringify(value);
}
