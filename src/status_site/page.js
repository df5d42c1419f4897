(function () {
  var page = document.documentElement, updated = Date.parse(page.dataset.updated);
  var every = Number(page.dataset.every) * 1000;
  var old = document.getElementById("old"), age = document.getElementById("age");
  var banner = document.getElementById("banner"), said = document.getElementById("said");
  var first = said.textContent;
  var shown = { month: "short", day: "numeric", hour: "numeric", minute: "2-digit", timeZoneName: "short" };
  function words(ms) {
    var m = Math.max(0, Math.round(ms / 60000));
    if (m < 1) return "less than a minute";
    if (m < 60) return m === 1 ? "1 minute" : m + " minutes";
    var h = Math.round(m / 60);
    if (h < 48) return h === 1 ? "1 hour" : h + " hours";
    return Math.round(h / 24) + " days";
  }
  function look() {
    var gone = Date.now() - updated, late = !(gone < 2 * every);
    var green = late && banner.className.indexOf("operational") >= 0;
    age.textContent = gone >= 0 ? " (" + words(gone) + " ago)" : "";
    old.textContent = late ? "This page should be renewed every " + words(every) + " and was not for " +
      words(gone) + ". What it says may no longer be true." : "";
    old.hidden = !late;
    page.className = late ? "old" : "";
    said.textContent = green ? "We cannot confirm that all is well" : first;
  }
  document.querySelectorAll("time[datetime]").forEach(function (t) {
    var d = new Date(t.getAttribute("datetime"));
    if (isNaN(d)) return;
    t.title = t.textContent;
    try { t.textContent = d.toLocaleString(undefined, shown); } catch (e) {}
  });
  look();
  setInterval(look, 15000);
  // A newer page, when nobody is in the middle of reading this one.
  setInterval(function () {
    if (document.hidden || window.scrollY === 0) location.reload();
  }, Math.max(60000, Math.min(every, 300000)));
})();
