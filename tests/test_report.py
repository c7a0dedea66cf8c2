"""Reports: every number arrives, hostile text stays text, missing sections are not drawn."""

from __future__ import annotations

import copy
import io
import json
import re
from html.parser import HTMLParser

import pytest
from rich.console import Console

from tao_hub import figures
from tao_hub.field_table import field_table
from tao_hub.report import print_report, render_html, render_json, render_markdown

HOSTILE = "<script>alert(1)</script><img src=http://evil.example/x> | [bold red]`x`[/] \x1b[31mred\u202e ]]> {{ 7*7 }}"


def quality_row(label, value, *, split="test", metric="exact", **extra):
    row = {
        "label": label,
        "suite": "inbox",
        "split": split,
        "metric": metric,
        "value": value,
        "low": value - 0.043,
        "high": value + 0.047,
        "n": 400,
        "errors": 1,
        "truncated": 3,
        "output_tokens": 41.7,
        "latency_s": 0.213,
    }
    return {**row, **extra}  # fmt: skip


def delta_row(before_label, after_label, before, after, **extra):
    row = {
        "before_label": before_label,
        "after_label": after_label,
        "suite": "inbox",
        "split": "test",
        "sealed": True,
        "metric": "exact",
        "before": before,
        "after": after,
        "delta": after - before,
        "low": after - before - 0.056,
        "high": after - before + 0.058,
        "p": 0.00002,
        "n": 400,
        "gains": 121,
        "losses": 12,
        "mde": 0.0807,
        "verdict": "improved",
        "errors": 2,
        "look": 1,
        "note": "",
    }
    return {**row, **extra}  # fmt: skip


def answer(label, text, right):
    return {"label": label, "text": text, "right": right}


def sample():
    fields = {"customer": (0.71, 0.88), "order_number": (0.612, 0.934), "urgency": (0.52, 0.61),
              "language": (0.97, 0.968), "product": (0.44, 0.69), "amount": (0.38, 0.723)}  # fmt: skip
    quality = [quality_row("base", 0.312), quality_row("base, one-shot", 0.4275, output_tokens=43.1),
               quality_row("round 1", 0.5025), quality_row("round 2", 0.584, output_tokens=42.3),
               quality_row("supervised (upper line)", 0.713)]  # fmt: skip
    for label, value in (("base", 0.2911), ("round 1", 0.5333), ("round 2", 0.5722)):
        quality.append(quality_row(label, value, split="dev", n=180))
    for field, (old, new) in fields.items():
        quality += [quality_row("base", old, metric=field), quality_row("round 2", new, metric=field)]
    deltas = [
        delta_row("base", "round 2", 0.312, 0.584),
        delta_row("base", "round 1", 0.2911, 0.5333, split="dev", sealed=False, n=180, mde=0.121),
        delta_row("round 1", "round 2", 0.5333, 0.5722, split="dev", sealed=False, n=180, p=0.0963, gains=19, losses=12,
                  look=2, verdict="inconclusive", mde=0.0867, note="incumbent"),
        delta_row("base", "round 2", 0.97, 0.968, metric="language", p=0.7539, low=-0.0153, high=0.0113, gains=4,
                  losses=6, verdict="inconclusive", mde=0.022),
        delta_row("base", "round 2", 0.402, 0.341, suite="gsm-small", split="retention", p=0.0041, low=-0.103,
                  high=-0.019, gains=9, losses=28, verdict="regressed", mde=0.06, look=None),
    ]  # fmt: skip
    rewards = [{"label": "grounded", "weight": 1.0, "gate": 0.5, "mean_all": 0.643, "mean_chosen": 0.917, "errors": 5,
                "no_spread": 0.134, "corr_length": -0.083},
               {"label": "consistency", "weight": 2.0, "gate": None, "mean_all": 0.551, "mean_chosen": 0.823,
                "errors": 0, "no_spread": 0.221, "corr_length": None}]  # fmt: skip
    rounds = [{"number": k, "prompts": 601, "candidates": 4808, "chosen": 512 + k, "seconds": 611.0, "labels_used": 0,
               "sources": [{"strategy": "core/plain", "n": 4, "candidates": 2404, "best": 402, "truncated": 31,
                            "seconds": 201.5, "output_tokens": 44.8}],
               "rewards": rewards, "rejected": {"grounded < 0.5": 87, "truncated": 31},
               "checks": ["responses are no shorter than before (41.7 → 42.3 tokens)"]} for k in (1, 2)]  # fmt: skip
    reference = {"customer": "Ada Byron", "order_number": "A-1042", "urgency": "high", "amount": 12}
    return {
        "title": "inbox · smollm2", "run": "r1", "status": "done", "created": "2026-11-21T09:14:00Z", "seconds": 1391.0,
        "command": "tao-hub quickstart --seed 0", "peak_memory_mb": 2381.0, "labels_used": 0, "worked_examples": 8,
        "seed": 0, "stage_seconds": {"generate": 612.0, "score": 31.0, "update": 517.0, "eval": 204.0, "hub": 4.2},
        "policy": {"name": "hf/transformers", "digest": "8c1f0e77"},
        "environment": {"python": "3.11", "torch": "2.9.1"},
        "plugins": [{"name": "rules/grounded", "distribution": "tao-reward-rules", "version": "0.1.0"}],
        "config": '[policy]\nname = "hf/transformers"\n',
        "primary": {"suite": "inbox", "split": "test", "metric": "exact", "sealed": True, "before_label": "base",
                    "after_label": "round 2"},
        "quality": quality, "deltas": deltas, "rounds": rounds,
        "adds": [{"reward": "grounded", "with": {"value": 0.584, "low": 0.535, "high": 0.631},
                  "without": {"value": 0.531, "low": 0.482, "high": 0.579}, "metric": "exact", "split": "dev",
                  "delta": 0.053, "low": 0.011, "high": 0.095, "p": 0.0133, "n": 180, "note": "one round each"}],
        "examples": [
            {"id": "mail-017", "prompt": "Extract the record as JSON.\n\nHi, this is Ada Byron. Order A-1042 is late!",
             "reference": json.dumps(reference),
             "answers": [answer("base", 'Sure! {"customer": "Ada", "order_number": "A-1042"}', False),
                         answer("round 2", json.dumps({**reference, "customer": "ada byron"}), True)]},
            {"id": "q-3", "prompt": "What is 2 + 2?", "reference": None,
             "answers": [answer("base", HOSTILE, None), answer("round 2", "4", True)]},
        ],
        "warnings": ["interrupted once, resumed"],
    }  # fmt: skip


class Page(HTMLParser):
    """Collects text, attributes and unbalanced tags of a page."""

    VOID = {"meta", "img", "link", "br"}

    def __init__(self, page):
        super().__init__()
        self.open, self.text, self.tags, self.attributes, self.broken = [], [], [], [], []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, *pair) for pair in attrs]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, *pair) for pair in attrs]

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.broken.append(tag)

    def handle_data(self, data):
        if not self.open or self.open[-1] != "style":
            self.text.append(data)


def terminal(data, width=100):
    console = Console(file=io.StringIO(), width=width, color_system=None)
    print_report(data, console)
    return console.file.getvalue()


@pytest.mark.parametrize("width", [80, 90, 100, 120])
def test_no_number_of_a_delta_is_cut_on_a_narrow_terminal(width: int) -> None:
    data = sample()
    shown = terminal(data, width)
    table = shown[shown.index("Deltas on identical items") : shown.index("Quality and cost")]
    rows = re.findall(r"(\S+%) → (\S+%) .* (\d+) +\S (improved|inconclusive|regressed) *$", table, re.MULTILINE)
    levels = [[figures.percent(d[key]) for key in ("before", "after")] for d in data["deltas"]]
    assert sorted(rows) == sorted((*level, str(d["n"]), d["verdict"]) for level, d in zip(levels, data["deltas"]))
    for delta in data["deltas"]:
        assert figures.change(delta, False)[1] in table
    assert all(len(line) <= width for line in table.splitlines())


@pytest.mark.parametrize("width", [80, 120])
def test_every_reward_of_a_round_is_named_beside_its_means_on_any_terminal(width: int) -> None:
    data = sample()
    shown = terminal(data, width)
    assert re.search(r"^ +1 +601 +4,808 +513 +10 min 11 s *$", shown, re.MULTILINE), shown
    table = shown[shown.index("Rewards by round") :]
    for reward in data["rounds"][0]["rewards"]:
        numbers = [figures.number(reward[key]) for key in ("mean_all", "mean_chosen", "errors")]
        row = re.escape(reward["label"]) + " +" + " +".join(map(re.escape, numbers))
        assert len(re.findall(row + " *$", table, re.MULTILINE)) == 2  # in both rounds


def test_the_page_is_well_formed_and_loads_nothing():
    html = render_html(sample())
    page = Page(html)
    assert page.broken == [] == page.open
    assert not set(page.tags) & {"script", "link", "img", "iframe", "object", "image", "use"}
    assert not [a for a in page.attributes if a[1] in ("src", "href", "xlink:href", "action") or a[1].startswith("on")]
    assert "url(" not in html
    assert "@import" not in html


def test_text_a_model_wrote_stays_text():
    data = sample()
    first = data["rounds"][0]
    data["title"] = data["warnings"][0] = first["checks"][0] = first["rewards"][0]["label"] = HOSTILE
    data["quality"][0]["label"] = data["deltas"][0]["note"] = data["deltas"][0]["verdict"] = data["config"] = HOSTILE
    data["examples"][0]["answers"][1]["text"] = json.dumps({HOSTILE: HOSTILE})
    html = render_html(data)
    page = Page(html)
    assert page.broken == [] == page.open
    assert "script" not in page.tags
    assert "img" not in page.tags
    assert "&lt;script&gt;" in html
    assert "{{ 7*7 }}" in html
    for output in (html, render_markdown(data), terminal(data)):
        assert "\x1b" not in output
        assert "\u202e" not in output
    assert "[bold red]" in terminal(data)
    outside_fences = re.sub(r"^(`{3,})text\n.*?^\1$", "", render_markdown(data), flags=re.S | re.M)
    assert "<script>" not in outside_fences
    assert "&lt;script&gt;" in outside_fences


def test_long_text_is_bounded_and_says_so():
    data = sample()
    data["examples"][1]["answers"][0]["text"] = "x" * 100_000
    for output in (render_html(data), render_markdown(data)):
        assert "x" * 4001 not in output
        assert "96000 more characters" in output
    assert "x" * 300 not in terminal(data).replace("\n", "")


def test_deeply_nested_answers_do_not_break_the_page():
    data = sample()
    data["examples"][0]["answers"][0]["text"] = '{"a":' * 3000
    data["examples"][0]["answers"][1]["text"] = '{"a":' + "[" * 3900 + "]" * 3900 + "}"
    assert Page(render_html(data)).broken == []


@pytest.mark.parametrize("missing", sorted(sample()))
def test_any_section_may_be_missing(missing):
    data = sample()
    del data[missing]
    assert Page(render_html(data)).broken == []
    assert render_markdown(data)
    assert terminal(data)
    data[missing] = None
    assert Page(render_html(data)).broken == []
    assert render_markdown(data)
    assert terminal(data)


def test_empty_data_still_makes_a_report():
    assert Page(render_html({})).broken == []
    assert render_markdown({}).startswith("# Report")
    assert "Deltas" not in terminal({})


def shown_numbers(data):
    """Each measured number of the data as it should be printed."""
    for row in data["quality"]:
        yield from (figures.percent(row["value"]), figures.between(row, False), figures.number(row["output_tokens"]))
    for row in data["deltas"]:
        yield from (*figures.change(row, False), figures.percent(row["before"]), figures.percent(row["after"]))
        yield from (figures.p_value(row["p"]), figures.number(row["gains"]), f"{100 * row['mde']:.1f} pp")
    for item in data["rounds"]:
        yield from (figures.number(item[key]) for key in ("prompts", "candidates", "chosen"))
        for reward in item["rewards"]:
            yield from (figures.number(reward[key]) for key in ("weight", "gate", "mean_all", "mean_chosen", "errors"))
            yield figures.percent(reward["no_spread"])
        yield from map(figures.number, item["rejected"].values())
    for row in data["adds"]:
        yield from (*figures.change(row, False), figures.p_value(row["p"]), figures.percent(row["with"]["value"]))


def test_every_number_in_the_data_is_in_the_page_and_the_markdown():
    data = sample()
    page, markdown = (
        " ".join(Page(render_html(data)).text),
        render_markdown(data).replace("\\", "").replace("&lt;", "<"),
    )
    for text in shown_numbers(data):
        assert text in page
        assert text in markdown


def test_the_headline_gives_interval_p_n_labels_and_cost():
    page = " ".join("".join(Page(render_html(sample())).text).split())
    assert "31.2% → 58.4%".replace(" ", "") in page.replace(" ", "")
    for words in ("+27.2 pp", "[21.6, 33.0]", "p <0.001", "n = 400", "0 labels used", "8 worked examples", "sealed"):
        assert words in page
    assert "same inference cost: 41.7 → 42.3 output tokens per answer" in page


def test_cost_is_called_the_same_only_when_it_is():
    assert figures.inference_cost({"output_tokens": 40}, {"output_tokens": 120}).startswith("3× the output tokens")
    assert figures.inference_cost({"output_tokens": None}, {"output_tokens": 120}) == ""


def test_what_was_not_measured_is_a_dash_not_a_number():
    row = dict.fromkeys(("before", "delta", "low", "p", "mde", "verdict", "gains", "errors", "look", "note", "split"))
    names = {"suite": "s", "metric": "m", "before_label": "a", "after_label": "b"}
    data = {"primary": names, "deltas": [{**row, **names, "after": 0.5, "high": float("nan"), "n": 3}],
            "quality": [{"label": "b", "suite": "s", "metric": "m", "value": 0.5, "latency_s": None}]}  # fmt: skip
    for output in (render_html(data), render_markdown(data), terminal(data)):
        assert re.search(r"–( →|</span>| \|)", output)
        assert "50.0%" in output
        assert not re.search(r"\bnan\b|None", output)


def test_metrics_that_are_no_shares_are_not_shown_as_percent():
    data = {"deltas": [delta_row("a", "b", 1012.0, 1064.0, metric="elo", low=31.0, high=73.0)]}
    data["deltas"][0]["mde"] = 28.5
    text = " ".join(Page(render_html(data)).text)
    assert "1,012" in text
    assert "+52" in text
    assert "[31, 73]" in text
    assert "%" not in re.sub(r"80% power", "", text)


def test_fields_are_marked_right_or_wrong_against_the_reference():
    table = field_table(sample()["examples"][0])
    states = {row["name"]: [cell["state"] for cell in row["cells"]] for row in table["rows"]}
    assert states["customer"] == ["wrong", "right"]  # case and blanks are forgiven
    assert states["order_number"] == ["right", "right"]
    assert states["urgency"] == ["wrong", "right"]  # absent is wrong
    assert field_table({"reference": "4", "answers": [{"text": "5"}]}) is None


def test_positions_stay_inside_the_drawing():
    view = figures.forest(sample())
    for group in view:
        for item in group["rows"]:
            assert all(0 <= x <= 100 for x in item["x"].values())
            assert item["x"]["low"] <= item["x"]["delta"] <= item["x"]["high"]
    drawn = figures.curve(sample())
    assert [line["split"] for line in drawn["lines"]] == ["test", "dev"]
    assert [h["label"] for h in drawn["horizontals"]] == ["base, one-shot", "supervised (upper line)"]
    assert [step["text"] for step in drawn["steps"]] == ["base", "round 1", "round 2"]
    assert drawn["lines"][0]["points"][0]["value"] > drawn["lines"][0]["points"][2]["value"]  # y grows downwards


def test_of_many_deltas_those_of_a_metrics_parts_are_folded_whatever_the_metric_of_each_suite():
    data = sample()
    row = data["deltas"][0]
    suites = {"inbox": ["exact", "customer", "date"], "office": ["accuracy", "easy", "hard"]}
    data["deltas"] = [
        {**row, "suite": suite, "split": split, "metric": metric, "before_label": before}
        for suite, metrics in suites.items() for split in ("test", "dev") for before in ("base", "one-shot")
        for metric in metrics
    ]  # fmt: skip
    page, said = render_html(data), terminal(data, 120)
    shown, folded = page.split("<summary>Part by part: 16 more</summary>")
    assert [len(re.findall(rf"<small>{metric} · ", shown)) for metric in ("exact", "accuracy", "date")] == [4, 4, 0]
    assert len(re.findall(r"<small>(?:easy|hard|customer|date) · ", folded)) == 16
    assert said.count("inbox test exact") == 3  # and a headline
    assert (said.count("office dev accuracy"), said.count("easy")) == (2, 0)
    data["deltas"] = data["deltas"][:12]
    assert "Part by part" not in render_html(data)


@pytest.mark.parametrize("ends", [(0, 1), (-0.3, 0.27), (1e-9, 2e-9), (5, 5), (0, 0), (-1200, 3400)])
def test_ticks_enclose_the_data_with_few_round_steps(ends):
    marks = figures.ticks(*ends)
    assert marks[0] <= ends[0] <= ends[1] <= marks[-1]
    assert 2 <= len(marks) <= 8
    assert marks == sorted(set(marks))


def test_the_terminal_report_fits_in_a_hundred_columns():
    output = terminal(sample())
    assert max(map(len, output.splitlines())) <= 100
    for words in ("31.2% → 58.4%", "+27.2 pp", "▲ improved", "▼ regressed", "0 labels used", "same inference cost"):
        assert words in output


def test_json_holds_the_data_unchanged_but_for_nan():
    data = sample()
    assert json.loads(render_json(data)) == data
    assert json.loads(render_json({"a": [float("nan"), 1.5]})) == {"a": [None, 1.5]}


def test_rendering_does_not_change_the_data():
    data = sample()
    before = copy.deepcopy(data)
    render_html(data), render_markdown(data), terminal(data)
    assert data == before
