/** Requests as commands for a terminal. */

/** A text as one word of a shell. */
function quoted(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}

/** A POST of a JSON text to this server. Where the server asks for keys, the command takes one from the environment. */
export function asCurl(path: string, body: string, needsKey: boolean): string {
  const key = needsKey ? ` -H "authorization: Bearer $LONGHAUL_API_KEY"` : "";
  return `curl -s ${location.origin}${path}${key} -H 'content-type: application/json' -d ${quoted(body)}`;
}
