// The dashboard: shows what the API says, and changes nothing. Everything is put in as text, never as markup.
"use strict";
const base = location.pathname.replace(/\/dashboard(\/.*)?$/, "").replace(/\/$/, "");
const kinds = [
  ["HTTP routers", "http/routers", ["name", "rule", "entryPoints", "service", "priorityStr", "status"]],
  ["HTTP services", "http/services", ["name", "type", "serverStatus", "usedBy", "status"]],
  ["HTTP middlewares", "http/middlewares", ["name", "type", "usedBy", "status"]],
  ["TCP routers", "tcp/routers", ["name", "rule", "entryPoints", "service", "status"]],
  ["TCP services", "tcp/services", ["name", "type", "usedBy", "status"]],
  ["TCP middlewares", "tcp/middlewares", ["name", "type", "usedBy", "status"]],
  ["UDP routers", "udp/routers", ["name", "entryPoints", "service", "status"]],
  ["UDP services", "udp/services", ["name", "type", "usedBy", "status"]],
  ["Entry points", "entrypoints", ["name", "address"]],
  ["Certificates", "certificates", ["commonName", "sans", "notAfter", "status"]],
];
const by = (id) => document.getElementById(id);
let kind = kinds[0];
let page = 1;
let following = 1;
let asked = 0;

function element(name, text, className) {
  const made = document.createElement(name);
  made.textContent = text;
  if (className) made.className = className;
  return made;
}

function shown(value) {
  if (value === undefined || value === null) return "";
  if (Array.isArray(value)) return value.join(", ");
  if (typeof value === "object") return Object.entries(value).map(([key, one]) => `${key} ${one}`).join(", ");
  return String(value);
}

async function get(path) {
  const answer = await fetch(`${base}/api/${path}`, { headers: { Accept: "application/json" } });
  if (!answer.ok) throw new Error(`${answer.status}: ${(await answer.text()).trim()}`);
  return answer;
}

async function overview() {
  const all = await (await get("overview")).json();
  const boxes = [];
  for (const protocol of ["http", "tcp", "udp"]) {
    for (const [name, count] of Object.entries(all[protocol] || {})) {
      const box = element("div", "");
      box.append(element("strong", String(count.total)), `${protocol.toUpperCase()} ${name}`);
      if (count.errors) box.append(element("span", `, ${count.errors} in error`, "disabled"));
      if (count.warnings) box.append(element("span", `, ${count.warnings} with a warning`, "warning"));
      if (count.total || protocol === "http") boxes.push(box);
    }
  }
  by("overview").replaceChildren(...boxes);
}

async function list() {
  const [, path, columns] = kind;
  const turn = ++asked;
  const wanted = new URLSearchParams({ page, per_page: 50, search: by("search").value, status: by("status").value });
  const answer = await get(`${path}?${wanted}`);
  const items = await answer.json();
  if (turn !== asked) return;
  following = Number(answer.headers.get("X-Next-Page")) || 1;
  by("columns").replaceChildren(...columns.map((name) => element("th", name)));
  by("rows").replaceChildren(...items.map((item) => {
    const row = element("tr", "");
    row.append(...columns.map((name) => element("td", shown(item[name]), name === "status" ? item.status : "")));
    row.tabIndex = 0;
    const open = () => {
      by("detail").textContent = JSON.stringify(item, null, 2);
      by("detail").hidden = false;
    };
    row.addEventListener("click", open);
    row.addEventListener("keydown", (event) => event.key === "Enter" && open());
    return row;
  }));
  by("page").textContent = `page ${page}`;
  by("before").disabled = page === 1;
  by("next").disabled = following <= page;
}

async function refresh() {
  try {
    await Promise.all([overview(), list()]);
    by("said").textContent = "";
  } catch (error) {
    by("said").textContent = error.message;
  }
}

function turn(to) {
  page = to;
  by("detail").hidden = true;
  refresh();
}

by("kinds").append(...kinds.map((one) => {
  const button = element("button", one[0]);
  button.addEventListener("click", () => {
    kind = one;
    for (const other of by("kinds").children) other.removeAttribute("aria-current");
    button.setAttribute("aria-current", "true");
    turn(1);
  });
  return button;
}));
by("kinds").firstChild.setAttribute("aria-current", "true");
by("before").addEventListener("click", () => turn(Math.max(1, page - 1)));
by("next").addEventListener("click", () => turn(following));
by("filter").addEventListener("input", () => turn(1));
by("filter").addEventListener("submit", (event) => event.preventDefault());
by("explain").addEventListener("submit", async (event) => {
  event.preventDefault();
  try {
    const answer = await get(`explain?url=${encodeURIComponent(by("url").value)}`);
    by("answer").textContent = await answer.text();
  } catch (error) {
    by("answer").textContent = error.message;
  }
  by("answer").hidden = false;
});
get("version").then((answer) => answer.json()).then((version) => {
  by("version").textContent = version.Version;
}, () => {});
refresh();
setInterval(() => document.hidden || refresh(), 5000);
