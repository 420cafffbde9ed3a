import { useEffect, useState } from "react";
import { asCurl } from "./curl";
import { useSession } from "./session";

/** Puts a request on the clipboard as a command; says so, and where there is no clipboard shows it to be copied by hand. */
export function CopyAsCurl({ path, body }: { path: string; body: () => string }) {
  const who = useSession();
  const [state, setState] = useState<"idle" | "done" | "wrong">("idle");
  const [shown, setShown] = useState<string>();
  useEffect(() => {
    if (state === "idle") return;
    const timer = window.setTimeout(() => setState("idle"), 2_000);
    return () => window.clearTimeout(timer);
  }, [state]);
  const copy = async () => {
    let text: string;
    try {
      text = asCurl(path, body(), who.data?.keyed ?? false);
    } catch {
      setState("wrong");
      return;
    }
    try {
      await navigator.clipboard.writeText(text);
      setState("done");
      setShown(undefined);
    } catch {
      setShown(text);
    }
  };
  const says = { idle: "Copy as curl", done: "Copied", wrong: "The input is no JSON" };
  return (
    <>
      <button type="button" onClick={() => void copy()}>
        <span aria-live="polite">{says[state]}</span>
      </button>
      {shown !== undefined && (
        <label className="by-hand">
          This browser keeps the clipboard closed here: copy it by hand
          <textarea readOnly value={shown} onFocus={(event) => event.currentTarget.select()} />
        </label>
      )}
    </>
  );
}
