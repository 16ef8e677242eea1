"use strict";
const $ = (id) => document.getElementById(id);
const colours = ["--c0", "--c1", "--c2", "--c3", "--c4", "--c5", "--c6"];
let token = new URLSearchParams(location.hash.slice(1)).get("token") || sessionStorage.getItem("token") || "";
let limits = null, sending = null, recorder = null, address = null;
if (location.hash) history.replaceState(null, "", location.pathname);

const say = (text, fault = false) => { $("status").textContent = text; $("status").classList.toggle("fault", fault); };
const clock = (seconds) => `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")}`;
const percent = (score) => `${(100 * score).toFixed(score < 0.0995 ? 1 : 0)} %`;

async function describe() {
  const response = await fetch("/api/model", { headers: token ? { Authorization: `Bearer ${token}` } : {} });
  if (response.status === 401) {
    $("login").hidden = false;
    $("limits").textContent = "This server asks for a token.";
    return;
  }
  if (!response.ok) { $("limits").textContent = (await response.json()).error; return; }
  limits = await response.json();
  if (token) sessionStorage.setItem("token", token);
  $("login").hidden = true;
  $("title").textContent = document.title = limits.name;
  $("limits").textContent = `${limits.classes.length} classes. Videos up to ${limits.max_seconds} s and ${limits.max_mib} MiB.`;
  $("count").textContent = `All ${limits.classes.length} classes`;
  list("");
}

function list(wanted) {
  const matching = limits.classes.filter((name) => name.toLowerCase().includes(wanted.toLowerCase()));
  $("classes").replaceChildren(...matching.map((name) => Object.assign(document.createElement("li"), { textContent: name })));
  $("matching").textContent = wanted ? `${matching.length} of ${limits.classes.length}` : "";
}

function show(blob) {
  if (address) URL.revokeObjectURL(address);
  address = URL.createObjectURL(blob);
  const video = $("preview");
  video.srcObject = null;
  video.controls = true;
  video.src = address;
  video.hidden = false;
  $("unplayable").hidden = true;
  video.onerror = () => { if (video.src) { video.hidden = true; $("unplayable").hidden = false; } };
}

/* Seconds of the shown video, if the browser can tell soon. */
function duration() {
  const video = $("preview");
  return new Promise((resolve) => {
    const done = () => resolve(Number.isFinite(video.duration) ? video.duration : 0);
    if (video.readyState >= 1) { done(); return; }
    video.addEventListener("loadedmetadata", done, { once: true });
    video.addEventListener("error", () => resolve(0), { once: true });
    setTimeout(done, 2000);
  });
}

async function send(blob, name, seconds = 0) {
  if (limits && blob.size > limits.max_mib * 2 ** 20) {
    say(`${name} has ${(blob.size / 2 ** 20).toFixed(1)} MiB; at most ${limits.max_mib} are accepted.`, true);
    return;
  }
  if (sending) sending.abort();
  show(blob);
  $("results").hidden = true;
  const request = sending = new XMLHttpRequest();
  const length = seconds || await duration() || 8;
  if (sending !== request) return;
  const window = Math.min(4, Math.max(0.5, length / 4), length);
  const every = Math.max(window / 2, length / 240);
  request.open("POST", `/api/predict?top=5&every=${every.toFixed(3)}&window=${window.toFixed(3)}`);
  request.setRequestHeader("Content-Type", "application/octet-stream");
  if (token) request.setRequestHeader("Authorization", `Bearer ${token}`);
  request.responseType = "json";
  $("progress").hidden = $("cancel").hidden = false;
  say(`Uploading ${name} …`);
  request.upload.onprogress = (event) => {
    if (!event.lengthComputable) return;
    $("progress").value = event.loaded / event.total;
    say(event.loaded < event.total ? `Uploading ${name}: ${Math.floor(100 * event.loaded / event.total)} %` : "Classifying …");
  };
  request.upload.onload = () => { $("progress").removeAttribute("value"); say("Classifying …"); };
  request.onload = () => {
    if (request.status === 200) answer(request.response);
    else say(request.response?.error || `The server answered ${request.status}.`, true);
  };
  request.onerror = () => say("The server does not answer. Is it still running?", true);
  request.onabort = () => say("Cancelled.");
  request.onloadend = () => {
    if (sending !== request) return;
    sending = null;
    $("progress").value = 0;
    $("progress").hidden = $("cancel").hidden = true;
  };
  request.send(blob);
}

function answer(found) {
  $("answers").replaceChildren(...found.predictions.map((one) => {
    const row = document.createElement("li");
    row.style.setProperty("--share", `${(100 * one.score).toFixed(1)}%`);
    row.append(Object.assign(document.createElement("b"), { textContent: one.label }),
      Object.assign(document.createElement("span"), { textContent: percent(one.score) }));
    return row;
  }));
  $("results").hidden = false;
  const best = found.predictions[0];
  say(`${best.label}, ${percent(best.score)}`);
  draw(found.windows, found.seconds);
}

function draw(windows, seconds) {
  $("along").hidden = windows.length < 2;
  if (windows.length < 2) return;
  const counts = new Map();
  for (const { predictions: [best] } of windows) counts.set(best.label, (counts.get(best.label) || 0) + 1);
  const labels = [...counts].sort((one, other) => other[1] - one[1]).map(([label]) => label);
  const colour = (label) => `var(${colours[labels.indexOf(label)] || "--other"})`;
  const bars = windows.map(({ start, end, predictions: [best] }, number) => {
    const bar = document.createElement("button");
    bar.type = "button";
    bar.tabIndex = number ? -1 : 0;
    bar.style.setProperty("--score", `${Math.max(4, 100 * best.score)}%`);
    bar.style.setProperty("--colour", colour(best.label));
    const text = `${clock(start)} to ${clock(Math.min(end, seconds ?? end))}: ${best.label}, ${percent(best.score)}`;
    bar.setAttribute("aria-label", text);
    bar.title = text;
    bar.onclick = () => {
      for (const other of bars) { other.tabIndex = -1; other.removeAttribute("aria-current"); }
      bar.tabIndex = 0;
      bar.setAttribute("aria-current", "true");
      $("moment").textContent = text;
      if (!$("preview").hidden) $("preview").currentTime = start;
    };
    bar.onkeydown = (event) => {
      const target = { ArrowRight: number + 1, ArrowLeft: number - 1, Home: 0, End: bars.length - 1 }[event.key];
      if (target === undefined || !bars[target]) return;
      event.preventDefault();
      bar.tabIndex = -1;
      bars[target].tabIndex = 0;
      bars[target].focus();
    };
    return bar;
  });
  $("timeline").replaceChildren(...bars);
  $("moment").textContent = "";
  $("length").textContent = clock(seconds ?? windows.at(-1).end);
  const others = labels.length - colours.length;
  const entries = labels.slice(0, colours.length).map((label) => [label, colour(label)]);
  if (others > 0) entries.push([`${others} other classes`, "var(--other)"]);
  $("legend").replaceChildren(...entries.map(([label, value]) => {
    const row = document.createElement("li"), patch = document.createElement("i");
    patch.style.setProperty("--colour", value);
    row.append(patch, label);
    return row;
  }));
}

async function record() {
  let stream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { width: { ideal: 640 } }, audio: false });
  } catch (fault) {
    say(navigator.mediaDevices ? `No camera: ${fault.message}` : "Cameras need https, or localhost.", true);
    return;
  }
  const video = $("preview"), parts = [];
  video.removeAttribute("src");
  video.srcObject = stream;
  video.controls = false;
  video.hidden = false;
  video.play();
  recorder = new MediaRecorder(stream);
  recorder.ondataavailable = (event) => parts.push(event.data);
  recorder.onstop = () => {
    clearInterval(timer);
    for (const track of stream.getTracks()) track.stop();
    $("record").hidden = false;
    $("stop").hidden = true;
    $("record").focus();
    send(new Blob(parts, { type: recorder.mimeType }), "the recording", (performance.now() - began) / 1000);
  };
  const began = performance.now();
  const longest = Math.min(limits?.max_seconds ?? 60, 60);
  const timer = setInterval(() => {
    const seconds = (performance.now() - began) / 1000;
    $("stop").textContent = `Stop recording (${clock(seconds)})`;
    if (seconds >= longest && recorder.state === "recording") recorder.stop();
  }, 250);
  recorder.start(500);
  say("Recording …");
  $("record").hidden = true;
  $("stop").hidden = false;
  $("stop").focus();
}

$("file").onchange = () => { const [file] = $("file").files; if (file) send(file, file.name); $("file").value = ""; };
$("record").onclick = record;
$("stop").onclick = () => recorder?.state === "recording" && recorder.stop();
$("cancel").onclick = () => sending?.abort();
$("search").oninput = () => limits && list($("search").value);
$("login").onsubmit = (event) => { event.preventDefault(); token = $("token").value; describe(); };
for (const name of ["dragover", "dragenter"]) addEventListener(name, (event) => { event.preventDefault(); $("drop").classList.add("over"); });
for (const name of ["dragleave", "drop"]) addEventListener(name, () => $("drop").classList.remove("over"));
addEventListener("drop", (event) => { event.preventDefault(); const [file] = event.dataTransfer.files; if (file) send(file, file.name); });
describe();
