"""The web pages' room: how a page is made.

**A handler** takes `(services, request, view)` and returns an `Answer`. `view` says who looks, in which language
and theme, and holds the token against forged forms; `Pages` makes the answer:

    return services.pages.render(view, "tags.html", {"tags": tags, "next": cursor})
    return services.pages.render(view, "new.html", {"errors": {"name": say.gettext("…")}}, status=400)
    return services.pages.redirect(view, f"/{name}")                  after a form (303, or HX-Redirect)
    if view.is_htmx: return services.pages.fragment(view, "tags.html", "rows", {…})     one block of the same template

`pages.error` and `pages.failure` are the last two arguments of a `Boundary`. `pages.texts(view)` is the catalogue
for what a handler says itself. `view.link(sort="-size")` is this page with another query, `view.place` where to
come back to. Markdown of strangers goes through `Markdown.render` and nothing else is ever marked as safe.

**A template** starts like this, and knows `view`, `site`, `ui`, `chart` and what the handler gives; a name that
nobody gave is an error, so all of them are given always:

    {% extends "layout.html" %}
    {% block title %}{{ name }}{% endblock %}
    {% block content %}
    {% call ui.header(name, lead, crumbs=[(gettext("Explore"), "/explore"), (name, none)]) %}
    {{ ui.button(…) }}{% endcall %}
    …
    {% endblock %}

Components are the macros of `templates/ui.html`, with charts in `templates/charts.html` (data: `plots.py`); each is
shown by `tests/api/web/gallery.py`. Layout is by classes: `stack`, `split` (with an aside), `columns`, `narrow`,
`toolbar`, `actions`, `list`, `facts`, `properties`, `tree`, `prose`. A table of class `table-stack` becomes cards on
a phone: its cells carry `data-label`. What htmx replaces has an id, and is a block of its own.

**Filters**: `size` `number` `short` `percent` `duration`, `ago` and `day` (a `<time>`), `date` `short_date` `moment`;
times are ms since 1970. **Texts**: `{{ gettext("…") }}`, `{% trans name %}Hello {{ name }}{% endtrans %}`, `{% trans
count=n %}…{% pluralize %}… {% endtrans %}`; then `scripts/translations`, and the Chinese text into
`languages/zh_CN.po`.

**The policy** (`pages.POLICY`) lets a page load our own files only. So: no `style` or `on…` attribute, no inline
script or style, no picture from elsewhere; widths of drawings are attributes of SVG. htmx is used without what needs
evaluation: no `hx-on`, no `js:`, no filters in `hx-trigger`. Every page works without JavaScript: htmx sits on real
links and forms, a dialog's opener leads to a page that asks the same.

**Writing** is by forms (`ui.form`, `ui.action`) with the field `csrf`, never by GET. Ids of the page do not start
with `readme-`.
"""
