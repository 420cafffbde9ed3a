import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import type { ReactNode } from "react";
import { ApiError, api, said, send } from "../api/client";
import { live } from "../live/socket";
import { Failure, Loading } from "./show";

/** Lets in whoever the server lets in; asks everybody else for a key, and trades it for a cookie that no script reads. */
export function SignIn({ children }: { children: ReactNode }) {
  const client = useQueryClient();
  const who = useQuery({
    queryKey: ["session"],
    queryFn: async () => said(await api.GET("/v1/session", {})),
    retry: (failures, error) => failures < 2 && !(error instanceof ApiError),
    staleTime: 60_000,
  });
  const enter = useMutation({
    mutationFn: (key: string) =>
      send("/v1/session", { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ key }) }),
    onSuccess: async () => {
      live.again();
      await client.invalidateQueries();
    },
  });
  if (who.data) return <>{children}</>;
  if (who.error instanceof ApiError && who.error.problem.status === 401) {
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
