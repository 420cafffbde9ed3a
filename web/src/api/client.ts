/**
 * The typed client: paths, parameters and bodies are those of /openapi.json (`npm run types`).
 *
 * Failures are problems (RFC 9457), or errors as OpenAI has them; `said` throws both as an `ApiError`, so that queries and
 * mutations have one kind of error to show. Where no answer comes at all it is `Unreachable`.
 */
import createClient from "openapi-fetch";
import { exactly } from "./json";
import type { components, paths } from "./schema";

export type Job = components["schemas"]["Job"];
export type JobEvent = components["schemas"]["Event"];
export type Attempt = components["schemas"]["Attempt"];
export type Queue = components["schemas"]["Queue"];
export type Stats = components["schemas"]["Stats"];

export interface Problem {
  title: string;
  status: number;
  detail: string;
  code: string;
  request_id?: string | null;
  errors?: { pointer: string; message: string }[] | null;
}

export class ApiError extends Error {
  constructor(readonly problem: Problem) {
    super(problem.detail || problem.title);
    this.name = "ApiError";
  }
}

/** The server did not answer. */
export class Unreachable extends Error {}

/** What the routes of OpenAI's shape say instead of a problem. */
export interface ModelError {
  message?: string;
  code?: string | null;
  type?: string | null;
}

export function modelError({ message, code, type }: ModelError, status: number, requestId: string | null): ApiError {
  const name = code ?? type ?? "error";
  const title = name.charAt(0).toUpperCase() + name.slice(1).replaceAll("_", " ");
  return new ApiError({ title, status, detail: message ?? "", code: name, request_id: requestId });
}

const strangers = new Set<() => void>();

/** Calls whenever the server answers that it does not know who asks: the session is over, or its key is. */
export function onUnknown(listener: () => void): () => void {
  strangers.add(listener);
  return () => strangers.delete(listener);
}

export const api = createClient<paths>({ baseUrl: "", fetch: reach });

async function reach(to: RequestInfo, init?: RequestInit): Promise<Response> {
  try {
    return await fetch(to, init);
  } catch (error) {
    throw error instanceof TypeError ? new Unreachable(error.message) : error;
  }
}

/** The data of an answer, or the problem as an exception. */
export function said<T>(answer: { data?: T; error?: unknown; response: Response }): T {
  if (answer.data !== undefined && answer.response.ok) return answer.data;
  if (answer.response.status === 401) strangers.forEach((listener) => listener());
  const problem = answer.error as (Partial<Problem> & { error?: ModelError }) | undefined;
  const requestId = problem?.request_id ?? answer.response.headers.get("x-request-id");
  if (typeof problem?.error === "object") throw modelError(problem.error, answer.response.status, requestId);
  throw new ApiError({
    title: problem?.title ?? (answer.response.statusText || "Error"),
    status: answer.response.status,
    detail: problem?.detail ?? `The server answered ${answer.response.status}.`,
    code: problem?.code ?? "unknown",
    request_id: requestId,
    errors: problem?.errors ?? null,
  });
}

/** A job whose input and output are as they were written, to the last digit. Not to be shared structurally: see `exactly`. */
export async function exactJob(id: string): Promise<Job> {
  const answer = await api.GET("/v1/jobs/{job_id}", { params: { path: { job_id: id } }, parseAs: "text" });
  const text = said(answer) as unknown as string;
  const { input, output } = exactly(text) as Job;
  return { ...(JSON.parse(text) as Job), input, output };
}

/** A request to a route whose types are not worth generating (streams, uploads). */
export async function send(path: string, init?: RequestInit): Promise<Response> {
  const response = await reach(path, init);
  if (response.ok) return response;
  said({ error: await response.json().catch(() => undefined), response });
  return response;
}
