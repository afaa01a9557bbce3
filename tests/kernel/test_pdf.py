"""What is printed can be read back, in an embedded font, on pages of the asked size."""

import io

import pytest
from pypdf import PdfReader

from kernel import pdf


def read(content):
    return PdfReader(io.BytesIO(content))


def fonts_of(page):
    return [font.get_object() for font in page["/Resources"]["/Font"].values()]


def is_embedded(font):
    if font["/Subtype"] == "/Type0":
        font = font["/DescendantFonts"][0].get_object()
    return "/FontFile2" in font["/FontDescriptor"].get_object()


def used_fonts(page):
    return [font for font in fonts_of(page) if "WenQuanYi" in font["/BaseFont"]]


def test_a_document_flows_over_pages_and_its_text_can_be_copied():
    rows = [["订单", "金额"], *[[f"第{number}行 贵州安顺", f"¥{number}"] for number in range(120)]]
    blocks = [
        pdf.Heading("结算单"),
        pdf.Text("金额 < 100 & “引号” <b>不是标签</b>"),
        pdf.Table(rows, (3, 1), right=frozenset({1}), bold_last=True),
        pdf.Gap(),
        pdf.Qr("12345678"),
        pdf.PageBreak(),
        pdf.Heading("完", level=2),
        pdf.Text("注", small=True),
    ]
    document = read(pdf.document(blocks, title="结算单 一月", footer="惠工"))
    assert len(document.pages) == 5
    text = [page.extract_text() for page in document.pages]
    assert "金额 < 100 & “引号” <b>不是标签</b>" in text[0]
    assert all("订单" in page for page in text[:4]), "the header is said again"
    assert "第119行 贵州安顺" in "".join(text)
    assert "完" in text[4]
    assert document.metadata.title == "结算单 一月"
    assert all(round(float(page.mediabox.width)) == 595 for page in document.pages)
    for page in document.pages:
        chinese = used_fonts(page)
        assert chinese
        assert all(is_embedded(font) for font in chinese)
        assert all("+" in font["/BaseFont"] for font in chinese), "a subset"


def test_the_font_is_a_small_part_of_itself():
    assert len(pdf.document([pdf.Text("收件人")], title="x")) < 60_000


def test_an_empty_document_is_one_page():
    assert len(read(pdf.document([], title="空")).pages) == 1


def test_labels_are_one_a_page_of_100_by_150_millimetres():
    def label(name):
        def draw(page):
            top = page.text(5, 5, f"收件人 {name}", size=14)
            top = page.text(5, top, "山东省青岛市崂山区" * 30, lines=3)
            page.line(top + 1)
            page.barcode(5, top + 3, "123456-1", width=80)
            page.qr(60, 100, "12345678", side=30)

        return draw

    document = read(pdf.pages([label("王芳"), label("李\x00雷")], title="面单"))
    assert [page.extract_text().splitlines()[0] for page in document.pages] == ["收件人 王芳", "收件人 李雷"]
    assert [(round(float(page.mediabox.width)), round(float(page.mediabox.height))) for page in document.pages] == [
        (283, 425)
    ] * 2
    lines = document.pages[0].extract_text().splitlines()
    assert len(lines) == 4
    assert lines[3].endswith("…")


@pytest.mark.parametrize(
    ("name", "shown"), [("王㛃", "王〓"), ("朱镕基", "朱镕基"), ("陶喆", "陶喆"), ("刘堃", "刘堃"), ("𠮷田", "〓田")]
)
def test_rare_characters_are_shown_or_marked_as_missing(name, shown):
    assert shown in read(pdf.document([pdf.Text(name)], title=name)).pages[0].extract_text()
