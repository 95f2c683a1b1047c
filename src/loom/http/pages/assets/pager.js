/**
 * Pages of the list: active streams first, then final ones, both newest first. Owns where each page begins.
 */

import { getJson } from "./api.js";
import { ACTIVE, STATES, queryOf } from "./filter.js";

const GROUPS = [ACTIVE, STATES.filter((state) => !ACTIVE.includes(state))];

/** The pages of streams that match a filter. A place is `{group, cursor}`. */
export class Pager {
  #places = [{ group: 0, cursor: null }];
  #next = null;

  constructor(filter, size) {
    this.filter = filter;
    this.size = size;
  }

  /** The number of the page, from 0. */
  get number() {
    return this.#places.length - 1;
  }

  get hasNext() {
    return this.#next !== null;
  }

  /** Requests the rows of the current page. */
  async rows(signal) {
    let place = this.#places.at(-1);
    const rows = [];
    while (place && rows.length < this.size) {
      const query = queryOf(this.filter, GROUPS[place.group], {
        limit: this.size - rows.length,
        cursor: place.cursor,
      });
      const page = query ? await getJson(`/streams?${query}`, { signal }) : { streams: [], cursor: null };
      rows.push(...page.streams);
      if (page.cursor) place = { group: place.group, cursor: page.cursor };
      else place = place.group + 1 < GROUPS.length ? { group: place.group + 1, cursor: null } : null;
    }
    this.#next = place;
    return rows;
  }

  /** Requests how many streams match. */
  async total(signal) {
    const query = queryOf(this.filter, STATES, { limit: 1, count: true });
    return query ? (await getJson(`/streams?${query}`, { signal })).count : 0;
  }

  forward() {
    if (this.#next) this.#places.push(this.#next);
    this.#next = null;
  }

  back() {
    if (this.#places.length > 1) this.#places.pop();
  }
}
