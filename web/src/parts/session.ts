/** Who looks, and what that person may. The server decides; here is only what is worth showing. */
import { useQuery } from "@tanstack/react-query";
import { ApiError, api, said } from "../api/client";

export interface Session {
  tenant: string;
  scopes: string[];
  /** Whether a key stands behind it; else the server has none. */
  keyed: boolean;
}

export const SESSION = ["session"];

/** Null: the server wants a key. Undefined: it has not said yet. */
export function useSession() {
  return useQuery({
    queryKey: SESSION,
    queryFn: async (): Promise<Session | null> => {
      const answer = await api.GET("/v1/session", {});
      return answer.response.status === 401 ? null : said(answer);
    },
    retry: (failures, error) => failures < 2 && !(error instanceof ApiError),
    // Somebody may have signed in beside.
    staleTime: (query) => (query.state.data === null ? 0 : 60_000),
  });
}

export function may(who: Session, scope: string): boolean {
  return who.scopes.includes("admin") || who.scopes.includes(scope);
}

/** Whether it sees the installation as a whole: the figures and the queues, which tell of everybody's work. */
export function seesAll(who: Session): boolean {
  return who.tenant === "default" && may(who, "jobs:read");
}

/** Whether it runs the installation. */
export function operates(who: Session): boolean {
  return who.tenant === "default" && may(who, "admin");
}

/** Whether it may submit, cancel, retry and answer. */
export function writes(who: Session): boolean {
  return may(who, "jobs:write");
}

/** Whether whoever looks may do that. Until it is known it is offered: the server decides. */
export function useMay(does: (who: Session) => boolean): boolean {
  const { data } = useSession();
  return !data || does(data);
}
