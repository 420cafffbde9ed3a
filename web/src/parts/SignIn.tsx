import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useEffect, type ReactNode } from "react";
import { onUnknown, send } from "../api/client";
import { forgetFigures } from "../live/hooks";
import { live } from "../live/socket";
import { may, SESSION, useSession } from "./session";
import { Failure, Loading } from "./show";

/**
 * Lets in whoever the server lets in; asks everybody else for a key, and trades it for a cookie that no script reads.
 * A session can end at any moment: whenever the server does not know who asks, or closes the connection, it is asked who
 * that is.
 */
export function SignIn({ children }: { children: ReactNode }) {
  const client = useQueryClient();
  const who = useSession();
  useEffect(() => {
    const again = () => void client.invalidateQueries({ queryKey: SESSION }, { cancelRefetch: false });
    const stops = [onUnknown(again), live.onClose(again)];
    return () => stops.forEach((stop) => stop());
  }, [client]);
  const isOut = who.data === null;
  // Who may read no jobs is refused the connection, too.
  const isFollowing = who.data === undefined || (who.data !== null && may(who.data, "jobs:read"));
  useEffect(() => live.allow(isFollowing), [isFollowing]);
  useEffect(() => {
    if (!isOut) return;
    // Whoever comes next sees nothing of what this one saw.
    forgetFigures();
    client.removeQueries({ predicate: (query) => query.queryKey[0] !== SESSION[0] });
  }, [client, isOut]);
  const enter = useMutation({
    mutationFn: (key: string) =>
      send("/v1/session", { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ key }) }),
    onSuccess: () => client.invalidateQueries({ queryKey: SESSION }),
  });
  if (who.data) return <>{children}</>;
  if (isOut) {
    return (
      <form
        className="card"
        style={{ maxWidth: "32rem" }}
        onSubmit={(event) => {
          event.preventDefault();
          enter.mutate(String(new FormData(event.currentTarget).get("key") ?? ""));
        }}
      >
        <h1>Sign in</h1>
        <p className="faint">
          This server has API keys. Yours is traded for a session of twelve hours; it is not kept in this page. Make one with{" "}
          <code>longhaul keys create</code>.
        </p>
        <label>
          API key
          <input name="key" type="password" autoComplete="off" placeholder="lh_…" required />
        </label>
        <p>
          <button className="primary" disabled={enter.isPending}>
            Sign in
          </button>
        </p>
        {enter.error && <Failure error={enter.error} />}
      </form>
    );
  }
  // A server that is away says nothing about who may come in: the pages show what they have.
  if (who.error) return <Failure error={who.error} again={() => void who.refetch()} />;
  return <Loading what="the dashboard" />;
}
