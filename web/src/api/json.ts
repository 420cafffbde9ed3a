/**
 * JSON of others, shown and sent on as it was written. JavaScript keeps about sixteen digits of a number and knows no
 * difference between 1 and 1.0: a number that it would change is kept as its text.
 */

/** Newer than the type definitions. */
const { rawJSON } = JSON as { rawJSON?: (text: string) => unknown };

/**
 * For showing and for `JSON.stringify`, not for reckoning with. In a browser without `JSON.rawJSON` numbers are as
 * JavaScript has them.
 */
export function exactly(text: string): unknown {
  const plain = JSON.parse(text) as unknown;
  // Looking at each value takes long for a large text, and most need no look.
  if (!rawJSON || JSON.stringify(plain) === text) return plain;
  return JSON.parse(text, (_key, value: unknown, context?: { source?: string }) => {
    const { source } = context ?? {};
    return typeof value === "number" && source !== undefined && source !== String(value) ? rawJSON(source) : value;
  });
}
