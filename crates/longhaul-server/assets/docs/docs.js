// Renders /openapi.json. No library and no other host; what the document says reaches the page as text nodes only.
"use strict";

const METHODS = ["get", "post", "put", "patch", "delete", "head", "options", "trace"];
const MOST_DEPTH = 12;
let api = {};

// ---- elements ----

/** Makes an element. Children are elements, strings (as text) or nothing. */
function el(tag, attributes, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (name === "on") {
      for (const [event, listener] of Object.entries(value)) element.addEventListener(event, listener);
    } else if (value === true) {
      element.setAttribute(name, "");
    } else if (value !== undefined && value !== null && value !== false) {
      element.setAttribute(name, value);
    }
  }
  element.append(...children.flat(Infinity).filter((child) => child !== undefined && child !== null && child !== ""));
  return element;
}

function copyable(text, label) {
  const button = el("button", { type: "button", on: { click: copy } }, "Copy");
  button.setAttribute("aria-label", `Copy ${label}`);
  async function copy() {
    let told = "Copied";
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      // Without a secure context there is no clipboard; the text is selected for the keyboard instead.
      const range = document.createRange();
      range.selectNodeContents(code);
      getSelection().removeAllRanges();
      getSelection().addRange(range);
      told = "Selected";
    }
    button.textContent = told;
    document.getElementById("said").textContent = `${told}: ${label}`;
    setTimeout(() => { button.textContent = "Copy"; }, 2000);
  }
  const code = el("code", {}, text);
  return el("div", { class: "copyable" }, el("pre", { tabindex: "0", "aria-label": label }, code), button);
}

// ---- Markdown, the part that descriptions use ----

/** Blocks: headings, paragraphs, lists, tables, fenced code. Headings begin at the level given. */
function markdown(source, topLevel) {
  const lines = String(source || "").replace(/\r\n?/g, "\n").split("\n");
  const blocks = [];
  let at = 0;
  while (at < lines.length) {
    const line = lines[at];
    const fence = line.match(/^\s*(```+|~~~+)/);
    const heading = line.match(/^(#{1,6})\s+(.*?)\s*#*$/);
    if (!line.trim()) {
      at += 1;
    } else if (fence) {
      const code = [];
      for (at += 1; at < lines.length && !lines[at].trim().startsWith(fence[1]); at += 1) code.push(lines[at]);
      at += 1;
      blocks.push(copyable(code.join("\n"), "code"));
    } else if (heading) {
      const level = Math.min(6, Math.max(2, heading[1].length + topLevel - 1));
      const text = heading[2];
      blocks.push(el(`h${level}`, level <= topLevel + 1 ? { id: slug(text) } : {}, inline(text)));
      at += 1;
    } else if (/^\s*\|.*\|\s*$/.test(line) && /^\s*\|[\s:|-]+\|\s*$/.test(lines[at + 1] || "")) {
      const rows = [];
      for (; at < lines.length && /^\s*\|.*\|\s*$/.test(lines[at]); at += 1) rows.push(cells(lines[at]));
      const [head, , ...body] = rows;
      blocks.push(el("table", {},
        el("thead", {}, el("tr", {}, head.map((cell) => el("th", {}, inline(cell))))),
        el("tbody", {}, body.map((row) => el("tr", {}, row.map((cell) => el("td", {}, inline(cell))))))));
    } else if (/^\s*([-*+]|\d+[.)])\s+/.test(line)) {
      const [list, next] = listFrom(lines, at);
      blocks.push(list);
      at = next;
    } else {
      const text = [];
      while (at < lines.length && lines[at].trim() && !/^(\s*(```|~~~)|#{1,6}\s)/.test(lines[at])
        && !(text.length && /^\s*([-*+]|\d+[.)])\s+/.test(lines[at]))) {
        text.push(lines[at].trim());
        at += 1;
      }
      blocks.push(el("p", {}, inline(text.join(" "))));
    }
  }
  return blocks;
}

function listFrom(lines, start) {
  const item = /^(\s*)([-*+]|\d+[.)])\s+(.*)$/;
  const indent = lines[start].match(item)[1].length;
  const ordered = /\d/.test(lines[start].match(item)[2]);
  const list = el(ordered ? "ol" : "ul");
  let at = start;
  while (at < lines.length) {
    const match = lines[at].match(item);
    if (match && match[1].length > indent && list.lastChild) {
      const [nested, next] = listFrom(lines, at);
      list.lastChild.append(nested);
      at = next;
    } else if (match && match[1].length === indent && /\d/.test(match[2]) === ordered) {
      const text = [match[3]];
      for (at += 1; at < lines.length && lines[at].trim() && !item.test(lines[at]); at += 1) text.push(lines[at].trim());
      list.append(el("li", {}, inline(text.join(" "))));
    } else if (!lines[at].trim() && item.test(lines[at + 1] || "")) {
      at += 1;
    } else {
      break;
    }
  }
  return [list, at];
}

function cells(line) {
  return line.trim().replace(/^\||\|$/g, "").split(/(?<!\\)\|/).map((cell) => cell.trim().replace(/\\\|/g, "|"));
}

/** Code, strong, emphasis and links within a line. */
function inline(text) {
  const nodes = [];
  const pattern = /(`+)(.+?)\1|\*\*(.+?)\*\*|\[([^\]]+)\]\(([^()\s]+)\)|<(https?:\/\/[^\s>]+)>|(?<![\w*])\*([^*\s][^*]*)\*(?!\w)/g;
  let from = 0;
  for (const match of text.matchAll(pattern)) {
    nodes.push(text.slice(from, match.index));
    from = match.index + match[0].length;
    if (match[1]) nodes.push(el("code", {}, match[2].trim()));
    else if (match[3]) nodes.push(el("strong", {}, inline(match[3])));
    else if (match[4]) nodes.push(link(match[5], inline(match[4]), match[0]));
    else if (match[6]) nodes.push(link(match[6], match[6], match[0]));
    else nodes.push(el("em", {}, inline(match[7])));
  }
  nodes.push(text.slice(from));
  return nodes;
}

/** A link, if it leads to the web or within this server; otherwise what was written. */
function link(target, content, written) {
  return /^(https?:\/\/|\/(?!\/)|#)/i.test(target) ? el("a", { href: target, rel: "noreferrer" }, content) : written;
}

function slug(text) {
  return text.toLowerCase().replace(/[^\p{L}\p{N}]+/gu, "-").replace(/^-|-$/g, "");
}

// ---- schemas ----

/** Follows references within the document. */
function resolve(value) {
  let target = value;
  for (let turns = 0; target && typeof target.$ref === "string" && turns < 20; turns += 1) {
    if (!target.$ref.startsWith("#/")) return {};
    const path = target.$ref.slice(2).split("/").map((part) => decodeURIComponent(part).replace(/~1/g, "/").replace(/~0/g, "~"));
    const found = path.reduce((node, part) => (node === undefined || node === null ? undefined : node[part]), api);
    const { $ref, ...beside } = target;
    target = found && Object.keys(beside).length ? { ...found, ...beside } : found;
  }
  return target === true || target === undefined || target === null ? {} : target;
}

function refName(schema) {
  return schema && typeof schema.$ref === "string" ? schema.$ref.split("/").pop() : "";
}

/** The alternatives of a schema, without null; and whether null is one. */
function alternatives(schema) {
  const options = schema.oneOf || schema.anyOf || [];
  const isNull = (option) => resolve(option).type === "null";
  return { options: options.filter((option) => !isNull(option)), nullable: options.some(isNull) };
}

/** The type in a few words: "string (uuid) or null", "array of Job". */
function typeName(schema) {
  const name = refName(schema);
  const it = resolve(schema);
  const types = [it.type || []].flat();
  const { options, nullable } = alternatives(it);
  let words;
  if (it.const !== undefined) words = [JSON.stringify(it.const)];
  else if (name && name !== "Value") words = [name];
  else if (options.length) words = options.length > 4 ? ["one of several"] : options.map(typeName);
  else if (types.includes("array")) {
    words = [`array of ${it.items ? typeName(it.items) : "anything"}`, ...types.filter((type) => type !== "array")];
  } else if (types.length) words = types.map((type) => (it.format && type !== "null" ? `${type} (${it.format})` : type));
  else words = [it.properties || it.allOf ? "object" : "any JSON"];
  if (nullable) words.push("null");
  return [...new Set(words)].join(" or ");
}

function limits(schema) {
  const it = resolve(schema);
  const json = (value) => JSON.stringify(value);
  const said = [];
  if (it.enum) said.push(`one of ${it.enum.map(json).join(", ")}`);
  if (it.minimum !== undefined) said.push(`at least ${it.minimum}`);
  if (it.exclusiveMinimum !== undefined) said.push(`above ${it.exclusiveMinimum}`);
  if (it.maximum !== undefined) said.push(`at most ${it.maximum}`);
  if (it.exclusiveMaximum !== undefined) said.push(`below ${it.exclusiveMaximum}`);
  if (it.minLength !== undefined) said.push(`${it.minLength} characters or more`);
  if (it.maxLength !== undefined) said.push(`${it.maxLength} characters or fewer`);
  if (it.minItems !== undefined) said.push(`${it.minItems} items or more`);
  if (it.maxItems !== undefined) said.push(`${it.maxItems} items or fewer`);
  if (it.pattern !== undefined) said.push(`matches ${it.pattern}`);
  if (it.default !== undefined && it.default !== null) said.push(`default ${json(it.default)}`);
  return said.length ? el("p", { class: "limits" }, said.join(" · ")) : null;
}

/** Whether there is more to show of a schema than its type's name. */
function hasInside(schema) {
  const it = resolve(schema);
  if (it.properties || it.allOf || alternatives(it).options.some(hasInside)) return true;
  if (typeof it.additionalProperties === "object") return hasInside(it.additionalProperties);
  return Boolean(it.items && hasInside(it.items));
}

/** The fields of a schema; `seen` stops types that contain themselves. */
function schemaView(schema, seen) {
  const it = resolve(schema);
  const name = refName(schema);
  if (seen.includes(name || it) || seen.length > MOST_DEPTH) return el("p", { class: "limits" }, "as above");
  const inside = [...seen, name || it];
  const { options } = alternatives(it);
  const parts = [];
  if (it.allOf) parts.push(it.allOf.map((part) => schemaView(part, inside)));
  if (it.properties) {
    const required = it.required || [];
    const fields = Object.entries(it.properties).map(([field, of]) => fieldView(field, of, required.includes(field), inside));
    parts.push(el("ul", { class: "fields" }, fields));
  }
  if (options.length === 1) parts.push(schemaView(options[0], inside));
  else if (options.length) {
    parts.push(el("p", { class: "limits" }, "One of:"), el("ul", { class: "fields" }, options.map((option, index) => {
      const title = resolve(option).title || refName(option) || tagOf(option) || `form ${index + 1}`;
      return fieldView(title, option, false, inside);
    })));
  }
  if (it.items) parts.push(schemaView(it.items, inside));
  if (typeof it.additionalProperties === "object" && !it.properties) {
    parts.push(el("ul", { class: "fields" }, fieldView("any name", it.additionalProperties, false, inside)));
  }
  if (!parts.length) parts.push(el("p", {}, el("span", { class: "type" }, typeName(schema))), limits(schema));
  return el("div", {}, parts);
}

/** The word by which an alternative is told apart, as in {"type": "fixed"}. */
function tagOf(option) {
  for (const field of Object.values(resolve(option).properties || {})) {
    const it = resolve(field);
    if (it.const !== undefined) return String(it.const);
    if (it.enum && it.enum.length === 1) return String(it.enum[0]);
  }
  return "";
}

function fieldView(name, schema, required, seen) {
  const it = resolve(schema);
  const item = el("li", {},
    el("span", { class: "name" }, name), " ",
    el("span", { class: "type" }, typeName(schema)), " ",
    required ? el("span", { class: "required" }, "required") : null,
    it.deprecated ? el("span", { class: "quiet" }, " deprecated") : null,
    it.description ? markdown(it.description, 5) : null,
    limits(schema));
  if (hasInside(schema)) {
    const details = el("details", {}, el("summary", {}, "fields"));
    lazily(details, () => [schemaView(schema, seen)]);
    item.append(details);
  }
  return item;
}

/** Fills a <details> when it is first opened. */
function lazily(details, fill) {
  details.addEventListener("toggle", () => {
    if (details.open && !details.dataset.filled) {
      details.dataset.filled = "yes";
      details.append(...fill());
    }
  });
}

// ---- examples ----

/** A value that fits the schema, as far as the schema shows. */
function example(schema, seen = []) {
  const it = resolve(schema);
  const name = refName(schema) || it;
  if (it.example !== undefined) return it.example;
  if (Array.isArray(it.examples) && it.examples.length) return it.examples[0];
  if (it.const !== undefined) return it.const;
  if (it.enum && it.enum.length) return it.enum[0];
  if (it.default !== undefined) return it.default;
  if (seen.includes(name) || seen.length > MOST_DEPTH) return {};
  const inside = [...seen, name];
  if (it.allOf) return Object.assign({}, ...it.allOf.map((part) => example(part, inside)));
  const { options } = alternatives(it);
  if (options.length && !it.properties) return example(options[0], inside);
  const type = [it.type || []].flat().find((one) => one !== "null");
  if (it.properties) {
    const fields = Object.entries(it.properties);
    const required = fields.filter(([field]) => (it.required || []).includes(field));
    const shown = required.length ? required : fields.slice(0, 3);
    return Object.fromEntries(shown.map(([field, of]) => [field, example(of, inside)]));
  }
  switch (type) {
    case "integer": case "number": return it.minimum > 0 ? it.minimum : 1;
    case "boolean": return true;
    case "array": return it.items ? [example(it.items, inside)] : [];
    case "string": return { "date-time": "2031-01-31T12:00:00Z", uuid: "0192f3a4-0000-7000-8000-000000000000",
      uri: "https://example.com/", binary: "…" }[it.format] || "text";
    default: return {};
  }
}

function bodyExample(content) {
  if (content.example !== undefined) return content.example;
  const named = Object.values(content.examples || {}).map(resolve).find((one) => one.value !== undefined);
  return named ? named.value : example(content.schema || {});
}

function quoted(text) {
  return `'${text.replace(/'/g, "'\\''")}'`;
}

/** The request as a command. */
function curl(method, path, operation, parameters) {
  const query = parameters.filter((one) => one.in === "query" && one.required)
    .map((one) => `${encodeURIComponent(one.name)}=${encodeURIComponent(String(one.example ?? example(one.schema || {})))}`);
  const url = `${location.origin}${path}${query.length ? `?${query.join("&")}` : ""}`;
  const lines = [`curl${method === "get" ? "" : ` -X ${method.toUpperCase()}`} ${quoted(url)}`];
  const security = operation.security || api.security || [];
  if (security.some((scheme) => Object.keys(scheme).length)) lines.push('-H "authorization: Bearer $LONGHAUL_API_KEY"');
  for (const header of parameters.filter((one) => one.in === "header" && one.required)) {
    lines.push(`-H ${quoted(`${header.name}: ${header.example ?? "…"}`)}`);
  }
  const [type, content] = Object.entries(resolve(operation.requestBody || {}).content || {})[0] || [];
  if (type && type.startsWith("multipart/")) {
    for (const [field, of] of Object.entries(resolve(content.schema || {}).properties || {})) {
      const file = resolve(of).format === "binary" || resolve(of).contentMediaType || field === "file";
      const value = example(of);
      lines.push(`-F ${quoted(`${field}=${file ? "@document.pdf" : typeof value === "string" ? value : JSON.stringify(value)}`)}`);
    }
  } else if (type) {
    const value = bodyExample(content);
    lines.push(`-H ${quoted(`content-type: ${type}`)}`, `-d ${quoted(typeof value === "string" ? value : JSON.stringify(value))}`);
  }
  return lines.join(" \\\n  ");
}

// ---- operations ----

function operationView({ id, method, path, operation, shared }) {
  const view = el("details", { class: `operation${operation.deprecated ? " deprecated" : ""}`, id },
    el("summary", {},
      el("span", { class: `method ${method}` }, method),
      el("span", { class: "path" }, path),
      el("span", { class: "summary quiet" }, operation.summary || "")));
  lazily(view, () => [operationInside({ method, path, operation, shared })]);
  return view;
}

function operationInside({ method, path, operation, shared }) {
  const own = (operation.parameters || []).map(resolve);
  const inherited = (shared || []).map(resolve).filter((one) => !own.some((o) => o.name === one.name && o.in === one.in));
  const parameters = [...inherited, ...own];
  const inside = el("div", { class: "inside" });
  if (operation.deprecated) inside.append(el("p", { class: "required" }, "Deprecated."));
  inside.append(...markdown(operation.description, 4));
  inside.append(copyable(curl(method, path, operation, parameters), "curl command"));
  for (const [place, title] of [["path", "Path"], ["query", "Query"], ["header", "Headers"], ["cookie", "Cookies"]]) {
    const here = parameters.filter((one) => one.in === place);
    if (here.length) {
      inside.append(el("h4", {}, title), el("ul", { class: "fields" }, here.map((one) => fieldView(
        one.name, { ...resolve(one.schema || {}), ...(one.description ? { description: one.description } : {}),
          ...(one.deprecated ? { deprecated: true } : {}) }, one.required, []))));
    }
  }
  const body = resolve(operation.requestBody || {});
  if (body.content) {
    inside.append(el("h4", {}, "Request body", body.required ? el("span", { class: "required" }, " required") : null));
    inside.append(...markdown(body.description, 5), ...contentView(body.content));
  }
  inside.append(el("h4", {}, "Answers"), ...Object.entries(operation.responses || {}).map(responseView));
  return inside;
}

function contentView(contents) {
  return Object.entries(contents).flatMap(([type, content]) => {
    const value = content.schema || content.example ? bodyExample(content) : undefined;
    return [
      el("p", { class: "type" }, type, content.schema ? ` · ${typeName(content.schema)}` : ""),
      content.schema && hasInside(content.schema) ? schemaView(content.schema, []) : null,
      value === undefined ? null : el("details", {}, el("summary", { class: "quiet" }, "Example"),
        copyable(typeof value === "string" ? value : JSON.stringify(value, null, 2), "example")),
    ].filter(Boolean);
  });
}

function responseView([status, response]) {
  const it = resolve(response);
  const first = Object.values(it.content || {})[0];
  const view = el("details", { class: "response" },
    el("summary", {}, el("span", { class: `status ${/^[123]/.test(status) ? "ok" : "no"}` }, status),
      inline(String(it.description || "").split("\n")[0]),
      first && first.schema ? el("span", { class: "type" }, ` ${typeName(first.schema)}`) : null));
  lazily(view, () => {
    const rest = String(it.description || "").split("\n").slice(1).join("\n");
    const headers = Object.entries(it.headers || {}).map(([name, header]) => {
      const one = resolve(header);
      return fieldView(name, { ...resolve(one.schema || {}), description: one.description }, false, []);
    });
    const parts = [...markdown(rest, 5), headers.length ? el("ul", { class: "fields" }, headers) : null,
      ...contentView(it.content || {})].filter(Boolean);
    return parts.length ? parts : [el("p", { class: "quiet" }, "Without a body.")];
  });
  return view;
}

// ---- the page ----

/** The operations in groups, in the order of the document's tags. */
function groups() {
  const found = new Map((api.tags || []).map((tag) => [tag.name, { tag, operations: [] }]));
  for (const [path, item] of Object.entries(api.paths || {})) {
    for (const method of METHODS.filter((one) => item[one])) {
      const operation = item[method];
      const name = (operation.tags || ["other"])[0];
      if (!found.has(name)) found.set(name, { tag: { name }, operations: [] });
      const id = slug(operation.operationId || `${method}-${path}`);
      found.get(name).operations.push({ id, method, path, operation, shared: item.parameters });
    }
  }
  return [...found.values()].filter((group) => group.operations.length);
}

function render() {
  const { info = {} } = api;
  const all = groups();
  document.title = info.title ? `${info.title} – API reference` : document.title;
  document.getElementById("product").textContent = info.title || "API reference";
  document.getElementById("version").textContent = info.version || "";
  const prose = markdown(info.description, 1);
  const guide = prose.filter((node) => node.id).map((node) => el("li", {}, el("a", { href: `#${node.id}` }, node.textContent)));
  const allOpen = el("button", { type: "button", on: { click: () => openAll(allOpen) } }, "Open all operations");
  document.getElementById("reference").replaceChildren(
    el("h1", {}, info.title || "API reference"), ...prose, el("p", {}, allOpen),
    ...all.map(({ tag, operations }) => el("section", { "aria-labelledby": `tag-${slug(tag.name)}` },
      el("h2", { id: `tag-${slug(tag.name)}` }, tag.name), ...markdown(tag.description, 3), ...operations.map(operationView))));
  document.getElementById("links").replaceChildren(
    guide.length ? el("ul", {}, guide) : "",
    ...all.map(({ tag, operations }) => el("section", {}, el("h2", {}, tag.name),
      el("ul", {}, operations.map(({ id, method, path, operation }) => el("li", { "data-words": `${method} ${path} ${operation.summary || ""}`.toLowerCase() },
        el("a", { href: `#${id}`, title: operation.summary }, el("span", { class: `method ${method}` }, method), el("span", {}, path))))))));
  document.getElementById("contents").hidden = false;
  document.getElementById("state").hidden = true;
  openTarget();
}

function openAll(button) {
  const open = button.textContent.startsWith("Open");
  for (const operation of document.querySelectorAll(".operation")) operation.open = open;
  button.textContent = open ? "Close all operations" : "Open all operations";
}

/** Opens and shows what the address names. */
function openTarget() {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (!target) return;
  if (target.tagName === "DETAILS") target.open = true;
  target.scrollIntoView();
}

function filter(words) {
  for (const item of document.querySelectorAll("#links li[data-words]")) {
    item.hidden = !words.every((word) => item.dataset.words.includes(word));
  }
  for (const section of document.querySelectorAll("#links section")) {
    section.hidden = !section.querySelector("li:not([hidden])");
  }
}

async function load(key) {
  const state = document.getElementById("state");
  const form = document.getElementById("key-form");
  try {
    const answer = await fetch("/openapi.json", { headers: key ? { authorization: `Bearer ${key}` } : {} });
    form.hidden = answer.ok;
    if (answer.status === 401 || answer.status === 403) {
      state.textContent = key ? "The server does not take this key." : "An API key is needed.";
      document.getElementById("key").focus();
      return;
    }
    if (!answer.ok) throw new Error(`the server answered ${answer.status}`);
    api = await answer.json();
    render();
  } catch (error) {
    state.textContent = `/openapi.json could not be read: ${error.message}. Reload to try again.`;
  }
}

document.getElementById("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  load(document.getElementById("key").value.trim());
});
document.getElementById("filter").addEventListener("input", (event) => {
  filter(event.target.value.toLowerCase().split(/\s+/).filter(Boolean));
});
document.addEventListener("keydown", (event) => {
  if (event.key === "/" && !/^(INPUT|TEXTAREA|SELECT)$/.test(document.activeElement.tagName)) {
    event.preventDefault();
    document.getElementById("filter").focus();
  }
});
addEventListener("hashchange", openTarget);
load("");
