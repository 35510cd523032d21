// SPDX-License-Identifier: Apache-2.0
// Scales of colour, for light and dark. Each gets steadily darker (or lighter) as well as changing its hue from blue to orange, so it
// reads the same for the colour-blind and in grey. Text on the token scale has a contrast of at least 4.5.

export const STEPS = 12;
const SCALES = {
  tokens: { light: ["#d6e8fc", "#d3e7cf", "#f6da97", "#ee9a52"], dark: ["#17324d", "#1f4740", "#5e4c1e", "#94551a"] },
  share: { light: ["#eef1f4", "#f4cd8b", "#d9702a", "#74290f"], dark: ["#1c232b", "#54391f", "#c46d1f", "#ffd9a0"] },
  change: { light: ["#2567a8", "#a9c8e6", "#f1f2f3", "#f0bf8f", "#c25c12"], dark: ["#6db0f2", "#2d5377", "#20262d", "#73451c", "#f09a48"] },
};

const channels = (hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));

/** The colour at `x`, 0 to 1, of the scale `name`. */
export function shade(name, x, dark) {
  const stops = SCALES[name][dark ? "dark" : "light"];
  const place = Math.min(Math.max(x, 0), 1) * (stops.length - 1);
  const left = Math.min(Math.floor(place), stops.length - 2);
  const [a, b] = [channels(stops[left]), channels(stops[left + 1])];
  return `rgb(${a.map((value, i) => Math.round(value + (b[i] - value) * (place - left))).join(" ")})`;
}

/** Where `k` of at most `most` experts stands on the token scale, 0 to 1. By ratio: from 1 to 2 is as far as from 4 to 8. */
export function placeOf(k, most) {
  return most > 1 ? Math.min(Math.max(Math.log(k) / Math.log(most), 0), 1) : 1;
}

/** Which step of the token scale that is. */
export const stepOf = (k, most) => Math.round(placeOf(k, most) * (STEPS - 1));

export function isDark() {
  const chosen = document.documentElement.dataset.theme;
  return chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
}

/** Sets the custom properties --c0, --c1 … that the style sheet gives to tokens. */
export function applyScale() {
  for (let step = 0; step < STEPS; step++) {
    document.documentElement.style.setProperty(`--c${step}`, shade("tokens", step / (STEPS - 1), isDark()));
  }
}
