"""What the library gives, as HTML for notebooks: `_repr_html_` of commits, runs and differences.

Everything that comes from a repository is escaped, and nothing is loaded from anywhere.
"""

import datetime
from html import escape

_ROWS_MAX = 50
_TABLE = '<table style="text-align:left"><thead><tr>{}</tr></thead><tbody>{}</tbody></table>'


class Commits(list):
    """Commits of a history; a notebook shows them as a table."""

    def _repr_html_(self):
        rows = [
            (_id(c.id), c.time.strftime("%Y-%m-%d %H:%M"), escape(c.author.partition(" <")[0]),
             escape(c.subject) + _model_note(c), _values(c.metrics))
            for c in self[:_ROWS_MAX]
        ]
        return _table(("commit", "time", "author", "message", "metrics"), rows, len(self))


class RunRecords(list):
    """Recorded runs; a notebook shows them as a table."""

    def _repr_html_(self):
        rows = [
            (_id(r["id"]), escape(r["status"]), _clock(r["started"]), f"{r['duration_ms'] / 1000:.1f} s",
             _values(r["metrics"]), _values(r["params"]))
            for r in self[:_ROWS_MAX]
        ]
        return _table(("run", "status", "started", "took", "metrics", "parameters"), rows, len(self))


class RunRecord(dict):
    """A recorded run; a notebook shows it as a table of its facts."""

    def _repr_html_(self):
        command = " ".join(self["command"])
        facts = [("run", _id(self["id"])), ("status", escape(self["status"])),
                 ("command", f"<code>{escape(command[:500])}</code>"),
                 ("started", _clock(self["started"])), ("took", f"{self['duration_ms'] / 1000:.1f} s")]
        return _table(("", ""), facts) + named("metrics", self["metrics"]) + named("parameters", self["params"])


class Diff(dict):
    """What differs, as `modelv diff --json` has it; a notebook shows it by ingredient."""

    def _repr_html_(self):
        parts = [f"<p>{_side(self['old'])} → {_side(self['new'])}: {escape(self['extent'])}</p>"]
        if self["files"]:
            rows = [
                (escape(f["ingredient"]), escape(f["change"]), f"<code>{_path(f)}</code>", _inside(f))
                for f in self["files"][:_ROWS_MAX]
            ]
            parts.append(_table(("ingredient", "change", "file", "inside"), rows, len(self["files"])))
        for title, key, name in (("environment", "env", "item"), ("metrics", "metrics", "key")):
            changes = self[key]
            if changes:
                rows = [(escape(str(c[name])), _value(c["old"]), _value(c["new"])) for c in changes[:_ROWS_MAX]]
                parts.append(_table((title, "old", "new"), rows, len(changes)))
        return "".join(parts)


def commit(shown):
    """A commit with its ingredients and metrics."""
    facts = [("commit", _id(shown.id)), ("message", escape(shown.message).replace("\n", "<br>")),
             ("author", escape(shown.author)), ("time", shown.time.strftime("%Y-%m-%d %H:%M:%S UTC")),
             ("recipe", _id(shown.recipe.id)),
             ("model", (_id(shown.model) if shown.model else "none") + _model_note(shown))]
    facts += [("parent", _id(p)) for p in shown.parents]
    return _table(("", ""), facts) + named("metrics", shown.metrics)


def run(shown):
    """A run that is active or ended."""
    facts = [("run", _id(shown.id) if shown.id else "a part of another, or not ended"),
             ("status", escape(shown.status or "not begun"))]
    text = _table(("", ""), facts)
    return text + commit(shown.commit) if shown.commit is not None else text


def named(title, values):
    """Named values as a table, nothing when there is none."""
    rows = [(escape(str(k)), _value(v)) for k, v in list(values.items())[:_ROWS_MAX]]
    return _table((title, "value"), rows, len(values)) if rows else ""


def _table(heads, rows, total=None):
    head = "".join(f"<th>{escape(h)}</th>" for h in heads)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    more = f"<p>and {total - len(rows)} more</p>" if total is not None and total > len(rows) else ""
    return _TABLE.format(head, body) + more


def _id(text):
    return f'<code title="{escape(text)}">{escape(text[:12])}</code>'


def _clock(seconds):
    moment = datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc)
    return moment.strftime("%Y-%m-%d %H:%M:%S UTC")


def _value(value):
    text = f"{value:.6g}" if isinstance(value, float) else "" if value is None else str(value)
    return escape(text[:200])


def _values(values):
    shown = [f"{escape(str(k))} = {_value(v)}" for k, v in list(values.items())[:8]]
    return "<br>".join(shown + ["…"] * (len(values) > 8))


def _model_note(shown):
    if shown.model is None:
        return ""
    return " <em>(model stale)</em>" if shown.stale else ""


def _side(side):
    return escape(side["label"]) if side.get("label") else "working tree"


def _path(file):
    return (f"{escape(file['from'])} → " if file.get("from") else "") + escape(file["path"])


def _inside(file):
    tally = file.get("tally") or {}
    counts = [f"{sign}{tally[k]}" for sign, k in (("+", "added"), ("−", "removed"), ("~", "changed")) if tally.get(k)]
    keys = [
        f"{escape(str(p['key']))}: {_value(p.get('old'))} → {_value(p.get('new'))}"
        for p in (file.get("inside") or [])[:8] if "key" in p
    ]
    unit = escape(str(tally.get("unit", "")))
    return "<br>".join([f"{' '.join(counts)} {unit}"] * bool(counts) + keys)
