// The report of nowcast: tabs, animations and what is said of a point. Without it everything is on the page, one below the other.
"use strict";

const FRAME_MS = 350, LAST_MS = 1400;
const PLAY = "M7 4v16l13-8z", PAUSE = "M6 4h4.5v16H6zM13.5 4H18v16h-4.5z";
const all = (selector, inside = document) => [...inside.querySelectorAll(selector)];
let made = 0;

// ---------------------------------------------------------------- tabs

function choose(tabs, buttons, chosen) {
  buttons.forEach((button, k) => {
    button.setAttribute("aria-selected", String(k === chosen));
    button.tabIndex = k === chosen ? 0 : -1;
    tabs[k].hidden = k !== chosen;
  });
}

function tabbed(box) {
  const tabs = all(":scope > .tab", box), list = document.createElement("div");
  list.className = "tablist";
  list.setAttribute("role", "tablist");
  list.setAttribute("aria-label", box.dataset.label);
  const buttons = tabs.map((tab, k) => {
    const button = document.createElement("button");
    const name = `tab${++made}`;
    button.type = "button";
    button.id = name;
    button.textContent = tab.dataset.name;
    button.setAttribute("role", "tab");
    button.setAttribute("aria-controls", `${name}-panel`);
    tab.id = `${name}-panel`;
    tab.setAttribute("role", "tabpanel");
    tab.setAttribute("aria-labelledby", name);
    button.addEventListener("click", () => choose(tabs, buttons, k));
    list.append(button);
    return button;
  });
  list.addEventListener("keydown", (event) => {
    const at = buttons.indexOf(document.activeElement), last = buttons.length - 1;
    const to = { ArrowRight: at === last ? 0 : at + 1, ArrowLeft: at === 0 ? last : at - 1, Home: 0, End: last }[event.key];
    if (at < 0 || to === undefined) return;
    event.preventDefault();
    choose(tabs, buttons, to);
    buttons[to].focus();
  });
  box.prepend(list);
  box.classList.add("live");
  choose(tabs, buttons, 0);
}

// ---------------------------------------------------------------- animations

function animated(box) {
  const slider = box.querySelector("input"), button = box.querySelector(".play"), output = box.querySelector("output");
  const panels = all(".panel", box).map((panel) => ({ panel, frames: new Map(all(".frame", panel).map((frame) => [Number(frame.dataset.step), frame])) }));
  const labels = new Map(all(".frame", box).map((frame) => [Number(frame.dataset.step), frame.dataset.label]));
  const first = Number(slider.min), last = Number(slider.max);
  let timer = 0;

  function show(step) {
    slider.value = String(step);
    const label = labels.get(step) ?? "";
    const text = step < 1 ? `${label}, observed` : label;
    output.textContent = text;
    slider.setAttribute("aria-valuetext", text);
    for (const { panel, frames } of panels) {
      for (const [at, frame] of frames) frame.classList.toggle("on", at === step);
      panel.classList.toggle("none", !frames.has(step));
    }
  }

  function stop() {
    clearTimeout(timer);
    timer = 0;
    button.setAttribute("aria-label", "Play");
    button.querySelector("path").setAttribute("d", PLAY);
  }

  function next() {
    const step = Number(slider.value);
    if (box.offsetParent === null) return stop();
    show(step >= last ? first : step + 1);
    timer = setTimeout(next, Number(slider.value) === last ? LAST_MS : FRAME_MS);
  }

  button.addEventListener("click", () => {
    if (timer) return stop();
    button.setAttribute("aria-label", "Pause");
    button.querySelector("path").setAttribute("d", PAUSE);
    next();
  });
  slider.addEventListener("input", () => { stop(); show(Number(slider.value)); });
  box.querySelector(".player").hidden = false;
  box.classList.add("moving");
  show(Math.min(last, Math.max(1, first)));
}

// ---------------------------------------------------------------- what is said of a point

const tip = document.getElementById("tip");

function pointed(part) {
  const title = part.querySelector("title"), text = title.textContent;
  title.remove();
  const move = (event) => {
    tip.textContent = text;
    tip.hidden = false;
    const { width, height } = tip.getBoundingClientRect();
    const left = event.clientX + 16 + width > innerWidth ? event.clientX - 16 - width : event.clientX + 16;
    tip.style.left = `${Math.max(4, Math.min(left, innerWidth - width - 4))}px`;
    tip.style.top = `${Math.max(4, Math.min(event.clientY + 14, innerHeight - height - 4))}px`;
    part.classList.add("at");
  };
  const leave = () => { tip.hidden = true; part.classList.remove("at"); };
  part.addEventListener("pointerenter", move);
  part.addEventListener("pointermove", move);
  part.addEventListener("pointerleave", leave);
  part.addEventListener("pointercancel", leave);
}

// ---------------------------------------------------------------- the section that is read

function followed() {
  const links = new Map(all("nav a").map((link) => [link.hash.slice(1), link]));
  const watch = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      for (const [name, link] of links) {
        if (name === entry.target.id) link.setAttribute("aria-current", "true");
        else link.removeAttribute("aria-current");
      }
    }
  }, { rootMargin: "-25% 0px -70% 0px" });
  all(".part[id]").forEach((part) => watch.observe(part));
}

all(".tabs").forEach(tabbed);
all(".case").forEach(animated);
all(".column, .point").forEach(pointed);
followed();
document.documentElement.dataset.ready = "true";
