from crews import documents

TEXT = """Before.

# Title

A first sentence, e.g. this one. A second
over two lines.

| a | table. |

```
# no heading. No sentence.
```

## List ##

- One item.
- Another,
  continued.
2. A third
"""


def test_a_text_falls_into_sections() -> None:
    assert [section["title"] for section in documents.split(TEXT)] == ["Untitled", "Title", "List"]


def test_sentences_join_lines_and_leave_out_tables_and_code() -> None:
    _, title, items = documents.split(TEXT)
    assert documents.sentences(title["text"]) == [
        "A first sentence, e.g. this one.",
        "A second over two lines.",
    ]
    assert documents.items(items["text"]) == ["One item.", "Another, continued.", "A third"]
    assert documents.items(title["text"]) == []


def test_shipped_texts_are_of_a_real_length() -> None:
    assert documents.names() == ["evening-library", "stock-counts", "travel-policy"]
    assert all(600 <= len(documents.load(name).split()) <= 1200 for name in documents.names())
