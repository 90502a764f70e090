/* Events as pictures. An event is a flat array of levels, or of means; -1 is a value that is free. */

import { Problem } from "./api.js";
import { shade } from "./scale.js";

const SIDE = 240; // pixels of the longer side
const STRIP = 32; // values in a row, of events that are not images

/** Return a flat array as nested lists of a shape. */
export function nested(flat, shape) {
  return shape.slice(1).reduceRight((values, size) =>
    Array.from({ length: values.length / size }, (_, i) => values.slice(i * size, (i + 1) * size)), flat);
}

/** Where the values of a bundle's events are in a picture. */
export class Layout {
  constructor(bundle) {
    const shape = bundle.event_shape;
    this.bundle = bundle;
    this.length = shape.reduce((a, b) => a * b, 1);
    const depth = (n) => n === 1 || n === 3;
    this.first = shape.length === 3 && depth(shape[0]);
    const last = shape.length === 3 && depth(shape[2]) && !this.first;
    this.image = shape.length === 2 || this.first || last;
    this.channels = this.first ? shape[0] : last ? shape[2] : 1;
    const [height, width] = this.first ? shape.slice(1) : shape;
    // Values that are no image are drawn row by row.
    this.width = this.image ? width : Math.min(this.length, STRIP);
    this.height = this.image ? height : Math.ceil(this.length / STRIP);
  }

  /** Return the indices of a pixel's values. */
  sites(row, column) {
    const pixel = row * this.width + column;
    const step = this.first ? this.width * this.height : 1;
    const begin = this.first ? pixel : pixel * this.channels;
    return Array.from({ length: this.channels }, (_, i) => begin + i * step).filter((i) => i < this.length);
  }

  /** Return an event as the server reads it. */
  nested(event) {
    return nested(event, this.bundle.event_shape);
  }

  /** Return red, green and blue of some values of a pixel. */
  colour(values) {
    const { levels, palette } = this.bundle;
    if (palette && values.length === 1) return palette[Math.min(levels - 1, Math.max(0, Math.round(values[0])))];
    const bright = values.map((value) => Math.min(255, Math.max(0, (255 * value) / Math.max(1, levels - 1))));
    return bright.length === 3 ? bright : [bright[0], bright[0], bright[0]];
  }
}

/** Draw an event; pixels with free values are hatched, and the cursor [row, column] is framed. */
export function draw(canvas, layout, event, { side = SIDE, cursor } = {}) {
  const free = [];
  const [context, scale] = pixels(canvas, layout, side, (sites, row, column) => {
    const values = sites.map((i) => event[i]);
    if (!values.includes(-1)) return layout.colour(values);
    free.push([row, column]);
    return [70, 120, 190];
  });
  context.strokeStyle = "#cfe2ff";
  context.lineWidth = Math.max(1, scale / 10);
  context.beginPath();
  for (const [row, column] of free) {
    context.moveTo(column * scale, (row + 1) * scale);
    context.lineTo((column + 1) * scale, row * scale);
  }
  context.stroke();
  if (cursor) {
    const [row, column] = cursor;
    for (const [colour, width] of [["#000", 4], ["#ffd23f", 2]]) {
      Object.assign(context, { strokeStyle: colour, lineWidth: width });
      context.strokeRect(column * scale + 2, row * scale + 2, scale - 4, scale - 4);
    }
  }
}

/** Draw the nats of each pixel, and return the most. */
export function heat(canvas, layout, logProb) {
  const sum = (sites) => sites.reduce((total, i) => total - (logProb[i] ?? -1e3), 0);
  let most = 1e-9;
  for (let i = 0; i < layout.width * layout.height; i += 1) {
    most = Math.max(most, sum(layout.sites(Math.floor(i / layout.width), i % layout.width)));
  }
  pixels(canvas, layout, SIDE, (sites) => shade(sum(sites) / most));
  return most;
}

function pixels(canvas, layout, side, colour) {
  const { width, height } = layout;
  const small = new OffscreenCanvas(width, height).getContext("2d");
  const image = small.createImageData(width, height);
  for (let row = 0; row < height; row += 1) {
    for (let column = 0; column < width; column += 1) {
      const sites = layout.sites(row, column);
      if (sites.length) image.data.set([...colour(sites, row, column), 255], 4 * (row * width + column));
    }
  }
  small.putImageData(image, 0, 0);
  const scale = Math.max(1, Math.floor(side / Math.max(width, height)));
  Object.assign(canvas, { width: width * scale, height: height * scale });
  const context = canvas.getContext("2d");
  context.imageSmoothingEnabled = false;
  context.drawImage(small.canvas, 0, 0, width * scale, height * scale);
  return [context, scale];
}

/** Return the pixel [row, column] under a pointer. */
export function pixelAt(canvas, layout, pointer) {
  const box = canvas.getBoundingClientRect();
  const part = (at, begin, size, count) =>
    Math.min(count - 1, Math.max(0, Math.floor(((at - begin) / size) * count)));
  return [part(pointer.clientY, box.top, box.height, layout.height),
    part(pointer.clientX, box.left, box.width, layout.width)];
}

/** Return the event that is nearest to an image file. */
export async function fromFile(file, layout, invert) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(file);
  } catch {
    throw new Problem(0, `${file.name}: expected an image that this browser can read`);
  }
  const { width, height } = layout;
  const context = new OffscreenCanvas(width, height).getContext("2d");
  Object.assign(context, { fillStyle: "#fff", imageSmoothingQuality: "high" });
  context.fillRect(0, 0, width, height);
  context.drawImage(bitmap, 0, 0, width, height);
  const { data } = context.getImageData(0, 0, width, height);
  const event = new Array(layout.length).fill(0);
  for (let i = 0; i < width * height; i += 1) {
    const rgb = [...data.slice(4 * i, 4 * i + 3)].map((value) => (invert ? 255 - value : value));
    const sites = layout.sites(Math.floor(i / width), i % width);
    sites.forEach((site, channel) => { event[site] = level(layout.bundle, rgb, channel, sites.length); });
  }
  return event;
}

function level({ levels, palette }, [r, g, b], channel, channels) {
  if (palette && channels === 1) {
    const far = palette.map((each) => (each[0] - r) ** 2 + (each[1] - g) ** 2 + (each[2] - b) ** 2);
    return far.indexOf(Math.min(...far));
  }
  const value = channels === 3 ? [r, g, b][channel] : 0.299 * r + 0.587 * g + 0.114 * b;
  return Math.round((value / 255) * (levels - 1));
}
