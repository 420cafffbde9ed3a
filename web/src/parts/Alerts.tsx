import { Link } from "wouter";
import type { Stats } from "../api/client";
import { operates, useMay } from "./session";
import { duration, percent } from "./show";

type Alert = Stats["alerts"][number];

/** What each condition is called, which way its bound goes, and where its cause can be found. */
const CONDITIONS: Record<Alert["name"], { title: string; bound: (bound: string) => string; href: string }> = {
  error_rate: { title: "Errors", bound: (bound) => `at most ${bound}`, href: "/ui/jobs?status=failed" },
  p95: { title: "P95 of calls", bound: (bound) => `at most ${bound}`, href: "/ui/models" },
  fallback_rate: { title: "Fallbacks", bound: (bound) => `at most ${bound}`, href: "/ui/models" },
  hit_rate: { title: "Cache hits", bound: (bound) => `at least ${bound}`, href: "/ui/models" },
  breaker_open: { title: "Breaker open", bound: (bound) => `at most ${bound}`, href: "/ui/models" },
  oldest_job: { title: "Oldest job", bound: (bound) => `at most ${bound}`, href: "/ui/queues" },
};

function figure(alert: Alert, value: number | null | undefined): string {
  if (value === null || value === undefined) return "–";
  return alert.unit === "ratio" ? percent(value) : duration(value);
}

/** The conditions that page somebody, each as it stands. The server judges; here they are put into words. */
export function Alerts({ alerts, queues }: { alerts: Alert[]; queues: Stats["queues"] }) {
  const seesModels = useMay(operates);
  const firing = alerts.filter((alert) => alert.state === "firing");
  const pending = alerts.filter((alert) => alert.state === "pending");
  const paused = queues.filter((queue) => queue.paused).map((queue) => queue.name);
  const title = (alert: Alert) => CONDITIONS[alert.name].title.toLowerCase();
  const notes = [...pending.map(title), ...(paused.length > 0 ? [`${paused.length === 1 ? `queue ${paused[0]} is` : `${paused.length} queues are`} paused`] : [])];
  return (
    <section className="card" aria-label="Alerts">
      <h2 className={`badge ${firing.length > 0 ? "bad" : notes.length > 0 ? "warn" : "good"}`} role="status">
        {firing.length > 0
          ? `Needs attention: ${firing.map(title).join(", ")}`
          : notes.length > 0
            ? `Keep an eye on: ${notes.join(", ")}`
            : "Nothing needs attention"}
      </h2>
      <div className="alerts">
        {alerts.map((alert) => {
          const { title: name, bound, href } = CONDITIONS[alert.name];
          const tint = { firing: " bad", pending: " warn", ok: "", no_data: "" }[alert.state];
          const now = alert.name === "breaker_open" && alert.state === "ok" ? "none" : figure(alert, alert.value);
          const worst = alert.state === "no_data" ? "too little to judge by" : alert.state === "ok" ? "" : (alert.subject ?? "");
          const told = (
            <>
              <span className="name">{name}</span> <strong>{now}</strong> <span className="faint">{bound(figure(alert, alert.bound))}</span>{" "}
              <span className="worst">{worst}</span>
            </>
          );
          // Where the models stand is not for everybody who may see that one is ill.
          if (href === "/ui/models" && !seesModels) {
            return (
              <div key={alert.name} className={`alert${tint}`}>
                {told}
              </div>
            );
          }
          return (
            <Link key={alert.name} href={href} className={`alert${tint}`}>
              {told}
            </Link>
          );
        })}
      </div>
    </section>
  );
}
