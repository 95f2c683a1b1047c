/**
 * Binary search. Pure.
 */

/** Returns the last index below `length` for which `test` holds, -1 if there is none. It holds for all before it. */
export function lastIndex(length, test) {
  let [low, high] = [-1, length - 1];
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (test(middle)) low = middle;
    else high = middle - 1;
  }
  return low;
}
