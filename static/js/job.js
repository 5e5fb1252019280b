// Keeps a job's page true while it runs: events arrive by EventSource, which resumes by Last-Event-ID on its own.
// When the stream is refused (all seats taken) or broken for good, the page is asked again every three seconds.

const POLL_MS = 3000;
const page = document.querySelector("[data-job]");

function show(data) {
  const bar = page.querySelector("progress");
  if (data.of && bar) {
    bar.max = data.of;
    bar.value = data.step;
  }
  const how = "bytes" in page.dataset ? `${short(data.step)} of ${short(data.of)}` : `Step ${data.step} of ${data.of}`;
  set("[data-step]", data.of ? how : "");
  set("[data-message]", data.message ?? "");
  const log = page.querySelector("[data-log]");
  if (!log || !data.message) return;
  const at = new Date(data.at);
  const line = document.createElement("li");
  const time = document.createElement("time");
  time.dateTime = data.at;
  time.textContent = at.toISOString().slice(11, 19);
  const said = document.createElement("span");
  said.textContent = data.message;
  line.append(time, said);
  log.append(line);
  log.parentElement.hidden = false;
  log.scrollTop = log.scrollHeight;
}

function short(bytes) {
  return bytes < 1e6 ? `${Math.round(bytes / 1e3)} kB` : `${(bytes / 1e6).toFixed(1)} MB`;
}

function set(selector, text) {
  const element = page.querySelector(selector);
  if (element && text) element.textContent = text;
}

async function refresh() {
  const response = await fetch(location.href, { headers: { Accept: "text/html" } });
  if (!response.ok) return false;
  const fresh = new DOMParser().parseFromString(await response.text(), "text/html");
  const content = fresh.querySelector("[data-job]");
  if (!content) return false;
  page.replaceChildren(...content.childNodes);
  page.dataset.live = content.dataset.live;
  document.title = fresh.title;
  if (page.dataset.live !== "true") page.querySelector("h1")?.focus();
  return true;
}

function poll() {
  const timer = setInterval(async () => {
    await refresh();
    if (page.dataset.live !== "true") clearInterval(timer);
  }, POLL_MS);
}

function follow() {
  const stream = new EventSource(`${page.dataset.events}?after=${page.dataset.after}`);
  let last = Number(page.dataset.after);
  const read = (event) => {
    const number = Number(event.lastEventId);
    if (number <= last) return null; // what the page already showed when it was rendered
    last = number;
    return JSON.parse(event.data);
  };
  stream.addEventListener("progress", (event) => {
    const data = read(event);
    if (data) show(data);
  });
  stream.addEventListener("status", async (event) => {
    if (!read(event)) return;
    await refresh();
    if (page.dataset.live !== "true") stream.close();
  });
  stream.addEventListener("error", () => {
    if (stream.readyState === EventSource.CLOSED && page.dataset.live === "true") poll();
  });
}

if (page?.dataset.live === "true") follow();
