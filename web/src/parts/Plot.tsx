import { useEffect, useRef } from "react";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { duration } from "./show";

export interface Line {
  name: string;
  color: "--accent" | "--good" | "--bad" | "--warn" | "--idle";
  values: (number | null)[];
}

/** How much of the past a plot shows, in seconds. */
const SPAN_S = 300;
/** And at least, so that the first points do not stand alone on a scale of milliseconds. */
const LEAST_S = 60;

function clock(seconds: number): string {
  return new Date(seconds * 1_000).toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
}

/** A time series on a canvas: drawn again with every new point, made again only when the theme or the lines change. */
export default function Plot({ label, times, lines, unit }: { label: string; times: number[]; lines: Line[]; unit: "number" | "duration" }) {
  const place = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  // What a plot that is made again begins with: not what there was when the first was made.
  const data = useRef<uPlot.AlignedData>([[]]);
  const names = lines.map((line) => line.name).join("|");
  useEffect(() => {
    data.current = [times, ...lines.map((line) => line.values)];
  }, [times, lines]);
  useEffect(() => {
    const element = place.current;
    if (!element) return;
    const make = () => {
      plot.current?.destroy();
      const css = getComputedStyle(document.documentElement);
      // Colours are `light-dark(…)`: a probe tells what that is at the moment.
      const color = (name: string) => {
        const probe = document.createElement("span");
        probe.style.color = `var(${name})`;
        element.append(probe);
        const found = getComputedStyle(probe).color;
        probe.remove();
        return found || css.color;
      };
      const axis = { stroke: color("--faint"), grid: { stroke: color("--line"), width: 1 }, ticks: { show: false } };
      plot.current = new uPlot(
        {
          width: element.clientWidth || 300,
          height: 190,
          cursor: { drag: { x: false, y: false } },
          legend: { live: false },
          scales: { x: { range: (_, min, max) => [Math.max(max - SPAN_S, Math.min(min, max - LEAST_S)), max] }, y: { range: (_, __, max) => [0, Math.max(max * 1.1, 1)] } },
          axes: [{ ...axis, space: 72, values: (_, marks) => marks.map(clock) }, { ...axis, size: 56, values: (_, marks) => marks.map((mark) => (unit === "duration" ? duration(mark) : String(mark))) }],
          series: [{}, ...lines.map((line) => ({ label: line.name, stroke: color(line.color), width: 2, points: { show: false } }))],
        },
        data.current,
        element,
      );
    };
    make();
    const resize = new ResizeObserver(() => plot.current?.setSize({ width: element.clientWidth, height: 190 }));
    resize.observe(element);
    const theme = new MutationObserver(make);
    theme.observe(document.documentElement, { attributes: true, attributeFilter: ["data-theme"] });
    const system = matchMedia("(prefers-color-scheme: dark)");
    system.addEventListener("change", make);
    return () => {
      resize.disconnect();
      theme.disconnect();
      system.removeEventListener("change", make);
      plot.current?.destroy();
      plot.current = null;
    };
    // The data comes by the next effect.
    // eslint-disable-next-line react-hooks/exhaustive-deps
  }, [names, unit]);
  useEffect(() => {
    // Each plot in a frame of its own task: several of them together would be a long one.
    const soon = window.setTimeout(() => plot.current?.setData(data.current));
    return () => window.clearTimeout(soon);
  }, [times, lines]);
  return <div ref={place} role="img" aria-label={label} />;
}
