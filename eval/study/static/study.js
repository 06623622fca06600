// Keys 1 to 3 choose; a form goes once; a page that the browser kept is asked for again, so that going back shows the present set.
"use strict";
addEventListener("keydown", event => {
  const choice = document.querySelector(`input[name=choice][value="${CSS.escape(event.key)}"]`);
  if (choice && !event.ctrlKey && !event.altKey && !event.metaKey) {
    choice.checked = true;
    choice.focus();
  }
});
addEventListener("submit", event => {
  if (event.target.dataset.sent) event.preventDefault();
  event.target.dataset.sent = "yes";
});
addEventListener("pageshow", event => {
  if (event.persisted) location.reload();
});
