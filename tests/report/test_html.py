import os
import re
import shutil
from html.parser import HTMLParser

import numpy as np
import pytest

from bench.report import choices, figures, html, leaderboard, pairs
from bench.scores import SCORES
from tests.conftest import long
from tests.simulated import fail, results, simulated_trials

pytestmark = pytest.mark.xdist_group("html")  # one process, for what its tests share

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    trials = fail(simulated_trials(), method="ivae", domains=3, seed=0)
    trials.loc[trials.status == "diverged", "error"] = "went <b>wrong</b> & stopped"
    drawn = figures.draw_all(results(trials), folder / "figures")
    return write(trials, folder, ["VAE ladder: no evidence."], drawn=drawn)


def write(trials, folder, verdicts=(), **options):
    own = results(trials)
    boards = leaderboard.boards(own, options.get("by", ()))
    return html.write(own, boards, pairs.table(own), folder, verdicts, **options)


class Reader(HTMLParser):
    """Collects ids, links and text, and checks that what is opened is closed."""

    def __init__(self):
        super().__init__()
        self.open, self.ids, self.links, self.text = [], [], [], []

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.ids += [attrs["id"]] if "id" in attrs else []
        self.links += [attrs[name] for name in ("src", "href", "xlink:href") if name in attrs]
        if tag not in ("meta", "link", "input"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


@pytest.fixture(scope="module")
def read(report):
    reader = Reader()
    reader.feed(report.read_text())
    assert not reader.open
    return reader


def test_the_report_is_one_file_that_fetches_nothing(read):
    assert read.links and all(link.startswith(("#", "data:")) for link in read.links)


def test_ids_are_unique_and_every_link_within_the_page_has_its_end(read):
    assert len(set(read.ids)) == len(read.ids)
    assert {link[1:] for link in read.links if link.startswith("#")} <= set(read.ids)


def test_it_says_without_scripts_what_a_reader_needs(read, report):
    text = " ".join(read.text)
    trials = simulated_trials()
    for words in (
        "VAE ladder: no evidence.",
        "domains=3, violation=0.5",
        "Rank correlations <matched>",
        "--grid domains=2..4",
        "commit abc",
        "90 trials (2 failed)",
        "Source: Khemakhem et al. 2020",  # of ivae
        "Every two methods compared",
    ):
        assert words in text
    assert all(trial in text for trial in trials.trial_id)
    assert "went <b>wrong</b> & stopped" in text  # as text, not as markup
    assert len(re.findall('<svg role="img"', report.read_text())) == len(
        list((report.parent / "figures").glob("*.svg"))
    )


@pytest.fixture(scope="module")
def browser():
    sync_api = pytest.importorskip(
        "playwright.sync_api", reason="playwright, which drives the browser, is not installed"
    )
    with sync_api.sync_playwright() as playwright:
        try:  # that of the system, else playwright's own
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        except sync_api.Error as error:
            pytest.skip(f"there is no Chromium here (apt-get install chromium): {str(error).splitlines()[0]}")
        yield browser
        browser.close()


SCREENS = {"phone": {"width": 390, "height": 844}, "desktop": {"width": 1280, "height": 900}}


@pytest.fixture(
    params=[
        "phone-dark",
        "desktop-light",
        pytest.param("phone-light", marks=long),
        pytest.param("desktop-dark", marks=long),
    ]
)
def opened(browser, report, request):
    """The report in the browser, which must find nothing to complain of."""
    screen, scheme = request.param.split("-")
    context = browser.new_context(viewport=SCREENS[screen], color_scheme=scheme)
    page, complaints = context.new_page(), []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda asked: complaints.append(asked.url) if asked.url.startswith("http") else None)
    page.goto(report.as_uri())
    yield page
    assert complaints == []
    context.close()


def shown(page):
    return page.eval_on_selector_all(
        "#board tbody tr", "rows => rows.filter(r => !r.hidden).map(r => r.cells[1].textContent)"
    )


def test_a_click_on_a_heading_sorts_and_another_one_turns_the_order(opened):
    expected = simulated_trials().groupby("method").mcc_spearman.mean().sort_values().index.tolist()
    opened.get_by_role("button", name="MCC Spearman").click()
    assert [name.removesuffix(" †") for name in shown(opened)] == expected[::-1]
    opened.get_by_role("button", name="MCC Spearman").click()
    assert [name.removesuffix(" †") for name in shown(opened)] == expected
    opened.get_by_role("button", name="rank").click()
    assert shown(opened)[:2] == ["synergy-vae", "ivae †"]  # the best first; what has no rank stays last
    opened.get_by_role("button", name="rank").click()
    assert shown(opened)[:2] == ["ivae †", "synergy-vae"]


def test_what_a_column_means_is_said_on_its_heading_and_below_the_board(opened):
    heading = opened.locator("#board th", has_text="MCC Pearson")
    meaning = SCORES["mcc_pearson"].definition
    assert heading.get_attribute("title").startswith(meaning)
    opened.get_by_text("What the columns mean").click()
    assert opened.locator("dd", has_text=meaning).first.is_visible()


def test_verdicts_are_folded_away_below_sentences_for_a_newcomer(opened):
    assert opened.locator(".verdict").first.text_content().startswith("synergy-vae recovered the true latents best")
    verdict = opened.get_by_text("VAE ladder: no evidence.")
    assert not verdict.is_visible()
    opened.get_by_text("1 verdict with its test").click()
    assert verdict.is_visible()


def test_the_filter_leaves_the_rows_with_its_words(opened):
    opened.get_by_label("Filter").fill("floor")
    assert set(shown(opened)) == {"random", "identity"}
    opened.get_by_label("Filter").fill("")
    assert len(shown(opened)) == 5


def test_a_cell_opens_to_its_trials(opened):
    opened.get_by_text("domains=3, violation=0.5").click()
    opened.get_by_text("15 trials").nth(3).click()
    assert opened.get_by_text("ivae-3-0.5-0").is_visible()


def test_the_page_is_no_wider_than_the_window_and_its_text_stands_out(opened):
    assert opened.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    colours = opened.evaluate(
        "[...document.querySelectorAll('h1, td, figcaption, dd, a, th, tr.floor td')].map(e => [getComputedStyle(e).color, getComputedStyle(document.body).backgroundColor])"
    )
    assert min(contrast(*map(rgb, pair)) for pair in colours) >= 4.5  # WCAG 2.1, level AA


def rgb(text):
    return np.array([int(value) for value in re.findall(r"\d+", text)[:3]]) / 255


def contrast(a, b):
    linear = [
        np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4) @ [0.2126, 0.7152, 0.0722] for c in (a, b)
    ]
    return (max(linear) + 0.05) / (min(linear) + 0.05)


def test_it_can_be_read_with_scripts_off(browser, report):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(report.as_uri())
    assert page.locator("#board tbody tr").count() == 5 and not page.locator("#filter").is_visible()
    assert page.locator(".verdict").first.is_visible() and page.locator("figure svg").last.is_visible()
    assert not page.get_by_text("Compare", exact=True).first.is_visible() and not page.locator("#choices").is_visible()
    context.close()


def drawn(page, n):
    """What the `n` points say that are drawn, in the order in which they stand."""
    points = page.locator(".chart .mark-symbol path")
    page.wait_for_function("n => document.querySelectorAll('.chart .mark-symbol path').length === n", arg=n)
    return [point.get_attribute("aria-label") for point in points.all()]


def test_the_figure_follows_score_dial_cell_and_methods(browser, tmp_path):
    """What is drawn is what the leaderboard says of the trials that are chosen, in each of the scores."""
    trials = simulated_trials()
    trials["mcc_pearson"] = trials["mcc_spearman"] - 0.125
    page, complaints = opened_in(browser, write(trials, tmp_path))
    means = trials.groupby(["method", "domains"])[["mcc_spearman", "mcc_pearson"]].mean()
    assert len(drawn(page, 15)) == 15
    page.get_by_label("random", exact=True).uncheck()
    for name, score in (("MCC Spearman", "mcc_spearman"), ("MCC Pearson", "mcc_pearson")):
        page.get_by_label("Score").select_option(name)
        page.wait_for_function("name => document.querySelector('.chart').textContent.includes(name)", arg=f"{name[4:]}")
        texts = drawn(page, 12)
        for domains in (2, 3, 4):
            value = f"{means.loc[('synergy-vae', domains), score]:.3f}"[1:]
            assert any(text.startswith(f"synergy-vae, number of domains {domains}: {value} [") for text in texts)
    page.get_by_label("Against").select_option("nothing: methods listed")
    page.get_by_label("Number of domains", exact=True).select_option("3")
    page.get_by_label("Violation of structural sparsity", exact=True).select_option("0.5")
    own = trials[(trials.domains == 3) & (trials.violation == 0.5) & (trials.method != "random")]
    board = leaderboard.table(results(own)).sort_values("mcc_pearson", ascending=False)
    page.wait_for_function("!document.querySelector('.chart').textContent.includes('Number of domains')")
    expected = [
        f"{row['label']}: {html._interval(row, 'mcc_pearson')}, 3 of 3 trials" for row in board.to_dict("records")
    ]
    assert drawn(page, 4) == expected
    page.locator(".chart .mark-symbol path").first.hover()
    page.get_by_text(expected[0]).wait_for()
    page.get_by_role("button", name="none").click()
    page.get_by_text("No method that is ticked has this score there.").wait_for()
    assert complaints == []


def test_a_point_that_lacks_trials_is_white_inside(browser, tmp_path):
    trials = fail(simulated_trials({"ivae": 0.8, "random": 0.4}, violations=[0.0]), method="ivae", domains=3, seed=0)
    page, complaints = opened_in(browser, write(trials, tmp_path))
    white = [text for text in drawn(page, 6) if "2 of 3 trials" in text]
    assert len(white) == 1 and white[0].startswith("ivae, number of domains 3")
    assert page.locator(".chart .mark-symbol path[fill=white]").get_attribute("aria-label") == white[0]
    assert complaints == []


def test_a_page_without_room_for_all_choices_leaves_the_other_dials_open(browser, tmp_path, monkeypatch):
    trials = simulated_trials()
    n_scores = len(choices.offered(results(trials), leaderboard.table(results(trials)))["numbers"]["scores"])
    monkeypatch.setattr(choices, "MOST", n_scores * 5 * (1 + 3 + 2))
    page, complaints = opened_in(browser, write(trials, tmp_path))
    assert page.get_by_text("choices on 1 of the 2 dials at a time").is_visible()
    drawn(page, 15)
    page.get_by_label("Violation of structural sparsity", exact=True).select_option("0.5")
    texts = drawn(page, 5)
    assert page.get_by_label("Against").input_value() == "" and not any("domains" in text for text in texts)
    assert complaints == []


def test_of_one_method_in_one_cell_with_one_seed_a_point_is_drawn(browser, tmp_path):
    trials = simulated_trials({"ivae": 0.8}, domains=[2], violations=[0.0], seeds=1)
    page, complaints = opened_in(browser, write(trials, tmp_path))
    (text,) = drawn(page, 1)
    assert text == f"ivae: {trials.mcc_spearman[0]:.3f}, 1 of 1 trials".replace(" 0.", " .")
    assert page.get_by_label("Against").count() == 0 and complaints == []


def test_a_touch_near_a_point_shows_its_numbers(browser, tmp_path):
    trials = simulated_trials({"ivae": 0.8, "random": 0.4}, violations=[0.0])
    context = browser.new_context(viewport=SCREENS["phone"], has_touch=True)
    page, complaints = opened_in(context, write(trials, tmp_path))
    last = drawn(page, 6)[-1]
    page.locator(".readout").scroll_into_view_if_needed()
    box = page.locator(".chart .mark-symbol path").last.bounding_box()
    page.touchscreen.tap(box["x"] + 8, box["y"] + 8)
    page.get_by_text(last).wait_for()
    assert complaints == []
    context.close()


def test_a_hostile_name_is_shown_and_runs_nothing(browser, tmp_path):
    names = {"ivae": "</script><script>alert(1)</script>", "random": "<img src=x onerror=alert(2)>"}
    trials = simulated_trials().replace({"method": names}).assign(mixing="</script><script>alert(3)</script>")
    trials.loc[trials.domains == 2, "mixing"] = "'\"><script>alert(4)</script>"
    text = write(trials, tmp_path)
    assert not re.search("<script>alert|<img src=x", text.read_text())
    page, complaints = opened_in(browser, text)
    assert any(point.startswith(names["ivae"]) for point in drawn(page, 15))
    page.get_by_label("Kind of mixing").select_option(index=1)
    page.locator(".chart .mark-symbol path").first.hover()
    assert page.evaluate("document.scripts.length") == 3  # the numbers, what draws, the page's own
    assert complaints == []


def opened_in(browser, path):
    """A page, and what is wrong with it: messages, errors, requests, and dialogs of scripts that should not run."""
    page, complaints = browser.new_page(), []
    page.set_default_timeout(10_000)
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda asked: complaints.append(asked.url) if asked.url.startswith("http") else None)
    page.on("dialog", lambda dialog: (complaints.append(dialog.message), dialog.dismiss()))
    page.goto(path.as_uri())
    return page, complaints


def test_a_run_of_one_cell_has_a_report(tmp_path):
    trials = simulated_trials(domains=[2], violations=[0.0])
    assert "the one cell" in write(trials, tmp_path).read_text()


def test_the_best_method_and_those_not_told_from_it_stand_out_and_floors_never_do(report):
    looks = re.findall(r'<tr class="(\w+)">(.*?)</tr>', report.read_text())
    best = [role for role, row in looks if 'class="best"' in row]
    assert best == ["method"] * len(best) and best


def test_a_board_for_each_value_is_one_table_with_a_column_of_it(tmp_path):
    text = write(simulated_trials(), tmp_path, by=["violation"], command="run_bench.py report a b").read_text()
    head = re.search(r"<thead><tr><th[^>]*>(.*?)</th>", text)
    assert head[1] == "violation" and len(re.findall(r'<tr class="(method|floor|ceiling)">', text)) == 10
    assert "python run_bench.py report a b" in text
    assert text.count("ranked by MCC (Spearman).") == 1  # said once of both


def test_a_figure_that_lies_in_the_folder_and_was_not_drawn_for_this_report_is_not_in_it(tmp_path):
    (tmp_path / "figures").mkdir()
    for name in ("other", "score_lines"):
        (tmp_path / "figures" / f"{name}.svg").write_text("<svg ><script>alert(1)</script></svg>")
        (tmp_path / "figures" / f"{name}.txt").write_text("Not ours.")
    text = write(simulated_trials(), tmp_path).read_text()
    assert "alert(1)" not in text and "Not ours" not in text


def test_a_figure_that_is_exchanged_after_it_was_drawn_is_shown_as_it_was_drawn(tmp_path):
    trials = simulated_trials(domains=(2, 3), seeds=2)
    drawn = figures.draw_all(results(trials), tmp_path / "figures")
    for path in drawn.paths:
        path.unlink()
        path.write_text("<svg ><script>alert(1)</script></svg>")
    text = write(trials, tmp_path, drawn=drawn).read_text()
    assert "alert(1)" not in text and len(re.findall('<svg role="img"', text)) == len(drawn.pages) > 3


def test_figures_take_the_place_of_links_and_pipes_and_follow_none(tmp_path):
    trials = simulated_trials(domains=(2, 3), seeds=2)
    (tmp_path / "run" / "figures").mkdir(parents=True)
    (tmp_path / "outside").write_text("mine")
    (tmp_path / "run" / "figures" / "score_lines.svg").symlink_to(tmp_path / "outside")
    os.mkfifo(tmp_path / "run" / "figures" / "score_lines.csv")
    figures.draw_all(results(trials), tmp_path / "run" / "figures")
    assert (tmp_path / "outside").read_text() == "mine"
    for name in ("score_lines.svg", "score_lines.csv"):
        path = tmp_path / "run" / "figures" / name
        assert path.is_file() and not path.is_symlink()


def test_more_trials_than_a_page_holds_are_counted_and_not_listed(tmp_path, monkeypatch):
    trials = simulated_trials(domains=(2, 3), seeds=2)
    listed = write(trials, tmp_path).read_text()
    monkeypatch.setattr(html, "MOST_LISTED", len(trials) - 1)
    counted = write(trials, tmp_path).read_text()
    assert all(trial in listed for trial in trials.trial_id) and not any(trial in counted for trial in trials.trial_id)
    assert counted.count("10 trials, which are in <code>trials.csv</code>") == 4
    reader = Reader()
    reader.feed(counted)
    assert not reader.open
