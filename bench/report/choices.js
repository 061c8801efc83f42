// Draws what the form #choices asks for, of the numbers that the page holds. A text of the run is only ever shown as text.
const form = document.querySelector("#choices");
if (form) {
  const { scores, dials, methods, most_dials, rows } = JSON.parse(document.querySelector("#numbers").textContent);
  const field = name => form.elements[name], cells = dials.map((_, dial) => field(`dial${dial}`));
  const against = () => field("against")?.value ?? "";  // the number of a dial, or nothing where methods are listed
  const part = name => form.querySelector(`.${name}`), number = value => value.toFixed(3).replace(/^(-?)0\./, "$1.");

  const points = (score, dial) => rows.filter(([method, levels]) =>
    field(`method${method}`).checked && levels.every((level, i) => i === dial ? level !== null : String(level ?? "") === cells[i].value)
  ).map(([method, levels, nOk, nTrials, numbers]) => {
    const { label, colour, shape, dash, size } = methods[method], [mean, low, high] = numbers.slice(3 * score, 3 * score + 3);
    const level = dials[dial]?.levels[levels[dial]], where = dials[dial] ? `, ${dials[dial].inside} ${level}` : "";
    const interval = low === null ? "" : ` [${number(low)}, ${number(high)}]`;
    return mean !== null && {
      method: label, order: method, level, place: levels[dial], mean, low, high,
      colour, shape, dash, size: 60 * size * size, fill: nOk < nTrials ? "white" : colour,
      text: `${label}${where}: ${number(mean)}${interval}, ${nOk} of ${nTrials} trials`,
    };
  }).filter(Boolean);

  // Means with their intervals: methods side by side at each level of the dial, or, without one, below each other.
  const drawing = (values, score, dial) => {
    const ends = values.flatMap(({ mean, low, high }) => low === null ? [mean] : [low, high]), least = Math.min(...ends);
    const flat = least === Math.max(...ends) ? { domain: [least - .05, least + .05] } : {};
    const own = name => ({ field: name, scale: null }), by = { op: "min" }, mean = dial ? "y" : "x";
    const value = name => ({ [mean]: { field: name, type: "quantitative", title: score.axis, scale: { zero: false, ...flat } } });
    const seen = { stroke: own("colour"), description: { field: "text" } };
    const place = {
      x: { field: "level", type: "ordinal", title: dial?.word, sort: { field: "place", ...by }, scale: { paddingInner: .6 }, axis: { labelAngle: 0, labelExpr: "split(datum.label, ' ')" } },
      xOffset: { field: "method", type: "nominal", sort: { field: "order", ...by } },
    };
    const list = { y: { field: "method", type: "ordinal", title: null, sort: { field: "order", ...by } } };
    return {
      width: "container", height: dial ? 320 : 24 * values.length, data: { values },
      encoding: dial ? place : list,
      layer: [
        ...values.some(({ low }) => low !== null) ? [{ mark: { type: "rule", strokeWidth: 1.5 }, encoding: { ...seen, ...value("low"), [`${mean}2`]: { field: "high" } } }] : [],
        ...dial?.joined ? [{ mark: { type: "line", strokeWidth: 1.5 }, encoding: { ...seen, ...value("mean"), detail: { field: "method" }, strokeDash: own("dash") } }] : [],
        { mark: { type: "point", opacity: 1, strokeWidth: 1.5 }, encoding: { ...seen, ...value("mean"), fill: own("fill"), shape: own("shape"), size: { ...own("size"), type: "quantitative" } } },
      ],
      config: {
        font: "system-ui, sans-serif", view: { stroke: null }, axisDiscrete: { grid: false }, axisQuantitative: { tickCount: 6, gridColor: "#ddd" },
        axis: { labelFontSize: 12, titleFontSize: 13, titleFontWeight: "normal", labelLimit: 150, labelOverlap: "greedy", labelSeparation: 6 },
      },
    };
  };

  let last = Promise.resolve();  // one drawing after the other
  const draw = () => {
    const score = +field("score").value, dial = against() === "" ? undefined : +against();
    cells.forEach((cell, i) => { cell.parentElement.hidden = i === dial; });
    const values = points(score, dial);
    if (dial === undefined) {  // the best first
      values.sort((a, b) => scores[score].lower_is_better ? a.mean - b.mean : b.mean - a.mean);
      values.forEach((point, order) => { point.order = order; });
    }
    part("about").textContent = scores[score].about;
    part("readout").textContent = values.length ? "Point at a mark, or touch it, for its numbers." : "No method that is ticked has this score there.";
    part("wide").hidden = !values.length;
    last = last.then(before => {
      before?.finalize();
      return values.length ? vegaEmbed(part("chart"), drawing(values, scores[score], dials[dial]), {
        mode: "vega-lite", renderer: "svg", actions: false, defaultStyle: false, tooltip: false,
      }) : undefined;
    });
  };

  const read = ({ clientX, clientY }) => {  // the point nearest to the mouse or the finger
    const distance = mark => { const { x, y, width, height } = mark.getBoundingClientRect(); return Math.hypot(x + width / 2 - clientX, y + height / 2 - clientY); };
    const marks = [...part("chart").querySelectorAll(".mark-symbol path")].sort((a, b) => distance(a) - distance(b));
    const text = marks[0]?.getAttribute("aria-label");
    if (text && text !== part("readout").textContent) part("readout").textContent = text;
  };
  part("chart").addEventListener("pointermove", read);
  part("chart").addEventListener("pointerdown", read);

  form.addEventListener("change", ({ target }) => {
    // The page may not hold the numbers of choices on all dials at once: then the others are left open again.
    const n = () => cells.filter((cell, i) => String(i) === against() || cell.value !== "").length;
    for (const other of [...cells, field("against")]) if (other && other !== target && n() > most_dials) other.value = "";
    draw();
  });
  form.addEventListener("click", ({ target }) => {
    if (target.type !== "button") return;
    form.querySelectorAll("[type=checkbox]").forEach(box => { box.checked = target.value === "all"; });
    draw();
  });
  draw();
}
