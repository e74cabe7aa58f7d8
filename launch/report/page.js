// With scripts on, each still curve gives way to a dygraph of the same numbers: values under the pointer, one zoom for all
// curves, smoothing, time instead of steps. The still ones stay in the page for paper.
(function () {
  'use strict';
  var data = JSON.parse(document.getElementById('data').textContent);
  var dashes = [null, [6, 4], [2, 4], [9, 4, 2, 4]];
  var settings = {smoothing: 0, across: 'step', log: false};
  var live = [];
  var byId = function (id) { return document.getElementById(id); };

  function colour(number) {
    return getComputedStyle(document.documentElement).getPropertyValue('--c' + number).trim();
  }

  // Seconds in steps by `step`, between the points that the page holds.
  function clock(run, step) {
    var points = data.clocks[run], low = 0, high = points.length - 1;
    if (step >= points[high][0]) return points[high][1];
    while (high - low > 1) {
      var middle = (low + high) >> 1;
      if (points[middle][0] <= step) low = middle; else high = middle;
    }
    var a = points[low], b = points[high];
    return a[1] + (b[1] - a[1]) * (step - a[0]) / (b[0] - a[0]);
  }

  // Exponential smoothing with the correction for its beginning (Kingma & Ba 2015), as TensorBoard draws it.
  function smooth(values) {
    var weight = settings.smoothing, last = 0, power = 1;
    if (!weight) return values;
    return values.map(function (value) {
      if (value === null) return null;
      last = last * weight + (1 - weight) * value;
      power *= weight;
      return last / (1 - power);
    });
  }

  // Rows of all series by step or time. dygraphs: null is "nothing here", NaN is a gap in the line.
  function rows(chart) {
    var at = new Map(), width = chart.series.length + 1;
    chart.series.forEach(function (series, s) {
      var values = series.dots ? series.y : smooth(series.y);
      series.x.forEach(function (step, i) {
        var x = settings.across === 'time' ? clock(series.run, step) : step;
        if (!at.has(x)) {
          var row = new Array(width).fill(null);
          row[0] = x;
          at.set(x, row);
        }
        at.get(x)[s + 1] = values[i] === null ? NaN : values[i];
      });
    });
    return Array.from(at.values()).sort(function (a, b) { return a[0] - b[0]; });
  }

  function short(value) {
    var size = Math.abs(value);
    if (size >= 1e6 || (size > 0 && size < 1e-3)) return value.toExponential(2);
    return String(Number(value.toPrecision(4)));
  }

  function axis(value) {
    var size = Math.abs(value);
    if (size >= 1e9 || (size > 0 && size < 1e-3)) return String(Number(value.toPrecision(3)).toExponential());
    if (size >= 1e6) return Number((value / 1e6).toPrecision(4)) + 'M';
    if (size >= 1e4) return Number((value / 1e3).toPrecision(4)) + 'k';
    return String(Number(value.toPrecision(4)));
  }

  function duration(seconds) {
    if (seconds < 60) return Number(seconds.toPrecision(3)) + ' s';
    if (seconds < 3600) return Number((seconds / 60).toPrecision(3)) + ' min';
    return Number((seconds / 3600).toPrecision(3)) + ' h';
  }

  function across(value) {
    return settings.across === 'time' ? duration(value) : axis(value);
  }

  function positive(chart) {
    return chart.series.every(function (series) { return series.y.every(function (y) { return y === null || y > 0; }); });
  }

  // A finger scrolls the page; a tap still shows the values (the browser makes mouse events of it).
  function interaction() {
    var model = Object.assign({}, Dygraph.defaultInteractionModel);
    delete model.touchstart; delete model.touchmove; delete model.touchend;
    return model;
  }

  function appearance(chart) {
    return {
      file: rows(chart),
      colors: chart.series.map(function (series) { return colour(series.colour); }),
      logscale: settings.log && positive(chart),
      axes: {x: {axisLabelFormatter: across, axisLabelWidth: 60}, y: {axisLabelFormatter: axis, axisLabelWidth: 48}},
      gridLineColor: getComputedStyle(document.documentElement).getPropertyValue('--rule').trim(),
      axisLineColor: getComputedStyle(document.documentElement).getPropertyValue('--quiet').trim()
    };
  }

  var zooming = false;
  function zoomAll(range) {
    if (zooming) return;
    zooming = true;
    live.forEach(function (one) { one.graph.updateOptions({dateWindow: range, valueRange: null}); });
    zooming = false;
  }

  function begin(figure) {
    var chart = data.charts[Number(figure.dataset.chart)], still = figure.querySelector('.still');
    var box = document.createElement('div');
    box.className = 'live';
    box.setAttribute('aria-hidden', 'true'); // the still one has the words
    figure.appendChild(box);
    var now = Array.from(figure.querySelectorAll('.legend li')).map(function (item) {
      var text = document.createElement('span');
      text.className = 'now';
      item.appendChild(text);
      return text;
    });
    var series = {};
    var labels = chart.series.map(function (one, i) { return one.label + (chart.series.findIndex(function (o) { return o.label === one.label; }) < i ? ' ' + i : ''); });
    chart.series.forEach(function (one, i) {
      series[labels[i]] = {strokePattern: dashes[one.dash], drawPoints: one.dots, pointSize: 2.2};
    });
    var options = Object.assign(appearance(chart), {
      labels: ['x'].concat(labels), series: series, legend: 'never', strokeWidth: 1.6, connectSeparatedPoints: true, highlightCircleSize: 3.5,
      interactionModel: interaction(), includeZero: false, xRangePad: 4, yRangePad: 6, rightGap: 8,
      highlightCallback: function (event, x, points) {
        now.forEach(function (text) { text.textContent = ''; });
        points.forEach(function (point) {
          var i = labels.indexOf(point.name);
          if (i >= 0 && now[i] && isFinite(point.yval)) now[i].textContent = short(point.yval) + ' at ' + across(x);
        });
      },
      unhighlightCallback: function () { now.forEach(function (text) { text.textContent = ''; }); },
      zoomCallback: function (low, high) {
        var graph = this;
        zoomAll(graph.isZoomed('x') ? [low, high] : null);
      }
    });
    var file = options.file;
    delete options.file;
    if (!file.length) { box.remove(); return; }
    live.push({chart: chart, graph: new Dygraph(box, file, options)});
    still.style.display = 'none';
  }

  function redraw() {
    live.forEach(function (one) { one.graph.updateOptions(Object.assign(appearance(one.chart), {dateWindow: null, valueRange: null})); });
  }

  function foldLong(folded) {
    document.querySelectorAll('details').forEach(function (one) {
      if (folded && one.classList.contains('long')) one.open = false;
      if (!folded) one.open = true;
    });
  }

  document.querySelectorAll('figure.chart[data-chart]').forEach(begin); // a sweep's stay as they are
  if (live.length) document.querySelector('.controls').hidden = false;
  foldLong(true);
  window.addEventListener('beforeprint', function () { foldLong(false); });
  window.addEventListener('afterprint', function () { foldLong(true); });
  byId('smoothing').addEventListener('input', function (event) { settings.smoothing = Number(event.target.value); redraw(); });
  byId('across').addEventListener('change', function (event) { settings.across = event.target.value; redraw(); });
  byId('log').addEventListener('change', function (event) { settings.log = event.target.checked; redraw(); });
  byId('reset').addEventListener('click', function () { zoomAll(null); });
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', redraw);
}());
