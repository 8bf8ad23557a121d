"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const PER_PAGE = 12, UNKNOWN = 255;
  const byId = (id) => document.getElementById(id);
  const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const percent = (share) => (share === null ? "–" : `${(100 * share).toFixed(0)} %`);
  const counted = (count, noun) => `${count} ${noun}${count === 1 ? "" : "s"}`;
  const heat = bytes(data.heat);

  // name, attributes, children: a text child is never read as HTML
  const make = (name, attributes = {}, ...children) => {
    const node = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    node.append(...children);
    return node;
  };
  const fill = (select, options) => select.replaceChildren(...options.map(([value, text]) => make("option", { value }, text)));
  const picture = async (kind, text) => {
    const image = new Image();
    image.src = `data:image/${kind};base64,${text}`;
    await image.decode();
    return image;
  };

  // -- scores ------------------------------------------------------------------------------------

  const state = { view: "map", label: -1, sort: "0", search: "", threshold: null, opacity: 0.8, page: 0, current: -1 };
  const place = (method) => (state.threshold === null ? data.methods[method].place : state.threshold);
  const curves = new Map();
  const curveOf = (photo, method, index) => {
    const text = photo.iou[method] && photo.iou[method][index];
    if (!text) return null;
    if (!curves.has(text)) curves.set(text, bytes(text));
    return curves.get(text);
  };
  const iouOf = (photo, method, index) => {
    const curve = curveOf(photo, method, index);
    if (!curve) return null;
    const half = curve[place(method)];
    return half === UNKNOWN ? null : half / 200;
  };
  const meanIou = (photo, method) => {
    const known = photo.labels
      .map((label, index) => (state.label < 0 || label === state.label ? iouOf(photo, method, index) : null))
      .filter((value) => value !== null);
    return known.length ? known.reduce((sum, value) => sum + value, 0) / known.length : null;
  };
  const gainOf = (photo, method) => {
    const before = meanIou(photo, 0), after = meanIou(photo, method);
    return before === null || after === null ? null : after - before;
  };

  // -- order -------------------------------------------------------------------------------------

  const orders = [["in the order of the list", null, 1]];
  if (data.photos.some((photo) => photo.iou.some(Boolean))) {
    data.methods.forEach((method, index) => {
      orders.push([`IoU of ${method.title}, best first`, (photo) => meanIou(photo, index), -1]);
      orders.push([`IoU of ${method.title}, worst first`, (photo) => meanIou(photo, index), 1]);
      if (index === 0) return;
      orders.push([`gain of ${method.title} over ${data.methods[0].title}, best first`, (photo) => gainOf(photo, index), -1]);
      orders.push([`gain of ${method.title} over ${data.methods[0].title}, worst first`, (photo) => gainOf(photo, index), 1]);
    });
  }
  const shown = () => {
    const found = data.photos.filter(
      (photo) => (state.label < 0 || photo.labels.includes(state.label)) && photo.name.toLowerCase().includes(state.search)
    );
    const [, value, sign] = orders[Number(state.sort)];
    if (!value) return found;
    const keyed = found.map((photo) => [value(photo), photo]);
    keyed.sort(([a], [b]) => (a === null) - (b === null) || sign * (a - b));
    return keyed.map(([, photo]) => photo);
  };

  // -- pictures ----------------------------------------------------------------------------------

  const decoded = new Map(); // of the photos on the page
  const decode = (photo) => {
    if (!decoded.has(photo)) {
      decoded.set(photo, (async () => {
        const [width, height] = photo.size;
        const base = pixelsOf(await picture("webp", photo.photo), width, height);
        const truth = photo.truth && labelsOf(pixelsOf(await picture("png", photo.truth), width, height));
        const maps = await Promise.all(photo.maps.map(async (text) => text && planesOf(await picture("webp", text), photo)));
        return { base, truth, maps };
      })());
    }
    return decoded.get(photo);
  };
  const pixelsOf = (image, width, height, top = 0, part = image.height) => {
    const canvas = make("canvas", { width, height });
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.drawImage(image, 0, top, image.width, part, 0, 0, width, height);
    return context.getImageData(0, 0, width, height).data;
  };
  const labelsOf = (pixels) => Uint8Array.from({ length: pixels.length / 4 }, (_, index) => pixels[4 * index]);
  const planesOf = (image, photo) => {
    const part = image.height / photo.labels.length;
    return photo.labels.map((_, index) => labelsOf(pixelsOf(image, ...photo.size, index * part, part)));
  };
  // 0 background, k+1 class k: the highest map where it is above the threshold
  const seedOf = (photo, planes, threshold) => {
    const seed = new Uint8Array(planes[0].length), level = (255 * threshold) / 100;
    for (let at = 0; at < seed.length; at++) {
      let best = level, winner = 0;
      planes.forEach((plane, index) => {
        if (plane[at] > best) [best, winner] = [plane[at], photo.labels[index] + 1];
      });
      seed[at] = winner;
    }
    return seed;
  };

  const paint = (canvas, photo, base, colour, edges) => {
    const [width, height] = photo.size;
    const context = canvas.getContext("2d");
    const image = context.createImageData(width, height);
    for (let at = 0; at < width * height; at++) {
      const [red, green, blue] = colour(at, 4 * at);
      image.data.set([red, green, blue, 255], 4 * at);
    }
    if (edges) outline(image.data, edges, width, height);
    context.putImageData(image, 0, 0);
    return context;
  };
  const outline = (pixels, region, width, height) => {
    const put = (at, shade) => pixels.fill(shade, 4 * at, 4 * at + 3);
    for (let y = 1; y < height; y++) {
      for (let x = 1; x < width; x++) {
        const at = y * width + x;
        if (region[at] === region[at - 1] && region[at] === region[at - width]) continue;
        put(at, 255);
        put(region[at] ? at - (region[at] === region[at - 1] ? width : 1) : at, region[at] ? 0 : 255);
      }
    }
  };
  const heatPixel = (value) => [heat[3 * value], heat[3 * value + 1], heat[3 * value + 2]];
  const colourOf = (label) => data.colours[label % data.colours.length];
  const mixed = (base, byte, colour, share) => colour.map((value, index) => base[byte + index] * (1 - share) + value * share);

  const drawMap = (canvas, photo, found, plane, region, name) => {
    const context = paint(canvas, photo, found.base, (at, byte) => mixed(found.base, byte, heatPixel(plane[at]), state.opacity), region);
    write(context, photo, [[name, 0, 0]]);
  };
  const drawMask = (canvas, photo, found, mask) => {
    const shade = [40, 40, 40];
    const context = paint(canvas, photo, found.base, (at, byte) => {
      if (mask[at] === UNKNOWN) return [255, 255, 255];
      return mask[at] ? mixed(found.base, byte, colourOf(mask[at] - 1), 0.75 * state.opacity) : mixed(found.base, byte, shade, 0.55 * state.opacity);
    }, mask);
    write(context, photo, middles(mask, photo));
  };
  const middles = (mask, photo) => {
    const rows = new Map();
    mask.forEach((value, at) => {
      if (value === 0 || value === UNKNOWN) return;
      if (!rows.has(value)) rows.set(value, []);
      rows.get(value).push(at);
    });
    if (!rows.size) return [["background only", 0, 0]];
    return [...rows].map(([value, places]) => {
      const at = places[places.length >> 1], xs = places.map((each) => each % photo.size[0]).sort((a, b) => a - b);
      return [data.classes[value - 1], xs[xs.length >> 1], Math.floor(at / photo.size[0])];
    });
  };
  const write = (context, photo, names) => {
    const [width, height] = photo.size, size = Math.max(10, Math.round(0.062 * Math.max(width, height)));
    context.font = `600 ${size}px system-ui, "DejaVu Sans", sans-serif`;
    context.textBaseline = "middle";
    for (const [name, x, y] of names) {
      const wide = context.measureText(name).width + 8, high = size + 6;
      const left = Math.max(2, Math.min(width - wide - 2, x - wide / 2)), top = Math.max(2, Math.min(height - high - 2, y - high / 2));
      context.fillStyle = "#141418";
      context.fillRect(left, top, wide, high);
      context.fillStyle = "#ffffff";
      context.fillText(name, left + 4, top + high / 2 + 1);
    }
  };

  // -- cards -------------------------------------------------------------------------------------

  const chosen = new Map(); // photo: index of the label whose map is shown
  const labelIndex = (photo) => {
    if (state.label >= 0) return photo.labels.indexOf(state.label);
    return Math.min(chosen.get(photo) ?? 0, photo.labels.length - 1);
  };
  const panel = (photo, title) => {
    const canvas = make("canvas", { width: photo.size[0], height: photo.size[1], role: "img", "aria-label": `${title}: ${photo.name}` });
    const caption = make("figcaption");
    return { canvas, caption, figure: make("figure", {}, canvas, caption), title };
  };
  const card = (photo) => {
    const panels = { photo: panel(photo, "Photo"), truth: photo.truth && panel(photo, "Truth") };
    panels.methods = data.methods.map((method) => panel(photo, method.title));
    const heading = make("h2", {}, make("span", {}, photo.name));
    const node = make("article", { tabindex: "-1" }, heading);
    const figures = [panels.photo, panels.truth, ...panels.methods].filter(Boolean).map((each) => each.figure);
    node.append(make("div", { class: "row" }, ...figures));
    const each = { photo, panels, node, heading };
    photo.labels.forEach((label, index) => {
      const button = make("button", { type: "button", "aria-pressed": "false" }, data.classes[label]);
      button.addEventListener("click", () => { chosen.set(photo, index); refresh(each); });
      heading.append(button);
    });
    node.addEventListener("click", () => select(cards.indexOf(each), false));
    return each;
  };
  const refresh = async ({ photo, panels, heading }) => {
    const found = await decode(photo), index = labelIndex(photo);
    heading.querySelectorAll("button").forEach((button, at) => button.setAttribute("aria-pressed", String(at === index)));
    paint(panels.photo.canvas, photo, found.base, (_, byte) => [found.base[byte], found.base[byte + 1], found.base[byte + 2]]);
    caption(panels.photo, photo.labels.map((label) => data.classes[label]).join(", ") || "no class");
    if (panels.truth) { drawMask(panels.truth.canvas, photo, found, found.truth); caption(panels.truth, "true mask"); }
    panels.methods.forEach((each, method) => {
      const planes = found.maps[method];
      if (!planes) { caption(each, photo.labels.length ? "no seed" : "no class"); return; }
      const seed = seedOf(photo, planes, place(method));
      const label = photo.labels[index];
      if (state.view === "seed") drawMask(each.canvas, photo, found, seed);
      else drawMap(each.canvas, photo, found, planes[index], seed.map((value) => (value === label + 1 ? 1 : 0)), data.classes[label]);
      const iou = iouOf(photo, method, index);
      const score = iou === null ? "seed" : `${data.classes[label]}: IoU ${percent(iou)}`;
      caption(each, `${score} at ${(place(method) / 100).toFixed(2)}`);
    });
  };
  const caption = (each, text) => each.caption.replaceChildren(make("b", {}, each.title), make("br"), text);

  let cards = [], list = [];
  const pages = () => Math.max(1, Math.ceil(list.length / PER_PAGE));
  const show = () => {
    list = shown();
    state.page = Math.max(0, Math.min(state.page, pages() - 1));
    const first = state.page * PER_PAGE, here = list.slice(first, first + PER_PAGE);
    for (const photo of decoded.keys()) if (!here.includes(photo)) decoded.delete(photo);
    cards = here.map(card);
    byId("cards").replaceChildren(...cards.map((each) => each.node));
    byId("where").textContent = list.length ? `photos ${first + 1} to ${first + here.length} of ${list.length}` : "no photo";
    for (const button of document.querySelectorAll("[data-step]")) {
      const next = state.page + Number(button.dataset.step);
      button.disabled = next < 0 || next >= pages();
    }
    state.current = -1;
    return Promise.all(cards.map(refresh));
  };
  let waiting = false;
  const redraw = () => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(async () => { waiting = false; await Promise.all(cards.map(refresh)); });
  };
  const turn = (step) => {
    const next = state.page + step;
    if (next < 0 || next >= pages()) return false;
    state.page = next;
    show();
    byId("gallery").scrollIntoView();
    return true;
  };
  const select = (index, scroll = true) => {
    cards.forEach((each, at) => each.node.setAttribute("aria-current", String(at === index)));
    state.current = index;
    if (scroll && cards[index]) { cards[index].node.scrollIntoView({ block: "nearest" }); cards[index].node.focus({ preventScroll: true }); }
  };
  const step = (by) => {
    const next = state.current + by;
    if (next >= 0 && next < cards.length) return select(next);
    if (next >= cards.length ? turn(1) : state.current >= 0 && turn(-1)) select(by > 0 ? 0 : cards.length - 1);
  };

  const controls = () => {
    fill(byId("class"), [[-1, "all"], ...data.classes.map((name, label) => [label, name]).filter(([label]) => data.photos.some((photo) => photo.labels.includes(label)))]);
    fill(byId("sort"), orders.map(([title], index) => [index, title]));
    const gains = orders.findIndex(([title]) => title.startsWith(`gain of ${data.methods[data.best].title} `));
    state.sort = String(Math.max(0, gains));
    byId("sort").value = state.sort;
    const on = (id, event, act) => byId(id).addEventListener(event, act);
    on("view", "change", () => { state.view = byId("view").value; redraw(); });
    on("class", "change", () => { state.label = Number(byId("class").value); state.page = 0; show(); });
    on("sort", "change", () => { state.sort = byId("sort").value; state.page = 0; show(); });
    on("search", "input", () => { state.search = byId("search").value.toLowerCase(); state.page = 0; show(); });
    on("threshold", "input", () => { state.threshold = Number(byId("threshold").value); said(); redraw(); });
    on("threshold", "change", () => { if (orders[Number(state.sort)][1]) show(); });
    on("own", "click", () => { state.threshold = null; said(); show(); });
    on("opacity", "input", () => { state.opacity = Number(byId("opacity").value) / 100; said(); redraw(); });
    document.querySelectorAll("[data-step]").forEach((button) => button.addEventListener("click", () => turn(Number(button.dataset.step))));
    document.addEventListener("keydown", (event) => {
      if (event.altKey || event.ctrlKey || event.metaKey || /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName)) return;
      if (event.key !== "ArrowRight" && event.key !== "ArrowLeft") return;
      event.preventDefault();
      step(event.key === "ArrowRight" ? 1 : -1);
    });
  };
  const said = () => {
    byId("threshold-value").textContent = state.threshold === null ? "own best" : (state.threshold / 100).toFixed(2);
    if (state.threshold === null) byId("threshold").value = data.methods[data.best].place;
    byId("own").disabled = state.threshold === null;
    byId("opacity-value").textContent = percent(state.opacity);
  };

  // -- confusion ---------------------------------------------------------------------------------

  const confuse = (index) => {
    const names = ["background", ...data.classes], matrix = data.methods[index].confusion;
    const seen = names.map((_, at) => at).filter((at) => matrix[at].some(Boolean) || matrix.some((row) => row[at]));
    const share = (row, column) => matrix[row][column] / Math.max(1, matrix[row].reduce((sum, value) => sum + value, 0));
    const wrong = seen.flatMap((row) => seen.filter((column) => column !== row).map((column) => [share(row, column), row, column]));
    const worst = wrong.sort(([a], [b]) => b - a).slice(0, 5).filter(([value]) => value > 0);
    byId("confusion-list").textContent = worst.length ? `Largest: ${worst.map(([value, row, column]) => `${names[row]} seen as ${names[column]} ${percent(value)}`).join(" · ")}` : "Nothing is confused.";
    if (seen.length > 33) return byId("confusion").replaceChildren();
    const cells = (row) => seen.map((column) => {
      const value = share(row, column), strength = Math.round(70 * value);
      return make("td", { style: `background: color-mix(in srgb, var(${row === column ? "--m3" : "--m2"}) ${strength}%, var(--card))` }, value >= 0.005 ? (100 * value).toFixed(0) : "");
    });
    const head = make("tr", {}, make("th", { scope: "col" }, "truth, seed →"), ...seen.map((at) => make("th", { scope: "col" }, names[at])));
    const rows = seen.map((row) => make("tr", {}, make("th", { scope: "row" }, names[row]), ...cells(row)));
    byId("confusion").replaceChildren(make("table", {}, make("thead", {}, head), make("tbody", {}, ...rows)));
  };
  const confusions = () => {
    if (!byId("confusion")) return;
    fill(byId("confusion-method"), data.methods.map((method, index) => [index, method.title]).filter(([index]) => data.methods[index].confusion));
    byId("confusion-method").value = String(data.best);
    byId("confusion-method").addEventListener("change", () => confuse(Number(byId("confusion-method").value)));
    confuse(data.best);
  };

  // -- prototypes --------------------------------------------------------------------------------

  const places = (sight) => {
    const canvas = make("canvas", { width: data.places, height: data.places, role: "img", "aria-label": `where on the objects ${sight.name} lies, upper left to lower right` });
    const context = canvas.getContext("2d"), image = context.createImageData(data.places, data.places);
    bytes(sight.places).forEach((value, at) => image.data.set([...heatPixel(value), 255], 4 * at));
    context.putImageData(image, 0, 0);
    return canvas;
  };
  const sightNode = (sight) => {
    const share = sight.share === null ? "" : `${percent(sight.share)} of its positions on the object`;
    const alike = sight.alike.map(([name, cosine]) => `${name} ${cosine.toFixed(2)}`).join(", ");
    const words = make("div", {}, make("p", {}, make("b", {}, sight.name)), make("p", { class: "soft" }, `z ${sight.score.toFixed(2)} · cluster of ${sight.size.toLocaleString("en")}`));
    if (share) words.append(make("p", {}, share));
    if (alike) words.append(make("p", { class: "soft" }, `like ${alike}`));
    const strip = make("div", { class: "strip" });
    if (sight.strip) strip.append(make("img", { src: `data:image/webp;base64,${sight.strip}`, alt: `nearest patches: ${sight.patches.map(([name, cosine]) => `${name} ${cosine.toFixed(2)}`).join(", ")}`, title: sight.patches.map(([name, cosine]) => `${name} ${cosine.toFixed(2)}`).join("\n") }));
    const node = make("div", { class: sight.object ? "sight" : "sight context" }, words, strip);
    node.append(sight.share === null ? make("span") : places(sight));
    return node;
  };
  const drawPlane = (entry) => {
    const canvas = byId("plane"), context = canvas.getContext("2d"), style = getComputedStyle(document.documentElement);
    const ink = (name) => style.getPropertyValue(name).trim();
    context.clearRect(0, 0, canvas.width, canvas.height);
    const at = (x, y) => [30 + (x / 255) * (canvas.width - 110), canvas.height - 30 - (y / 255) * (canvas.height - 60)];
    const points = bytes(entry.plane.points);
    for (let index = 0; index < points.length; index += 3) {
      const [x, y] = at(points[index], points[index + 1]);
      context.globalAlpha = 0.75;
      if (points[index + 2]) { context.fillStyle = ink("--m2"); context.beginPath(); context.arc(x, y, 5, 0, 7); context.fill(); }
      else { context.strokeStyle = ink("--m1"); context.lineWidth = 2; context.strokeRect(x - 4, y - 4, 8, 8); }
    }
    context.globalAlpha = 1;
    context.font = '600 22px system-ui, "DejaVu Sans", sans-serif';
    entry.plane.prototypes.forEach(([px, py], index) => {
      const [x, y] = at(px, py), sight = entry.sights[index];
      context.beginPath();
      if (sight.object) { context.moveTo(x, y - 14); context.lineTo(x + 13, y + 10); context.lineTo(x - 13, y + 10); }
      else { context.moveTo(x, y - 13); context.lineTo(x + 13, y); context.lineTo(x, y + 13); context.lineTo(x - 13, y); }
      context.closePath();
      context.fillStyle = ink(sight.object ? "--m2" : "--m1");
      context.fill();
      context.lineWidth = 3;
      context.strokeStyle = ink("--ink");
      context.stroke();
      context.lineWidth = 5;
      context.strokeStyle = ink("--card");
      context.strokeText(sight.name.split(" ").pop(), x + 16, y + 8);
      context.fillStyle = ink("--ink");
      context.fillText(sight.name.split(" ").pop(), x + 16, y + 8);
    });
    const [first, second] = entry.plane.explained;
    canvas.setAttribute("aria-label", `local features and prototypes of ${entry.name}`);
    byId("plane-note").textContent = `Local features of ${entry.name} (● on the object's side of the CAM, □ on the other), class prototypes ▲ and context prototypes ◆ by number, on the plane of the largest variance of f/‖f‖: ${percent(first)} and ${percent(second)} of it.`;
  };
  const showPrototypes = () => {
    const entry = data.prototypes[Number(byId("prototype-class").value)];
    const context = entry.sights.filter((sight) => !sight.object).length;
    byId("prototype-count").textContent = `${counted(entry.sights.length - context, "class prototype")}, ${counted(context, "context prototype")}, seen in ${counted(entry.photos, "photo")}`;
    byId("sights").replaceChildren(...entry.sights.map(sightNode));
    drawPlane(entry);
  };
  const prototypes = () => {
    if (!data.prototypes.length) return;
    fill(byId("prototype-class"), data.prototypes.map((entry, index) => [index, entry.name]));
    byId("prototype-class").addEventListener("change", showPrototypes);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", showPrototypes);
    showPrototypes();
  };

  controls();
  said();
  confusions();
  prototypes();
  show().then(() => document.body.setAttribute("data-ready", "true"));
})();
