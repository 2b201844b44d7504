"""Text around the cells of a table, one Jinja template a format."""

MARKDOWN = """\
**<<table.title>>**

|<% for head in table.heads %> <<head>> |<% endfor %><% for column in table.columns %> <<column>> |<% endfor %>

|<% for head in table.heads %> :--- |<% endfor %><% for column in table.columns %> :--- |<% endfor %>

<% for row in table.rows %>
|<% for head in row.heads %> <<head>> |<% endfor %><% for cell in row.cells %> <<cell>> |<% endfor %>

<% endfor %>
<% if table.columns | selectattr("chance") | list %>
|<% for head in table.heads %> <% if loop.first %>*chance*<% endif %> |<% endfor %>\
<% for column in table.columns %> <% if column.chance %>*<<column.chance>>*<% endif %> |<% endfor %>

<% endif %>

<<table.note>>
"""

LATEX = r"""% Needs \usepackage{booktabs,graphicx}.
\begin{table}
\caption{<<table.title>>. <<table.note>>}
\resizebox{\linewidth}{!}{%
\begin{tabular}{<% for _ in table.heads %>l<% endfor %><% for _ in table.columns %>c<% endfor %>}
\toprule
<% for head in table.heads %><<head>><% if not loop.last %> & <% endif %><% endfor %>
<% for column in table.columns %> & <<column.heading>><% endfor %> \\
<% for head in table.heads %><% if not loop.first %> & <% endif %><% endfor %>
<% for column in table.columns %> & <<column.detail>><% endfor %> \\
<% if table.columns | selectattr("chance") | list %>
<% for head in table.heads %><% if not loop.first %> & <% endif %><% endfor %>
<% for column in table.columns %> & <% if column.chance %>chance <<column.chance>><% endif %><% endfor %> \\
<% endif %>
\midrule
<% for row in table.rows %>
<% if row.rule_above %>
\midrule
<% endif %>
<% for head in row.heads %><<head>><% if not loop.last %> & <% endif %><% endfor %>
<% for cell in row.cells %> & <<cell>><% endfor %> \\
<% endfor %>
\bottomrule
\end{tabular}}
\end{table}
"""

HTML = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>{{ tables[0].title }}</title>
<style>
body { font: 15px/1.45 system-ui, "Segoe UI", "Helvetica Neue", Arial, sans-serif; color: #1f2933; margin: 1.5rem; }
table { border-collapse: collapse; border-top: 2px solid #1f2933; border-bottom: 2px solid #1f2933; }
caption { text-align: left; font-weight: 600; font-size: 1.1rem; padding-bottom: .6rem; }
th, td { padding: .4rem .65rem; text-align: left; vertical-align: baseline; max-width: 26rem; }
thead th { border-bottom: 1px solid #1f2933; }
thead span { white-space: nowrap; }
tbody th { font-weight: 500; }
tbody tr:hover > * { background: #f2f5f8; }
.rule > * { border-top: 1px solid #9aa5b1; }
small { display: block; color: #616e7c; font-size: .78rem; font-weight: 400; white-space: nowrap; }
p { color: #52606d; font-size: .85rem; max-width: 60rem; }
p + table { margin-top: 2.5rem; }
img { display: block; max-width: 100%; margin-bottom: 1.5rem; }
</style>
</head>
<body>
{% if figure %}
<p>{{ sentence }}</p>
<img src="{{ figure }}" alt="{{ sentence }}">
{% endif %}
{% for table in tables %}
<table>
<caption>{{ table.title }}</caption>
{% if table.heads | select | list %}
<thead>
<tr>
{% for head in table.heads %}
<th scope="col">{{ head }}</th>
{% endfor %}
{% for column in table.columns %}
<th scope="col"><span>{{ column.heading }}</span>{% if column.detail %} <small>{{ column.detail }}</small>{% endif %}
{% if column.chance %} <small>chance {{ column.chance }}</small>{% endif %}</th>
{% endfor %}
</tr>
</thead>
{% endif %}
<tbody>
{% for row in table.rows %}
<tr{% if row.rule_above %} class="rule"{% endif %}>
{% for head in row.heads %}
{% if head %}<th scope="row">{{ head }}</th>{% else %}<td></td>{% endif %}

{% endfor %}
{% for cell in row.cells %}
<td>{{ cell.mean }}{% if cell.interval %} <small>{{ cell.interval }}</small>{% endif %}</td>
{% endfor %}
</tr>
{% endfor %}
</tbody>
</table>
<p>{{ table.note }}</p>
{% endfor %}
</body>
</html>
"""
