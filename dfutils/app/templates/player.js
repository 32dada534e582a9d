() => {
  // Plays the examined file above its timeline, with a box around each face that was scored. The visitor's own browser
  // has the file: the server has deleted it, and never sends it back.
  const NEAR = 0.5, APART = 2.5;  // seconds: from a lone box, and between two boxes that are the same face moving
  let upload = null, examined = null, shown = null;
  const keep = (files) => { if (files && files.length) upload = files[0]; };
  document.addEventListener("change", (event) => {
    if (event.target.matches("#df-file input[type=file]")) keep(event.target.files);
  }, true);
  document.addEventListener("drop", (event) => {
    if (event.target.closest("#df-file")) keep(event.dataTransfer.files);
  }, true);
  document.addEventListener("click", (event) => {
    if (event.target.closest("#df-examine")) examined = upload;  // another file may be chosen while this one is examined
  }, true);
  new MutationObserver(() => document.querySelectorAll(".df-player:empty").forEach(show))
    .observe(document.body, { childList: true, subtree: true });

  function show(place) {
    const people = JSON.parse(place.dataset.people), source = place.dataset.source;
    const type = source ? source.slice(5, source.indexOf(";")) : examined?.type ?? "";
    if (!source && !examined) { place.remove(); return; }
    if (shown) URL.revokeObjectURL(shown);
    shown = source ? null : URL.createObjectURL(examined);
    const media = document.createElement(type.startsWith("image/") ? "img" : "video");
    media.src = source || shown;
    media.addEventListener("error", () => place.remove());  // not every browser plays every format
    if (media.tagName === "VIDEO") {
      Object.assign(media, { muted: true, playsInline: true, loop: true, controls: true });
      media.setAttribute("aria-label", "The file that was examined");
      if (!matchMedia("(prefers-reduced-motion: reduce)").matches) media.play().catch(() => {});
    } else {
      media.alt = "The file that was examined";
    }
    const stage = Object.assign(document.createElement("div"), { className: "df-stage" });
    stage.append(media);
    const boxes = people.map((person) => {
      const box = Object.assign(document.createElement("div"), { className: `df-box ${person.style}`, hidden: true });
      box.append(Object.assign(document.createElement("span"), { textContent: person.name }));
      stage.append(box);
      return box;
    });
    place.append(stage);
    const line = place.parentElement.querySelector(".df-timeline");
    const now = line && document.createElementNS("http://www.w3.org/2000/svg", "path");
    if (now) {
      now.setAttribute("class", "df-now");
      line.append(now);
      line.addEventListener("click", (event) => {
        const at = (event.clientX - line.getBoundingClientRect().left) / line.getBoundingClientRect().width;
        media.currentTime = Math.max(0, time_at(at * line.viewBox.baseVal.width));
      });
    }
    const draw = () => {
      if (!place.isConnected) return;
      const time = media.currentTime ?? 0;
      people.forEach((person, number) => move(boxes[number], box_at(person.frames, time, media.tagName === "IMG")));
      if (now) now.setAttribute("d", `M${place_of(time).toFixed(1)} 10V182`);
      if (media.tagName === "VIDEO") requestAnimationFrame(draw);
    };
    draw();

    function time_at(x) { return (x - +line.dataset.from) / (line.dataset.to - line.dataset.from) * line.dataset.end; }
    function place_of(time) {
      return +line.dataset.from + (line.dataset.to - line.dataset.from) * Math.min(1, time / line.dataset.end);
    }
  }

  function box_at(frames, time, always) {
    if (always) return frames[0]?.box;
    const after = frames.findIndex((frame) => frame.time >= time);
    const next = after < 0 ? null : frames[after], last = after < 0 ? frames.at(-1) : frames[after - 1];
    if (next && last && next.time - last.time <= APART) {
      const share = (time - last.time) / (next.time - last.time || 1);
      return last.box.map((side, number) => side + share * (next.box[number] - side));
    }
    const near = [last, next].filter((frame) => frame && Math.abs(frame.time - time) <= NEAR);
    return near[0]?.box;
  }

  function move(box, place) {
    box.hidden = !place;
    if (!place) return;
    const [left, top, right, bottom] = place.map((share) => 100 * share);
    Object.assign(box.style, { left: `${left}%`, top: `${top}%`, width: `${right - left}%`, height: `${bottom - top}%` });
  }
}
