"use strict";
(() => {
  const list = document.getElementById("cases");
  const cards = [...list.children];
  const [measure, system, order, part, words] =
    ["measure", "system", "order", "part", "words"].map((id) => document.getElementById(id));
  const said = document.getElementById("said");
  for (const card of cards) card.scores = JSON.parse(card.dataset.scores);

  // One number for a card, or null: by the chosen measure, of one system, of all, or how far the systems are apart.
  function value(card) {
    const column = card.scores.map((row) => row[Number(measure.value)]);
    if (system.value !== "mean" && system.value !== "apart") return column[Number(system.value)];
    const kept = column.filter((one) => one !== null);
    if (!kept.length) return null;
    if (system.value === "apart") return kept.length > 1 ? Math.max(...kept) - Math.min(...kept) : null;
    return kept.reduce((sum, one) => sum + one, 0) / kept.length;
  }

  function sort() {
    const byCase = measure.value === "";
    system.disabled = byCase;
    const sign = order.value === "up" ? 1 : -1;
    const ranked = cards.map((card, at) => ({ card, at, value: byCase ? at : value(card) }));
    ranked.sort((a, b) => {
      if (a.value === null || b.value === null) return (a.value === null) - (b.value === null) || a.at - b.at;
      return sign * (a.value - b.value) || a.at - b.at;
    });
    list.append(...ranked.map((one) => one.card));
    for (const row of document.querySelectorAll(".videos tr"))
      row.classList.toggle("on", !byCase && row.dataset.measure === measure.value);
  }

  function filter() {
    const wanted = words.value.trim().toLowerCase();
    let shown = 0;
    for (const card of cards) {
      const fits = (part.value === "" || card.dataset.parts.split(" ").includes(part.value))
        && (wanted === "" || card.dataset.words.includes(wanted));
      card.hidden = !fits;
      shown += fits;
    }
    said.textContent = `${shown} of ${cards.length} cases`;
  }

  function play(card) {
    const videos = [...card.querySelectorAll("video")];
    const running = videos.some((video) => !video.paused);
    for (const video of videos) {
      if (running) { video.pause(); continue; }
      video.currentTime = 0;
      video.play().catch(() => {});
    }
  }

  function current() {
    const held = document.activeElement.closest("article");
    if (held) return held;
    return [...list.children].find((card) => !card.hidden && card.getBoundingClientRect().bottom > 120);
  }

  function step(by) {
    const shown = [...list.children].filter((card) => !card.hidden);
    const held = document.activeElement.closest("article");
    const at = held ? shown.indexOf(held) + by : 0;
    const next = shown[Math.max(0, Math.min(shown.length - 1, at))];
    if (!next) return;
    next.focus({ preventScroll: true });
    next.scrollIntoView({ block: "start" });
  }

  for (const chosen of [measure, system]) chosen.addEventListener("change", sort);
  order.addEventListener("change", sort);
  part.addEventListener("change", filter);
  words.addEventListener("input", filter);
  list.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (button) play(button.closest("article"));
  });
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input,select")) return;
    if (event.key === "j") step(1);
    else if (event.key === "k") step(-1);
    else if (event.key === "p") { const card = current(); if (card) play(card); }
    else if (event.key === "/") { words.focus(); event.preventDefault(); }
  });
  // A browser without the codec says so, and the file can still be opened.
  list.addEventListener("error", (event) => {
    if (event.target.tagName !== "VIDEO") return;
    const note = document.createElement("div");
    note.className = "none";
    const link = document.createElement("a");
    link.href = event.target.src;
    link.textContent = "This browser does not play the video; open the file.";
    note.append(link);
    event.target.replaceWith(note);
  }, true);
  // Controls would hide a third of a small picture: they come with the pointer or the focus.
  for (const video of document.querySelectorAll("video")) {
    video.controls = false;
    video.tabIndex = 0;
    for (const come of ["pointerenter", "focus"]) video.addEventListener(come, () => { video.controls = true; });
    for (const go of ["pointerleave", "blur"]) video.addEventListener(go, () => {
      video.controls = video.matches(":hover, :focus");
    });
  }
  // Videos show their first frame when they come near; nothing is read before.
  const near = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      for (const video of entry.target.querySelectorAll("video")) video.preload = "auto";
      near.unobserve(entry.target);
    }
  }, { rootMargin: "400px" });
  for (const card of cards) near.observe(card);
  sort();
  filter();
})();
