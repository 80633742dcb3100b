// Charts of what passed: fills each <figure data-history="/history?span=hour">.
//
// uPlot draws them. This asks for the numbers, and tells in words what a canvas cannot: a chart
// is a slider, along whose steps arrow keys and the pointer go. A line looks as its key in the
// legend does, which is said in the style sheet alone, for both schemes.
{
const SERIES = ["in", "delivered", "deferred", "failed"];
const MOVES = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, Home: -1e9, End: 1e9 };
const HEIGHT = 180;
// Nobody posts half a post.
const WHOLE = [...Array(15).keys()].flatMap((power) => [1, 2, 5].map((factor) => factor * 10 ** power));
const format = (posts, notation) => Intl.NumberFormat([], { notation }).format(posts);
// Of seconds, in the browser's zone.
const time = (at, second) =>
  new Date(at * 1000).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second });

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
  let plot, data, step, last, at = null, isLate;

  // Tells of one step, or of all of them together.
  const show = (wanted) => {
    at = wanted === null ? null : Math.min(Math.max(wanted, 0), last);
    const isHour = step < 60, isAll = at === null, [times, ...series] = data;
    when.textContent = isAll ? `last ${isHour ? "hour" : "day"}` : time(times[at], isHour ? "2-digit" : undefined);
    const told = series.map((values, index) => {
      const posts = isAll ? values.reduce((all, one) => all + one, 0) : values[at];
      keys[index].hidden = false;
      return (keys[index].lastChild.textContent = posts === null ? "–" : format(posts));
    });
    const words = told[0] === "–" ? "not running" : told.map((posts, index) => `${SERIES[index]} ${posts}`).join(", ");
    slide({ "aria-valuemax": last, "aria-valuenow": at ?? last, "aria-valuetext": `${when.textContent}: ${words}` });
    plot.setCursor(isAll ? { left: -10, top: -10 } : { left: plot.valToPos(times[at], "x"), top: 0 });
  };

  const options = () => {
    // Asked for at each drawing: another scheme has other colours.
    const soft = () => getComputedStyle(frame).color;
    const line = () => getComputedStyle(frame).getPropertyValue("--line");
    const series = keys.map((key) => {
      const style = getComputedStyle(key), stroke = () => style.color;
      const dash = ["--on", "--off"].map((name) => parseFloat(style.getPropertyValue(name)) * devicePixelRatio);
      // No line goes through a step that has no neighbour.
      const isLone = (values, at) => values[at] !== null && values[at - 1] == null && values[at + 1] == null;
      const filter = ({ data }, index) => data[0].map((_, at) => at).filter((at) => isLone(data[index], at));
      return { stroke, dash, width: 1.5, points: { show: false, filter, stroke, fill: stroke, size: 4 } };
    });
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
      hooks: { draw: [() => show(at)] },
    };
  };

  const load = async () => {
    isLate = document.hidden;
    if (isLate || !figure.isConnected) return;
    try {
      const answer = await fetch(figure.dataset.history, { headers: { "HX-Request": "true" } });
      if (!answer.ok) throw Error(answer.status);
      const { step_seconds, until, series } = await answer.json();
      [step, last] = [step_seconds, step_seconds < 60 ? 359 : 1439];
      const times = Array.from({ length: last + 1 }, (_, at) => Date.parse(until) / 1000 - (last - at) * step);
      // A part of the span may be known.
      const whole = (known) => [...Array(last + 1 - known.length).fill(null), ...known];
      data = [times, ...SERIES.map((name) => whole(series[name]))];
      if (plot) return plot.setData(data);
      slide({ role: "slider", tabindex: 0, "aria-label": name });
      plot = new uPlot(options(), data, frame);
    } catch (error) {
      when.textContent = `The chart cannot be brought up to date: ${error.message}`;
      for (const key of keys) key.hidden = true;
    } finally {
      setTimeout(load, (step ?? 10) * 1000);
    }
  };

  const point = ({ clientX }) => plot && show(plot.posToIdx(clientX - plot.over.getBoundingClientRect().left));
  const away = () => plot && show(null);
  const press = (event) => {
    if (!plot || !(event.key in MOVES)) return;
    event.preventDefault();
    show((at ?? last) + MOVES[event.key]);
  };
  const heeded = { pointermove: point, pointerdown: point, pointerleave: away, blur: away, keydown: press };
  for (const kind in heeded) frame.addEventListener(kind, heeded[kind]);
  document.addEventListener("visibilitychange", () => isLate && load());
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => plot?.redraw(false));
  new ResizeObserver(() => plot?.setSize({ width: frame.clientWidth, height: HEIGHT })).observe(frame);
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
