// Looks again every two seconds while something runs; not while somebody is in a field, or reads in another tab.
"use strict";
setInterval(() => {
  if (!document.hidden && !document.activeElement.matches("input, select, textarea, button")) location.reload();
}, 2000);
