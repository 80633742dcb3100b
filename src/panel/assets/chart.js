// Charts of what passed: fills each <figure data-history="/history?span=hour">.
//
// uPlot draws them. This asks for the numbers, and tells in words what a canvas cannot: a chart
// is a slider, along whose steps arrow keys and the pointer go. A line looks as its key in the
// legend does, which is said in the style sheet alone, for both schemes.
{
const SERIES = ["in", "delivered", "deferred", "failed"];
const MOVES = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, Home: -1e9, End: 1e9 };
const HEIGHT = 180;
// As long as htmx waits for an answer.
const PATIENCE_MS = 15_000;
// Nobody posts half a post.
const WHOLE = [...Array(15).keys()].flatMap((power) => [1, 2, 5].map((factor) => factor * 10 ** power));
const format = (posts, notation) => Intl.NumberFormat([], { notation }).format(posts);
// Of seconds, in the browser's zone.
const time = (at, more) =>
  new Date(at * 1000).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", ...more });
const utc = (at) => new Date(at * 1000).toISOString().replace("T", " ").replace("Z", " UTC");
// Where nothing is known there is no sum, which is not zero.
const sum = (values) => values.reduce((all, one) => (one === null ? all : all + one), null);

const html = (name, kind, ...children) => {
  const node = document.createElement(name);
  node.className = kind;
  node.append(...children);
  return node;
};

const chart = (figure) => {
  const when = html("span", "chart-when"), frame = html("div", "chart-frame");
  const keys = SERIES.map((name) => html("span", `chart-key chart-${name}`, `${name} `, html("b", "")));
  const name = figure.querySelector("figcaption")?.textContent.trim() ?? "Posts";
  const slide = (attributes) => {
    for (const name in attributes) frame.setAttribute(name, attributes[name]);
  };
  const gone = new AbortController(), { signal } = gone;
  let plot, data, step, last, timer, at = null, isLate, isOld = false;

  // Tells of one step, or of all of them together; while they are old, of nothing but that.
  const show = (wanted) => {
    at = wanted === null ? null : Math.min(Math.max(wanted, 0), last);
    const isHour = step < 60, isAll = at === null, [times, ...series] = data;
    plot.setCursor(isAll ? { left: -10, top: -10 } : { left: plot.valToPos(times[at], "x"), top: 0 });
    if (isOld) return;
    // A time of a day is that of two days.
    const more = isHour ? { second: "2-digit" } : { weekday: "short" };
    when.textContent = isAll ? `last ${isHour ? "hour" : "day"}` : time(times[at], more);
    when.title = plot.root.title = isAll ? "" : utc(times[at]);
    const told = series.map((values, index) => {
      const posts = isAll ? sum(values) : values[at];
      keys[index].hidden = false;
      return (keys[index].lastChild.textContent = posts === null ? "–" : format(posts));
    });
    const unknown = isAll ? "nothing is known" : "not running";
    const words = told[0] === "–" ? unknown : told.map((posts, index) => `${SERIES[index]} ${posts}`).join(", ");
    slide({ "aria-valuemax": last, "aria-valuenow": at ?? last, "aria-valuetext": `${when.textContent}: ${words}` });
    // A slider has a value.
    slide({ role: "slider", tabindex: 0, "aria-label": name });
  };

  // Numbers that are not brought up to date must not pass for those of now.
  const fail = ({ name, message }) => {
    isOld = true;
    const cause = name === "TimeoutError" ? "no answer" : message;
    when.textContent = `The chart cannot be brought up to date: ${cause}`;
    when.title = "";
    for (const key of keys) key.hidden = true;
    if (!plot) return;
    plot.root.title = "";
    if (frame.hasAttribute("role")) slide({ "aria-valuetext": when.textContent });
  };

  // Its place on the page is another's.
  const end = () => {
    gone.abort();
    clearTimeout(timer);
    observer.disconnect();
    plot?.destroy();
    plot = undefined;
  };

  const options = () => {
    // Asked for at each drawing: another scheme has other colours.
    const soft = () => getComputedStyle(frame).color;
    const line = () => getComputedStyle(frame).getPropertyValue("--line");
    const series = keys.map((key) => {
      const stroke = () => getComputedStyle(key).color;
      // No line goes through a step that has no neighbour.
      const isLone = (values, at) => values[at] !== null && values[at - 1] == null && values[at + 1] == null;
      const filter = ({ data }, index) => data[0].map((_, at) => at).filter((at) => isLone(data[index], at));
      return { stroke, width: 1.5, points: { show: false, filter, stroke, fill: stroke, size: 4 } };
    });
    // In dots, of which there are others after a zoom and on another screen.
    const dash = ({ series: [, ...lines] }) => lines.forEach((line, index) => {
      const style = getComputedStyle(keys[index]);
      line.dash = ["--on", "--off"].map((name) => parseFloat(style.getPropertyValue(name)) * devicePixelRatio);
    });
    // It is called when nobody waits for it: what it throws would reach nobody.
    const draw = () => {
      try {
        show(at);
      } catch (error) {
        fail(error);
      }
    };
    const across = { stroke: soft, size: 26, space: 80, grid: { show: false }, ticks: { stroke: line, width: 1, size: 4 } };
    // As wide as its words need: what is 500k in English is 500.000 in German.
    const size = (_plot, words) => 14 + 8 * Math.max(3, ...(words ?? []).map(({ length }) => length));
    const up = { stroke: soft, size, incrs: WHOLE, grid: { stroke: line, width: 1 }, ticks: { show: false } };
    return {
      width: frame.clientWidth,
      height: HEIGHT,
      padding: [10, 30, null, null],
      legend: { show: false },
      cursor: { y: false },
      scales: { y: { range: (_plot, _least, most) => uPlot.rangeNum(0, most || 1, 0.1, true) } },
      axes: [
        { ...across, values: (_plot, splits) => splits.map((at) => time(at)) },
        { ...up, values: (_plot, splits) => splits.map((posts) => format(posts, "compact")) },
      ],
      series: [{}, ...series],
      hooks: { drawClear: [dash], draw: [draw] },
    };
  };

  const load = async () => {
    if (!figure.isConnected) return end();
    isLate = document.hidden;
    if (isLate) return;
    try {
      const patience = AbortSignal.timeout(PATIENCE_MS);
      const answer = await fetch(figure.dataset.history, { headers: { "HX-Request": "true" }, signal: patience });
      if (!answer.ok) throw Error(answer.status);
      const { step_seconds, until, series } = await answer.json();
      if (signal.aborted) return;
      const read = at === null ? null : data[0][at];
      [step, last] = [step_seconds, step_seconds < 60 ? 359 : 1439];
      const times = Array.from({ length: last + 1 }, (_, at) => Date.parse(until) / 1000 - (last - at) * step);
      // A part of the span may be known.
      const whole = (known) => [...Array(last + 1 - known.length).fill(null), ...known];
      data = [times, ...SERIES.map((name) => whole(series[name]))];
      // Who reads of a step goes on to read of it, while there is one.
      if (read !== null) at = Math.min(Math.max(Math.round((read - times[0]) / step), 0), last);
      isOld = false;
      if (plot) plot.setData(data);
      else plot = new uPlot(options(), data, frame);
    } catch (error) {
      fail(error);
    } finally {
      if (!signal.aborted) timer = setTimeout(load, (step ?? 10) * 1000);
    }
  };

  const point = ({ clientX }) => plot && show(plot.posToIdx(clientX - plot.over.getBoundingClientRect().left));
  const away = () => plot && show(null);
  const press = (event) => {
    // With one of these they are the browser's.
    if (!plot || !(event.key in MOVES) || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    show((at ?? last) + MOVES[event.key]);
  };
  const heeded = { pointermove: point, pointerdown: point, pointerleave: away, blur: away, keydown: press };
  for (const kind in heeded) frame.addEventListener(kind, heeded[kind], { signal });
  document.addEventListener("visibilitychange", () => isLate && load(), { signal });
  for (const looks of ["(prefers-color-scheme: dark)", "(forced-colors: active)"])
    matchMedia(looks).addEventListener("change", () => plot?.redraw(false), { signal });
  // What is taken from the page has no size any more.
  const observer = new ResizeObserver(() => {
    if (!figure.isConnected) return end();
    plot?.setSize({ width: frame.clientWidth, height: HEIGHT });
  });
  observer.observe(frame);
  for (const key of keys) key.hidden = true;
  figure.append(html("p", "chart-legend", when, ...keys), frame);
  load();
};

const begin = () => {
  for (const figure of document.querySelectorAll("figure[data-history]:not([data-drawn])")) {
    figure.dataset.drawn = "";
    chart(figure);
  }
};
document.addEventListener("htmx:load", begin);
document.addEventListener("DOMContentLoaded", begin);
}
