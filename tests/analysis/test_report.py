from matplotlib.figure import Figure

from cryodrgn.analysis.report import HtmlReport


def test_wide_figures_scroll_on_narrow_screens_and_others_shrink(tmp_path):
    page = HtmlReport("a <page>")
    page.figure(Figure(figsize=(11, 3)), "wide")
    page.figure(Figure(figsize=(5, 3)), "narrow")
    page.write(tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text()
    wide, narrow = text.split("<figure")[1:]
    assert wide.startswith(' class="wide"><img alt="wide"')
    assert narrow.startswith('><img alt="narrow"')
    assert "<title>a &lt;page&gt;</title>" in text
