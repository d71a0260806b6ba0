// The page of one feature alone: what was put into it is drawn in place of the plain text.
"use strict";

const given = JSON.parse(document.getElementById("facts").textContent);
document.getElementById("feature").replaceChildren(...new Page(given.study, given.tokens).draw(given));
