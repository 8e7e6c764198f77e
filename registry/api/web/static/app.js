/* What pages do beyond HTML. Every part of it works without this file too: copy buttons appear, links open dialogs in
   place, menus close, rows are chosen in ranges, suggestions follow the arrow keys. No page holds any other script. */

(() => {
  "use strict";

  const root = document.documentElement;
  root.classList.add("js");

  const all = (selector, inside = document) => [...inside.querySelectorAll(selector)];

  /* Copy. */

  const reveal = () => {
    all("[data-copy]").forEach((button) => { button.hidden = false; });
    all("[data-expand]").forEach((button) => { button.hidden = false; });
    all(".prose pre").forEach((block) => { block.tabIndex = 0; });
  };

  /* Browsers have the clipboard only behind TLS; a registry of one's own often has none. */
  const copyWithoutTls = (text, button) => {
    const area = document.createElement("textarea");
    area.value = text;
    area.className = "visually-hidden";
    // Inside of an open dialog nothing outside of it can be selected.
    button.after(area);
    area.select();
    document.execCommand("copy");
    area.remove();
    button.focus();
  };

  const copy = async (button) => {
    if (navigator.clipboard) await navigator.clipboard.writeText(button.dataset.copy);
    else copyWithoutTls(button.dataset.copy, button);
    const label = button.getAttribute("aria-label");
    button.classList.add("is-copied");
    button.setAttribute("aria-label", button.dataset.done);
    setTimeout(() => {
      button.classList.remove("is-copied");
      button.setAttribute("aria-label", label);
    }, 1600);
  };

  /* Menus and dialogs. */

  const closeMenus = (except) => all("details[data-menu][open]").forEach((menu) => {
    if (!menu.contains(except)) menu.open = false;
  });

  const openDialog = (link) => {
    const dialog = document.getElementById(link.dataset.dialog);
    if (!dialog) return false;
    dialog.showModal();
    return true;
  };

  /* Menus of commands are filled from a pattern when they are opened: a page of tags says each command once. */

  const fillMenu = (menu) => {
    const pattern = document.getElementById(menu.dataset.fill);
    const panel = menu.querySelector(".menu-panel");
    if (!pattern || panel.childElementCount) return;
    const filled = (text) => text.replaceAll("%tag%", menu.dataset.tag).replaceAll("%digest%", menu.dataset.digest);
    panel.append(pattern.content.cloneNode(true));
    all("code", panel).forEach((code) => { code.textContent = filled(code.textContent); });
    all("[data-copy]", panel).forEach((button) => {
      button.dataset.copy = filled(button.dataset.copy);
      button.hidden = false;
    });
  };

  /* Rows below a row. */

  const expand = (button) => {
    const isOpen = button.closest("[data-expandable]").classList.toggle("is-open");
    button.setAttribute("aria-expanded", String(isOpen));
  };

  /* Choosing rows. */

  const choose = (form, box, withShift) => {
    const rows = all("[data-select-row]", form);
    const last = rows.indexOf(form.lastChosen);
    const here = rows.indexOf(box);
    if (withShift && last >= 0) {
      const [from, to] = last < here ? [last, here] : [here, last];
      rows.slice(from, to + 1).forEach((row) => { row.checked = box.checked; });
    }
    form.lastChosen = box;
  };

  const countChosen = (form) => {
    const rows = all("[data-select-row]", form);
    const count = rows.filter((row) => row.checked).length;
    const text = form.querySelector("[data-select-count]");
    if (text) text.textContent = count === 1 ? text.dataset.one : text.dataset.many.replace("#", count);
    form.classList.toggle("has-chosen", count > 0);
    const whole = form.querySelector("[data-select-all]");
    if (whole) {
      whole.hidden = rows.length === 0;
      whole.checked = count > 0 && count === rows.length;
      whole.indeterminate = count > 0 && count < rows.length;
    }
  };

  /* Type-ahead. */

  const suggestions = (form) => all("[role=option]", form);

  const showSuggestions = (form) => {
    const input = form.querySelector("[role=combobox]");
    const isOpen = suggestions(form).length > 0 && form.contains(document.activeElement) && input.value.trim() !== "";
    form.classList.toggle("is-open", isOpen);
    input.setAttribute("aria-expanded", String(isOpen));
    if (!isOpen) input.removeAttribute("aria-activedescendant");
  };

  const moveSuggestion = (form, step) => {
    const input = form.querySelector("[role=combobox]");
    const options = suggestions(form);
    const now = options.findIndex((option) => option.getAttribute("aria-selected") === "true");
    const next = options[(now + step + (now < 0 && step < 0 ? 1 : 0) + options.length) % options.length];
    options.forEach((option) => option.setAttribute("aria-selected", String(option === next)));
    if (next) {
      input.setAttribute("aria-activedescendant", next.id);
      next.scrollIntoView({ block: "nearest" });
    }
  };

  const typeaheadKey = (event, form) => {
    const chosen = form.querySelector("[aria-selected=true]");
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      moveSuggestion(form, event.key === "ArrowDown" ? 1 : -1);
    } else if (event.key === "Enter" && chosen && form.classList.contains("is-open")) {
      event.preventDefault();
      chosen.click();
    } else if (event.key === "Escape") {
      form.classList.remove("is-open");
    }
  };

  /* What a link within the page leads to is opened. */

  const placeNamed = (hash) => {
    try {
      return document.getElementById(decodeURIComponent(hash.slice(1)));
    } catch {
      // Anybody can write an address with escapes that are none.
      return null;
    }
  };

  const openTarget = () => {
    const target = placeNamed(location.hash);
    if (target instanceof HTMLDetailsElement) target.open = true;
  };

  /* One listener of each kind: what arrives later needs no setting up. */

  document.addEventListener("click", (event) => {
    const target = event.target;
    closeMenus(target);
    const button = target.closest("[data-copy]");
    if (button) { copy(button); return; }
    const expander = target.closest("[data-expand]");
    if (expander) { expand(expander); return; }
    const link = target.closest("[data-dialog]");
    if (link && !event.ctrlKey && !event.metaKey && openDialog(link)) event.preventDefault();
    if (target instanceof HTMLDialogElement) target.close();
    const form = target.closest("[data-select]");
    if (form && target.matches("[data-select-row]")) choose(form, target, event.shiftKey);
    if (form && target.matches("[data-select-all]")) {
      all("[data-select-row]", form).forEach((row) => { row.checked = target.checked; });
    }
    if (form) countChosen(form);
    all("[data-typeahead]").filter((search) => !search.contains(target)).forEach((search) => search.classList.remove("is-open"));
  });

  document.addEventListener("toggle", (event) => {
    if (event.target.matches("[data-fill]") && event.target.open) fillMenu(event.target);
  }, true);

  document.addEventListener("change", (event) => {
    if (event.target.matches("[data-submit]")) event.target.form.requestSubmit();
  });

  document.addEventListener("keydown", (event) => {
    const search = event.target.closest("[data-typeahead]");
    if (search) typeaheadKey(event, search);
    if (event.key === "Escape") {
      const menu = event.target.closest("details[data-menu][open]");
      closeMenus(null);
      if (menu) menu.querySelector("summary").focus();
    }
    const isTyping = event.target.closest("input, textarea, select, [contenteditable]");
    if (event.key === "/" && !isTyping && !event.ctrlKey && !event.metaKey && !event.altKey) {
      const input = document.getElementById("search");
      if (input) { event.preventDefault(); input.focus(); }
    }
  });

  document.addEventListener("focusin", (event) => {
    // Who goes on by Tab leaves a menu, which else would lie over what comes next. A click closes it at its end: before
    // that the page could move below the pointer.
    if (event.target.matches(":focus-visible")) closeMenus(event.target);
    const search = event.target.closest("[data-typeahead]");
    if (search) showSuggestions(search);
  });

  document.addEventListener("htmx:after:swap", () => {
    reveal();
    all("[data-typeahead]").forEach(showSuggestions);
    all("[data-select]").forEach(countChosen);
    // What was loaded into a dialog is a question to answer.
    all("dialog[data-dialog-on-swap]:not([open])").filter((dialog) => dialog.childElementCount).forEach((dialog) => dialog.showModal());
  });

  document.addEventListener("close", (event) => {
    if (event.target.matches("dialog[data-dialog-on-swap]")) event.target.replaceChildren();
  }, true);

  window.addEventListener("hashchange", openTarget);

  reveal();
  openTarget();
  /* On a phone the tab that is open may lie beside the screen. */
  all(".tabs [aria-current], .side [aria-current]").forEach((tab) => tab.scrollIntoView({ block: "nearest", inline: "center" }));
  all("[data-select]").forEach(countChosen);
  all("dialog[data-open]").forEach((dialog) => dialog.showModal());
})();
