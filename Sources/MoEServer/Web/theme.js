// SPDX-License-Identifier: Apache-2.0
// Runs before the page is drawn, so that a chosen theme does not flash.
try {
  const theme = localStorage.getItem("moe-infer.theme");
  if (theme === "dark" || theme === "light") document.documentElement.dataset.theme = theme;
} catch {
  // Storage may be forbidden: the system's theme it is.
}
