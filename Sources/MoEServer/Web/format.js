// SPDX-License-Identifier: Apache-2.0
// Figures as people read them.

const known = (value) => typeof value === "number" && Number.isFinite(value);

/** Three significant digits, without an exponent. */
export function figure(value, digits = 3) {
  if (!known(value)) return "–";
  if (value === 0) return "0";
  const places = Math.max(0, Math.min(12, digits - 1 - Math.floor(Math.log10(Math.abs(value)))));
  return value.toLocaleString("en", { maximumFractionDigits: places });
}

export const count = (value) => (known(value) ? Math.round(value).toLocaleString("en") : "–");
export const experts = (value) => (known(value) ? value.toFixed(2) : "–");
export const percent = (value) => (known(value) ? `${Math.round(value * 100)} %` : "–");
export const ratio = (value) => (known(value) && value > 0 ? `${value.toFixed(2)}×` : "–");

export function seconds(value) {
  if (!known(value)) return "–";
  if (value < 0.01) return `${(value * 1000).toFixed(1)} ms`;
  if (value < 1) return `${Math.round(value * 1000)} ms`;
  if (value < 120) return `${value.toFixed(value < 10 ? 2 : 1)} s`;
  return value < 7200 ? `${Math.round(value / 60)} min` : `${(value / 3600).toFixed(1)} h`;
}

export const rate = (value) => (known(value) ? (value >= 100 ? count(value) : value.toFixed(1)) : "–");

/** Dollars, in a unit in which small sums can be compared. */
export function dollars(value) {
  if (!known(value)) return "–";
  if (value === 0) return "$0";
  if (value >= 0.01) return `$${value.toFixed(value < 1 ? 4 : 2)}`;
  return `$${figure(value)}`;
}
