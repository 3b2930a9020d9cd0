// Live parts, charts and the list of contacts. Everything else works without scripts.
"use strict";
(() => {
  // What somebody has typed or chosen, and not sent.
  const isTouched = (node) => {
    if (node instanceof HTMLSelectElement) return [...node.options].some((each) => each.selected !== each.defaultSelected);
    if (node instanceof HTMLTextAreaElement) return node.value !== node.defaultValue;
    if (!(node instanceof HTMLInputElement)) return false;
    return node.value !== node.defaultValue || node.checked !== node.defaultChecked;
  };
  // What the page of a batch has asked for after it was loaded, and what became of a file.
  const isFilled = (node) => node instanceof Element && node.matches("#preview, #list:not(:empty)");
  const kept = {
    ignoreActiveValue: true,
    callbacks: {
      // What the reader has opened stays open, what was typed stays typed, and drawn charts stay drawn.
      beforeAttributeUpdated: (name, node) => !(name === "open" && node.tagName === "DETAILS"),
      beforeNodeMorphed: (old) => !isTouched(old) && !isFilled(old) && !(old.classList && old.classList.contains("chart")),
    },
  };
  const morph = (old, next, style) => Idiomorph.morph(old, next, { ...kept, morphStyle: style });

  htmx.defineExtension("morph", {
    isInlineSwap: (style) => style === "morph",
    handleSwap: (style, target, fragment) => style === "morph" && morph(target, fragment.children, "innerHTML"),
  });
  document.body.setAttribute("hx-ext", "morph");
  const formToken = (page) => page.querySelector('meta[name="form-token"]')?.content ?? "";
  document.addEventListener("htmx:configRequest", (event) => { event.detail.headers["X-Form-Token"] = formToken(document); });

  // --- Live parts: one EventSource a page.
  const address = () => document.body.dataset.events;
  const toggle = document.getElementById("live");
  const state = document.getElementById("live-state");
  let source = null;
  const say = (text) => { if (state && state.textContent !== text) state.textContent = text; };

  // What costs the server more is asked for at most every few seconds, and once more after the last change.
  const ANNOUNCE_MS = 4000;
  let announcing;
  const announce = () => {
    announcing ??= setTimeout(() => { announcing = undefined; htmx.trigger(document.body, "dialer:changed"); }, ANNOUNCE_MS);
  };

  const show = (html) => {
    const template = document.createElement("template");
    template.innerHTML = html;
    for (const part of [...template.content.children]) {
      const old = part.id && document.getElementById(part.id);
      if (old && old.isEqualNode(part)) continue;
      if (old) morph(old, part, "outerHTML");
      // Also where the page shows nothing but what belongs to the batch, such as one of its contacts.
      announce();
    }
  };

  const refresh = async () => {
    const answer = await fetch(location.href);
    // Signed out, or what it showed was deleted.
    if (answer.status === 401 || answer.status === 404) return location.reload();
    if (!answer.ok) throw new Error(answer.statusText);
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    // Somebody has signed in with another key in another tab: the frame of the page and its forms are another's.
    if (formToken(page) !== formToken(document)) return location.reload();
    morph(document.getElementById("main"), page.getElementById("main"), "outerHTML");
    document.body.dispatchEvent(new Event("dialer:drawn"));
    announce();
    if (address()) document.body.dataset.events = page.body.dataset.events;
  };

  const connect = () => {
    if (source) source.close();
    source = new EventSource(address());
    source.addEventListener("open", () => say(""));
    source.addEventListener("changed", (event) => show(event.data));
    source.addEventListener("added", (event) => {
      show(event.data);
      const notice = document.getElementById("added");
      const row = event.data.match(/id="(row-[^"]+)"/);
      if (notice && row && !document.getElementById(row[1])) notice.hidden = false;
    });
    source.addEventListener("end", () => location.reload());
    source.addEventListener("error", () => {
      say("Connection lost; trying again …");
      source.close();
      setTimeout(resume, 1000);
    });
  };

  const resume = async () => {
    if (!toggle.checked || document.hidden) return;
    try {
      await refresh();
      if (!document.hidden) connect();
    } catch {
      say("Connection lost; trying again …");
      setTimeout(resume, 2000);
    }
  };

  if (address() && toggle) {
    toggle.checked = sessionStorage.getItem("held") !== "yes";
    toggle.addEventListener("change", () => {
      sessionStorage.setItem("held", toggle.checked ? "no" : "yes");
      if (toggle.checked) { say(""); resume(); } else { if (source) source.close(); say("Held: this page does not change"); }
    });
    if (toggle.checked && !document.hidden) connect(); else if (!toggle.checked) say("Held: this page does not change");
    // A browser has six connections to a server: tabs in the background must not hold them all.
    const rest = () => { if (source) source.close(); };
    const wake = () => { rest(); resume(); };
    document.addEventListener("visibilitychange", () => (document.hidden ? rest() : wake()));
    addEventListener("pagehide", rest);
    addEventListener("pageshow", (event) => event.persisted && wake());
  }
  document.addEventListener("click", (event) => {
    if (event.target.id === "show-added") {
      event.target.closest("p").hidden = true;
      if (source) source.close();
      resume();
    }
  });

  // --- A list of contacts: dropped or chosen, its beginning is shown as the server would read it.
  const PREVIEW_BYTES = 65536;
  const notDone = (place, status) => {
    const notice = document.createElement("p");
    notice.className = "notice bad";
    notice.setAttribute("role", "alert");
    notice.textContent = status
      ? `This was not done (${status}). Load the page again and repeat it.`
      : "This was not done: the connection was lost, or the file cannot be read. Repeat it.";
    if (place.id === "list") place.replaceChildren(notice); else place.prepend(notice);
  };
  const preview = async (form) => {
    const file = form.file.files[0], place = document.getElementById("list");
    if (!file || !form.dataset.preview) return place.replaceChildren();
    try {
      const answer = await fetch(form.dataset.preview, {
        method: "POST",
        headers: { "Content-Type": "text/csv", "X-Form-Token": formToken(document) },
        body: file.slice(0, PREVIEW_BYTES),
      });
      if (answer.status === 401) return location.reload();
      if (answer.ok || answer.status === 422) place.innerHTML = await answer.text();
      else notDone(place, answer.status);
    } catch {
      notDone(place, 0);
    }
  };
  document.addEventListener("change", (event) => { if (event.target.type === "file") preview(event.target.form); });
  for (const kind of ["dragover", "dragleave", "drop"]) {
    document.addEventListener(kind, (event) => {
      const form = event.target.closest && event.target.closest(".drop");
      if (!form) return;
      event.preventDefault();
      form.classList.toggle("over", kind === "dragover");
      if (kind === "drop" && event.dataTransfer.files.length) {
        form.file.files = event.dataTransfer.files;
        preview(form);
      }
    });
  }
  // A second click sends nothing: the first one is on its way.
  document.addEventListener("submit", (event) => {
    if (event.target.method !== "post" || event.target.hasAttribute("hx-post")) return;
    if (event.target.dataset.sent) event.preventDefault();
    event.target.dataset.sent = "yes";
    setTimeout(() => delete event.target.dataset.sent, 3000);
  });
  // Refusals are shown in place, too.
  document.addEventListener("htmx:beforeSwap", (event) => {
    if (event.detail.xhr.status === 422) { event.detail.shouldSwap = true; event.detail.isError = false; }
  });
  for (const kind of ["htmx:responseError", "htmx:sendError"]) {
    document.addEventListener(kind, ({ detail }) => { if (detail.requestConfig.verb !== "get") notDone(detail.target, detail.xhr.status); });
  }
  // A new batch begins with the zone of the browser; the week is drawn anew.
  const zone = document.querySelector("#new-batch[data-is-new] #timezone");
  if (zone && zone.value === zone.defaultValue) {
    zone.value = Intl.DateTimeFormat().resolvedOptions().timeZone;
    // When htmx listens.
    addEventListener("load", () => zone.dispatchEvent(new Event("input", { bubbles: true })));
  }

  // --- Charts: drawn from the table that stands below them.
  const charts = new Map();
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

  const values = (chart) => {
    const rows = [...document.querySelectorAll(`#${chart.dataset.table} tbody tr`)];
    const columns = chart.dataset.columns.split(" ");
    return [
      rows.map((row) => Number(row.dataset.at)),
      ...columns.map((column) => rows.map((row) => Number(row.querySelector(`[data-of="${column}"]`).textContent))),
    ];
  };

  const options = (chart) => {
    const names = chart.dataset.names.split("|"), colours = chart.dataset.colours.split(" ");
    const limit = Number(chart.dataset.limit) || 0, zone = chart.dataset.zone;
    const times = values(chart)[0], span = times.at(-1) - times[0], isLong = span > 129600;
    const clock = (style) => {
      const format = new Intl.DateTimeFormat("en-GB", { timeZone: zone, hour12: false, hour: "2-digit", minute: "2-digit", ...style });
      return (seconds) => seconds === null || seconds === undefined ? "" : format.format(new Date(seconds * 1000));
    };
    const short = clock(isLong ? { day: "numeric", month: "short" } : span < 300 ? { second: "2-digit" } : {}), long = clock({ day: "numeric", month: "short", second: "2-digit" });
    const axis = { stroke: colour("quiet"), grid: { stroke: colour("line"), width: 1 }, ticks: { show: false }, font: "12px system-ui" };
    const limitLine = (plot) => {
      if (!limit) return;
      const y = plot.valToPos(limit, "y", true);
      plot.ctx.save();
      plot.ctx.strokeStyle = colour("bad");
      plot.ctx.setLineDash([6, 4]);
      plot.ctx.beginPath();
      plot.ctx.moveTo(plot.bbox.left, y);
      plot.ctx.lineTo(plot.bbox.left + plot.bbox.width, y);
      plot.ctx.stroke();
      plot.ctx.restore();
    };
    return {
      width: chart.clientWidth, height: 192, padding: [null, 26, null, null],
      tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), zone),
      cursor: { y: false },
      legend: { live: true },
      scales: { y: { range: (_, low, high) => [0, Math.max(limit, high, 1) * 1.08] } },
      axes: [{ ...axis, size: 30, space: isLong || span < 300 ? 90 : 60, values: (_, splits) => splits.map(short) }, { ...axis, size: 44, incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 5000] }],
      series: [{ label: "time", value: (_, seconds) => long(seconds) }, ...names.map((name, index) => ({
        label: name, value: (_, count) => count ?? "", stroke: colour(colours[index]), width: 1.6, points: { show: false },
        fill: names.length === 1 ? `${colour(colours[index])}22` : undefined,
      }))],
      hooks: { draw: [limitLine] },
    };
  };

  const draw = () => {
    if (typeof uPlot === "undefined") return;
    for (const [chart, plot] of charts) if (!chart.isConnected) { plot.destroy(); charts.delete(chart); }
    for (const chart of document.querySelectorAll(".chart")) {
      if (charts.has(chart)) charts.get(chart).setData(values(chart));
      else charts.set(chart, new uPlot(options(chart), values(chart), chart));
    }
  };
  const redraw = () => { for (const plot of charts.values()) plot.destroy(); charts.clear(); draw(); };
  document.addEventListener("htmx:afterSettle", draw);
  document.body.addEventListener("dialer:drawn", draw);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  let resizing;
  addEventListener("resize", () => { clearTimeout(resizing); resizing = setTimeout(redraw, 150); });
  draw();
})();
